//! A Galera arbitrator (garbd): a member with a vote and without data.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cluster::Cluster;
use super::node::GALERA_NODE;
use super::process::{Process, Signal};
use super::{ports, secs, watchdog};

/// A running garbd of a cluster. Dropped, it leaves in order, or is killed after 5 s.
#[derive(Debug)]
pub struct Arbitrator {
    process: Process,
    dir: PathBuf,
}

impl Arbitrator {
    /// Joins, and returns once every node counts it.
    #[track_caller]
    pub fn join(cluster: &Cluster) -> Self {
        let dir = watchdog::fresh_path("garb");
        let mut command = Command::new(GALERA_NODE);
        command.args(["arbitrate", "--name", "garb", "--cluster", cluster.nodes[0].group()]);
        command.args(["--ports", &ports::free().to_string(), "--dir"]).arg(&dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let garb = Self { process: Process::spawn(&mut command), dir };
        cluster.wait_size(cluster.nodes.len() + 1);
        garb
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Arbitrator {
    fn drop(&mut self) {
        // One that is killed would stay a member for 5 s.
        self.process.signal(Signal::TERM);
        if self.process.wait(secs(5)).is_none() {
            self.process.kill();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
