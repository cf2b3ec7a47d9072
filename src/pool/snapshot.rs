//! The immutable picture of a cluster that every pick is made from.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::balance::schedule;
use super::node::Node;
use crate::config::{Endpoint, ReaderRule, Role, Target};
use crate::galera::{AdminState, ClusterState, Membership, NodeId, Scope, Verdict};

/// One node within a snapshot.
#[derive(Debug, Clone)]
pub struct Member {
    /// The node.
    pub node: Arc<Node>,
    /// Where to connect, the first that takes a connection; none while its name does not resolve.
    pub addresses: Arc<[Endpoint]>,
    /// Share of new sessions, 0 to 256; of a node that has just returned, its share for now.
    pub weight: u16,
    /// Its configured share.
    pub full_weight: u16,
    /// The larger is preferred as the writer.
    pub priority: u32,
    /// Where it is.
    pub zone: Arc<str>,
    /// It gets clients only while no other node serves.
    pub backup: bool,
    /// Sessions at once; `None` = as many as come.
    pub max_connections: Option<u32>,
    /// What the operator wants of it.
    pub admin: AdminState,
    /// Whether it may serve, and why.
    pub verdict: Verdict,
}

impl Member {
    /// New sessions may be sent here.
    pub fn serves(&self) -> bool {
        self.verdict.kind.serves() && self.is_open()
    }

    /// New sessions of writer services may be sent here, if it is the writer.
    fn serves_writers(&self) -> bool {
        self.verdict.serves_writers() && self.is_open()
    }

    fn is_open(&self) -> bool {
        self.admin == AdminState::Ready && self.weight > 0 && !self.addresses.is_empty()
    }

    /// Why nobody new is sent here, whatever the role; `None` where somebody may be.
    pub fn barred(&self) -> Option<String> {
        match self.admin {
            _ if self.serves() => None,
            AdminState::Drain => Some("drained by the operator".to_owned()),
            AdminState::Maintenance => Some("under maintenance".to_owned()),
            AdminState::Ready if self.verdict.kind.serves() && self.weight == 0 => Some("weight 0".to_owned()),
            AdminState::Ready => Some(self.verdict.reason.to_string()),
        }
    }

    /// It has all the sessions that it may have.
    pub fn is_full(&self) -> bool {
        self.max_connections.is_some_and(|most| self.node.is_full(most))
    }
}

/// What is known of the cluster beyond its single nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its verdict.
    pub state: ClusterState,
    /// The node that has the role, whether or not it serves at this moment.
    pub writer: Option<NodeId>,
    /// Why there is no writer, where the nodes' own reasons do not tell.
    pub writer_note: Option<String>,
    /// The nodes of each Primary component, the one that is served first.
    pub components: Vec<Vec<NodeId>>,
    /// By what components are told apart; `None` without one.
    pub membership: Option<Membership>,
    /// The history that may serve.
    pub history: Option<Box<str>>,
}

impl Standing {
    /// Of a cluster of which nothing is known.
    pub fn unknown() -> Self {
        Self {
            state: ClusterState::Unknown,
            writer: None,
            writer_note: None,
            components: Vec::new(),
            membership: None,
            history: None,
        }
    }
}

/// Which nodes a service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Their role.
    pub role: Role,
    /// Whether the writer is a reader as well.
    pub includes_writer: ReaderRule,
}

impl Wanted {
    /// Those of a service's target.
    pub fn of(target: &Target) -> Self {
        match target {
            Target::Cluster { role, includes_writer, .. } => Self { role: *role, includes_writer: *includes_writer },
            Target::Fixed(_) => Self { role: Role::Any, includes_writer: ReaderRule::Always },
        }
    }
}

/// A cluster at one moment.
#[derive(Debug)]
pub struct Pool {
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// All nodes, in the order of the configuration.
    pub members: Vec<Member>,
    /// The cluster as a whole.
    pub standing: Standing,
    /// The writer's index in `members`.
    writer: Option<usize>,
    /// Indices of members that serve, each as often as its weight says, evenly mixed.
    pub(super) turns: Vec<u16>,
}

impl Pool {
    /// A snapshot of these members.
    pub fn new(cluster: Arc<str>, members: Vec<Member>, standing: Standing) -> Self {
        let turns = schedule(&members);
        let writer = standing.writer.and_then(|id| members.iter().position(|m| m.node.id == id));
        Self { cluster, members, standing, writer, turns }
    }

    /// Whether this member has the role and serves. It may be full: then a client waits for it.
    pub fn fits(&self, index: usize, wanted: Wanted) -> bool {
        self.members.get(index).is_some_and(|member| self.suits(index, member, wanted))
    }

    /// The same where the member is at hand.
    pub(super) fn suits(&self, index: usize, member: &Member, wanted: Wanted) -> bool {
        let is_writer = self.writer == Some(index);
        let has_role = match (wanted.role, wanted.includes_writer) {
            // A client that does not say that it only reads may write, and may read.
            (Role::Any, _) => is_writer || member.verdict.scope == Scope::All,
            (Role::Writer, _) => is_writer,
            (Role::Reader, _) if member.verdict.scope == Scope::Writers => false,
            (Role::Reader, ReaderRule::Never) => !is_writer,
            // As a last resort it fits as well: after all others.
            (Role::Reader, ReaderRule::LastResort | ReaderRule::Always) => true,
        };
        has_role && if wanted.role == Role::Writer { member.serves_writers() } else { member.serves() }
    }

    /// The writer among readers that are wanted before it.
    pub(super) fn is_last_resort(&self, index: usize, wanted: Wanted) -> bool {
        wanted.role == Role::Reader && wanted.includes_writer == ReaderRule::LastResort && self.writer == Some(index)
    }

    /// Whether any node can be picked.
    pub fn can_route(&self, wanted: Wanted) -> bool {
        (0..self.members.len()).any(|i| self.fits(i, wanted))
    }

    /// Each node and why it cannot be picked; for a node that can, `otherwise` says what went wrong there.
    pub fn reasons(&self, wanted: Wanted, otherwise: impl Fn(&Node) -> Option<String>) -> Vec<String> {
        let reason = |(i, m): (usize, &Member)| {
            let why = match m.barred().filter(|_| !self.fits(i, wanted)) {
                Some(why) => why,
                None if self.fits(i, wanted) && m.is_full() => {
                    format!("full (max_connections = {})", m.max_connections.unwrap_or_default())
                }
                None if self.fits(i, wanted) => {
                    otherwise(&m.node).unwrap_or_else(|| format!("{}, not tried", m.verdict.reason))
                }
                None if wanted.role == Role::Any => format!("{}, for readers only", m.verdict.reason),
                // Its reason says so.
                None if m.verdict.scope == Scope::Writers => m.verdict.reason.to_string(),
                None if wanted.role == Role::Reader => format!("{}, the writer", m.verdict.reason),
                None => format!("{}, not the writer", m.verdict.reason),
            };
            format!("{}: {why}", m.node.name())
        };
        // Why nobody is the writer comes before why each single node is not.
        let note = self.standing.writer_note.clone().filter(|_| wanted.role == Role::Writer);
        note.into_iter().chain(self.members.iter().enumerate().map(reason)).collect()
    }
}

/// Tells of places that become free on the nodes of a cluster which have only so many.
#[derive(Debug, Default)]
pub struct Vacancies(pub(super) watch::Sender<u64>);

impl Vacancies {
    pub(super) fn tell(&self) {
        self.0.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// Where the current snapshot is found.
#[derive(Debug)]
pub struct PoolCell {
    current: ArcSwap<Pool>,
    generation: watch::Sender<u64>,
    vacancies: Arc<Vacancies>,
}

impl PoolCell {
    /// Starts with `pool`, whose nodes were made with these `vacancies`.
    pub fn new(pool: Pool, vacancies: Arc<Vacancies>) -> Self {
        Self { current: ArcSwap::from_pointee(pool), generation: watch::Sender::new(0), vacancies }
    }

    /// Hears of every place that becomes free on a node that has only so many.
    pub fn vacancies(&self) -> watch::Receiver<u64> {
        self.vacancies.0.subscribe()
    }

    /// The current snapshot. An owned one: a guard must not live across an await.
    pub fn load(&self) -> Arc<Pool> {
        self.current.load_full()
    }

    /// Replaces the snapshot and wakes who waits for a new one. Only the health room calls this.
    pub fn publish(&self, pool: Pool) {
        self.current.store(Arc::new(pool));
        self.generation.send_modify(|g| *g = g.wrapping_add(1));
    }

    /// Hears of every snapshot published after this call.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
