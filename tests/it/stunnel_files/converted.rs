//! A file of stunnel lets in the same peers and refuses the same ones whether stunnel reads it, Galeway reads it, or Galeway
//! converts it and reads that.

use std::fs;
use std::net::SocketAddr;

use super::grid::{Host, grid};
use super::pipes::Pipes;
use super::{Echo, End, Program, local, man06, shows, there_and_back};
use crate::harness::process::Signal;
use crate::harness::{ports, watchdog};

const PROGRAMS: [Program; 3] = [Program::Stunnel, Program::Galeway, Program::Converted];

/// Hosts of all sorts; who shows nothing is "nobody".
const EVERYBODY: [&str; 6] = ["primary", "replica", "nobody", "stranger", "expired", "revoked"];

fn host(name: &'static str) -> Option<Host> {
    (name != "nobody").then(|| grid().host(name))
}

/// The same file, read by each program in turn.
fn by_each_program(text: &str, mut check: impl FnMut(&mut End)) {
    let mut end = End::start(Program::Stunnel, text);
    for program in PROGRAMS {
        end.program = program;
        end.restart(Signal::TERM);
        check(&mut end);
    }
}

/// Who of everybody is let in, and gets an answer.
fn let_in(addr: SocketAddr) -> Vec<&'static str> {
    // All at once: each is a process of its own, and mostly waits.
    let mut clients = EVERYBODY.map(|name| (name, Pipes::client(addr, host(name).as_ref(), &["-quiet"])));
    clients.iter_mut().filter_map(|(name, client)| client.is_answered(b"anybody there").then_some(*name)).collect()
}

#[test]
fn a_converted_file_of_man06_lets_in_whom_the_old_one_does() {
    let echo = Echo::new();
    let port = ports::free();
    let section = format!("[mysql]\naccept = {port}\nconnect = {}\n", echo.addr);
    by_each_program(&(man06(&grid().host("primary")) + &section), |end| {
        assert_eq!(let_in(local(port)), ["primary", "replica"], "{:?}", end.program);
    });
}

#[test]
fn a_converted_file_of_many_policies_lets_in_whom_the_old_one_does() {
    let echo = Echo::new();
    let dir = watchdog::fresh_path("stores");
    fs::create_dir(&dir).unwrap();
    let store = |name: &str, hosts: &[&'static str]| {
        let certificates = hosts.iter().map(|name| fs::read_to_string(grid().host(name).cert).unwrap());
        let ca = if name == "known" { fs::read_to_string(grid().ca()).unwrap() } else { String::new() };
        let path = dir.join(name);
        fs::write(&path, certificates.fold(ca, |all, one| all + &one)).unwrap();
        path.display().to_string()
    };
    let (known, pinned) = (store("known", &["replica", "revoked"]), store("pinned", &["stranger", "replica"]));
    let crl = grid().crl();
    let crl = crl.display();
    let policies: [(&str, String, &[&str]); 6] = [
        ("chain", format!("verifyChain = yes\nCRLfile = {crl}\n"), &["primary", "replica"]),
        (
            "names",
            format!("verify = 2\ncheckHost = other.example.org\ncheckHost = replica.example.org\nCRLfile = {crl}\n"),
            &["replica"],
        ),
        ("known", format!("verify = 3\nCAfile = {known}\nCRLfile = {crl}\n"), &["replica"]),
        ("pinned", format!("verify = 4\nCAfile = {pinned}\n"), &["replica", "stranger"]),
        ("optional", format!("verify = 2\nrequireCert = no\nCRLfile = {crl}\n"), &["primary", "replica", "nobody"]),
        ("open", "verify = 0\n".to_owned(), &EVERYBODY),
    ];
    // Global options are defaults of the sections.
    let mut text = format!(
        "{}CAfile = {}\nsslVersionMin = TLSv1.2\nTIMEOUTconnect = 5\nTIMEOUTidle = 600\nfailover = prio\n",
        shows(&grid().host("primary")),
        grid().ca().display()
    );
    let policies = policies.map(|(name, lines, expected)| {
        let accept = ports::free();
        // Nobody listens at the first target.
        text += &format!(
            "; {name}\n[{name}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{}\nconnect = {}\n{lines}",
            ports::free(),
            echo.addr
        );
        (name, local(accept), expected)
    });
    by_each_program(&text, |end| {
        for (name, addr, expected) in &policies {
            assert_eq!(let_in(*addr), *expected, "{name} by {:?}", end.program);
        }
    });
}

#[test]
fn a_converted_client_end_believes_the_servers_that_the_old_one_does() {
    let echo = Echo::new();
    let hosts = EVERYBODY.iter().filter_map(|name| host(name));
    let mut servers = String::new();
    let targets: Vec<(Host, u16)> = hosts
        .map(|host| {
            let port = ports::free();
            let shown = shows(&host);
            servers += &format!("[{}]\naccept = 127.0.0.1:{port}\nconnect = {}\n{shown}", host.name, echo.addr);
            (host, port)
        })
        .collect();
    let _servers = End::start(Program::Galeway, &servers);

    let policies: [(&str, &str, &[&str]); 3] = [
        ("chain", "", &["primary", "replica"]),
        ("names", "checkHost = primary.example.org\n", &["primary"]),
        ("any", "verify = 0\n", &["primary", "replica", "stranger", "expired", "revoked"]),
    ];
    // Converted, a client waits for a round over all targets before it is refused.
    let mut text = man06(&grid().host("replica")) + "client = yes\nTIMEOUTconnect = 5\n";
    let mut services = Vec::new();
    for (name, lines, expected) in policies {
        for (host, port) in &targets {
            let accept = ports::free();
            let section = format!("{name}-{}", host.name);
            text += &format!("[{section}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{port}\n{lines}");
            services.push((section, local(accept), expected.contains(&host.name)));
        }
    }
    by_each_program(&text, |end| {
        let program = end.program;
        std::thread::scope(|scope| {
            for (section, addr, expected) in &services {
                scope.spawn(move || {
                    assert_eq!(there_and_back(*addr, 5000), *expected, "{section} by {program:?}");
                });
            }
        });
    });
}
