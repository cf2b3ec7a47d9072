//! Another machine, and a cable to it that can be cut.
//!
//! A network namespace stands for the machine. A process holds it, so that it goes with the process however the tests end; a
//! black hole among its routes swallows every answer, acknowledgements included. Needs root.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::process::Process;
use super::{secs, until};

/// Another machine.
#[derive(Debug)]
pub struct Far {
    holder: Process,
    /// Its address.
    pub far: Ipv4Addr,
    /// Ours, as it sees us.
    pub near: Ipv4Addr,
    /// Our end of the cable.
    link: String,
}

impl Drop for Far {
    /// The namespace outlives its process by the minutes in which its orphaned sockets try to say goodbye.
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.link]).output();
    }
}

impl Far {
    /// `None` only where the user asked for a run without root, which is said.
    pub fn new() -> Option<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        if !super::root("a network namespace") {
            return None;
        }
        let holder = Process::spawn(Command::new("unshare").args(["--net", "sleep", "1000"]));
        let pid = holder.id();
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
        until(secs(30), "a namespace of its own", || (namespace(&pid.to_string()) != namespace("self")).then_some(()));
        // 198.18.0.0/15 is for tests between two networks (RFC 2544).
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let own = std::process::id();
        let address = |last| Ipv4Addr::new(198, 18, own as u8, n * 4 + last);
        let (ours, theirs) = (format!("gw{n}-{own}"), format!("gwf{n}-{own}"));
        let far = Self { holder, far: address(2), near: address(1), link: ours.clone() };
        ip(&format!("link add {ours} type veth peer name {theirs} netns {pid}"));
        ip(&format!("addr add {}/30 dev {ours}", far.near));
        ip(&format!("link set {ours} up"));
        far.ip(&format!("addr add {}/30 dev {theirs}", far.far));
        far.ip(&format!("link set {theirs} up"));
        far.ip("link set lo up");
        Some(far)
    }

    /// What runs a program over there: it becomes the program, which keeps the process id.
    pub fn launcher(&self) -> Vec<String> {
        ["nsenter", "-n", "-t", &self.holder.id().to_string()].map(str::to_owned).into()
    }

    /// This program, over there.
    pub fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.launcher()[1..]).arg(program);
        command
    }

    /// It says nothing any more.
    pub fn vanish(&self) {
        self.ip(&format!("route add blackhole {}/32", self.near));
    }

    /// It says all again that it still has to say.
    pub fn come_back(&self) {
        self.ip(&format!("route del blackhole {}/32", self.near));
    }

    fn ip(&self, line: &str) {
        done(self.command("ip".as_ref()).args(line.split(' ')));
    }
}

fn ip(line: &str) {
    done(Command::new("ip").args(line.split(' ')));
}

#[track_caller]
fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
