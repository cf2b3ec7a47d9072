//! Invented clusters and invented time. Each test is one sentence about them.

mod cluster;
mod coming;
mod configured;
mod donor_grace;
mod entrances;
mod group;
mod groups;
mod lives;
mod orders;
mod planned;
mod properties;
mod recorded;
mod rival_properties;
mod rivals;
mod role;
mod rows;
mod servers;
mod settling;
mod split;
mod twins;
mod views;
mod waiting;
mod whole;

use std::time::{Duration, Instant};

use super::{Core, Effect, Event, Outcome, Settings, Spec};
use crate::galera::observation::{Check, LoginFailure, Observation, Unreachable};
use crate::galera::status::{NodeStatus, Rows};
use crate::galera::{DonorRule, Failback, Kind, NodeId, Sort, cases};

/// What a healthy node of MariaDB 10.11 with galera-4 26.4 answers, as far as it is read.
const SYNCED: &[(&str, &str)] = &[
    ("wsrep_on", "ON"),
    ("wsrep_local_state", "4"),
    ("wsrep_cluster_status", "Primary"),
    ("wsrep_connected", "ON"),
    ("wsrep_ready", "ON"),
    ("wsrep_cluster_state_uuid", "6c8a1b2e-0000-11ef-8000-000000000001"),
    ("wsrep_cluster_size", "3"),
    ("wsrep_reject_queries", "NONE"),
    ("wsrep_sst_donor_rejects_queries", "OFF"),
    ("wsrep_desync", "OFF"),
    ("read_only", "OFF"),
    ("threads_connected", "10"),
    ("max_connections", "151"),
];

/// Those rows with changes; an empty value takes the row away.
fn rows(changes: &[(&str, &str)]) -> Rows {
    let mut rows: Rows = SYNCED.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    for (name, value) in changes {
        if value.is_empty() {
            rows.remove(*name);
        } else {
            rows.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    rows
}

/// An answer with those rows.
fn answer(changes: &[(&str, &str)]) -> Check {
    match NodeStatus::from_rows(rows(changes)) {
        Ok(status) => Check::Answered(Box::new(status)),
        Err((why, rows)) => Check::Unreadable(why, rows),
    }
}

fn synced() -> Check {
    answer(&[])
}

fn donor() -> Check {
    answer(&[("wsrep_local_state", "2")])
}

fn non_primary() -> Check {
    answer(&[("wsrep_cluster_status", "non-Primary"), ("wsrep_ready", "OFF"), ("wsrep_local_state", "0")])
}

fn rejecting() -> Check {
    answer(&[("wsrep_reject_queries", "ALL")])
}

fn timed_out() -> Check {
    Check::Unreachable { why: Unreachable::TimedOut("query"), sure: false }
}

/// The kept connection was closed and the node refused a new one.
fn gone() -> Check {
    Check::Unreachable { why: Unreachable::Refused, sure: true }
}

fn refused() -> Check {
    Check::LoginRefused(LoginFailure { code: 1045, message: "Access denied".to_owned() })
}

fn offline() -> Check {
    Check::Offline(LoginFailure { code: 3032, message: "The server is currently in offline mode".to_owned() })
}

fn full() -> Check {
    Check::NoEntry(LoginFailure { code: 1040, message: "Too many connections".to_owned() })
}

fn not_made() -> Check {
    Check::NotMade("no descriptor".to_owned())
}

fn settings() -> Settings {
    Settings {
        rise: 2,
        fall: 2,
        down_after: Duration::from_secs(6),
        donor: DonorRule::LastResort,
        connection_margin: 2,
        max_recv_queue: None,
        max_flow_control_paused: None,
        kill_on_down: true,
        kill_on_donor: false,
        kill_on_demote: false,
        refuse_split_brain: false,
        state_uuid: None,
        failback: Failback::Never,
        donor_grace: Duration::ZERO,
        agreed: false,
        max_replication_lag: None,
    }
}

/// A node's number as its identity.
fn id(i: usize) -> u32 {
    u32::try_from(i).unwrap()
}

fn spec(id: u32, priority: u32) -> Spec {
    Spec {
        name: format!("n{id}").into(),
        priority,
        takes_clients: true,
        order: (id, 0),
        backup: false,
        sort: Sort::Member,
        is_found: false,
        is_stopgap: false,
    }
}

/// A cluster and its clock.
#[derive(Clone)]
struct World {
    core: Core,
    settings: Settings,
    start: Instant,
    /// Milliseconds since the start.
    now: u64,
}

impl World {
    fn new(nodes: u32, settings: Settings) -> Self {
        let mut world = Self { core: Core::new(), settings, start: Instant::now(), now: 0 };
        for id in 0..nodes {
            world.step(Event::Added(NodeId(id), spec(id, 0)));
        }
        world
    }

    /// Three nodes, all of them Synced and serving.
    fn healthy(settings: Settings) -> Self {
        let mut world = Self::new(3, settings);
        for id in 0..3 {
            world.see(id, synced());
        }
        assert!((0..3).all(|id| world.kind(id) == Kind::Eligible));
        world
    }

    fn at(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    fn step(&mut self, event: Event) -> Outcome {
        let now = self.at();
        self.core.step(&self.settings, now, event)
    }

    /// A check that begins and ends now.
    fn see(&mut self, id: u32, check: Check) -> Outcome {
        let begun = self.at();
        self.step(Event::Observed(NodeId(id), Observation { begun, check }))
    }

    /// The same check `times` times, 100 ms apart; all orders that it brought.
    fn see_often(&mut self, id: u32, check: &Check, times: u32) -> Vec<String> {
        (0..times)
            .flat_map(|_| {
                self.now += 100;
                orders(&self.see(id, check.clone()))
            })
            .collect()
    }

    fn pass(&mut self, millis: u64) -> Outcome {
        self.now += millis;
        self.step(Event::Tick)
    }

    fn kind(&self, id: u32) -> Kind {
        self.core.verdict(NodeId(id)).kind
    }

    fn reason(&self, id: u32) -> String {
        self.core.verdict(NodeId(id)).reason.to_string()
    }

    /// The nodes that serve.
    fn serving(&self) -> Vec<u32> {
        self.core.nodes.keys().map(|id| id.0).filter(|id| self.kind(*id).serves()).collect()
    }

    fn deadline(&self) -> Option<u64> {
        let at = self.core.deadline(&self.settings)?;
        Some(u64::try_from((at - self.start).as_millis()).unwrap())
    }
}

/// The orders of an outcome in a word each: `kill 0`, `drain 1`, `resume 2`.
fn orders(outcome: &Outcome) -> Vec<String> {
    outcome
        .effects
        .iter()
        .filter_map(|e| match e {
            Effect::Demote(id, _) => Some(format!("demote {}", id.0)),
            Effect::Kill(id, _) => Some(format!("kill {}", id.0)),
            Effect::Drain(id, _) => Some(format!("drain {}", id.0)),
            Effect::Resume(id) => Some(format!("resume {}", id.0)),
            _ => None,
        })
        .collect()
}
