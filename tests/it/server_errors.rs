//! What a server's error means for its node, in place of the greeting, in answer to the login, and to a query.

use crate::fakes::{FAST, Fakes, LONG, connect, greeted_by, service};
use crate::harness::{Galeway, Settings, until};
use crate::peer::{FakeNode, Mode, Peer};

fn two() -> (Fakes, Vec<Peer>, Galeway) {
    let (fakes, peers) = Fakes::good(2);
    let galeway = fakes.galeway(Settings { monitor: FAST, ..Settings::default() });
    (fakes, peers, galeway)
}

/// The check of n1 meets this from now on.
fn set(node: &FakeNode, mode: Mode) {
    node.set_mode(mode);
    node.cut_connections();
}

#[track_caller]
fn wait(galeway: &Galeway, verdict: &str, reason: &str) {
    until(LONG, &format!("n1 {verdict}: {reason}"), || {
        let n1 = galeway.node("n1");
        (n1["verdict"] == *verdict && n1["reason"].as_str().unwrap().starts_with(reason)).then_some(())
    });
}

/// Each code at its place, one after the other, with n1 well again in between.
#[track_caller]
fn excluded(cases: &[(Mode, &str)]) {
    let (fakes, _data, galeway) = two();
    for (mode, reason) in cases {
        set(fakes.check(1), mode.clone());
        wait(&galeway, "excluded", reason);
        set(fakes.check(1), Mode::Serve);
        wait(&galeway, "eligible", "Synced");
    }
}

fn greets(code: u16) -> Mode {
    Mode::GreetWithErr(code, "text".into())
}

fn refuses(code: u16) -> Mode {
    Mode::RefuseLogin(code, "text".into())
}

fn answers(code: u16) -> Mode {
    Mode::AnswerWithErr(code, "text".into())
}

#[test]
fn what_is_held_against_the_account_is_told_as_a_refused_login() {
    excluded(&[
        (greets(1130), "check's login refused (1130 text)"),
        (refuses(1045), "check's login refused (1045 text)"),
        (refuses(1524), "check's login refused (1524 text)"),
        (refuses(3118), "check's login refused (3118 text)"),
        (answers(1820), "check's login refused (1820 text)"),
    ]);
}

#[test]
fn offline_mode_is_a_veto_wherever_it_is_told() {
    excluded(&[
        (refuses(3032), "offline_mode=ON (3032 text)"),
        (refuses(6400), "offline_mode=ON (6400 text)"),
        (answers(3032), "offline_mode=ON (3032 text)"),
        (greets(3032), "offline_mode=ON (3032 text)"),
    ]);
}

/// One that is not known too: 65000 is no code of any server.
#[test]
fn everything_else_is_the_nodes_own_word() {
    excluded(&[
        (greets(1135), "unreachable (it answers: error 1135"),
        (greets(65000), "unreachable (it answers: error 65000"),
        (refuses(1053), "unreachable (it answers: error 1053"),
        (refuses(1105), "unreachable (it answers: error 1105"),
        (refuses(1290), "unreachable (it answers: error 1290"),
        (refuses(1043), "unreachable (it answers: error 1043"),
        (refuses(65000), "unreachable (it answers: error 65000"),
        (answers(1041), "unreachable (it answers: error 1041"),
        (answers(1047), "unreachable (it answers: error 1047"),
    ]);
}

#[test]
fn a_full_server_keeps_its_verdict() {
    let (fakes, _data, galeway) = two();
    for mode in [greets(1040), greets(1129), refuses(1203), answers(1226)] {
        let refusals = || galeway.metric("galeway_probe_failures_total", &[("node", "n1"), ("reason", "no_entry")]);
        let before = refusals();
        set(fakes.check(1), mode);
        until(LONG, "checks are turned away", || (refusals() >= before + 3.0).then_some(()));
        assert_eq!(galeway.node("n1")["verdict"], "eligible");
        fakes.check(1).set_mode(Mode::Serve);
        until(LONG, "it is checked again", || galeway.node("n1")["probe"]["error"].is_null().then_some(()));
    }
}

/// A session that was killed, or had been idle for too long, says nothing of its server: a new one does. A server that ends all
/// sessions ends one that comes meanwhile too (MySQL 9.7 that goes into offline mode, seen once).
#[test]
fn the_end_of_the_checks_session_is_not_the_servers() {
    let settings =
        Settings { monitor: "interval = \"100ms\"\nfast_interval = \"20ms\"\nfall = 1", ..Settings::default() };
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(settings);
    let changes = || galeway.metric("galeway_verdict_changes_total", &[("node", "n1"), ("reason", "unreachable")]);
    let before = changes();
    for (code, closes_next) in [1927, 3169, 4031, 1053].into_iter().flat_map(|code| [(code, false), (code, true)]) {
        let logins = fakes.check(1).logins();
        if closes_next {
            fakes.check(1).close_once();
        }
        fakes.check(1).err_once(code, "text");
        until(LONG, "it has logged in again", || (fakes.check(1).logins() > logins).then_some(()));
        until(LONG, "it is checked", || galeway.node("n1")["probe"]["error"].is_null().then_some(()));
        assert_eq!(
            (galeway.node("n1")["verdict"].as_str(), changes()),
            (Some("eligible"), before),
            "{code} {closes_next}"
        );
    }
}

/// Only who refuses new connections, or closes each, is gone for sure; who is silent may be busy.
#[test]
fn a_server_is_gone_for_sure_that_takes_no_connection_after_it_ended_the_checks_session() {
    for (mode, is_sure) in [(Mode::Close, true), (Mode::Reset, true), (Mode::HangNew, false)] {
        let (fakes, _data) = Fakes::good(2);
        let monitor =
            "interval = \"100ms\"\nfast_interval = \"20ms\"\ntimeout = \"300ms\"\nfall = 1000\ndown_after = \"1h\"";
        let galeway = fakes.galeway(Settings { monitor, ..service("balance = \"round-robin\"") });
        let kept = until(LONG, "a session there", || Some(connect(&galeway)).filter(|c| greeted_by(c) == "n1"));
        let killed = || galeway.node("n1")["connections"]["killed"].as_u64();
        let failed = || galeway.metric("galeway_probe_failures_total", &[("node", "n1")]);
        fakes.check(1).set_mode(mode.clone());
        fakes.check(1).err_once(1053, "text");
        until(LONG, "checks fail", || (failed() >= 3.0).then_some(()));
        if is_sure {
            until(LONG, "its session ends", || (killed() == Some(1)).then_some(()));
        }
        assert_eq!(killed(), Some(u64::from(is_sure)), "{mode:?}: {}", galeway.node("n1"));
        drop(kept);
    }
}
