//! What the evidence of one node comes to.

use super::{Answer, Evidence, Files, Live, NodeReport};
use crate::galera::files::{Gvwstate, Position, Uuid};

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Runs in a Primary component.
    Primary,
    /// Runs in a component without a quorum: `pc.bootstrap` can end that.
    NonPrimary,
    /// Runs, and is in no group at all.
    Outside,
    /// Runs, and cannot be read.
    Unreadable,
    /// Stopped in an orderly way.
    Stopped,
    /// Ended without one.
    Crashed,
    /// Nothing tells.
    Unknown,
}

/// What data it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    /// None of any cluster.
    Nothing,
    /// This much.
    Position(Uuid, u64),
    /// Nobody knows how much, perhaps of which history; why.
    Unknown(Option<Uuid>, String),
    /// Its own files speak against each other; how.
    Contradiction(String),
}

/// One node, judged.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) evidence: &'a Evidence,
    pub(super) state: State,
    pub(super) holds: Holds,
    pub(super) source: String,
    /// About its evidence: what was not used, and why.
    pub(super) notes: Vec<String>,
}

impl<'a> Node<'a> {
    pub(super) fn new(evidence: &'a Evidence) -> Self {
        let mut notes = Vec::new();
        let (state, holds, source) = match (&evidence.live, &evidence.files) {
            (Some(Live::Answered(answer)), files) => {
                if files.is_some() {
                    notes.push(format!("{}: it runs, so its own answer counts and its files do not.", evidence.name));
                }
                let (state, holds) = of_answer(answer);
                (state, holds, "its own answer".to_owned())
            }
            (Some(Live::Unreadable(why)), files) => {
                if files.is_some() {
                    notes.push(format!("{}: it runs, so its files are out of date and do not count.", evidence.name));
                }
                (State::Unreadable, Holds::Unknown(None, why.clone()), String::new())
            }
            (Some(Live::Silent(why)), None) => {
                let why = format!("it does not answer ({why}), and no file of it was given");
                (State::Unknown, Holds::Unknown(None, why), String::new())
            }
            (_, Some(files)) => of_files(files, &evidence.name, &mut notes),
            (None, None) => (State::Unknown, Holds::Unknown(None, "nothing of it was given".to_owned()), String::new()),
        };
        Self { evidence, state, holds, source, notes }
    }

    pub(super) fn name(&self) -> &'a str {
        &self.evidence.name
    }

    pub(super) fn is_primary(&self) -> bool {
        self.state == State::Primary
    }

    pub(super) fn answer(&self) -> Option<&'a Answer> {
        match &self.evidence.live {
            Some(Live::Answered(answer)) => Some(answer),
            _ => None,
        }
    }

    /// The files, where they count.
    fn files(&self) -> Option<&'a Files> {
        self.evidence.files.as_ref().filter(|_| matches!(self.evidence.live, None | Some(Live::Silent(_))))
    }

    /// Why a check of it got no answer.
    pub(super) fn silence(&self) -> Option<&'a str> {
        match &self.evidence.live {
            Some(Live::Silent(why)) => Some(why),
            _ => None,
        }
    }

    /// Why its answer says nothing of its state.
    pub(super) fn unreadable(&self) -> Option<&'a str> {
        match &self.evidence.live {
            Some(Live::Unreadable(why)) => Some(why),
            _ => None,
        }
    }

    pub(super) fn gvwstate(&self) -> Option<&'a Gvwstate> {
        self.files().and_then(|f| f.gvwstate.as_ref())
    }

    /// Its identity in the group, where something tells.
    pub(super) fn member(&self) -> Option<Uuid> {
        self.answer().and_then(|a| a.member).or(self.gvwstate().map(|g| g.my_uuid))
    }

    /// Its history as far as it is known; zero is none.
    pub(super) fn history(&self) -> Option<Uuid> {
        match &self.holds {
            Holds::Position(uuid, _) | Holds::Unknown(Some(uuid), _) => Some(*uuid).filter(|u| !u.is_zero()),
            Holds::Nothing | Holds::Unknown(None, _) | Holds::Contradiction(_) => None,
        }
    }

    pub(super) fn position(&self) -> Option<(Uuid, u64)> {
        match self.holds {
            Holds::Position(uuid, seqno) => Some((uuid, seqno)),
            _ => None,
        }
    }

    pub(super) fn safe(&self) -> Option<bool> {
        self.files()?.grastate.as_ref()?.safe_to_bootstrap
    }

    /// Whether the line `safe_to_bootstrap: 0` may stand in its file: an old version writes none.
    pub(super) fn may_need_safe(&self) -> bool {
        match self.files().and_then(|f| f.grastate.as_ref()) {
            Some(grastate) => grastate.safe_to_bootstrap == Some(false),
            None => true,
        }
    }

    pub(super) fn state_words(&self) -> String {
        let state = match self.state {
            State::Primary => "Primary",
            State::NonPrimary => "runs, non-Primary",
            State::Outside => "runs, in no group",
            State::Unreadable => "runs, unreadable",
            State::Stopped => "stopped",
            State::Crashed if self.holds == Holds::Nothing => "has no data",
            State::Crashed => "crashed",
            State::Unknown => "no answer",
        };
        state.to_owned()
    }

    /// Its row; `meaning` is filled by whoever knows what becomes of it.
    pub(super) fn report(&self, chosen: Option<(Uuid, u64)>, meaning: String) -> NodeReport {
        let position = self.position();
        let behind = match (chosen, position) {
            (Some((history, most)), Some((uuid, seqno))) if uuid == history => most.checked_sub(seqno),
            _ => None,
        };
        NodeReport {
            name: self.name().to_owned(),
            state: self.state_words(),
            uuid: self.history().map(|u| u.to_string()).unwrap_or_default(),
            seqno: position.map(|p| p.1),
            behind,
            safe_to_bootstrap: self.safe(),
            meaning,
            source: self.source.clone(),
        }
    }
}

fn of_answer(answer: &Answer) -> (State, Holds) {
    let state = match answer {
        Answer { primary: true, .. } => State::Primary,
        Answer { in_group: true, .. } => State::NonPrimary,
        _ => State::Outside,
    };
    let holds = match answer.position {
        Some(p) if p.uuid.is_zero() => Holds::Nothing,
        _ if answer.joiner => {
            Holds::Unknown(None, "it is in the middle of a state transfer (wsrep_local_state=1)".to_owned())
        }
        // It may end further than one that is further now.
        Some(Position { uuid, .. }) if answer.applying && !answer.primary => {
            let why = "it still applies what it has received (wsrep_local_recv_queue); ask again in a moment";
            Holds::Unknown(Some(uuid), why.to_owned())
        }
        Some(Position { uuid, seqno: Some(seqno) }) => Holds::Position(uuid, seqno),
        Some(Position { uuid, seqno: None }) => {
            Holds::Unknown(Some(uuid), "it runs and says no position (wsrep_last_committed)".to_owned())
        }
        None => Holds::Unknown(None, "it runs and says no history (wsrep_local_state_uuid)".to_owned()),
    };
    (state, holds)
}

fn of_files(files: &Files, name: &str, notes: &mut Vec<String>) -> (State, Holds, String) {
    let said = files.recovered.as_ref().map(|r| {
        let time = r.time.as_ref().map(|t| format!(" of {t}")).unwrap_or_default();
        (r.position, format!("its log, line {}{time}", r.line))
    });
    // An old position is no position, but what it speaks against is wrong all the same.
    let outdated = files.recovered.as_ref().and_then(|r| Some((r.line, r.outdated_by?)));
    if let Some((line, by)) = outdated {
        notes.push(format!(
            "{name}: the position in line {line} of its log does not count: line {by} shows that the server ran again \
             after it."
        ));
    }
    let grastate = files.grastate.as_ref().map(|g| g.position);
    let state = match grastate {
        Some(Position { seqno: Some(_), .. }) => State::Stopped,
        _ => State::Crashed,
    };
    let known = |p: Position, source: &str| match p.seqno {
        _ if p.uuid.is_zero() => (Holds::Nothing, source.to_owned()),
        Some(seqno) => (Holds::Position(p.uuid, seqno), source.to_owned()),
        None => {
            let why = "its grastate.dat says seqno -1: it crashed, or it runs".to_owned();
            (Holds::Unknown(Some(p.uuid), why), String::new())
        }
    };
    let against = |what: String| (Holds::Contradiction(what), String::new());
    let (holds, source) = match (grastate, said) {
        (None, None) => {
            (Holds::Unknown(None, "its gvwstate.dat names a view and no position".to_owned()), String::new())
        }
        (None, Some(_)) if outdated.is_some() => {
            (Holds::Unknown(None, "the only position of it is out of date".to_owned()), String::new())
        }
        (Some(g), None) => known(g, "its grastate.dat"),
        (None, Some((r, source))) if r.seqno.is_none() && !r.uuid.is_zero() => {
            (Holds::Unknown(Some(r.uuid), format!("{source} says -1")), String::new())
        }
        (None, Some((r, source))) => known(r, &source),
        (Some(g), Some((r, _))) if g.uuid.is_zero() && !r.uuid.is_zero() => against(format!(
            "its grastate.dat says that it has no history, its log says {r}. If a state transfer to it was interrupted \
             its data are useless: leave it out. If its grastate.dat was lost and made anew, leave that file out"
        )),
        (Some(g), Some((r, _))) if g.uuid != r.uuid => against(format!(
            "its grastate.dat says history {}, its log says {}: one of them is another node's, or from before it was \
             given other data",
            g.uuid, r.uuid
        )),
        (Some(g), Some((r, source))) => match (g.seqno, r.seqno) {
            (Some(stopped), Some(logged)) if logged > stopped => against(format!(
                "its grastate.dat says seqno {stopped} and its log {logged}: the files are of different times. Copy \
                 both anew"
            )),
            (Some(stopped), Some(logged)) if logged < stopped && outdated.is_none() => {
                notes
                    .push(format!("{name}: its grastate.dat ({stopped}) is newer than its log ({logged}) and counts."));
                known(g, "its grastate.dat")
            }
            (None, Some(_)) if outdated.is_none() => known(r, &source),
            _ => known(g, "its grastate.dat"),
        },
    };
    (state, holds, source)
}
