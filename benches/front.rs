//! What the front costs, beside HAProxy in TCP mode in the same run: `cargo bench --bench front`.
//!
//! Clients and servers run in this process and the balancers in their own, so the figures are the balancers' CPU time
//! (`/proc/PID/stat`) and not wall time: on a small, noisy machine only that and the ratio mean something.
//! Rounds alternate between the two, and the medians of the rounds are printed. HAProxy comes from Debian:
//! `scripts/install-packages bench`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench fails by panicking and tells by printing"
)]

mod common;
#[path = "../tests/it/peer/mod.rs"]
mod peer;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use common::{
    CLIENTS, Contestant, Dir, compare, compare_once, download, free, idle_memory, new_connections, round, round_trips,
    round_trips_of_a_thread, server, upload,
};
use peer::FakeNode;

/// Idle connections.
const IDLE: usize = 2000;

fn galeway(dir: &Path, node: SocketAddr, monitor: SocketAddr) -> Contestant {
    let addr = free();
    let file = dir.join("galeway.toml");
    let text = format!(
        "[cluster.c]\nnodes = [\"{node}\"]\n[cluster.c.monitor]\nuser = \"m\"\nport = {}\n\
             [service.s]\naccept = \"{addr}\"\ncluster = \"c\"\nbalance = \"round-robin\"\n\
             [admin]\nlisten = \"\"\n[process]\nworkers = 2\naccess_log = false\nstate_dir = \"\"\n",
        monitor.port()
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_galeway"));
    command.arg("run").arg("-c").arg(&file);
    Contestant::start("galeway", vec![command], addr)
}

fn haproxy(dir: &Path, node: SocketAddr) -> Contestant {
    let addr = free();
    let file = dir.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 2\n  maxconn 8000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
             timeout server 1h\nlisten l\n  bind {addr}\n  server s {node}\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    Contestant::start("haproxy", vec![command], addr)
}

fn main() {
    let monitor = FakeNode::start("bench");
    let node = server();
    let dir = Dir::new();
    let (galeway, haproxy) = (galeway(&dir.0, node, monitor.addr()), haproxy(&dir.0, node));
    let pair = [&galeway, &haproxy];
    println!("{:32} {:>10} {:>10}", "", pair[0].name, pair[1].name);
    compare("CPU per new connection", "us", 1e6, pair, |b| round(b, 8, new_connections));
    compare("CPU per round trip, 32 clients", "us", 1e6, pair, |b| round(b, 1, round_trips));
    compare("  each of them a thread", "us", 1e6, pair, |b| round(b, CLIENTS, round_trips_of_a_thread));
    compare("CPU per GB to the client", "s", 1e9, pair, |b| round(b, 2, download));
    compare("CPU per GB from the client", "s", 1e9, pair, |b| round(b, 2, upload));
    compare_once("memory per idle connection", "bytes", pair, |b| idle_memory(b, IDLE));
}
