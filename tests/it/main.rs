//! Integration tests: one binary, so that it links once, and one process, so that it can share one real cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    unreachable_pub,
    reason = "a test fails by panicking, tells by printing, and nothing outside reaches into a test binary"
)]

mod addresses;
mod admin;
mod audit;
mod bad_input;
mod booted;
mod clustercheck;
mod containers;
mod dns_nodes;
mod docs;
mod drain;
mod fair;
mod fakes;
mod harness;
mod harness_splits;
mod harness_works;
mod hostile;
mod limits;
mod login;
mod login_tls;
mod memory;
mod monitor;
mod names;
mod new_connections;
mod notified;
mod operators;
mod packaging;
mod peer;
mod percona;
mod privileges;
mod proxied;
mod queue;
mod real;
mod relaying;
mod reload;
mod replicas;
mod rooms;
mod server_errors;
mod sessions;
mod shares;
mod sidecar;
mod signals;
mod stunnel_files;
mod stunnel_process;
mod targets;
mod tunnels;
mod upgrade;
mod vanishing;
mod vetoes;
mod vip;
mod watching;
