//! What is installed beside the binary: completions, manual pages, units, the package and its profile.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::galeway::binary;
use crate::harness::{cli, watchdog};

/// What `galeway` with these arguments prints; it must end well.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let said = cli::run(Command::new(binary()).args(arguments));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    said.stdout
}

/// A directory of this test's own; removed at the end of the run.
fn dir(name: &str) -> PathBuf {
    let dir = watchdog::fresh_path(name);
    fs::create_dir(&dir).unwrap();
    dir
}

/// What `program` says of this standard input, on both outputs; its exit code.
#[track_caller]
fn fed(program: &str, arguments: &[&str], input: &str) -> (String, Option<i32>) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{program}: {e} (scripts/install-packages test)"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let said = child.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    let text = [said.stdout, said.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), said.status.code())
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    let script = printed(&["completions", "bash"]);
    let completed = |words: &[&str]| {
        let asked = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={}; _galeway galeway '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            words[words.len() - 1],
            words[words.len() - 2],
        );
        let (said, code) = fed("bash", &["--norc", "-s"], &asked);
        assert_eq!(code, Some(0), "{said}");
        said.trim().to_owned()
    };
    assert_eq!(completed(&["galeway", "rec"]), "recover");
    assert_eq!(completed(&["galeway", "node", "db1", "dr"]), "drain");
    assert_eq!(completed(&["galeway", "check", "--pr"]), "--print");
    assert_eq!(completed(&["galeway", "run", "--log-format", "j"]), "json");
}

#[test]
fn each_shell_has_its_script_and_another_one_is_wrong_usage() {
    for (shell, begins) in [("bash", "_galeway()"), ("zsh", "#compdef galeway"), ("fish", "# Print an optspec")] {
        assert!(printed(&["completions", shell]).starts_with(begins), "{shell}");
    }
    assert_eq!(cli::run(Command::new(binary()).args(["completions", "tcsh"])).code, Some(2));
}

/// The commands as the main page of the help lists them.
fn commands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_a_manual_page_that_can_be_set_without_a_warning() {
    let dir = dir("man");
    assert_eq!(printed(&["man", "--dir", dir.to_str().unwrap()]), "");
    let written: BTreeSet<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let commands = commands();
    assert!(commands.len() > 8, "{commands:?}");
    let mut wanted: BTreeSet<String> = commands.iter().map(|name| format!("galeway-{name}.1")).collect();
    wanted.extend(["galeway.1".to_owned(), "galeway.toml.5".to_owned()]);
    assert_eq!(written, wanted);
    for page in &written {
        let text = fs::read_to_string(dir.join(page)).unwrap();
        let (said, code) = fed("groff", &["-Kutf8", "-man", "-Tutf8", "-ww", "-z"], &text);
        assert_eq!((said.as_str(), code), ("", Some(0)), "{page}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_manual_page_says_what_the_help_says() {
    let set = |page: &[&str]| {
        let text = printed(&[&["man"], page].concat());
        let (said, _) =
            fed("groff", &["-Kutf8", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-rHY=0", "-rLL=200n"], &text);
        said
    };
    let main = set(&[]);
    for command in commands() {
        assert!(main.contains(&format!("galeway-{command}(1)")), "{command}: {main}");
    }
    assert!(main.contains("EXIT STATUS") && main.contains("galeway.toml(5)"), "{main}");
    // A line of the examples is a line of the page.
    assert!(main.lines().any(|line| line.trim().starts_with("galeway node db2 drain  ")), "{main}");
    let node = set(&["node"]);
    assert!(node.contains("--accept-history") && node.contains("galeway node"), "{node}");
    let file = set(&["galeway.toml"]);
    assert!(file.contains("[service.NAME.connect_tls]") && file.contains("shutdown_timeout = \"30s\""), "{file}");
    let none = cli::run(Command::new(binary()).args(["man", "pages"]));
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("there is no page \"pages\"; there is galeway, run, "), "{}", none.stderr);
    let nowhere = cli::run(Command::new(binary()).args(["man", "--dir", "/no/such/directory"]));
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.stderr.contains("cannot write /no/such/directory/galeway.1: No such file"), "{}", nowhere.stderr);
}
