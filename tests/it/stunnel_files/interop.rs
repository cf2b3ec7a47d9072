//! With programs of others at the other end: the real stunnel, with the very same files, and openssl.

use super::grid::{REFUSED, grid};
use super::pipes::{Pipes, RENEWED};
use super::{Echo, End, Program, carries, local, man06, shows, there_and_back};
use crate::harness::ports;
use crate::harness::process::Signal;

const MEGABYTES: usize = 3 << 20;

/// The same two files, whichever program reads them.
#[test]
fn galeway_and_stunnel_take_each_others_place_at_either_end() {
    let echo = Echo::new();
    let port = ports::free();
    let section = format!("[mysql]\naccept = {port}\nconnect = {}\n", echo.addr);
    let mut server_end = End::start(Program::Stunnel, &(man06(&grid().host("primary")) + &section));

    let mut text = man06(&grid().host("replica")).replace("cert = ", ";cert = ").replace("key = ", ";key = ");
    text += "client = yes\n";
    let mut section = |name: &str, shown: &str| {
        let accept = ports::free();
        text += &format!("[{name}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{port}\n{shown}");
        local(accept)
    };
    let good = section("good", &shows(&grid().host("replica")));
    let mut bad = vec![("nobody", section("nobody", ""))];
    bad.extend(REFUSED.map(|(name, _)| (name, section(name, &shows(&grid().host(name))))));
    let mut client_end = End::start(Program::Stunnel, &text);

    for (server, client) in [
        (Program::Stunnel, Program::Stunnel),
        (Program::Stunnel, Program::Galeway),
        (Program::Galeway, Program::Galeway),
        (Program::Galeway, Program::Stunnel),
    ] {
        server_end.become_of(server);
        client_end.become_of(client);
        assert!(there_and_back(good, MEGABYTES), "{client:?} to {server:?}");
        if (server, client) == (Program::Galeway, Program::Galeway) {
            assert!(carries(good, MEGABYTES, true), "bytes were lost at one side's end");
        }
        for (name, addr) in &bad {
            assert!(!there_and_back(*addr, 100), "{name} gets in by {client:?} to {server:?}");
        }
        assert!(there_and_back(good, 100), "{client:?} to {server:?}");
    }
    // Both have written into the same log.
    for words in [": stunnel 5.", ": galeway "] {
        server_end.wait_line(&["LOG5[ui]", words]);
    }
}

impl End {
    /// The same file, read by this program.
    #[track_caller]
    fn become_of(&mut self, program: Program) {
        if self.program != program {
            self.program = program;
            self.restart(Signal::TERM);
        }
    }
}

/// A megabyte of lines after this mark. None of them begins with a letter, which would be a command to openssl.
fn lines(mark: &str) -> Vec<u8> {
    let mut text = format!("<{mark}>\n").into_bytes();
    for n in 0.. {
        if text.len() > 1 << 20 {
            break;
        }
        text.extend_from_slice(format!("{n:063}\n").as_bytes());
    }
    text
}

#[test]
fn openssls_client_is_served_before_and_after_new_keys() {
    let echo = Echo::new();
    let port = ports::free();
    let section = format!("[mysql]\naccept = {port}\nconnect = {}\n", echo.addr);
    let end = End::start(Program::Galeway, &(man06(&grid().host("primary")) + &section));
    let mut client = Pipes::client(local(port), Some(&grid().host("replica")), &[]);
    let mut sent = lines("first");
    client.write(&sent);
    client.wait_from(b"<first>", &sent);
    // A new key of its own, and one that it asks for.
    for (command, mark) in [(b"k", "second"), (b"K", "third")] {
        client.command(command);
        let more = lines(mark);
        client.write(&more);
        sent.extend_from_slice(&more);
        client.wait_from(b"<first>", &sent);
    }
    client.quit("KEYUPDATE");
    let told = format!("Connection closed: {len} byte(s) sent to TLS, {len} byte(s) sent to socket", len = sent.len());
    end.wait_line(&[&told]);
}

#[test]
fn openssls_server_is_reached_before_and_after_new_keys() {
    use std::io::{Read, Write};

    let (accept, port) = (ports::free(), ports::free());
    let mut server = Pipes::server(port, &grid().host("primary"));
    let section = format!("client = yes\n[mysql]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{port}\n");
    let _end = End::start(Program::Galeway, &(man06(&grid().host("replica")) + &section));
    let client = std::net::TcpStream::connect(local(accept)).unwrap();
    client.set_read_timeout(Some(crate::fakes::LONG)).unwrap();
    for (command, mark) in [(None, "first"), (Some(b"k"), "second"), (Some(b"K"), "third")] {
        if let Some(command) = command {
            server.command(command);
        }
        // Out, and in.
        let text = lines(mark);
        (&client).write_all(&text).unwrap();
        server.wait_from(format!("<{mark}>").as_bytes(), &text);
        let mut got = vec![0; text.len()];
        std::thread::scope(|scope| {
            scope.spawn(|| server.write(&text));
            (&client).read_exact(&mut got).unwrap();
        });
        assert!(got == text, "{mark}");
    }
    server.quit(RENEWED);
}
