//! `wsrep_notify_cmd`: a script beside each node's data, which writes down each call and then calls what a test wants.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::node::Node;

const SCRIPT: &str = r#"#!/bin/sh
dir=${0%/*}
echo "$(date +%s.%N) $*" >> "$dir/notify.log"
[ ! -x "$dir/notify-then" ] || exec "$dir/notify-then" "$@" >> "$dir/notify.out" 2>&1
"#;

/// Puts the script into a node's directory, which need not be there yet; where it is.
pub fn install(dir: &Path) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let path = dir.join("notify");
    write_script(&path, SCRIPT);
    path
}

fn write_script(path: &Path, text: &str) {
    // Renamed into its place: a script that is being written cannot be run.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// One call by the server.
#[derive(Debug, Clone)]
pub struct Call {
    /// Taken by the script's first command.
    pub at: SystemTime,
    pub arguments: Vec<String>,
}

impl Call {
    /// What follows this option.
    pub fn value(&self, option: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|a| a == option)?;
        self.arguments.get(at + 1).map(String::as_str)
    }
}

impl Node {
    /// From now on each call of the server's runs this command of the shell, to which the server's arguments are `"$@"`.
    pub fn on_notify(&self, command: &str) {
        write_script(&self.dir().join("notify-then"), &format!("#!/bin/sh\n{command}\n"));
    }

    /// Calls by the server so far.
    pub fn notified(&self) -> Vec<Call> {
        let text = std::fs::read_to_string(self.dir().join("notify.log")).unwrap_or_default();
        let call = |line: &str| {
            let mut words = line.split(' ').map(str::to_owned);
            let at: f64 = words.next()?.parse().ok()?;
            Some(Call { at: SystemTime::UNIX_EPOCH + Duration::from_secs_f64(at), arguments: words.collect() })
        };
        text.lines().filter_map(call).collect()
    }

    /// What the commands of [`Node::on_notify`] wrote.
    pub fn notify_output(&self) -> String {
        std::fs::read_to_string(self.dir().join("notify.out")).unwrap_or_default()
    }
}
