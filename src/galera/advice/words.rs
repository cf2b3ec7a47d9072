//! Commands whole enough to be pasted, and lists of names.

use super::judge::Node;
use super::{Answer, Command, Step};
use crate::galera::files::Uuid;

const MARIADB: &str = "MariaDB";
const PERCONA: &str = "Percona XtraDB Cluster";
const BY_HAND: &str = "without systemd";

/// Which servers the commands are for: both, until a node that runs has told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Servers {
    mariadb: bool,
    percona: bool,
}

impl Servers {
    pub(super) fn of(nodes: &[Node<'_>]) -> Self {
        let told = |percona: bool| nodes.iter().filter_map(Node::answer).any(|a| a.percona == percona);
        match (told(false), told(true)) {
            (false, true) => Self { mariadb: false, percona: true },
            (true, false) => Self { mariadb: true, percona: false },
            _ => Self { mariadb: true, percona: true },
        }
    }

    fn each(self, mariadb: impl Into<String>, percona: impl Into<String>) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.mariadb {
            commands.push(Command { label: MARIADB, line: mariadb.into() });
        }
        if self.percona {
            commands.push(Command { label: PERCONA, line: percona.into() });
        }
        if let [only] = &mut commands[..] {
            only.label = "";
        }
        commands
    }

    /// `systemctl VERB` of the server.
    pub(super) fn systemctl(self, verb: &str) -> Vec<Command> {
        self.each(format!("systemctl {verb} mariadb"), format!("systemctl {verb} mysql"))
    }

    /// Bootstraps a stopped node. By hand it needs its position: without it a node that crashed begins a new history.
    pub(super) fn new_cluster(self, uuid: Uuid, seqno: u64) -> Vec<Command> {
        let server = if self.mariadb { "mariadbd" } else { "mysqld" };
        let by_hand = format!("{server} --user=mysql --wsrep-new-cluster --wsrep-start-position={uuid}:{seqno}");
        let mut commands = self.each("galera_new_cluster", "systemctl start mysql@bootstrap");
        for command in commands.iter_mut().filter(|c| c.label.is_empty()) {
            command.label = "with systemd";
        }
        commands.push(Command { label: BY_HAND, line: by_hand });
        commands
    }

    /// Reads a stopped node's position out of its storage engine.
    pub(super) fn recover(self, name: &str) -> Vec<Command> {
        let file = format!("{}.log", plain(name));
        // Without an address the server aborts before it has recovered anything; none is contacted. Its log goes to the
        // standard error, as galera_recovery does it: a confined server may not write where it likes.
        let mariadb = format!(
            "mariadbd --user=mysql --wsrep-on=ON --wsrep-cluster-address=gcomm:// --wsrep-recover --disable-log-error \
             2> {file}"
        );
        let percona = format!(
            "mysqld --user=mysql --wsrep-cluster-address=gcomm:// --wsrep-recover --log-error-verbosity=3 \
             --log-error=/var/lib/mysql/{file}"
        );
        self.each(mariadb, percona)
    }

    /// Makes the component of a running node Primary.
    pub(super) fn pc_bootstrap(answer: &Answer) -> Vec<Command> {
        let client = if answer.percona { "mysql" } else { "mariadb" };
        let options = &answer.client_options;
        let mut commands = Vec::new();
        // Root of the server may log in through the socket of its host only, as on Debian.
        let mut add = |here, elsewhere, sql| {
            commands.push(Command { label: here, line: format!("{client} -e \"{sql}\"") });
            commands.push(Command { label: elsewhere, line: format!("{client} {options} -u root -p -e \"{sql}\"") });
        };
        if answer.provider_variables != Some(true) {
            add("as root on its host", "from elsewhere", "SET GLOBAL wsrep_provider_options='pc.bootstrap=true'");
        }
        let variable = "SET GLOBAL wsrep_provider_pc_bootstrap=ON";
        match answer.provider_variables {
            Some(true) => add("as root on its host", "from elsewhere", variable),
            Some(false) => {}
            None => add(
                "as root on its host, where the first says ERROR 1210 or 1238",
                "from elsewhere, where the first says ERROR 1210 or 1238",
                variable,
            ),
        }
        commands
    }
}

/// Edits the `grastate.dat` of a node that is to be bootstrapped: it may be, although it was not the last to leave; the
/// history is written where the file names none, and a seqno that is out of date is taken out. The server takes the
/// position of its command line only in the history that stands in the file, and only where no seqno does (galera's
/// `replicator_smm.cpp`; without a history it begins a new one: seen on 26.4.23).
pub(super) fn edit_grastate(history: Option<Uuid>, has_stale_seqno: bool) -> Command {
    let mut edits = Vec::new();
    if let Some(uuid) = history {
        edits.push(format!("-e 's/^uuid: *00000000-0000-.*/uuid:    {uuid}/' "));
    }
    if has_stale_seqno {
        edits.push("-e 's/^seqno:.*/seqno:   -1/' ".to_owned());
    }
    let last = if edits.is_empty() { "" } else { "-e " };
    let edits = edits.concat();
    let safe = "'s/^safe_to_bootstrap: *0/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat";
    Command { label: "", line: format!("sed -i {edits}{last}{safe}") }
}

pub(super) fn step(title: impl Into<String>, commands: Vec<Command>) -> Step {
    Step { title: title.into(), commands }
}

/// `db1`, `db1 and db2`, `db1, db2 and db3`.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    match names {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

pub(super) fn transactions(n: u64) -> String {
    format!("{n} transaction{}", if n == 1 { "" } else { "s" })
}

/// A name as part of a file's name in a shell.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' }).collect()
}
