//! Machines and the networks between them.
//!
//! Each machine is a network namespace, and so is the switch, which has a bridge for every network; nothing of it is on the host's
//! own network. A process holds each namespace, so that it goes with the process however the tests end. Needs root.

use std::ffi::OsStr;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use super::process::Process;
use super::{secs, until};

/// Networks, and the switch that they are on.
#[derive(Debug)]
pub struct Lan {
    switch: Machine,
}

/// A machine. Its interface in a network has the network's name.
#[derive(Debug)]
pub struct Machine {
    holder: Process,
    name: String,
}

impl Lan {
    /// `None` only where the user asked for a run without root, which is said.
    pub fn new(networks: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            let allowed = std::env::var_os("GALEWAY_TEST_UNPRIVILEGED").is_some_and(|v| v == "1");
            assert!(allowed, "network namespaces need root (GALEWAY_TEST_UNPRIVILEGED=1 leaves these tests out)");
            println!("NOT RUN: network namespaces need root, and GALEWAY_TEST_UNPRIVILEGED=1 is set");
            return None;
        }
        let switch = Machine::new("switch");
        for network in networks {
            switch.ip(&format!("link add {network} type bridge"));
            switch.ip(&format!("link set {network} up"));
        }
        Some(Self { switch })
    }

    /// A new machine with these interfaces: network, address with its prefix's length.
    pub fn machine(&self, name: &str, interfaces: &[(&str, &str)]) -> Machine {
        let machine = Machine::new(name);
        for (network, address) in interfaces {
            let port = port(network, &machine);
            let there = machine.holder.id();
            self.switch.ip(&format!("link add {port} type veth peer name {network} netns {there}"));
            self.switch.ip(&format!("link set {port} master {network} up"));
            machine.ip(&format!("addr add {address} dev {network}"));
            machine.ip(&format!("link set {network} up"));
        }
        machine
    }

    /// Pulls the cable between a machine and a network: neither end has a carrier any more.
    pub fn cut(&self, network: &str, machine: &Machine) {
        self.switch.ip(&format!("link set {} down", port(network, machine)));
    }

    /// Plugs it in again.
    pub fn mend(&self, network: &str, machine: &Machine) {
        self.switch.ip(&format!("link set {} up", port(network, machine)));
    }
}

/// The switch's end of the cable. Of at most 15 bytes, as IFNAMSIZ wants it.
fn port(network: &str, machine: &Machine) -> String {
    let port = format!("{network}-{}", machine.name);
    assert!(port.len() <= 15, "{port} is too long a name");
    port
}

impl Machine {
    fn new(name: &str) -> Self {
        let holder = Process::spawn(Command::new("unshare").args(["--net", "sleep", "1000"]));
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let pid = holder.id().to_string();
        until(secs(30), "a namespace of its own", || (namespace(&pid) != namespace("self")).then_some(()));
        let machine = Self { holder, name: name.to_owned() };
        machine.ip("link set lo up");
        machine
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

    /// Does this over there, on a thread of its own. The sockets that it makes stay there, whoever uses them.
    pub fn within<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap();
        let done = std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                what()
            });
            there.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// `ip` over there, with these words.
    #[track_caller]
    pub fn ip(&self, line: &str) {
        let mut command = self.command("ip".as_ref());
        let output = command.args(line.split(' ')).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Whether it has this address now.
    #[track_caller]
    pub fn holds(&self, ip: IpAddr) -> bool {
        let output = self.command("ip".as_ref()).args(["-json", "addr"]).output().unwrap();
        let links: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all =
            links.as_array().into_iter().flatten().flat_map(|link| link["addr_info"].as_array().into_iter().flatten());
        all.filter_map(|address| address["local"].as_str()).any(|local| local == ip.to_string())
    }
}
