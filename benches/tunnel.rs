//! What a tunnel costs, beside a pair of stunnels in the same run: `cargo bench --bench tunnel`.
//!
//! The chain is client → TLS client end → TLS server end → echo, RSA-2048, mutual TLS 1.3, both ends of one kind. Clients and
//! servers run in this process and the ends in their own, so the figures are the ends' CPU time, both together, as in
//! `benches/front.rs`. stunnel comes from Debian: `scripts/install-packages bench`.

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

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{
    CLIENTS, Contestant, Dir, compare, compare_once, download, free, idle_memory, new_connections, round, round_trips,
    round_trips_of_a_thread, server, upload,
};

/// Idle connections; each stunnel needs a thread for each of its.
const IDLE: usize = 400;

/// A CA, and one certificate for both ends: RSA-2048, as most sites have.
fn certificates(dir: &Path) {
    let openssl = |args: &str| {
        let status = Command::new("openssl").args(args.split(' ')).current_dir(dir).stderr(Stdio::null()).status();
        assert!(status.unwrap().success(), "openssl {args}");
    };
    std::fs::write(dir.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\nkeyUsage=digitalSignature\n").unwrap();
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 10 -subj /CN=bench-ca");
    openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out req.pem -subj /CN=localhost");
    openssl("x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 10 -extfile ext");
}

fn galeway(dir: &Path, node: SocketAddr, name: &'static str, is_tls: bool) -> Contestant {
    let (near, far) = (free(), free());
    let process = "[admin]\nlisten = \"\"\n[process]\nworkers = 2\naccess_log = false\nstate_dir = \"\"\n";
    let service = |accept: SocketAddr, connect: SocketAddr, tls: &str| {
        let tls = if is_tls { tls } else { "" };
        format!("[service.s]\naccept = \"{accept}\"\nconnect = \"{connect}\"\n{tls}\n{process}")
    };
    let identity = "cert = \"cert.pem\", key = \"key.pem\"";
    let server = service(far, node, &format!("tls = {{ {identity}, client_ca = \"ca.pem\" }}"));
    let client = service(near, far, &format!("connect_tls = {{ {identity}, ca = \"ca.pem\" }}"));
    let end = |part: &str, text: String| {
        let file = dir.join(format!("{name}-{part}.toml"));
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_galeway"));
        command.arg("run").arg("-c").arg(file);
        command
    };
    Contestant::start(name, vec![end("server", server), end("client", client)], near)
}

fn stunnel(dir: &Path, node: SocketAddr) -> Contestant {
    let (near, far) = (free(), free());
    let common = "foreground = yes\npid =\ndebug = err\nsyslog = no\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
                  cert = cert.pem\nkey = key.pem\nCAfile = ca.pem\nverify = 2\n[s]\n";
    let server = format!("{common}accept = {far}\nconnect = {node}\n");
    let client = format!("{common}client = yes\naccept = {near}\nconnect = {far}\ncheckIP = 127.0.0.1\n");
    let end = |name: &str, text: String| {
        std::fs::write(dir.join(name), text).unwrap();
        let mut command = Command::new("stunnel");
        command.arg(name).current_dir(dir);
        command
    };
    Contestant::start("stunnel", vec![end("server.conf", server), end("client.conf", client)], near)
}

fn main() {
    let node = server();
    let dir = Dir::new();
    certificates(&dir.0);
    let [tls, plain] =
        [("galeway", true), ("without", false)].map(|(name, is_tls)| galeway(&dir.0, node, name, is_tls));
    let stunnel = stunnel(&dir.0, node);
    let (pair, floor) = ([&tls, &stunnel], [&plain, &stunnel]);
    println!("{:32} {:>10} {:>10}", "", pair[0].name, pair[1].name);
    compare("CPU per round trip, 32 clients", "us", 1e6, pair, |b| round(b, 1, round_trips));
    compare("  each of them a thread", "us", 1e6, pair, |b| round(b, CLIENTS, round_trips_of_a_thread));
    compare("CPU per GB to the client", "s", 1e9, pair, |b| round(b, 2, download));
    compare("CPU per GB from the client", "s", 1e9, pair, |b| round(b, 2, upload));
    // Two relays that pass everything on as it is: what is left of the ratio if TLS costs nothing.
    compare("without TLS: per round trip", "us", 1e6, floor, |b| round(b, 1, round_trips));
    compare("without TLS: per GB to the client", "s", 1e9, floor, |b| round(b, 2, download));
    compare("without TLS: per GB from it", "s", 1e9, floor, |b| round(b, 2, upload));
    compare("without TLS: per new connection", "us", 1e6, floor, |b| round(b, 8, new_connections));
    compare("CPU per new connection", "us", 1e6, pair, |b| round(b, 8, new_connections));
    compare_once("memory per idle connection", "bytes", pair, |b| idle_memory(b, IDLE));
}
