//! What tests stand on: a real Galera cluster on loopback, clients that are not ours, and the built `galeway`.
//!
//! | file | what |
//! |---|---|
//! | `cluster` | nodes, shared by all tests of this process behind a guard; single nodes, and servers without Galera, with flags of their own |
//! | `node` | one `mariadbd`: start, stop, kill, freeze, isolate, bootstrap, desync, wipe; what it says of itself |
//! | `machine` | a node's own machine, with its data and settings where a printed command expects them |
//! | `roots` | servers that this machine's Debian does not have, out of the roots of `scripts/server-roots` |
//! | `mysql` | one MySQL server out of a root |
//! | `arbitrator` | a garbd |
//! | `split` | two Primary components that share everything but their members |
//! | `notify` | `wsrep_notify_cmd`: what the server called and when, and what is run then |
//! | `sessions` | who is connected, as the servers' own process lists say |
//! | `client` | a plain MySQL client that tells a failure before the greeting from one after it |
//! | `load` | threads that connect, query and quit in a loop, and remember each outcome |
//! | `terminal` | a terminal with a program in it |
//! | `dns` | a DNS server that answers as told, or not |
//! | `cli` | the real `mariadb` command and pymysql |
//! | `far` | another machine, as a network namespace, and the cable to it |
//! | `lan` | machines as network namespaces, the switch between them, and cables that can be pulled |
//! | `galeway` | the built binary behind a configuration: restarts, admin address, log, CPU and memory |
//! | `certs` | a certificate authority and what it signs |
//! | `process`, `watchdog`, `ports` | children that never outlive the tests; ports that do not collide |
//!
//! Nothing here uses `src/`: a test's second opinion must not share the mistake. Nothing sleeps for a guess of a time:
//! [`until`] polls up to a limit and says what it waited for.

#![allow(dead_code, unused_imports, reason = "a tool box: what one test needs, the next does not")]

pub mod arbitrator;
pub mod certs;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod dns;
pub mod far;
pub mod galeway;
pub mod lan;
pub mod load;
pub mod machine;
pub mod mysql;
pub mod node;
pub mod notify;
pub mod ports;
pub mod process;
pub mod roots;
pub mod sessions;
pub mod split;
pub mod terminal;
pub mod watchdog;

use std::time::{Duration, Instant};

pub use arbitrator::Arbitrator;
pub use client::Conn;
pub use cluster::{Cluster, Options, cluster, cluster_of, server, server_through, standalone};
pub use far::Far;
pub use galeway::{Galeway, Settings};
pub use lan::{Lan, Machine};
pub use load::Load;
pub use mysql::Mysql;
pub use node::Node;
pub use roots::{Root, turn_with_roots};
pub use split::split_brain;

/// Asks every 10 ms until the answer is there, and returns it; panics with `what` after `limit`.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    within(limit, &mut ask).unwrap_or_else(|| panic!("not within {limit:?}: {what}"))
}

/// The same for a caller that can live without the answer.
pub fn within<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Short for tests.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Short for tests.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Whether we are root, which `what` needs; false only where the user asked for a run without root, which is said.
#[track_caller]
pub fn root(what: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        let allowed = std::env::var_os("GALEWAY_TEST_UNPRIVILEGED").is_some_and(|v| v == "1");
        assert!(allowed, "{what} needs root (GALEWAY_TEST_UNPRIVILEGED=1 leaves these tests out)");
        println!("NOT RUN: {what} needs root, and GALEWAY_TEST_UNPRIVILEGED=1 is set");
    }
    is_root
}

/// Whether tests that can be longer are to be: `scripts/test --full`. One that is long as a whole is `#[ignore]`, so that a
/// run counts what it left out.
pub fn full() -> bool {
    std::env::var_os("GALEWAY_TEST_FULL").is_some_and(|v| v == "1")
}
