//! What is installed beside the binary: completions, manual pages, units, the package and its profile.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fakes::LONG;
use crate::harness::galeway::binary;
use crate::harness::process::{Process, Signal};
use crate::harness::{cli, ports, until, watchdog};

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

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The settings of a unit, as `Key=value`.
fn settings(unit: &str) -> Vec<String> {
    let text = read(&format!("config/systemd/{unit}"));
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The value of the only setting of this name.
#[track_caller]
fn setting(unit: &str, key: &str) -> String {
    let all = settings(unit);
    let found: Vec<&str> = all.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    let [one] = found[..] else { panic!("{unit}: {key} is there {} times", found.len()) };
    one.to_owned()
}

const UNITS: [&str; 4] = ["galeway.service", "galeway.socket", "galeway@.service", "galeway-stunnel@.service"];

/// All units in a directory of their own, with the binary that is there in place of the installed one.
fn units() -> PathBuf {
    let dir = dir("units");
    for unit in UNITS {
        let text = read(&format!("config/systemd/{unit}"));
        fs::write(dir.join(unit), text.replace("/usr/bin/galeway", &binary().display().to_string())).unwrap();
    }
    let there = fs::read_dir(root().join("config/systemd")).unwrap().count();
    assert_eq!(there, UNITS.len(), "config/systemd holds a unit that no test looks at");
    dir
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = units();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]).args(UNITS.map(|unit| dir.join(unit)));
    let said = cli::run(&mut command);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(0), "", ""));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_units_leave_little_exposed() {
    let dir = units();
    // That of stunnel starts as root: it changes its user, its root, and reads anybody's keys.
    let most = [("galeway.service", 2.0), ("galeway@.service", 2.0), ("galeway-stunnel@.service", 3.0)];
    for (unit, most) in most {
        let mut command = Command::new("systemd-analyze");
        let said = cli::run(command.args(["security", "--offline=true", "--no-pager"]).arg(dir.join(unit)));
        let line = said.stdout.lines().find(|line| line.contains("Overall exposure level"));
        let line = line.unwrap_or_else(|| panic!("{} {}", said.stdout, said.stderr));
        println!("{line}");
        let level: f64 = line.rsplit_once(": ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert!(level <= most, "{line}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn further_instances_are_run_as_the_first_one_is() {
    let named = |line: &String| {
        let line = line.replace("/etc/galeway/galeway.toml", "/etc/galeway/%i.toml");
        let own = ["StateDirectory=", "RuntimeDirectory=", "LogsDirectory="].iter().any(|key| line.starts_with(key));
        if own { line + "-%i" } else { line }
    };
    let other = |line: &String| !line.starts_with("Description=");
    let first: Vec<String> = settings("galeway.service").iter().map(named).filter(other).collect();
    let further: Vec<String> = settings("galeway@.service").into_iter().filter(other).collect();
    assert_eq!(first, further);
}

#[test]
fn the_unit_has_the_directories_and_the_time_that_the_defaults_need() {
    let dir = dir("defaults");
    let file = dir.join("galeway.toml");
    fs::write(dir.join("monitor.password"), "secret\n").unwrap();
    fs::copy(root().join("config/galeway.toml"), &file).unwrap();
    let process = galeway::config::load(&file).unwrap_or_else(|e| panic!("{e}")).config.process.clone();
    let printed = printed(&["check", "--print", "-c", file.to_str().unwrap()]);
    for (key, path) in
        [("StateDirectory", "state_dir = \"/var/lib/{}\""), ("RuntimeDirectory", "socket = \"/run/{}/admin.sock\"")]
    {
        let wanted = path.replace("{}", &setting("galeway.service", key));
        assert!(printed.contains(&wanted), "{wanted}: {printed}");
    }
    for unit in ["galeway.service", "galeway@.service", "galeway-stunnel@.service"] {
        let stop: u64 = setting(unit, "TimeoutStopSec").trim_end_matches('s').parse().unwrap();
        assert!(stop > process.shutdown_timeout.as_secs(), "{unit}: a drain is cut off after {stop} s");
    }
    assert!(setting("galeway.service", "ExecStart").ends_with(" -c /etc/galeway/galeway.toml"));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_socket_unit_names_what_its_comment_tells_to_accept() {
    let name = setting("galeway.socket", "FileDescriptorName");
    assert!(read("config/systemd/galeway.socket").contains(&format!("accept = \"fd:{name}\"")));
    assert!(read("docs/service.md").contains(&format!("accept = \"fd:{name}\"")));
}

#[test]
fn a_file_of_stunnel_without_foreground_stays_there_under_a_supervisor() {
    let dir = dir("foreground");
    let (accept, connect) = (ports::free(), ports::free());
    let conf = dir.join("stunnel.conf");
    fs::write(
        &conf,
        format!(
            "syslog = no\n[a]\nclient = yes\nverify = 0\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\n"
        ),
    )
    .unwrap();
    let mut command = Command::new(binary());
    command.args(["stunnel", "--foreground"]).arg(&conf).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = Process::spawn(&mut command);
    until(LONG, "it accepts", || TcpStream::connect(("127.0.0.1", accept)).ok());
    // Whoever becomes a daemon has left its starter before it accepts.
    assert!(process.ended().is_none());
    process.signal(Signal::TERM);
    assert!(process.wait(LONG).is_some_and(|status| status.success()));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn apparmor_understands_the_profile_and_the_unit_asks_for_it() {
    let profile = root().join("config/apparmor/galeway");
    let said = cli::run(
        Command::new("apparmor_parser").args(["--skip-kernel-load", "--skip-cache", "--warn=all"]).arg(&profile),
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let names = cli::run(Command::new("apparmor_parser").arg("--names").arg(&profile));
    assert_eq!(names.stdout.trim(), setting("galeway.service", "AppArmorProfile").trim_start_matches('-'));
    let text = read("config/apparmor/galeway");
    // What the unit lets it do and where it lets it write must not end at the profile.
    for capability in setting("galeway.service", "AmbientCapabilities").split(' ') {
        let rule = format!("  capability {},", capability.trim_start_matches("CAP_").to_lowercase());
        assert!(text.lines().any(|line| line == rule), "{rule}");
    }
    for (key, above) in [("StateDirectory", "/var/lib"), ("RuntimeDirectory", "/run"), ("LogsDirectory", "/var/log")] {
        let path = format!("owner {above}/{}{{,-*}}/** rw", setting("galeway.service", key));
        assert!(text.contains(&path), "{path}");
    }
}

#[test]
fn logrotate_understands_its_file() {
    let dir = dir("logrotate");
    // It refuses files that others may write, and asks for a user that the package makes.
    let text = read("config/logrotate/galeway").replace("galeway galeway", "root root");
    let file = dir.join("galeway");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = cli::run(Command::new("logrotate").arg("--debug").arg(&file));
    assert!(said.code == Some(0) && !said.stderr.contains("error"), "{}", said.stderr);
    assert!(said.stderr.contains("rotating pattern: /var/log/galeway/*.log"), "{}", said.stderr);
    fs::remove_dir_all(dir).unwrap();
}

/// What Cargo.toml says of the package.
fn package() -> Value {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["metadata", "--no-deps", "--offline", "--format-version=1"]).current_dir(root());
    let said = cli::run(&mut command);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let all: Value = serde_json::from_str(&said.stdout).unwrap();
    all["packages"][0]["metadata"]["deb"].clone()
}

#[test]
fn the_package_holds_what_is_there_and_all_that_its_user_needs() {
    let made = dir("package");
    let script = root().join("scripts/package-deb");
    let said = cli::run(Command::new(script).arg("--files").arg(binary()).arg(&made));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    // Files of which `*` may stand for a part of the last name, as in the manifest.
    let found = |source: &str| {
        let source =
            source.strip_prefix("target/package/").map_or_else(|| root().join(source), |made_one| made.join(made_one));
        let pattern = source.file_name().unwrap().to_str().unwrap();
        let Some((before, after)) = pattern.split_once('*') else { return usize::from(source.is_file()) };
        let entries = fs::read_dir(source.parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(before) && name.ends_with(after)).count()
    };
    let package = package();
    let mut targets = String::new();
    for asset in package["assets"].as_array().unwrap() {
        let (source, target) = (asset[0].as_str().unwrap(), asset[1].as_str().unwrap());
        targets.extend(["/", target, "\n"]);
        // What is built in release alone.
        if source != "target/release/galeway" {
            assert!(found(source) > 0, "nothing is at {source}");
        }
    }
    for file in ["changelog", "license-file", "maintainer-scripts"] {
        let path = package[file].as_str().or_else(|| package[file][0].as_str()).unwrap();
        let there = if path.starts_with("target/") { found(path) > 0 } else { root().join(path).exists() };
        assert!(there, "{file}: {path}");
    }
    for conf in package["conf-files"].as_array().unwrap() {
        let directory = conf.as_str().unwrap().rsplit_once('/').unwrap().0;
        assert!(targets.lines().any(|t| t == conf.as_str().unwrap() || t == format!("{directory}/")), "{conf}");
    }
    let log = fs::read_to_string(made.join("changelog")).unwrap();
    assert!(log.starts_with(&format!("galeway ({}-1) unstable; urgency=medium\n", env!("CARGO_PKG_VERSION"))), "{log}");
    fs::remove_dir_all(made).unwrap();
}

#[test]
fn the_packages_configuration_lacks_its_password_and_nothing_else() {
    let package = package();
    let assets = package["assets"].as_array().unwrap();
    let source =
        assets.iter().find(|a| a[1].as_str() == Some("etc/galeway/galeway.toml")).unwrap()[0].as_str().unwrap();
    let dir = dir("conffile");
    let file = dir.join("galeway.toml");
    fs::copy(root().join(source), &file).unwrap();
    let check = || cli::run(Command::new(binary()).args(["check", "-c"]).arg(&file));
    // Whoever starts it as it is hears what to write.
    let bare = check();
    assert_eq!(bare.code, Some(2));
    assert!(bare.stderr.matches("error:").count() == 1 && bare.stderr.contains("monitor.password"), "{}", bare.stderr);
    fs::write(dir.join("monitor.password"), "secret\n").unwrap();
    let filled = check();
    assert_eq!(filled.code, Some(0), "{}", filled.stderr);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_packages_scripts_are_shell_and_leave_a_first_start_to_the_administrator() {
    for script in ["postinst", "prerm", "postrm"] {
        let path = root().join("config/debian").join(script);
        assert!(fs::metadata(&path).unwrap().permissions().mode() & 0o111 == 0o111, "{script} is not executable");
        let said = cli::run(Command::new("sh").arg("-n").arg(&path));
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{script}");
        let text = read(&format!("config/debian/{script}"));
        assert!(!text.contains("systemctl start") && !text.contains("systemctl enable"), "{script}");
    }
}

/// `scripts/server-roots` with roots in an empty directory of the test's own, where apt has no other sources than this line.
fn server_roots(sources: &str, arguments: &[&str]) -> (cli::Output, Vec<String>) {
    let dir = dir("server-roots");
    let file = |name: &str, text: &str| {
        fs::write(dir.join(name), text).unwrap();
        dir.join(name).display().to_string()
    };
    let list = file("sources.list", sources);
    let apt = file("apt.conf", &format!("Dir::Etc::sourcelist \"{list}\";\nDir::Etc::sourceparts \"/dev/null\";\n"));
    let roots = dir.join("roots");
    let mut command = Command::new(root().join("scripts/server-roots"));
    let said = cli::run(command.args(arguments).env("GALEWAY_SERVER_ROOTS", &roots).env("APT_CONFIG", apt));
    let left = fs::read_dir(&roots).into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap());
    (said, left.filter(|name| name != ".lock").collect())
}

#[test]
fn the_script_that_makes_servers_roots_explains_itself_and_knows_its_arguments() {
    let (said, _) = server_roots("", &["--help"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.starts_with("Makes the root directories"), "{said:?}");
    let (said, left) = server_roots("", &["oracle"]);
    assert_eq!((said.code, said.stdout.as_str(), left), (Some(2), "", Vec::new()), "{said:?}");
    assert!(said.stderr.contains("what is 'oracle'?"), "{said:?}");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_servers_root_that_cannot_be_had_is_said_and_leaves_nothing_behind() {
    if !crate::harness::root("a root directory of another Debian") {
        return;
    }
    let (said, left) = server_roots("", &["mariadb"]);
    assert_eq!((said.code, said.stdout.as_str(), left), (Some(2), "", Vec::new()), "{said:?}");
    assert!(said.stderr.contains("apt on this machine names no Debian mirror"), "{said:?}");
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let codename = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).unwrap();
    let nobody = format!("http://127.0.0.1:{}/debian", ports::free());
    let (said, left) = server_roots(&format!("deb {nobody} {codename} main\n"), &["mariadb"]);
    assert_eq!((said.code, said.stdout.as_str(), left), (Some(1), "", Vec::new()), "{said:?}");
    for part in ["Debian trixie could not be had from", &nobody, "onnection refused"] {
        assert!(said.stderr.contains(part), "{part}: {said:?}");
    }
}
