//! What must not hurt: a wrong start is told clearly, and bytes from either side end at most one session.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::fakes::{Fakes, LONG, connect, greeted_by, greeting, raw, service, wait_service};
use crate::harness::galeway::binary;
use crate::harness::{Conn, Settings, cli, ports, until, watchdog};
use crate::peer::Mode;

/// A file that would run, with these lines in place of the placeholders, and without the default places on this machine.
fn file(accept: &str, admin: &str, monitor: &str) -> String {
    format!(
        "[cluster.main]\nnodes = [\"127.0.0.1:1\"]\n[cluster.main.monitor]\nuser = \"m\"\n{monitor}\n\
         [service.any]\naccept = \"{accept}\"\ncluster = \"main\"\n[admin]\nlisten = \"{admin}\"\nsocket = \"\"\n\
         [process]\nstate_dir = \"\"\n"
    )
}

/// `galeway run -c` with this text: it ends with 2, silent on standard output. What it said on standard error.
#[track_caller]
fn fails(text: &str) -> String {
    let dir = watchdog::fresh_path("bad");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("galeway.toml");
    std::fs::write(&path, text).unwrap();
    fails_with(&["run", "-c", path.to_str().unwrap()]).replace(dir.to_str().unwrap(), "DIR")
}

#[track_caller]
fn fails_with(arguments: &[&str]) -> String {
    let output = cli::run(Command::new(binary()).args(arguments));
    assert_eq!((output.code, &*output.stdout), (Some(2), ""), "{output:?}");
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    output.stderr
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_all_errors_in_one_go() {
    let said = fails(&file("127.0.0.1:0", "", "pasword = \"x\"").replace("cluster = \"main\"", "cluster = \"mian\""));
    assert!(said.contains("DIR/galeway.toml:5:1: error:") && said.contains("password"), "{said}");
    assert!(said.contains("DIR/galeway.toml:8:11: error:") && said.contains("\"main\""), "{said}");
}

#[test]
fn an_address_in_use_is_named_with_its_service() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let said = fails(&file(&addr, "", ""));
    let told = said.lines().last().unwrap();
    assert!(told.starts_with("galeway: service \"any\": cannot listen on ") && told.contains(&addr), "{said}");
    assert!(told.contains("in use") && told.contains("another process listens there"), "{said}");
    let said = fails(&file("127.0.0.1:0", &addr, ""));
    let told = said.lines().last().unwrap();
    assert!(told.starts_with("galeway: [admin] cannot listen on ") && told.contains("in use"), "{said}");
}

#[test]
fn an_address_of_another_host_is_told_as_that() {
    let said = fails(&file("192.0.2.1:3306", "", ""));
    assert!(said.lines().last().unwrap().contains("this host does not hold that address"), "{said}");
}

#[test]
fn a_missing_password_file_is_named() {
    let said = fails(&file("127.0.0.1:0", "", "password_file = \"monitor.pw\""));
    assert!(said.contains("DIR/galeway.toml:5:17: error: cannot read `DIR/monitor.pw`"), "{said}");
}

#[test]
fn a_malformed_address_is_pointed_at() {
    for accept in ["127.0.0.1:99999", "3306", "127.0.0.1", "[::1:3306", "a b:1"] {
        let said = fails(&file(accept, "", ""));
        assert!(said.contains("DIR/galeway.toml:7:10: error:") && said.contains('^'), "{accept}: {said}");
    }
}

#[test]
fn no_file_a_directory_and_an_unknown_flag_are_wrong_usage() {
    assert!(fails_with(&["run", "-c", "/nowhere/galeway.toml"]).contains("there is no such file"));
    assert!(fails_with(&["run", "-c", "/tmp"]).contains("this is a directory"));
    assert!(fails_with(&["run", "--bogus"]).contains("unexpected argument '--bogus'"));
    assert!(fails_with(&["bogus"]).contains("unrecognized subcommand 'bogus'"));
    assert!(fails_with(&["-c", "/nowhere/galeway.toml"]).contains("there is no such file"), "without a command");
}

/// xorshift: the same bytes in every run.
fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    };
    (0..n).map(|_| next()).collect()
}

#[test]
fn noise_from_clients_before_and_after_the_greeting_ends_their_own_session_only() {
    let fakes = Fakes::new(1);
    let _node = fakes.peer(1, |mut conn| async move {
        conn.greet(&greeting(1)).await?;
        // A real server says so and hangs up.
        let _ = conn.pause(crate::harness::millis(5)).await;
        conn.err(1156, "08S01", "Got packets out of order").await
    });
    let galeway = fakes.galeway(service(""));
    for seed in 0..60 {
        let mut client = raw(&galeway);
        let bytes = noise(seed, 1 + seed as usize * 500);
        if seed % 2 == 0 {
            let _ = client.write_all(&bytes);
        } else {
            let mut greeting = [0; 16];
            client.read_exact(&mut greeting).unwrap();
            let _ = client.write_all(&bytes);
        }
        if seed % 3 == 0 {
            let _ = client.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(greeted_by(&connect(&galeway)), "n1");
    wait_service(&galeway, "active", 0);
    assert!(!galeway.log().contains("fault of Galeway"), "{}", galeway.log());
    assert_eq!(galeway.metric("galeway_connections_closed_total", &[("reason", "internal_error")]), 0.0);
}

#[test]
fn noise_from_a_node_harms_neither_its_check_nor_its_clients() {
    let fakes = Fakes::new(2);
    let bad = crate::peer::FakeNode::on(fakes.listen(1), "bad");
    let _good = fakes.greeter(2);
    let galeway = fakes.galeway(service("greeting_timeout = \"300ms\"\nbalance = \"round-robin\""));
    for seed in 0..30 {
        let mut bytes = noise(seed, 5 + seed as usize * 40);
        if seed % 2 == 0 {
            // A believable header, then noise.
            bytes[..5].copy_from_slice(&[60, 0, 0, 0, if seed % 4 == 0 { 10 } else { 0xff }]);
        }
        bad.set_mode(Mode::Bytes(bytes.clone()));
        fakes.check(1).set_mode(Mode::Bytes(bytes));
        fakes.check(1).cut_connections();
        let conn = connect(&galeway);
        let name = greeted_by(&conn).to_owned();
        // Noise that has the form of a greeting is passed on as one: layer 4 reads no further.
        assert!(name == "n2" || seed % 4 == 0, "{seed}: {name:?}");
    }
    assert!(!galeway.log().contains("fault of Galeway"), "{}", galeway.log());
    fakes.check(1).set_mode(Mode::Serve);
    bad.set_mode(Mode::Serve);
    galeway.wait_verdict("n1", "eligible", LONG);
}

/// A thousand connections that say nothing: each costs what an idle session costs, and all of it comes back.
#[test]
fn a_thousand_connections_that_are_never_used_cost_little_and_leave_nothing() {
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(Settings::default());
    let open = |n: usize| (0..n).map(|_| raw(&galeway)).collect::<Vec<_>>();
    drop(open(200));
    wait_service(&galeway, "active", 0);
    let (memory, descriptors) = (galeway.memory(), galeway.descriptors());
    let clients = open(1000);
    wait_service(&galeway, "active", 1000);
    let grown = galeway.memory().saturating_sub(memory);
    assert!(grown < 8 << 20, "{grown} bytes for 1000 connections");
    drop(clients);
    wait_service(&galeway, "active", 0);
    until(LONG, "its descriptors are closed", || (galeway.descriptors() <= descriptors + 4).then_some(()));
}

#[test]
fn a_shortage_of_descriptors_makes_clients_wait_and_blames_no_node() {
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(service("queue_timeout = \"1h\"\nbalance = \"round-robin\""));
    let changes = galeway.metric("galeway_verdict_changes_total", &[]);
    // Room for ten sessions and a few requests to the admin address.
    let most = galeway.descriptors() as u64 + 24;
    let pid = Pid::from_raw(galeway.pid() as i32);
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
    let flood: Vec<_> = (0..60).map(|_| raw(&galeway)).collect();
    until(LONG, "it says so", || galeway.log().contains("cannot accept").then_some(()));
    drop(flood);
    // Descriptors are free again: new clients are served, and nobody was blamed meanwhile.
    let again: Vec<_> = (0..8).map(|_| Conn::greet(galeway.addr(), LONG).unwrap()).collect();
    assert_eq!(again.len(), 8);
    drop(again);
    for name in ["n1", "n2"] {
        let node = until(LONG, "the admin address answers", || {
            let status: serde_json::Value = serde_json::from_str(&galeway.try_get("/api/status")?.1).ok()?;
            status["clusters"][0]["nodes"].as_array()?.iter().find(|n| n["name"] == *name).cloned()
        });
        assert_eq!((&node["verdict"], &node["connections"]["failed"]), (&"eligible".into(), &0.into()), "{node}");
    }
    assert_eq!(galeway.metric("galeway_verdict_changes_total", &[]), changes);
    assert!(galeway.metric("galeway_connect_attempts_total", &[("result", "error")]) == 0.0);
}

#[test]
fn a_good_file_is_printed_whole_and_what_is_printed_is_a_good_file() {
    let dir = watchdog::fresh_path("good");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("galeway.toml");
    let accept = format!("127.0.0.1:{}", ports::free());
    std::fs::write(&path, file(&accept, "", "password = \"topsecret\"")).unwrap();
    let check = |path: &std::path::Path, more: &[&str]| {
        let output = cli::run(Command::new(binary()).arg("check").arg("-c").arg(path).args(more));
        assert_eq!(output.code, Some(0), "{output:?}");
        output
    };
    let said = check(&path, &[]);
    assert!(said.stdout.ends_with("galeway.toml: right (1 node in 1 cluster, 1 service, admin off)\n"), "{said:?}");
    let printed = check(&path, &["--print"]);
    assert!(!printed.stdout.contains("topsecret") && !printed.stderr.contains("topsecret"), "{printed:?}");
    for line in ["queue_timeout = \"10s\"", "rise = 2", "donor = \"last-resort\"", &format!("accept = [\"{accept}\"]")]
    {
        assert!(printed.stdout.contains(line), "no {line} in\n{}", printed.stdout);
    }
    let again = dir.join("again.toml");
    std::fs::write(&again, &printed.stdout).unwrap();
    assert_eq!(check(&again, &["--print"]).stdout, printed.stdout);
}

#[test]
fn a_command_that_cannot_be_carried_out_says_what_was_wrong_and_what_to_do() {
    // What speaks first is no admin address.
    let node = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = node.local_addr().unwrap().to_string();
    std::thread::spawn(move || node.accept().unwrap().0.write_all(b"\x4a\0\0\0\x0a5.5.5-n1\0"));
    let nobody = format!("127.0.0.1:{}", ports::free());
    for (arguments, told) in [
        (&["nod", "db1", "drain"][..], "a similar subcommand exists: 'node'"),
        (&["node", "db1", "drian"], "a similar value exists: 'drain'"),
        (&["node", "db1", "drain", "--admin", "10.0.0.5"], "has no port; write HOST:PORT or unix:PATH"),
        (&["node", "db1", "drain", "--admin", &nobody], "does galeway run? --admin says where it listens"),
        (&["node", "db1", "drain", "--admin", "unix:/no/socket"], "does galeway run? --admin says where it listens"),
        (&["status", "--admin", &address], "is this the [admin] address"),
        (&["status", "--token-file", "/no/token"], "--token-file /no/token: No such file"),
        (&["notify", "--admin", "x"], "has no port; write HOST:PORT or unix:PATH"),
        (
            &["probe", "db1", "--user", "m", "--password-file", "/no/password"],
            "--password-file /no/password: No such file",
        ),
        (&["probe", "db1", "--user", "m", "--tls", "verify"], "a similar value exists: 'verify-ca'"),
        (&["probe", "db1", "--user", "m", "--ca", "/x"], "--ca needs --tls verify-ca or --tls verify-identity"),
        (&["recover"], "name every node whose data still exist: HOST[:PORT] where it runs, --file NAME=PATH"),
        (&["recover", "--file", "db1"], "write NAME=PATH"),
        (&["convert", "/no/file"], "there is no such file"),
        (&["check", "-c", "/"], "this is a directory"),
    ] {
        let said = fails_with(arguments);
        assert!(said.contains(told), "{arguments:?} says {said:?}");
    }
    let output = cli::run(Command::new(binary()).args(["notify", "--admin", &nobody]));
    assert!(output.code == Some(1) && output.stderr.contains("nobody took it"), "{output:?}");
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [&["--help"][..], &["-h"], &["help"], &["run", "--help"], &["check", "--help"], &["probe", "-h"]] {
        let output = cli::run(Command::new(binary()).args(arguments));
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{output:?}");
        assert!(output.stdout.contains("Usage: galeway"), "{output:?}");
        assert!(output.stdout.lines().all(|line| line.len() <= 100), "fits a terminal: {output:?}");
    }
    let version = cli::run(Command::new(binary()).arg("--version"));
    let told = format!("galeway {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!((version.code, version.stdout), (Some(0), told));
}
