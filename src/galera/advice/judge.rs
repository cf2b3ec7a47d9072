//! What the evidence of one node comes to.

use super::remains;
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
    /// None of any cluster, and that for certain: a `grastate.dat` of zeros alone does not say so.
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
            (_, Some(files)) => remains::judge(files, &evidence.name, &mut notes),
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

    /// Whether its `grastate.dat` names no history. A position on the command line then counts for nothing.
    pub(super) fn has_blank_grastate(&self) -> bool {
        self.files().and_then(|f| f.grastate.as_ref()).is_some_and(|g| g.position.uuid.is_zero())
    }

    /// Whether its server takes the position that it recovers, or holds nothing that could be lost.
    pub(super) fn can_restore_its_view(&self) -> bool {
        let grastate = self.files().and_then(|f| f.grastate.as_ref()).map(|g| g.position);
        let crashed = grastate.is_some_and(|p| !p.uuid.is_zero() && p.seqno.is_none());
        self.holds == Holds::Nothing || (crashed && !self.has_unfinished_transfer())
    }

    /// Whether its `grastate.dat` holds a seqno that its log has overtaken.
    pub(super) fn has_stale_seqno(&self) -> bool {
        let saved = self.files().and_then(|f| f.grastate.as_ref()).and_then(|g| g.position.seqno);
        saved.is_some() && self.position().is_some_and(|(_, seqno)| saved != Some(seqno))
    }

    /// Whether it is stopped and no `grastate.dat` of it was given.
    pub(super) fn lacks_grastate(&self) -> bool {
        self.files().is_some_and(|f| f.grastate.is_none())
    }

    /// Whether a full state transfer to it has begun and never ended.
    pub(super) fn has_unfinished_transfer(&self) -> bool {
        self.files().is_some_and(|f| f.transfer_unfinished)
    }

    /// Whether it runs and says that it has no history, which its storage engine may have all the same.
    pub(super) fn runs_without_history(&self) -> bool {
        self.answer().is_some_and(|a| !a.joiner && a.position.is_some_and(|p| p.uuid.is_zero()))
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
        Some(p) if p.uuid.is_zero() && answer.primary => Holds::Nothing,
        _ if answer.joiner => {
            Holds::Unknown(None, "it is in the middle of a state transfer (wsrep_local_state=1)".to_owned())
        }
        // What a server says that was started on a blank grastate.dat, whatever its storage engine holds.
        Some(p) if p.uuid.is_zero() => Holds::Unknown(
            None,
            "it runs and says no history (a wsrep_local_state_uuid of zeros): it had crashed in a DDL or in a state \
             transfer, or never was in a cluster"
                .to_owned(),
        ),
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
