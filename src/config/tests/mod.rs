//! The room's tests, a file for each subject.

mod contract;
mod crossing;
mod examples;
mod files;
mod fuzz;
mod kinds;
mod listening;
mod mistakes;
mod networks;
mod places;
mod printing;
mod process;
mod secrets;
mod targets;
mod tls;
mod values;
mod writer;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::load::parse_in;
use super::{Config, Diagnostics, Loaded, Service};

/// The least that a configuration needs; tests put more sections behind it.
const LEAST: &str = r#"[cluster.main]
nodes = ["db1", "db2:3307"]
[cluster.main.monitor]
user = "m"
[service.any]
accept = "127.0.0.1:3306"
cluster = "main"
"#;

/// Parses with an empty environment, as `galeway.toml`.
fn parse(text: &str) -> Result<Loaded, Diagnostics> {
    parse_in(text, Path::new("galeway.toml"), &|_| None)
}

/// The configuration of a text that is fine and calls for no warning.
fn good(text: &str) -> Config {
    let loaded = parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.config
}

/// The configuration of a text that is fine and calls for this warning only.
fn but_for_one_warning(text: &str, message: &str) -> Config {
    let loaded = parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let said: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message()).collect();
    assert_eq!(said, [message]);
    loaded.config
}

/// What is said of a writer that one balancer chooses alone, in cluster `main`.
const ALONE: &str = "the writer of cluster `main` is chosen with agreement = \"local\" and failback = \"never\": of \
                     several balancers, one that restarts may pick another writer than the rest";

/// What is said of a text that is refused.
fn bad(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

/// The messages of a text, warnings included, without places and help.
fn messages(text: &str) -> Vec<String> {
    let diagnostics = parse(text).map_or_else(|refused| refused, |loaded| loaded.warnings);
    diagnostics.iter().map(|item| format!("{}: {}", item.severity(), item.message())).collect()
}

/// What is said of a text, warnings included: `MARKED: MESSAGE (HELP)`, where the carets stand under MARKED.
fn marked(text: &str) -> Vec<String> {
    let diagnostics = parse(text).map_or_else(|refused| refused, |loaded| loaded.warnings);
    let shown = diagnostics.to_string();
    let mut lines = shown.lines();
    diagnostics
        .iter()
        .map(|item| {
            assert!(lines.next().unwrap().ends_with(item.message()), "{shown}");
            let after_bar = |line: &str| line.split_once("| ").unwrap().1.to_owned();
            let (line, carets) = (after_bar(lines.next().unwrap()), after_bar(lines.next().unwrap()));
            let under: String =
                line.chars().zip(carets.chars()).filter(|(_, caret)| *caret == '^').unzip::<_, _, String, String>().0;
            let help = item.help().map_or_else(String::new, |help| {
                lines.next();
                format!(" ({help})")
            });
            format!("{under}: {}{help}", item.message())
        })
        .collect()
}

/// [`LEAST`] with lines put into its cluster, its monitor and its service.
fn with(cluster: &str, monitor: &str, service: &str) -> String {
    LEAST
        .replace("[cluster.main.monitor]\n", &format!("{cluster}\n[cluster.main.monitor]\n{monitor}\n"))
        .replace("[service.any]\n", &format!("[service.any]\n{service}\n"))
}

/// The service of [`LEAST`] with further keys.
fn service(keys: &str) -> Service {
    let config = good(&with("", "", keys));
    config.services[0].as_ref().clone()
}

/// A directory of a test's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("galeway-config-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Parses as a file of this directory.
    fn parse(&self, text: &str) -> Result<Loaded, Diagnostics> {
        parse_in(text, &self.0.join("galeway.toml"), &|_| None)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An environment of one variable.
fn environment(name: &'static str, value: impl Into<OsString>) -> impl Fn(&str) -> Option<OsString> {
    let value = value.into();
    move |asked| (asked == name).then(|| value.clone())
}
