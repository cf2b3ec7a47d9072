//! A configuration without a file: what flags and environment variables can say of one cluster and one service.
//!
//! They are written down as the TOML that says the same, and that is read as a file would be: one set of rules, one set of
//! messages. What is found in a value is said of the flag or the variable that it came from.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use super::defaults::STATE_DIR;
use super::diagnostic::{Diagnostics, Finding, Severity};
use super::load::{Loaded, read_made};
use super::nearest::nearest;
use super::print::string;

/// The name of the one cluster.
const CLUSTER: &str = "main";
/// The role of the one service where none is said: the default of a file as well.
const ROLE: &str = "any";
/// Which diagnostics are of no single flag or variable.
const COMMAND_LINE: &str = "command line";
/// How the variables begin.
const PREFIX: &str = "GALEWAY_";

/// The variables of a process.
pub type Environment = BTreeMap<OsString, OsString>;

/// What can be said without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Where clients are accepted: `accept` of the service.
    Listen,
    /// `nodes` of the cluster.
    Nodes,
    /// `role` of the service, and its name.
    Role,
    /// `balance` of the service.
    Balance,
    /// `user` of the monitor.
    MonitorUser,
    /// `password` of the monitor. There is no such flag: everybody on a host sees the arguments of its processes.
    MonitorPassword,
    /// `password_file` of the monitor.
    MonitorPasswordFile,
    /// `tls` of the monitor.
    MonitorTls,
    /// `discover` of the cluster.
    Discover,
    /// `listen` or `socket` of `[admin]`.
    Admin,
}

impl Key {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Listen,
        Self::Nodes,
        Self::Role,
        Self::Balance,
        Self::MonitorUser,
        Self::MonitorPassword,
        Self::MonitorPasswordFile,
        Self::MonitorTls,
        Self::Discover,
        Self::Admin,
    ];

    /// The environment variable.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Listen => "GALEWAY_LISTEN",
            Self::Nodes => "GALEWAY_NODES",
            Self::Role => "GALEWAY_ROLE",
            Self::Balance => "GALEWAY_BALANCE",
            Self::MonitorUser => "GALEWAY_MONITOR_USER",
            Self::MonitorPassword => "GALEWAY_MONITOR_PASSWORD",
            Self::MonitorPasswordFile => "GALEWAY_MONITOR_PASSWORD_FILE",
            Self::MonitorTls => "GALEWAY_MONITOR_TLS",
            Self::Discover => "GALEWAY_DISCOVER",
            Self::Admin => "GALEWAY_ADMIN",
        }
    }

    /// The flag of `galeway run`; `None` where there is none.
    pub const fn flag(self) -> Option<&'static str> {
        Some(match self {
            Self::Listen => "--listen",
            Self::Nodes => "--node",
            Self::Role => "--role",
            Self::Balance => "--balance",
            Self::MonitorUser => "--monitor-user",
            Self::MonitorPassword => return None,
            Self::MonitorPasswordFile => "--monitor-password-file",
            Self::MonitorTls => "--monitor-tls",
            Self::Discover => "--discover",
            Self::Admin => "--admin",
        })
    }

    /// Whether a comma in its variable ends one value and begins the next.
    const fn is_list(self) -> bool {
        matches!(self, Self::Listen | Self::Nodes)
    }
}

/// What one key was set to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    values: Vec<String>,
    /// The flag or variable that says so.
    from: &'static str,
}

impl Given {
    fn flag(values: &[String], from: &'static str) -> Self {
        Self { values: values.to_vec(), from }
    }

    fn variable(key: Key, text: &str) -> Self {
        // Templates leave a comma behind the last one.
        let values = match text.trim().strip_suffix(',').unwrap_or(text) {
            text if key.is_list() => text.split(',').map(|value| value.trim().to_owned()).collect(),
            // It is read where it stands.
            _ if key == Key::MonitorPassword => Vec::new(),
            _ => vec![text.to_owned()],
        };
        Self { values, from: key.variable() }
    }

    fn first(&self) -> &str {
        self.values.first().map_or("", String::as_str)
    }
}

/// A configuration without a file. It holds no secret: those stay in the environment or in their file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    given: BTreeMap<Key, Given>,
}

impl Flags {
    /// What the flags say, and the environment where they are silent; `None` where neither a flag nor `GALEWAY_LISTEN` asks
    /// for a start without a file. An empty variable is one that is not set.
    ///
    /// # Errors
    /// A variable that is not text, or one that looks like a misspelt one of ours.
    pub fn of(flags: &BTreeMap<Key, Vec<String>>, environment: &Environment) -> Result<Option<Self>, Diagnostics> {
        let variable =
            |key: Key| environment.get(Path::new(key.variable()).as_os_str()).filter(|text| !text.is_empty());
        if flags.is_empty() && variable(Key::Listen).is_none() {
            return Ok(None);
        }
        let mut given = BTreeMap::new();
        let mut wrong = misspelt(environment);
        for key in Key::ALL {
            if let Some((values, flag)) = flags.get(&key).zip(key.flag()) {
                given.insert(key, Given::flag(values, flag));
                continue;
            }
            // The flag and the variables are two ways to say one thing, and the flag wins.
            if key == Key::MonitorPassword && flags.contains_key(&Key::MonitorPasswordFile) {
                continue;
            }
            match variable(key).map(|text| text.to_str()) {
                Some(Some(text)) => drop(given.insert(key, Given::variable(key, text))),
                Some(None) => wrong.push((key.variable().to_owned(), finding("it is not UTF-8 text", None))),
                None => {}
            }
        }
        if wrong.is_empty() { Ok(Some(Self { given })) } else { Err(named(wrong)) }
    }

    /// Which variables of ours are set: they count for nothing where a file is used.
    pub fn set(environment: &Environment) -> Vec<&'static str> {
        let set = |name: &&str| environment.get(Path::new(name).as_os_str()).is_some_and(|text| !text.is_empty());
        Key::ALL.map(Key::variable).into_iter().filter(set).collect()
    }

    /// The configuration, with every default filled in. Relative paths start at the working directory.
    ///
    /// The default places of a service, for the admin socket and for what a restart must not forget, are used where their
    /// directories exist and can be written, and else left out without a warning: a container may have neither.
    ///
    /// # Errors
    /// Everything that is wrong with it, warnings included.
    pub fn load(&self) -> Result<Loaded, Diagnostics> {
        let usable = |directory: &Path| directory.is_dir() && access(directory, AccessFlags::W_OK).is_ok();
        self.load_in(&|name| std::env::var_os(name), &usable)
    }

    /// [`Self::load`] with an environment and directories of the caller's making.
    fn load_in(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
        usable: &dyn Fn(&Path) -> bool,
    ) -> Result<Loaded, Diagnostics> {
        let written = self.written();
        let whose = |offset: usize| written.whose(offset).unwrap_or(COMMAND_LINE).to_owned();
        let (mut config, findings) = read_made(&written.text, Path::new(COMMAND_LINE), environment, &whose);
        let mut all = self.missing();
        // What is missing has been said, in the words of flags.
        let said = !all.is_empty();
        all.extend(findings.into_iter().filter(|finding| !(said && finding.absence)).map(|finding| {
            let whose = finding.span.and_then(|span| written.whose(span.start));
            (whose.unwrap_or(COMMAND_LINE).to_owned(), finding)
        }));
        let refused = all.iter().any(|(_, finding)| finding.severity == Severity::Error);
        if refused {
            return Err(named(all));
        }
        let no_dir = |path: &Path| !usable(path);
        config.process.state_dir.take_if(|dir| dir.path == Path::new(STATE_DIR) && no_dir(&dir.path));
        if let Some(socket) = &mut config.admin.socket {
            // Whoever names it means it, the default's path as well.
            socket.written = self.given.contains_key(&Key::Admin) && config.admin.listen.is_none();
        }
        let nowhere = |path: &PathBuf| path.parent().is_none_or(no_dir);
        config.admin.socket.take_if(|socket| !socket.written && nowhere(&socket.path));
        Ok(Loaded { config, warnings: named(all) })
    }

    /// What has to be said and is not.
    fn missing(&self) -> Vec<(String, Finding)> {
        let account = "SELECT on mysql.wsrep_cluster_members is all that the monitor's account needs";
        let needed = [
            (
                Key::Listen,
                "where to accept clients is not said",
                "for example 127.0.0.1:3306; 0.0.0.0:3306 is all of IPv4",
            ),
            (Key::Nodes, "no node is named", "HOST[:PORT] of each node; in the variable with commas between them"),
            (Key::MonitorUser, "no account is named: a check of Galera has to log in", account),
        ];
        let missing = needed.into_iter().filter(|(key, ..)| !self.given.contains_key(key));
        missing
            .map(|(key, message, help)| {
                let names = key.flag().map_or_else(String::new, |flag| format!("{flag} or {}", key.variable()));
                (names, finding(message, Some(help)))
            })
            .collect()
    }

    /// The file that says the same.
    fn written(&self) -> Written {
        let mut file = Written::default();
        let role = self.given.get(&Key::Role).map_or(ROLE, Given::first);
        let _ = writeln!(file.text, "[cluster.{CLUSTER}]");
        self.write(&mut file, Key::Nodes, "nodes", true);
        self.write(&mut file, Key::Discover, "discover", false);
        let _ = writeln!(file.text, "[cluster.{CLUSTER}.monitor]");
        self.write(&mut file, Key::MonitorUser, "user", false);
        if let Some(given) = self.given.get(&Key::MonitorPassword) {
            file.line(given.from, &format!("password_env = {}", string(given.from)));
        }
        self.write(&mut file, Key::MonitorPasswordFile, "password_file", false);
        self.write(&mut file, Key::MonitorTls, "tls", false);
        let named = self.given.get(&Key::Role).map_or(COMMAND_LINE, |given| given.from);
        // A role that there is not is no name either: it is refused once.
        let name = if role.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !role.is_empty() { role } else { ROLE };
        file.line(named, &format!("[service.{name}]"));
        let _ = writeln!(file.text, "cluster = {}", string(CLUSTER));
        self.write(&mut file, Key::Listen, "accept", true);
        self.write(&mut file, Key::Role, "role", false);
        self.write(&mut file, Key::Balance, "balance", false);
        if let Some(given) = self.given.get(&Key::Admin) {
            let _ = writeln!(file.text, "[admin]");
            let (listen, socket) = match (given.first(), given.first().strip_prefix("unix:")) {
                ("", _) => ("", Some("")),
                (_, Some(path)) => ("", Some(path)),
                (address, None) => (address, None),
            };
            file.line(given.from, &format!("listen = {}", string(listen)));
            if let Some(socket) = socket {
                file.line(given.from, &format!("socket = {}", string(socket)));
            }
        }
        file
    }

    fn write(&self, file: &mut Written, key: Key, name: &str, list: bool) {
        let Some(given) = self.given.get(&key) else { return };
        if list {
            let values: Vec<String> = given.values.iter().map(|value| string(value)).collect();
            file.line(given.from, &format!("{name} = [{}]", values.join(", ")));
        } else {
            file.line(given.from, &format!("{name} = {}", string(given.first())));
        }
    }
}

/// TOML, and which of its lines came from where.
#[derive(Debug, Default)]
struct Written {
    text: String,
    /// From this offset on, to this one.
    from: Vec<(usize, usize, &'static str)>,
}

impl Written {
    fn line(&mut self, from: &'static str, line: &str) {
        let start = self.text.len();
        self.text.push_str(line);
        self.text.push('\n');
        self.from.push((start, self.text.len(), from));
    }

    fn whose(&self, offset: usize) -> Option<&'static str> {
        self.from.iter().find(|(start, end, _)| (*start..*end).contains(&offset)).map(|(.., from)| *from)
    }
}

/// Variables that are nearly ours. What is not near may be anybody's; and Kubernetes sets some that begin so in every pod
/// of a namespace that has a Service of our name.
fn misspelt(environment: &Environment) -> Vec<(String, Finding)> {
    let ours = Key::ALL.map(|key| key.variable().trim_start_matches(PREFIX));
    let of_kubernetes = |name: &str| name.starts_with("PORT") || name.contains("_PORT") || name.contains("SERVICE_");
    let names = environment.keys().filter_map(|name| name.to_str()?.strip_prefix(PREFIX));
    names
        .filter(|name| !ours.contains(name) && !of_kubernetes(name))
        .filter_map(|name| {
            let meant = nearest(name, ours)?;
            let help = format!("did you mean {PREFIX}{meant}?");
            Some((format!("{PREFIX}{name}"), finding("there is no such variable", Some(&help))))
        })
        .collect()
}

fn finding(message: &str, help: Option<&str>) -> Finding {
    let help = help.map(str::to_owned);
    Finding { severity: Severity::Error, span: None, message: message.to_owned(), help, absence: false }
}

fn named(findings: Vec<(String, Finding)>) -> Diagnostics {
    Diagnostics::named(Path::new(COMMAND_LINE), findings)
}
