//! What holds in a section: the defaults of stunnel, then those of the file, then the section's own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::model::{CipherSuite, Group, Listen, Place};
use super::notes::At;
use super::sockets::SocketOptions;
use super::versions::Versions;
use super::{LogId, Output};

/// A value and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// The process.
#[derive(Debug, Clone)]
pub(super) struct Global {
    pub(super) chroot: Option<Written<PathBuf>>,
    pub(super) foreground: bool,
    pub(super) stderr: bool,
    pub(super) append: bool,
    pub(super) output: Option<Written<PathBuf>>,
    pub(super) pid: Option<Written<PathBuf>>,
    pub(super) syslog: bool,
    pub(super) facility: u8,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            chroot: None,
            foreground: false,
            stderr: false,
            append: true,
            output: None,
            pid: None,
            syslog: true,
            // LOG_DAEMON of syslog(3).
            facility: 3,
        }
    }
}

impl Global {
    pub(super) fn log_file(&self) -> Option<Output> {
        self.output.as_ref().map(|output| Output { path: output.value.clone(), append: self.append })
    }
}

/// A section, or the defaults of all of them.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// The name in its header, or that of `service =`.
    pub(super) name: Arc<str>,
    /// Its header.
    pub(super) header: At,
    /// The comments right above it.
    pub(super) remarks: Vec<String>,
    pub(super) client: bool,
    pub(super) accept: Vec<Written<Vec<Listen>>>,
    pub(super) connect: Vec<Written<Place>>,
    /// Whether there is an `accept` and a `connect`, right or wrong.
    pub(super) ends: [bool; 2],
    /// Options of which a line is wrong: what follows from their absence is not to be said.
    pub(super) wrong: Vec<&'static str>,
    /// A program in place of `connect`. It is never run: where other connections than its own are sent elsewhere (`redirect`,
    /// `sni` of servers) its own are closed.
    pub(super) exec: Option<At>,
    pub(super) redirect: Vec<Written<Place>>,
    pub(super) sni: Vec<Written<String>>,
    pub(super) cert: Option<Written<PathBuf>>,
    pub(super) key: Option<Written<PathBuf>>,
    pub(super) ca_file: Option<Written<PathBuf>>,
    pub(super) ca_path: Option<Written<PathBuf>>,
    pub(super) crl_file: Option<Written<PathBuf>>,
    pub(super) crl_path: Option<Written<PathBuf>>,
    pub(super) verify: Verify,
    pub(super) names: Vec<Written<Arc<str>>>,
    pub(super) versions: Versions,
    pub(super) ciphers: Option<Written<Vec<CipherSuite>>>,
    pub(super) ciphersuites: Option<Written<Vec<CipherSuite>>>,
    pub(super) curves: Option<Written<Vec<Group>>>,
    pub(super) round_robin: bool,
    pub(super) delay: bool,
    pub(super) resume: bool,
    pub(super) reset: bool,
    pub(super) proxy: Option<At>,
    pub(super) transparent: Option<At>,
    pub(super) local: Option<Written<IpAddr>>,
    pub(super) sockets: SocketOptions,
    pub(super) log_id: LogId,
    pub(super) level: u8,
    pub(super) user: Option<Written<Arc<str>>>,
    pub(super) group: Option<Written<Arc<str>>>,
    /// Seconds.
    pub(super) busy: u64,
    pub(super) close: u64,
    pub(super) connecting: u64,
    /// `None` = for ever.
    pub(super) idle: Option<u64>,
}

impl Settings {
    /// stunnel's own defaults.
    pub(super) fn new() -> Self {
        Self {
            name: "stunnel".into(),
            header: At { file: 0, span: (0..0).into() },
            remarks: Vec::new(),
            client: false,
            accept: Vec::new(),
            connect: Vec::new(),
            ends: [false, false],
            wrong: Vec::new(),
            exec: None,
            redirect: Vec::new(),
            sni: Vec::new(),
            cert: None,
            key: None,
            ca_file: None,
            ca_path: None,
            crl_file: None,
            crl_path: None,
            verify: Verify::default(),
            names: Vec::new(),
            versions: Versions::default(),
            ciphers: None,
            ciphersuites: None,
            curves: None,
            round_robin: false,
            delay: false,
            resume: true,
            reset: true,
            proxy: None,
            transparent: None,
            local: None,
            sockets: SocketOptions::default(),
            log_id: LogId::Sequential,
            level: 5,
            user: None,
            group: None,
            busy: 300,
            close: 60,
            connecting: 10,
            idle: Some(43_200),
        }
    }

    /// Whether a line of one of these options is wrong, or one that probably meant it.
    pub(super) fn is_wrong(&self, options: &[&str]) -> bool {
        self.wrong.iter().any(|wrong| options.contains(wrong))
    }

    /// The same of those that say whether a certificate is looked at.
    pub(super) fn is_verify_wrong(&self) -> bool {
        self.is_wrong(&["verify", "verifyChain", "verifyPeer", "requireCert"])
    }

    /// A section of this name that begins with these as its defaults.
    pub(super) fn section(&self, name: &str, header: At, remarks: Vec<String>) -> Self {
        Self { name: name.into(), header, remarks, ..self.clone() }
    }
}

/// What is asked of the peer's certificate. Options set several of these, and so their order can matter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Verify {
    /// The peer is asked for one.
    pub(super) request: bool,
    /// It has to show one.
    pub(super) require: bool,
    /// The one shown has to chain to the store.
    pub(super) chain: bool,
    /// The one shown has to be in the store.
    pub(super) peer: bool,
    /// What weakened it last.
    pub(super) weakened: Option<Weakened>,
}

/// An option that lets peers in which others keep out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weakened {
    pub(super) at: At,
    pub(super) by: Weakener,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weakener {
    /// `verify = 0`
    Ignore,
    /// `verify = 1`
    IfPresented,
    /// `requireCert = no`
    NotRequired,
}

impl Verify {
    /// `verify = LEVEL`.
    pub(super) fn level(&mut self, level: u8, at: At) {
        let weakened = match level {
            0 => Some(Weakener::Ignore),
            1 => Some(Weakener::IfPresented),
            _ => None,
        };
        *self = Self {
            request: true,
            require: level >= 2,
            chain: (1..=3).contains(&level),
            peer: level >= 3,
            weakened: weakened.map(|by| Weakened { at, by }),
        };
    }

    /// `verifyChain` (`of_chain`) or `verifyPeer`.
    pub(super) fn part(&mut self, of_chain: bool, yes: bool) {
        let part = if of_chain { &mut self.chain } else { &mut self.peer };
        *part = yes;
        if yes {
            self.request = true;
            self.require = true;
            self.weakened = None;
        }
    }

    /// `requireCert`.
    pub(super) fn required(&mut self, yes: bool, at: At) {
        self.require = yes;
        if yes {
            self.request = true;
            self.weakened = None;
        } else {
            self.weakened = Some(Weakened { at, by: Weakener::NotRequired });
        }
    }

    /// Whether the certificate itself is looked at.
    pub(super) fn looks(self) -> bool {
        self.chain || self.peer
    }
}
