//! The documents say what the code does: keys, defaults, metrics, reasons, commands, files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::harness::{cli, watchdog};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The quoted words of each section of `src/config/keys.rs`: header, keys that work, keys to come.
fn keys() -> Vec<(String, Vec<String>, Vec<String>)> {
    let source = read("src/config/keys.rs");
    let quoted = |list: &str| list.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let list = |section: &str, name: &str| {
        let rest = section.split_once(&format!("{name}: &[")).unwrap_or_else(|| panic!("no {name} in {section}")).1;
        quoted(rest.split_once(']').unwrap().0)
    };
    source
        .split("header: \"")
        .skip(1)
        .map(|section| {
            let header = section.split_once('"').unwrap().0.to_owned();
            (header, list(section, "now"), list(section, "later"))
        })
        .collect()
}

/// The rows of a document's tables by the heading (or the line that introduces the table) before them.
fn tables(document: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let mut tables: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut title = String::new();
    for line in document.lines() {
        if let Some(row) = line.strip_prefix("| ") {
            let cells = row.trim_end_matches(" |").split(" | ").map(|c| c.trim().to_owned()).collect();
            tables.entry(title.clone()).or_default().push(cells);
        } else if line.starts_with('#') || line.ends_with(':') {
            title = line.trim_matches(['#', ' ', '`', ':']).to_owned();
        }
    }
    tables
}

/// The title under which the page has a section of `keys.rs`.
fn title(header: &str) -> &str {
    if header == "a node" { "A node as a table" } else { header }
}

#[test]
fn every_key_that_works_is_explained_and_no_other() {
    let page = read("docs/configuration.md");
    let tables = tables(&page);
    let mut count = 0;
    for (header, now, _) in keys() {
        // Keys that are sections of their own have a heading each.
        let sections: &[&str] = match header.as_str() {
            "the file" => &["cluster", "service", "admin", "process"],
            "[cluster.NAME]" => &["monitor", "eligibility", "writer", "sessions"],
            _ => &[],
        };
        let wanted: Vec<&String> = now.iter().filter(|k| !sections.contains(&k.as_str())).collect();
        let rows = tables.get(title(&header)).map_or(&[][..], Vec::as_slice);
        let mut explained: Vec<&str> = rows.iter().skip(1).map(|r| r[0].trim_matches('`')).collect();
        for key in &wanted {
            assert!(explained.contains(&key.as_str()), "{header}: {key} is not in docs/configuration.md");
            explained.retain(|e| e != key);
            count += 1;
        }
        explained.retain(|e| !e.starts_with('-'));
        assert!(explained.is_empty(), "{header}: docs/configuration.md explains {explained:?}, which the code refuses");
    }
    assert!(count > 45, "only {count} keys found");
}

#[test]
fn every_key_to_come_is_listed_as_such() {
    let page = read("docs/configuration.md");
    let list = page.split_once("### Keys of later versions").unwrap().1.split_once("\n## ").unwrap().0;
    for (header, _, later) in keys() {
        for key in later {
            assert!(list.contains(&format!("`{key}`")), "{header}: {key}");
        }
    }
}

#[test]
fn the_defaults_on_the_page_are_those_of_the_code() {
    let file = r#"
        [cluster.main]
        nodes = ["db1"]
        [cluster.main.monitor]
        user = "monitor"
        [service.mysql]
        accept = "127.0.0.1:0"
        cluster = "main"
        [service.tunnel]
        accept = "127.0.0.1:0"
        connect = "db1:3306"
        [service.tunnel.tls]
        cert = "/dev/null"
        [service.tunnel.connect_tls]
    "#;
    let path = std::env::temp_dir().join(format!("galeway-docs-{}.toml", std::process::id()));
    std::fs::write(&path, file).unwrap();
    let loaded = galeway::config::load(&path);
    std::fs::remove_file(&path).unwrap();
    let printed = galeway::config::print(&loaded.unwrap().config);

    let page = read("docs/configuration.md");
    let tables = tables(&page);
    let mut section = String::new();
    let mut compared = 0;
    for line in printed.lines() {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("[{}]", header.replace(".main", ".NAME").replace(".mysql", ".NAME"));
            section = section.replace(".tunnel.", ".NAME.");
        }
        let Some((key, value)) = line.split_once(" = ").filter(|(k, _)| !k.starts_with([' ', '#'])) else { continue };
        // Without a default; and those of `connect` and `connect_tls`, which the page tells in words.
        let none =
            if section == "[process]" { &[][..] } else { &["nodes", "user", "accept", "cluster", "cert", "key"] };
        if none.contains(&key) || section == "[service.tunnel]" {
            continue;
        }
        let row = tables[&section].iter().find(|r| r[0] == format!("`{key}`")).unwrap_or_else(|| panic!("{key}"));
        assert_eq!(row[1].trim_matches('`'), value, "default of {key} in {section}");
        compared += 1;
    }
    assert!(compared >= 80, "only {compared} defaults compared");
    let weight = tables["A node as a table"].iter().find(|r| r[0] == "`weight`").unwrap();
    assert!(printed.contains(&format!("weight = {}", weight[1].trim_matches('`'))), "{printed}");
}

#[test]
fn every_metric_is_explained_and_no_other() {
    let page = read("docs/configuration.md");
    let rows = &tables(&page)["Metrics"];
    let mut explained: Vec<&str> = rows.iter().skip(1).map(|r| r[0].trim_matches('`')).collect();
    for metric in galeway::telemetry::names::ALL {
        assert!(explained.contains(&metric.name), "{} is not in docs/configuration.md", metric.name);
        explained.retain(|e| *e != metric.name);
    }
    assert!(explained.is_empty(), "there is no metric {explained:?}");
}

#[test]
fn every_reason_is_explained_and_no_other() {
    let source = read("src/galera/reason.rs");
    let labels = source.split_once("pub fn label").unwrap().1.split_once("pub fn consequence").unwrap().0;
    let page = read("docs/configuration.md");
    let mut explained: Vec<String> = tables(&page)["Verdicts and what to do"]
        .iter()
        .skip(1)
        .flat_map(|r| r[0].split(", "))
        .map(|l| l.trim_matches('`').to_owned())
        .collect();
    for label in labels.split('"').skip(1).step_by(2) {
        assert!(explained.iter().any(|e| e == label), "{label} is not in docs/configuration.md");
        explained.retain(|e| e != label);
    }
    assert!(explained.is_empty(), "there is no reason {explained:?}");
}

#[test]
fn the_commands_of_the_first_screen_exist_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    let readme = read("README.md");
    let screen: String = readme.lines().take(40).collect::<Vec<_>>().join("\n");
    for command in ["scripts/demo", "scripts/test"] {
        assert!(screen.contains(command), "{command} is not on the README's first screen");
        let found = std::fs::metadata(root().join(command)).unwrap_or_else(|e| panic!("{command}: {e}"));
        assert!(found.permissions().mode() & 0o111 == 0o111, "{command} is not executable");
    }
}

#[test]
fn the_configuration_in_the_readme_is_right() {
    let readme = read("README.md");
    let block = readme.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let dir = std::env::temp_dir().join(format!("galeway-readme-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("monitor.password"), "secret\n").unwrap();
    std::fs::write(dir.join("galeway.toml"), block).unwrap();
    let loaded = galeway::config::load(&dir.join("galeway.toml"));
    std::fs::remove_dir_all(&dir).unwrap();
    let loaded = loaded.unwrap_or_else(|e| panic!("{e}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(loaded.config.clusters[0].nodes.len(), 3);
}

/// The fenced blocks of a page in this language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let text = read(page);
    text.split(&open).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// What a block of a page leaves out, as a file: sections that it has itself are left out here.
const REST: [(&str, &str); 4] = [
    ("[cluster.main]", "nodes = [\"10.0.0.11\", \"10.0.0.12\"]"),
    ("[cluster.main.monitor]", "user = \"monitor\"\npassword_file = \"monitor.password\""),
    // Where nothing is said of several balancers there is one.
    ("[cluster.main.writer]", "failback = \"immediate\""),
    ("[service.", "accept = \"127.0.0.1:0\"\ncluster = \"main\""),
];

#[test]
fn every_configuration_on_the_pages_for_operators_loads_without_a_warning() {
    for (page, least) in [("docs/migration.md", 3), ("docs/dba.md", 2), ("docs/agreement.md", 1)] {
        let blocks = blocks(page, "toml");
        assert!(blocks.len() >= least, "only {} blocks in {page}", blocks.len());
        for block in blocks {
            let dir = watchdog::fresh_path("docs");
            std::fs::create_dir(&dir).unwrap();
            // Where a file would lie on the machine.
            let mut text = block.replace("/etc/galeway/", "");
            for name in ["monitor.password", "galeway.password"] {
                std::fs::write(dir.join(name), "secret\n").unwrap();
            }
            for (header, keys) in REST {
                if !text.lines().any(|l| l.starts_with(header)) {
                    let whole = if header.ends_with('.') { format!("{header}rest]") } else { header.to_owned() };
                    text = format!("{text}\n{whole}\n{keys}\n");
                }
            }
            std::fs::write(dir.join("galeway.toml"), &text).unwrap();
            let loaded = galeway::config::load(&dir.join("galeway.toml"));
            let loaded = loaded.unwrap_or_else(|e| panic!("{page}: {e}\n{text}"));
            assert!(loaded.warnings.is_empty(), "{page}: {}\n{text}", loaded.warnings);
        }
    }
}

#[test]
fn what_other_balancers_options_are_called_here_exists_here() {
    let known: Vec<String> = keys().into_iter().flat_map(|(_, now, _)| now).collect();
    let mut count = 0;
    for (title, rows) in tables(&read("docs/migration.md")) {
        for row in rows.iter().filter(|r| r.len() == 3 && r[0] != "there") {
            for word in row[1].split('`').skip(1).step_by(2) {
                let name = word.split(" = ").next().unwrap();
                // A value, a path, a command, a section.
                if !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                    continue;
                }
                count += 1;
                let word_of_a_state = ["maintenance", "drain", "ready", "excluded"].contains(&name);
                assert!(known.iter().any(|k| k == name) || word_of_a_state, "{title}: there is no key {name}: {row:?}");
            }
        }
    }
    assert!(count > 60, "only {count} keys found");
}

#[test]
fn every_command_has_a_row_an_example_and_exit_codes() {
    let help = |arguments: &[&str]| {
        let seen = cli::run(Command::new(env!("CARGO_BIN_EXE_galeway")).args(arguments).arg("--help"));
        assert_eq!(seen.code, Some(0), "{arguments:?}: {seen:?}");
        seen.stdout
    };
    let whole = help(&[]);
    let list = whole.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let commands: Vec<&str> = list.lines().filter_map(|l| l.strip_prefix("  ")?.split(' ').next()).collect();
    let commands: Vec<&str> = commands.into_iter().filter(|c| !c.is_empty() && *c != "help").collect();
    assert!(commands.len() >= 9, "{commands:?}");
    let tables = tables(&read("docs/configuration.md"));
    let rows = &tables["Command line"];
    let row = |command: &str| {
        rows.iter().any(|r| r[0].starts_with(&format!("`galeway {command} ")) || r[0] == format!("`galeway {command}`"))
    };
    for command in &commands {
        assert!(row(command), "{command} is not in docs/configuration.md#command-line");
        let text = help(&[command]);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{command} fits no terminal: {text}");
        assert!(text.contains("Exit codes: 0 "), "{command}: {text}");
        assert!(
            text.contains(&format!("galeway {command} ")) && text.contains("Example"),
            "{command} has no example: {text}"
        );
    }
    assert_eq!(rows.len(), commands.len() + 1, "a command that is not there: {rows:?}");
}

/// Every page in docs/.
fn pages() -> Vec<String> {
    let files = std::fs::read_dir(root().join("docs")).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
    let pages: Vec<String> = files.filter(|f| f.ends_with(".md")).map(|f| format!("docs/{f}")).collect();
    assert!(pages.len() >= 9, "{pages:?}");
    pages
}

#[test]
fn the_index_leads_to_every_page() {
    let index = read("docs/README.md");
    for page in pages().iter().map(|p| p.trim_start_matches("docs/")).filter(|p| *p != "README.md") {
        assert!(index.contains(&format!("]({page})")), "docs/README.md does not lead to {page}");
    }
}

#[test]
fn links_within_the_documents_lead_somewhere() {
    let top = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned);
    let documents: Vec<String> = top.into_iter().chain(pages()).collect();
    let mut links = 0;
    for document in &documents {
        let text = read(document);
        let dir = Path::new(document).parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("https://") {
                continue;
            }
            links += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { root().join(document) } else { root().join(dir).join(path) };
            assert!(target.exists(), "{document}: {link}");
            if !anchor.is_empty() {
                let slug = |l: &str| {
                    let keep = |c: &char| c.is_alphanumeric() || *c == ' ' || *c == '-';
                    l.trim_matches(['#', ' ']).to_lowercase().chars().filter(keep).collect::<String>().replace(' ', "-")
                };
                let found = std::fs::read_to_string(&target).unwrap();
                assert!(found.lines().any(|l| l.starts_with('#') && slug(l) == anchor), "{document}: {link}");
            }
        }
    }
    assert!(links > 8, "only {links} links found");
}
