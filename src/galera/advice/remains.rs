//! What the files of a node that does not run come to.

use super::Files;
use super::judge::{Holds, State};
use crate::galera::files::{Position, Recovered, Uuid};

/// What `grastate.dat` says.
#[derive(Clone, Copy)]
enum Saved {
    /// It was not given.
    Missing,
    /// A history of zeros. Galera writes it while a DDL is applied and while a full state transfer is received.
    Blank,
    /// A history, and a position of -1.
    Crashed(Uuid),
    /// The position of an orderly stop.
    Stopped(Uuid, u64),
    /// A position beside a `gvwstate.dat`, which an orderly stop removes. FLUSH TABLES WITH READ LOCK writes one while the
    /// node runs (seen on 26.4.23), and Galera before 3.24 left one in the file of a node that had been non-Primary and ran
    /// on (galera issue 499).
    Doubtful(Uuid, u64),
}

impl Saved {
    fn of(files: &Files) -> Self {
        let has_view = files.gvwstate.is_some() || files.gvwstate_damage.is_some();
        match files.grastate.as_ref().map(|g| g.position) {
            None => Self::Missing,
            Some(p) if p.uuid.is_zero() => Self::Blank,
            Some(Position { uuid, seqno: None }) => Self::Crashed(uuid),
            Some(Position { uuid, seqno: Some(seqno) }) if has_view => Self::Doubtful(uuid, seqno),
            Some(Position { uuid, seqno: Some(seqno) }) => Self::Stopped(uuid, seqno),
        }
    }

    fn history(self) -> Option<Uuid> {
        match self {
            Self::Missing | Self::Blank => None,
            Self::Crashed(uuid) | Self::Stopped(uuid, _) | Self::Doubtful(uuid, _) => Some(uuid),
        }
    }
}

const GRASTATE: &str = "its grastate.dat";

/// What it was doing, what it holds, and where that stands. `notes` are for the operator.
pub(super) fn judge(files: &Files, name: &str, notes: &mut Vec<String>) -> (State, Holds, String) {
    add_notes(files, name, notes);
    let saved = Saved::of(files);
    let state = if matches!(saved, Saved::Stopped(..)) { State::Stopped } else { State::Crashed };
    let log = files.recovered.as_ref();
    let source = log.map(log_source).unwrap_or_default();
    // An old position is no position, but what it speaks against is wrong all the same.
    if let Some(how) = contradiction(saved, log) {
        return (state, Holds::Contradiction(how), String::new());
    }
    let unknown = |uuid: Option<Uuid>, why: &str| (state, Holds::Unknown(uuid, why.to_owned()), String::new());
    if files.transfer_unfinished {
        return unknown(
            None,
            "a state transfer to it was interrupted (sst_in_progress is in its data directory): its data are a piece",
        );
    }
    let logged = log.filter(|log| log.outdated_by.is_none()).map(|log| log.position);
    match (saved, logged) {
        (Saved::Stopped(uuid, stopped), logged) => {
            if let Some(logged) = logged.and_then(|l| l.seqno).filter(|logged| *logged < stopped) {
                notes
                    .push(format!("{name}: its grastate.dat ({stopped}) is newer than its log ({logged}) and counts."));
            }
            (state, Holds::Position(uuid, stopped), GRASTATE.to_owned())
        }
        (Saved::Doubtful(uuid, saved), Some(Position { seqno: Some(logged), .. })) if logged < saved => {
            unknown(Some(uuid), &format!("its log says seqno {logged}, and its grastate.dat {saved}: the log is older"))
        }
        (_, Some(Position { uuid, seqno: Some(seqno) })) if !uuid.is_zero() => {
            if let Saved::Doubtful(_, saved) = saved
                && saved != seqno
            {
                notes.push(format!(
                    "{name}: its server would believe the old seqno {saved} in its grastate.dat: write `seqno: -1` there before \
                     it is started."
                ));
            }
            (state, Holds::Position(uuid, seqno), source)
        }
        (_, Some(position)) if position.uuid.is_zero() => (state, Holds::Nothing, source),
        (_, Some(position)) => unknown(Some(position.uuid), &format!("{source} says -1")),
        (Saved::Doubtful(uuid, saved), None) => unknown(
            Some(uuid),
            &format!(
                "its grastate.dat says seqno {saved} beside a gvwstate.dat, which an orderly stop removes: it crashed, and \
                 may have run on after that seqno was written"
            ),
        ),
        (Saved::Crashed(uuid), None) => unknown(Some(uuid), "its grastate.dat says seqno -1: it crashed, or it runs"),
        (Saved::Blank, None) => unknown(
            None,
            "its grastate.dat names no history (zeros): it crashed in a DDL, and its data may be the newest; or it crashed \
             in a state transfer; or it never was in a cluster",
        ),
        (Saved::Missing, None) if log.is_some() => unknown(None, "the only position of it is out of date"),
        (Saved::Missing, None) if files.gvwstate.is_some() => {
            unknown(None, "its gvwstate.dat names a view and no position")
        }
        (Saved::Missing, None) => unknown(None, "no file of it says a position"),
    }
}

fn log_source(log: &Recovered) -> String {
    let time = log.time.as_ref().map(|t| format!(" of {t}")).unwrap_or_default();
    format!("its log, line {}{time}", log.line)
}

fn add_notes(files: &Files, name: &str, notes: &mut Vec<String>) {
    if let Some(damage) = &files.gvwstate_damage {
        notes.push(format!(
            "{name}: its gvwstate.dat does not count: {damage}. A power cut leaves such a file, and an old Galera does not \
             start beside it (galera issue 354): remove it before that node is started."
        ));
    }
    if let Some((line, by)) = files.recovered.as_ref().and_then(|log| Some((log.line, log.outdated_by?))) {
        notes.push(format!(
            "{name}: the position in line {line} of its log does not count: line {by} shows that the server ran again \
             after it."
        ));
    }
}

/// How the files speak against each other.
fn contradiction(saved: Saved, log: Option<&Recovered>) -> Option<String> {
    let (history, log) = (saved.history()?, log?);
    if history != log.position.uuid {
        return Some(format!(
            "its grastate.dat says history {history}, its log says {}: one of them is another node's, or from before it was \
             given other data",
            log.position.uuid
        ));
    }
    match (saved, log.position.seqno) {
        (Saved::Stopped(_, stopped), Some(logged)) if logged > stopped => Some(format!(
            "its grastate.dat says seqno {stopped} and its log {logged}: the files are of different times. Copy both anew"
        )),
        _ => None,
    }
}
