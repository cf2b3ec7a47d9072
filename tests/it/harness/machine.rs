//! A node as an operator works on it: by command lines at its own machine.

use std::process::Command;

use super::node::{Node, through};

impl Node {
    /// Writes down the flags that it runs with, as the settings file of its machine.
    #[track_caller]
    pub fn keep_settings(&self) {
        let pid = self.pid().unwrap_or_else(|| panic!("{} does not run", self.name));
        let flags = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let flags = String::from_utf8(flags).unwrap();
        // Its data lie at the usual place there, and who it runs as is said on the command line.
        let set = flags.split('\0').filter_map(|flag| flag.strip_prefix("--")).filter(|flag| {
            let name = flag.split('=').next().unwrap_or_default();
            !["no-defaults", "datadir", "user", "wsrep-new-cluster", "wsrep-start-position"].contains(&name)
        });
        let set = set.collect::<Vec<_>>().join("\n");
        let socket = self.socket();
        let text = format!("[client]\nuser=root\nsocket={}\n[mariadbd]\n{set}\n", socket.display());
        std::fs::write(self.dir().join("my.cnf"), text).unwrap();
    }

    /// A shell's command line at its machine: its data are at /var/lib/mysql, and its settings where server and client look for
    /// them ([`Node::keep_settings`]). It works in the node's directory.
    pub fn at_its_machine(&self, line: &str) -> Command {
        const ENTER: &str = r#"mount --bind "$0" /var/lib/mysql && exec "$@""#;
        let launcher = ["unshare", "--mount", "/bin/sh", "-c", ENTER, &self.data().display().to_string()];
        let launcher = launcher.iter().map(ToString::to_string).chain(self.launcher().iter().cloned());
        let mut command = through(&launcher.collect::<Vec<_>>(), "/bin/bash");
        command.args(["-c", line]).current_dir(self.dir()).env("MYSQL_HOME", self.dir());
        command
    }

    /// Begins by this command line at its machine, which becomes the server, and returns at once.
    pub fn start_by_hand(&self, line: &str) {
        self.run_as(&mut self.at_its_machine(&format!("exec {line}")));
    }
}
