//! What an operator is told, evidence by evidence.

mod live;
mod properties;
mod refusals;
mod scenarios;
mod truth;

use super::*;
use crate::galera::files::{Position, Uuid};

/// The history of most nodes here.
const H: u8 = 0xaa;

fn uuid(first: u8) -> Uuid {
    Uuid::parse(&format!("{first:02x}000000-e58b-11f1-8220-62a9bfe79695")).unwrap()
}

fn at(history: u8, seqno: Option<u64>) -> Position {
    let uuid = if history == 0 { Uuid::ZERO } else { uuid(history) };
    Position { uuid, seqno }
}

fn grastate(position: Position, safe: bool) -> Files {
    Files { grastate: Some(Grastate { position, safe_to_bootstrap: Some(safe) }), ..Files::default() }
}

fn log(position: Position) -> Recovered {
    Recovered { position, line: 24, time: None, outdated_by: None }
}

fn of_files(name: &str, files: Files) -> Evidence {
    Evidence { name: name.into(), live: None, files: Some(files) }
}

/// Stopped in an orderly way.
fn stopped(name: &str, seqno: u64) -> Evidence {
    of_files(name, grastate(at(H, Some(seqno)), false))
}

/// The same, and the last to leave.
fn last(name: &str, seqno: u64) -> Evidence {
    of_files(name, grastate(at(H, Some(seqno)), true))
}

/// Killed, and its position not known yet.
fn crashed(name: &str) -> Evidence {
    of_files(name, grastate(at(H, None), false))
}

/// Killed, and its position read with --wsrep-recover.
fn recovered(name: &str, seqno: u64) -> Evidence {
    of_files(name, Files { recovered: Some(log(at(H, Some(seqno)))), ..grastate(at(H, None), false) })
}

/// Its `grastate.dat` is all that is known: zeros.
fn blank(name: &str) -> Evidence {
    of_files(name, grastate(at(0, None), false))
}

/// The same, with what --wsrep-recover says.
fn blank_but(name: &str, logged: Position) -> Evidence {
    of_files(name, Files { recovered: Some(log(logged)), ..grastate(at(0, None), false) })
}

/// Never had data.
fn fresh(name: &str) -> Evidence {
    blank_but(name, at(0, None))
}

/// With the last view of these members, of which it is the first.
fn remembering(mut evidence: Evidence, members: &[u8]) -> Evidence {
    let members: Vec<Uuid> = members.iter().map(|m| uuid(*m)).collect();
    let gvwstate = Gvwstate { my_uuid: members[0], view_id: "3 x 7".into(), members };
    evidence.files.get_or_insert_default().gvwstate = Some(gvwstate);
    evidence
}

fn answer(name: &str, seqno: u64, change: impl FnOnce(&mut Answer)) -> Evidence {
    let mut answer = Answer {
        client_options: format!("-h {name}"),
        in_group: true,
        position: Some(at(H, Some(seqno))),
        size: Some(1),
        provider_variables: Some(false),
        ..Answer::default()
    };
    change(&mut answer);
    Evidence { name: name.into(), live: Some(Live::Answered(Box::new(answer))), files: None }
}

fn non_primary(name: &str, seqno: u64) -> Evidence {
    answer(name, seqno, |_| {})
}

fn primary(name: &str, seqno: u64, size: u64) -> Evidence {
    answer(name, seqno, |a| {
        a.primary = true;
        a.in_group = false;
        a.size = Some(size);
    })
}

fn silent(mut evidence: Evidence) -> Evidence {
    evidence.live = Some(Live::Silent("connection refused".into()));
    evidence
}

fn gone(name: &str) -> Evidence {
    silent(Evidence { name: name.into(), ..Evidence::default() })
}

/// The name of the node to bootstrap.
#[track_caller]
fn named(advice: &Advice) -> &str {
    match &advice.verdict {
        Verdict::Bootstrap(name) => name,
        other => panic!("{other:?}: {advice:#?}"),
    }
}

/// Everything that is said, for a look whether it is.
fn all(advice: &Advice) -> String {
    let Advice { headline, why, warnings, before, .. } = advice;
    let mut lines: Vec<&str> = [why, warnings, before].into_iter().flatten().map(String::as_str).collect();
    lines.push(headline);
    lines.extend(advice.steps.iter().map(|s| s.title.as_str()));
    lines.join("\n")
}

fn commands(advice: &Advice) -> Vec<&str> {
    advice.steps.iter().flat_map(|s| &s.commands).map(|c| c.line.as_str()).collect()
}

#[track_caller]
fn says(advice: &Advice, what: &str) {
    assert!(all(advice).contains(what), "{what:?} is not in {advice:#?}");
}
