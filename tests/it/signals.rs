//! From a signal to the end of the process.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::fakes::{Fakes, LONG, access, connect, greeted_by, raw, service, set_state, wait_service};
use crate::harness::galeway::wait_closed;
use crate::harness::process::Signal;
use crate::harness::{Galeway, Settings, millis, secs, until};
use crate::peer::{FakeNode, Peer};

fn one(process: &str) -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(1);
    let galeway = fakes.galeway(Settings { process, ..Settings::default() });
    (fakes, peers, galeway)
}

/// Where readiness and listeners are, in that order: what was seen first is older.
fn draining(galeway: &Galeway) {
    let ready = until(LONG, "readiness fails", || galeway.try_get("/readyz").filter(|(code, _)| *code == 503));
    assert_eq!(ready.1, "any: draining: Galeway stops\n");
    assert_eq!(galeway.get("/healthz").0, 200);
    assert_eq!(galeway.status()["state"], "draining");
}

#[test]
fn sigterm_fails_readiness_closes_the_listener_and_lets_sessions_end_by_themselves() {
    let fakes = Fakes::new(1);
    let _node = FakeNode::on(fakes.listen(1), "n1");
    let mut galeway = fakes.galeway(Settings::default());
    let mut session = crate::harness::Conn::app(galeway.addr(), LONG).unwrap();
    galeway.signal(Signal::TERM);
    draining(&galeway);
    wait_closed(galeway.addr());
    assert_eq!(session.one("SELECT @@wsrep_node_name").unwrap(), "n1", "sessions go on");
    assert!(galeway.wait(millis(300)).is_none(), "while there is one, so does the process");
    session.quit().unwrap();
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0), "{}", galeway.log());
    assert!(galeway.log().contains("\"stopped\""), "{}", galeway.log());
}

#[test]
fn sigint_without_sessions_ends_at_once() {
    let (_fakes, _data, mut galeway) = one("");
    galeway.signal(Signal::INT);
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0));
}

#[test]
fn what_is_left_after_shutdown_timeout_is_ended_and_told() {
    let (_fakes, _data, mut galeway) = one("shutdown_timeout = \"500ms\"");
    let mut client = raw(&galeway);
    let from = client.local_addr().ok();
    wait_service(&galeway, "active", 1);
    galeway.signal(Signal::TERM);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0));
    let event = access(&galeway, from);
    assert_eq!((&event["end"], &event["by"]), (&"shutdown".into(), &"galeway".into()), "{event}");
    assert!(galeway.log().contains("shutdown_timeout is over"), "{}", galeway.log());
}

#[test]
fn clients_that_the_kernel_has_accepted_before_the_signal_are_served() {
    let (_fakes, _data, mut galeway) = one("");
    // Stopped, it accepts nobody: they are in the listening socket's queue when it learns of the signal.
    galeway.signal(Signal::STOP);
    let clients: Vec<_> = (0..50).map(|_| raw(&galeway)).collect();
    galeway.signal(Signal::TERM);
    galeway.signal(Signal::CONT);
    for mut client in clients {
        let mut header = [0; 5];
        client.read_exact(&mut header).unwrap();
        assert_eq!(header[4], 10, "a greeting");
    }
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0), "{}", galeway.log());
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_fakes, _data, mut galeway) = one("shutdown_timeout = \"1h\"");
    let _session = connect(&galeway);
    galeway.signal(Signal::TERM);
    draining(&galeway);
    galeway.signal(Signal::TERM);
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0), "{}", galeway.log());
}

#[test]
fn a_client_that_waits_for_a_node_is_told_at_the_end() {
    let (fakes, _data) = Fakes::good(1);
    set_state(fakes.check(1), "1");
    let mut galeway =
        fakes.spawn(Settings { process: "shutdown_timeout = \"100ms\"", ..service("queue_timeout = \"1h\"") });
    until(LONG, "it runs", || (galeway.try_get("/api/status")?.1.contains("\"running\"")).then_some(()));
    let mut client = raw(&galeway);
    wait_service(&galeway, "queued", 1);
    galeway.signal(Signal::TERM);
    let mut packet = Vec::new();
    client.read_to_end(&mut packet).unwrap();
    assert!(String::from_utf8_lossy(&packet).contains("galeway: stopping"), "{packet:?}");
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0));
}

#[test]
fn signals_that_do_nothing_yet_end_nothing() {
    let (_fakes, _data, mut galeway) = one("");
    let session = connect(&galeway);
    for (signal, name) in [(Signal::HUP, "SIGHUP"), (Signal::USR1, "SIGUSR1")] {
        galeway.signal(signal);
        until(LONG, "it says so", || galeway.log().contains(name).then_some(()));
    }
    assert_eq!(greeted_by(&connect(&galeway)), "n1");
    wait_service(&galeway, "active", 1);
    drop(session);
}

/// It would end a process that writes to a connection whose reader has gone.
#[test]
fn a_broken_pipe_ends_no_process() {
    let (_fakes, _data, galeway) = one("");
    for _ in 0..20 {
        let mut client = TcpStream::connect(galeway.addr()).unwrap();
        client.set_write_timeout(Some(secs(5))).unwrap();
        let _ = client.write_all(&[0; 100_000]);
    }
    assert_eq!(greeted_by(&connect(&galeway)), "n1");
}

/// Who probes `/readyz` hears of the end first, and sends clients until it does.
#[test]
fn after_a_signal_clients_are_accepted_for_readiness_delay_while_readiness_fails_already() {
    let (_fakes, _data, mut galeway) = one("readiness_delay = \"3s\"");
    galeway.signal(Signal::TERM);
    draining(&galeway);
    // Both in the same delay: the listener is there while readiness fails.
    assert_eq!(greeted_by(&connect(&galeway)), "n1", "{}", galeway.log());
    assert_eq!(galeway.get("/readyz").0, 503);
    wait_closed(galeway.addr());
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0), "{}", galeway.log());
    let log = galeway.log();
    let at = |words: &str| log.find(words).unwrap_or_else(|| panic!("{words}: {log}"));
    assert!(at("not ready any more") < at("\"draining\"") && at("\"draining\"") < at("\"stopped\""), "{log}");
}

#[test]
fn a_second_signal_ends_the_readiness_delay_at_once() {
    let (_fakes, _data, mut galeway) = one("readiness_delay = \"1h\"\nshutdown_timeout = \"1h\"");
    let _session = connect(&galeway);
    galeway.signal(Signal::TERM);
    draining(&galeway);
    galeway.signal(Signal::TERM);
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0), "{}", galeway.log());
}
