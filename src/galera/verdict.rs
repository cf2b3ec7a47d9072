//! What is decided about a node and about its cluster.

use super::NodeId;
use super::reason::Reason;

/// Whether a node may serve, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It serves.
    Eligible,
    /// It serves, since no better node does.
    LastResort,
    /// It gets nobody new.
    Excluded,
    /// Not yet checked; it gets nobody.
    Unknown,
}

impl Kind {
    /// New sessions may be sent there.
    pub fn serves(self) -> bool {
        matches!(self, Self::Eligible | Self::LastResort)
    }

    /// The word of the status and of log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::LastResort => "last-resort",
            Self::Excluded => "excluded",
            Self::Unknown => "unknown",
        }
    }
}

/// A load that keeps new sessions away from a node that may serve, as long as another one has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// `wsrep_local_recv_queue` rose above `max_recv_queue` and has not fallen below half of it since.
    RecvQueue,
    /// It sent flow control, and the share of time paused rose above `max_flow_control_paused`; as above.
    FlowControl,
}

impl Slow {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecvQueue => "its receive queue is above max_recv_queue",
            Self::FlowControl => "it holds the cluster up (max_flow_control_paused)",
        }
    }
}

/// Which roles a node may have, beside that of the writer, which one node has at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Any.
    All,
    /// It is for those who only read.
    Readers,
    /// It is for those who write, while it is the writer.
    Writers,
}

/// A decision and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub kind: Kind,
    /// Its reason.
    pub reason: Reason,
    /// For whom.
    pub scope: Scope,
    /// There is room for new sessions.
    pub room: bool,
    /// It lags behind.
    pub slow: Option<Slow>,
}

impl Verdict {
    /// Of a node that was not checked yet.
    pub fn unknown() -> Self {
        Self { kind: Kind::Unknown, reason: Reason::NotChecked, scope: Scope::All, room: true, slow: None }
    }

    /// New sessions of writer services may be sent there, if it is the writer.
    pub fn serves_writers(&self) -> bool {
        self.kind.serves() || matches!(self.reason, Reason::DonorWriter { .. })
    }
}

/// The cluster as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// A node answers and its component is Primary.
    Primary,
    /// Some node answers, none is Primary with the history that may serve.
    NoPrimary,
    /// Two Primary components live at once.
    SplitBrain,
    /// No node answers.
    Unknown,
}

impl ClusterState {
    /// The word of the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::NoPrimary => "no-primary",
            Self::SplitBrain => "split-brain",
            Self::Unknown => "unknown",
        }
    }
}

/// A change of one verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub node: NodeId,
    /// What it was.
    pub from: Verdict,
    /// What it is.
    pub to: Verdict,
}

impl Change {
    /// Whether more than the words changed: a dead node is refused now and times out then, and that is no news.
    pub fn is_of_substance(&self) -> bool {
        self.from.kind != self.to.kind || self.from.reason.label() != self.to.reason.label()
    }
}

/// What the operator wants of a node, apart from what it is observed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdminState {
    /// It serves if it can.
    #[default]
    Ready,
    /// Nobody new; sessions may end by themselves within `drain_timeout`.
    Drain,
    /// The same, for a node that is being worked on: what happens to it is no alarm.
    Maintenance,
}

impl AdminState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ready, Self::Drain, Self::Maintenance];

    /// The word of the command line, the API and the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maintenance => "maintenance",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}
