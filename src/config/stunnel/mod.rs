//! stunnel.conf: its grammar, its options and their defaults, resolved to what a galeway.toml is resolved to.
//!
//! What is written here about stunnel is its manual's (version 5.x). The way of a file:
//!
//! ```text
//! text ─lines→ options with places ─apply→ Settings of each section ─resolve→ Config + Launch
//!        └─traps→ warnings                                             └─convert→ TOML
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `load` | the two ways in, the order of files and sections |
//! | `lines` | the grammar |
//! | `options`, `refused` | every option's name, and why some are refused |
//! | `notes` | errors and warnings of several files |
//! | `traps` | comments that swallow an option, and two options on one line |
//! | `settings`, `apply` | what holds in a section, and what each option does to it |
//! | `address`, `names`, `versions`, `ciphers`, `sockets` | what stands in values |
//! | `resolve` | from the settings to the model |
//! | `convert` | the same as TOML |

mod address;
mod apply;
mod ciphers;
mod convert;
mod lines;
mod load;
mod names;
mod notes;
mod options;
mod refused;
mod resolve;
mod settings;
mod sockets;
mod traps;
mod versions;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use convert::{Converted, convert};
pub use load::{load, load_inside, parse};

use super::diagnostic::Diagnostics;
use super::model::{Config, Place, Service};

/// A stunnel.conf that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Stunnel {
    /// A service for each section that accepts; no admin address, and nothing is remembered over a restart.
    pub config: Config,
    /// How the process starts and logs, and what a service of stunnel knows that others do not.
    pub launch: Launch,
    /// What its author wants to know at every start; often empty.
    pub warnings: Diagnostics,
}

/// How the process of a stunnel.conf starts and logs.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The process stays where it was started; else it becomes a daemon.
    pub foreground: bool,
    /// Log lines go to standard error as well (`foreground = yes`).
    pub stderr: bool,
    /// They go to this file as well.
    pub output: Option<Output>,
    /// They go to the system's log as well (stunnel's default).
    pub syslog: Option<Syslog>,
    /// The largest number of syslog(3) that is logged, 0 to 7; a service may have another.
    pub level: u8,
    /// Services behind the address of another one ([`ServiceExtras::hosts`]): [`Service::accept`] is empty.
    pub virtual_services: Vec<Arc<Service>>,
    /// What a [`Service`] of either list does not say, by its name.
    pub services: BTreeMap<Arc<str>, ServiceExtras>,
}

/// The log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Opened after the change of root, as stunnel does.
    pub path: PathBuf,
    /// What is there stays; else it is overwritten at each opening.
    pub append: bool,
}

/// The system's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// The number of syslog(3), not shifted: 3 is `daemon`.
    pub facility: u8,
    /// What stands before each line.
    pub ident: Arc<str>,
}

/// What a service of stunnel knows that others do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceExtras {
    /// What stands in the brackets of a connection's log lines.
    pub log_id: LogId,
    /// The largest number of syslog(3) that is logged of this service, 0 to 7.
    pub level: u8,
    /// An error closes with a TCP reset; else in order.
    pub reset: bool,
    /// One round over all targets; where all have failed the client is closed at once, without waiting for
    /// [`Service::queue_timeout`].
    pub one_round: bool,
    /// Where clients go whose certificate is refused or missing; empty = they are turned away.
    pub redirect: Vec<Place>,
    /// Services for the server names that clients ask for, the first match wins; without one it is this service itself.
    pub hosts: Vec<VirtualHost>,
    /// Connections to targets come from the client's own address.
    pub transparent: bool,
    /// Of the clients' sockets.
    pub accepted: Buffers,
    /// Of the targets' sockets.
    pub connected: Buffers,
}

/// A service behind another one's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualHost {
    /// A host name, or `*` and the end of one; case does not matter.
    pub pattern: Arc<str>,
    /// The name of one of [`Launch::virtual_services`].
    pub service: Arc<str>,
}

/// SO_RCVBUF and SO_SNDBUF in bytes; `None` = the system tunes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buffers {
    /// SO_RCVBUF.
    pub receive: Option<u32>,
    /// SO_SNDBUF.
    pub send: Option<u32>,
}

/// What stands in the brackets of a connection's log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogId {
    /// Numbers from 0 on.
    #[default]
    Sequential,
    /// A word that no other connection anywhere has.
    Unique,
    /// The thread's number.
    Thread,
    /// The process's number.
    Process,
}
