//! The record by which several balancers agree on one writer: a row that the cluster itself replicates.

use std::time::{Duration, Instant};

use super::NodeId;

/// Between two takeovers there is at least this time, whoever makes them: balancers that see different things must not
/// throw the role to and fro.
pub(super) const TAKEOVER_PAUSE: Duration = Duration::from_secs(30);

/// A takeover that was begun and not heard of again is begun anew after this time.
pub(super) const PROPOSAL_PATIENCE: Duration = Duration::from_secs(10);

/// A node that lost the role is the last choice for this long: balancers of which each rules out the other's choice would
/// throw the role to and fro although a third node suits both. Each takeover rules out one more node, so that a node that suits
/// all is met after as many takeovers as there are nodes: twenty at most, 30 s apart.
const LAST_CHOICE: Duration = Duration::from_secs(600);

/// The most nodes that are remembered for that.
const MOST_LAST_CHOICES: usize = 32;

/// The row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Rises with each change; 1 when the row was made.
    pub epoch: u64,
    /// The writer's `wsrep_gcomm_uuid` when it was written, in lower case.
    pub uuid: Box<str>,
    /// Its `wsrep_node_name`, which outlives a restart.
    pub name: Box<str>,
    /// How long ago it was written, by the server's clock.
    pub age: Duration,
}

/// What reading the record brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The row.
    Row(Row),
    /// The table has no row for this cluster.
    NoRow,
    /// It could not be read; why.
    Unreadable(String),
    /// It could be read, and a change that was wished for could not be made; why.
    Unwritten(String),
}

/// A wish to change the record, to be carried out only if its epoch is still this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The epoch that was read; `None`: there was no row.
    pub epoch: Option<u64>,
    /// The writer to be.
    pub node: NodeId,
    /// Its `wsrep_gcomm_uuid`.
    pub uuid: Box<str>,
    /// Its `wsrep_node_name`.
    pub name: Box<str>,
}

/// What is known of the record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// The last row that was read, and when it was written.
    pub(super) row: Option<(Row, Instant)>,
    /// It was read at least once.
    pub(super) known: bool,
    /// Why it cannot be read now.
    pub(super) trouble: Option<String>,
    /// Why it could not be changed at the last attempt.
    pub(super) unwritten: Option<String>,
    /// A proposal is under way since then.
    pub(super) proposed: Option<Instant>,
    /// `wsrep_node_name`s of nodes that lost the role, and when that was read.
    deposed: Vec<(Box<str>, Instant)>,
}

impl Record {
    pub(super) fn read(&mut self, reading: Reading, now: Instant) {
        self.proposed = None;
        match reading {
            Reading::Row(row) => {
                if self.row.as_ref().is_none_or(|(known, _)| known.epoch != row.epoch) {
                    self.unwritten = None;
                }
                if let Some((known, _)) = self.row.take_if(|(known, _)| known.name != row.name) {
                    self.deposed
                        .retain(|(name, at)| *name != known.name && now.saturating_duration_since(*at) < LAST_CHOICE);
                    if self.deposed.len() < MOST_LAST_CHOICES {
                        self.deposed.push((known.name, now));
                    }
                }
                let same = self.row.as_ref().filter(|(known, _)| known.epoch == row.epoch);
                let written = same.map_or_else(|| now.checked_sub(row.age).unwrap_or(now), |(_, at)| *at);
                self.row = Some((row, written));
                (self.known, self.trouble) = (true, None);
            }
            Reading::NoRow => {
                self.row = None;
                (self.known, self.trouble) = (true, None);
            }
            Reading::Unreadable(why) => self.trouble = Some(why),
            Reading::Unwritten(why) => self.unwritten = Some(why),
        }
    }

    /// Whether the node of this `wsrep_node_name` lost the role not long ago.
    pub(super) fn is_last_choice(&self, name: Option<&str>, now: Instant) -> bool {
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < LAST_CHOICE;
        self.deposed.iter().any(|(deposed, at)| Some(&**deposed) == name && is_recent(at))
    }

    /// When the role may change hands.
    pub(super) fn takeover_from(&self) -> Option<Instant> {
        // The first writer of all took it over from nobody.
        self.row.as_ref().filter(|(row, _)| row.epoch > 1).map(|(_, written)| *written + TAKEOVER_PAUSE)
    }
}
