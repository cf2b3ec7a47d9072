//! An invented Galera group: who is truly in which component, and what each node would answer now.
//!
//! As the real one was seen to behave: a view is installed at all its members together; a member that is gone is
//! dropped seconds later (`settle`); a suspended node that goes on tells its old view until then; a node that was cut
//! off turns non-Primary and can be bootstrapped by hand.

use std::sync::Arc;

use super::*;
use crate::galera::{Listed, Members};

/// What the nodes tell of their membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// The table of members.
    Table,
    /// No grant for it; each node has its address.
    Addresses,
    /// No grant, `AUTO`.
    Auto,
    /// No grant, one address for all.
    Nat,
    /// No grant, some addresses are empty.
    Empty,
}

/// Why a node has not installed the view that the group delivered to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// Its provider is paused: a backup, FLUSH TABLES WITH READ LOCK.
    Paused,
    /// It applies a large transaction.
    Busy,
}

impl Late {
    fn state(self) -> u8 {
        if self == Self::Paused { 2 } else { 4 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LateView {
    why: Late,
    view: Vec<(usize, u32)>,
    conf_id: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) runs: bool,
    pub(super) frozen: bool,
    pub(super) isolated: bool,
    life: u32,
    pub(super) primary: bool,
    conf_id: u64,
    /// Indices and lives of its component, itself included.
    view: Vec<(usize, u32)>,
    pub(super) history: u32,
    pub(super) state: u8,
    /// `wsrep_reject_queries=ALL`.
    pub(super) vetoes: bool,
    /// It tells the view of an earlier moment.
    late: Option<LateView>,
}

impl Member {
    /// What it tells of itself.
    pub(super) fn told(&self) -> Self {
        let mut told = self.clone();
        if let Some(late) = &self.late {
            (told.view, told.conf_id, told.primary) = (late.view.clone(), late.conf_id, true);
            told.state = late.why.state();
        }
        told
    }

    /// Whether its view has this node in the life that `node` is.
    pub(super) fn lists(&self, i: usize, node: &Self) -> bool {
        self.view.contains(&(i, node.life))
    }

    /// Whether its view has this node in the life that `node` is, or a later one; or in any, where `node` tells a view that may be
    /// older than this one.
    pub(super) fn may_mean(&self, i: usize, node: &Self) -> bool {
        self.view.iter().any(|(member, life)| *member == i && (*life >= node.life || node.late.is_some()))
    }

    /// Its `wsrep_cluster_state_uuid`.
    pub(super) fn history_name(&self) -> String {
        format!("6c8a1b2e-0000-11ef-8000-{:012}", self.history)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) tell: Tell,
}

impl Group {
    pub(super) fn new(nodes: usize, tell: Tell) -> Self {
        let view: Vec<(usize, u32)> = (0..nodes).map(|i| (i, 0)).collect();
        let member = Member {
            runs: true,
            frozen: false,
            isolated: false,
            life: 0,
            primary: true,
            conf_id: 4,
            view,
            history: 1,
            state: 4,
            vetoes: false,
            late: None,
        };
        Self { members: vec![member; nodes], tell }
    }

    fn lives(&self, (i, life): (usize, u32)) -> bool {
        self.members[i].runs && self.members[i].life == life
    }

    /// Everybody of this view who hears it gets the next one.
    fn install(&mut self, view: &[(usize, u32)], conf_id: u64, primary: bool) {
        for &(i, life) in view {
            let member = &mut self.members[i];
            if member.runs && member.life == life && !member.frozen {
                (member.view, member.conf_id, member.primary) = (view.to_vec(), conf_id, primary);
                member.state = if primary { 4 } else { 0 };
            }
        }
    }

    pub(super) fn stop(&mut self, i: usize) {
        if !self.members[i].runs || self.members[i].frozen {
            return;
        }
        let Member { view, conf_id, primary, isolated, .. } = self.members[i].clone();
        self.members[i].runs = false;
        self.members[i].late = None;
        if primary && !isolated {
            let rest: Vec<_> = view.into_iter().filter(|(m, _)| *m != i).collect();
            self.install(&rest, conf_id + 1, true);
        }
    }

    /// It goes on telling the view that it has now.
    pub(super) fn delay(&mut self, i: usize, why: Late) {
        let Member { runs, frozen, primary, view, conf_id, late, .. } = &mut self.members[i];
        if *runs && !*frozen && *primary && late.is_none() {
            *late = Some(LateView { why, view: view.clone(), conf_id: *conf_id });
        }
    }

    pub(super) fn catch_up(&mut self, i: usize) {
        self.members[i].late = None;
    }

    /// All large transactions are applied.
    pub(super) fn commit(&mut self) {
        let busy = |m: &&mut Member| m.late.as_ref().is_some_and(|late| late.why == Late::Busy);
        self.members.iter_mut().filter(busy).for_each(|m| m.late = None);
    }

    /// It is restarted by mistake as a cluster of its own, with the history that it had.
    pub(super) fn rebootstrap(&mut self, i: usize) {
        let member = &mut self.members[i];
        (member.runs, member.frozen, member.isolated, member.late) = (true, false, true, None);
        member.life += 1;
        let alone = [(i, member.life)];
        self.install(&alone, 1, true);
    }

    pub(super) fn crash(&mut self, i: usize) {
        let member = &mut self.members[i];
        (member.runs, member.frozen, member.late) = (false, false, None);
    }

    /// Starts a node: it joins the first Primary component that is reachable.
    pub(super) fn start(&mut self, i: usize) {
        if self.members[i].runs {
            return;
        }
        let host = |m: &&Member| m.runs && m.primary && !m.frozen && !m.isolated;
        let Some(host) = self.members.iter().find(host).cloned() else { return };
        if host.view.iter().any(|(m, _)| *m == i) {
            // Its former life was not dropped yet.
            return;
        }
        let member = &mut self.members[i];
        (member.runs, member.frozen, member.isolated) = (true, false, false);
        member.life += 1;
        member.history = host.history;
        let mut view = host.view.clone();
        view.push((i, member.life));
        view.sort_unstable();
        self.install(&view, host.conf_id + 1, true);
    }

    pub(super) fn freeze(&mut self, i: usize) {
        self.members[i].frozen = self.members[i].runs;
    }

    /// It goes on. Where the others have not dropped it yet it hears what it has missed.
    pub(super) fn thaw(&mut self, i: usize) {
        if !std::mem::take(&mut self.members[i].frozen) {
            return;
        }
        let me = (i, self.members[i].life);
        let newest =
            self.members.iter().filter(|m| m.runs && m.primary && m.view.contains(&me)).max_by_key(|m| m.conf_id);
        if let Some(Member { view, conf_id, .. }) = newest.cloned() {
            (self.members[i].view, self.members[i].conf_id) = (view, conf_id);
        }
    }

    pub(super) fn isolate(&mut self, i: usize) {
        self.members[i].isolated = self.members[i].runs;
    }

    /// Galera's own timeouts pass: who is gone is dropped, who was dropped or cut off learns it.
    pub(super) fn settle(&mut self) {
        let gone = |g: &Self, m: (usize, u32)| !g.lives(m) || g.members[m.0].frozen || g.members[m.0].isolated;
        for i in 0..self.members.len() {
            let me = self.members[i].clone();
            if !me.runs || me.frozen {
                continue;
            }
            if me.isolated && me.view.len() > 1 {
                let alone = [(i, me.life)];
                self.install(&alone, me.conf_id, false);
                continue;
            }
            // Dropped by the others while it slept.
            let newer = |(m, life): &(usize, u32)| {
                let other = &self.members[*m];
                self.lives((*m, *life)) && other.conf_id > me.conf_id && !other.view.contains(&(i, me.life))
            };
            if me.primary && me.view.iter().any(newer) {
                self.install(&[(i, me.life)], me.conf_id, false);
                continue;
            }
            if !me.primary {
                continue;
            }
            let left: Vec<_> = me.view.iter().copied().filter(|m| m.0 == i || !gone(self, *m)).collect();
            if left.len() < me.view.len() {
                let quorum = left.len() * 2 > me.view.len();
                self.install(&left, me.conf_id + 1, quorum);
            }
        }
    }

    /// Who is not Primary and not cut off any more joins a Primary component again.
    pub(super) fn merge(&mut self, i: usize) {
        let me = self.members[i].clone();
        if !me.runs || me.frozen || me.primary {
            return;
        }
        self.members[i].isolated = false;
        let host = |m: &&Member| m.runs && m.primary && !m.frozen && !m.isolated && m.history == me.history;
        let Some(host) = self.members.iter().find(host).cloned() else { return };
        let mut view = host.view.clone();
        view.push((i, me.life));
        view.sort_unstable();
        view.dedup();
        self.install(&view, host.conf_id + 1, true);
    }

    /// `pc.bootstrap=true` on a node that is not Primary.
    pub(super) fn bootstrap(&mut self, i: usize) {
        let me = self.members[i].clone();
        if me.runs && !me.frozen && !me.primary {
            self.install(&[(i, me.life)], me.conf_id + 1, true);
        }
    }

    /// A new cluster of this one node, by mistake.
    pub(super) fn found(&mut self, i: usize) {
        let member = &mut self.members[i];
        (member.runs, member.frozen, member.isolated, member.late) = (true, false, true, None);
        member.life += 1;
        member.history += 1;
        let alone = [(i, member.life)];
        self.install(&alone, 1, true);
    }

    fn uuid((i, life): (usize, u32)) -> String {
        format!("{i:08x}-{life:04x}-11ef-8000-000000000000")
    }

    /// Whether it tells the view of an earlier moment.
    pub(super) fn is_late(&self, i: usize) -> bool {
        self.members[i].late.is_some()
    }

    /// Whether two nodes are truly in one Primary component now.
    pub(super) fn together(&self, a: usize, b: usize) -> bool {
        let sees = |x: usize, y: usize| self.members[x].view.contains(&(y, self.members[y].life));
        let primary = |x: usize| self.members[x].runs && self.members[x].primary;
        primary(a) && primary(b) && sees(a, b) && sees(b, a)
    }

    /// What a check of this node brings now.
    pub(super) fn check(&self, i: usize) -> Check {
        let me = &self.members[i].told();
        if me.frozen {
            return timed_out();
        }
        if !me.runs {
            return gone();
        }
        let queue = if me.late.as_ref().is_some_and(|late| late.why == Late::Busy) { "1" } else { "0" };
        let index = me.view.iter().position(|(m, _)| *m == i).unwrap_or(0);
        let entry = |m: usize| match self.tell {
            Tell::Table | Tell::Auto => "AUTO".to_owned(),
            Tell::Addresses => format!("10.0.0.{m}:3306"),
            Tell::Nat => "192.0.2.1:3306".to_owned(),
            Tell::Empty if m.is_multiple_of(2) => String::new(),
            Tell::Empty => format!("10.0.0.{m}:3306"),
        };
        let incoming = me.view.iter().map(|(m, _)| entry(*m)).collect::<Vec<_>>().join(",");
        let conf_id = if me.primary { me.conf_id } else { u64::MAX };
        let changes = [
            ("wsrep_cluster_status", if me.primary { "Primary" } else { "non-Primary" }.to_owned()),
            ("wsrep_ready", if me.primary { "ON" } else { "OFF" }.to_owned()),
            ("wsrep_local_state", me.state.to_string()),
            ("wsrep_reject_queries", if me.vetoes { "ALL" } else { "NONE" }.to_owned()),
            ("wsrep_cluster_size", me.view.len().to_string()),
            ("wsrep_cluster_weight", me.view.len().to_string()),
            ("wsrep_cluster_conf_id", conf_id.to_string()),
            ("wsrep_local_recv_queue", queue.to_owned()),
            ("wsrep_local_index", index.to_string()),
            ("wsrep_incoming_addresses", incoming),
            ("wsrep_gcomm_uuid", Self::uuid((i, me.life))),
            ("wsrep_node_name", format!("n{i}")),
            ("wsrep_cluster_state_uuid", me.history_name()),
        ];
        let changes: Vec<(&str, &str)> = changes.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let listed = |m: &(usize, u32)| Listed { uuid: Self::uuid(*m).into(), name: format!("n{}", m.0).into() };
        let members: Members = me.view.iter().map(listed).collect::<Vec<_>>().into();
        let members = (self.tell == Tell::Table && me.primary).then(|| Arc::clone(&members));
        match answer(&changes) {
            Check::Answered(status) => Check::Answered(Box::new(status.with_members(members))),
            other => other,
        }
    }
}

/// A world whose nodes are those of a group.
pub(super) struct Watched {
    pub(super) world: World,
    pub(super) group: Group,
    /// The effects since they were last asked for.
    pub(super) effects: Vec<Effect>,
}

impl Watched {
    pub(super) fn new(nodes: usize, tell: Tell, settings: Settings) -> Self {
        let group = Group::new(nodes, tell);
        let mut watched = Self { world: World::new(id(nodes), settings), group, effects: Vec::new() };
        // Each was heard while all others were known.
        watched.rounds(2);
        watched.effects.clear();
        watched
    }

    pub(super) fn check(&mut self, i: usize) {
        self.world.now += 10;
        let check = self.group.check(i);
        let outcome = self.world.see(id(i), check);
        self.effects.extend(outcome.effects);
    }

    /// Every node is checked once.
    pub(super) fn round(&mut self) {
        (0..self.group.members.len()).for_each(|i| self.check(i));
    }

    pub(super) fn rounds(&mut self, n: usize) {
        (0..n).for_each(|_| self.round());
    }

    pub(super) fn pass(&mut self, millis: u64) {
        let outcome = self.world.pass(millis);
        self.effects.extend(outcome.effects);
    }

    /// The orders since they were last asked for, and the alarms: `split`, `over`.
    pub(super) fn orders(&mut self) -> Vec<String> {
        let effects = std::mem::take(&mut self.effects);
        let alarms = effects.iter().filter_map(|e| match e {
            Effect::SplitBrain(Some(_)) => Some("split".to_owned()),
            Effect::SplitBrain(None) => Some("over".to_owned()),
            Effect::Writer { to, .. } => {
                Some(format!("writer {}", to.map_or("none".to_owned(), |to| to.0.to_string())))
            }
            _ => None,
        });
        let mut all: Vec<String> = alarms.collect();
        all.extend(orders(&Outcome { publish: false, effects }));
        all
    }

    pub(super) fn serving(&self) -> Vec<u32> {
        self.world.serving()
    }
}
