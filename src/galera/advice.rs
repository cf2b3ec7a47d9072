//! Which node to bootstrap after an outage, from what live nodes answer and dead ones have left in files.
//!
//! Text and numbers in, an [`Advice`] out: nothing here reads a file, asks a node or bootstraps anything.
//!
//! ```text
//!  evidence of each node ──► judge: state, history, position ──► Primary anywhere? ──► choice ──► words
//! ```
//!
//! What always holds (each sentence is a property test in `advice/tests/properties.rs` or `truth.rs`):
//!
//! * the node that is named holds all that any other holds, whatever happened to them (`advice/tests/truth.rs`);
//! * none is named while two histories are there;
//! * none is named while a node's position is unknown. A `grastate.dat` of zeros is no position: a crash in a DDL leaves it
//!   beside the newest data (galera's `saved_state.cpp` writes it while a DDL is applied; seen on 26.4.23);
//! * none is named while a node is Primary;
//! * the same evidence gives the same advice.
//!
//! A node that is named on the command line must be accounted for. To leave one out is the operator's word that its
//! data are lost: nothing else can tell a machine that burned from one that is cut off.

mod choice;
mod judge;
mod live;
mod primary;
mod remains;
mod words;

#[cfg(test)]
mod tests;

pub use live::{Answer, Live};

use super::files::{Grastate, Gvwstate, Recovered};

/// What is known of one node.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Unique among the nodes.
    pub name: String,
    /// What a check of it brought, where it was made.
    pub live: Option<Live>,
    /// Its files, where they were given.
    pub files: Option<Files>,
}

/// The files of one node, each at most once.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// `grastate.dat`.
    pub grastate: Option<Grastate>,
    /// `gvwstate.dat`.
    pub gvwstate: Option<Gvwstate>,
    /// A `gvwstate.dat` that is there and holds no view; what is wrong with it.
    pub gvwstate_damage: Option<String>,
    /// From the log of `--wsrep-recover`.
    pub recovered: Option<Recovered>,
    /// The data directory holds `sst_in_progress`, which a state transfer makes at its beginning and removes at its end.
    pub transfer_unfinished: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// In one word.
    pub verdict: Verdict,
    /// In one sentence.
    pub headline: String,
    /// What it rests on, or what forbids to name a node.
    pub why: Vec<String>,
    /// Every node, in the order given.
    pub nodes: Vec<NodeReport>,
    /// What is odd although it does not change the answer.
    pub warnings: Vec<String>,
    /// What must be made sure of before the first command.
    pub before: Vec<String>,
    /// What to run, in this order.
    pub steps: Vec<Step>,
    /// Whether it may look otherwise in a moment: live nodes contradict each other.
    pub may_pass: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Bootstrap the node of this name.
    Bootstrap(String),
    /// A component is Primary: nothing must be bootstrapped.
    Primary,
    /// Two components are Primary.
    SplitBrain,
    /// No node is safe to name.
    Refused,
}

impl Verdict {
    /// A constant word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bootstrap(_) => "bootstrap",
            Self::Primary => "primary",
            Self::SplitBrain => "split-brain",
            Self::Refused => "refused",
        }
    }
}

/// One node, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// What it is doing, in words.
    pub state: String,
    /// Its history; empty where there is none or it is unknown.
    pub uuid: String,
    /// Its position, where it is known.
    pub seqno: Option<u64>,
    /// How many transactions it is behind the node that was chosen.
    pub behind: Option<u64>,
    /// `safe_to_bootstrap`, where a file says.
    pub safe_to_bootstrap: Option<bool>,
    /// What that means for it.
    pub meaning: String,
    /// Where its position comes from.
    pub source: String,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What for, and where.
    pub title: String,
    /// Whole commands. Where they have labels, the one whose label fits.
    pub commands: Vec<Command>,
}

/// A line for a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// For which server or surroundings; empty = all.
    pub label: &'static str,
    /// The line.
    pub line: String,
}

/// What to do about these nodes.
pub fn advise(evidence: &[Evidence]) -> Advice {
    let nodes: Vec<judge::Node<'_>> = evidence.iter().map(judge::Node::new).collect();
    if nodes.iter().any(judge::Node::is_primary) { primary::advise(&nodes) } else { choice::advise(&nodes) }
}
