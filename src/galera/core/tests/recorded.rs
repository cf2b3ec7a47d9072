//! Balancers that share a record and do not see the same, and records of nodes that are not configured.

use proptest::prelude::*;

use super::group::{Tell, Watched};
use super::*;
use crate::galera::AdminState;
use crate::galera::agreement::{Reading, Row};

const NODES: usize = 4;

fn agreed() -> Settings {
    Settings { agreed: true, kill_on_demote: true, ..settings() }
}

/// What one balancer alone makes of a node, or sees of it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Own {
    Fit,
    Drained,
    Unreachable,
}

/// Two balancers, each with its own sight of the nodes, and the record that they share.
struct Two {
    both: [(Watched, [Own; NODES]); 2],
    row: Option<(Row, u64)>,
    /// The writers that were recorded, and when.
    changes: Vec<(Box<str>, u64)>,
    now: u64,
}

impl Two {
    fn new(own: [[Own; NODES]; 2]) -> Self {
        let both = own.map(|own| {
            let mut watched = Watched::new(NODES, Tell::Table, agreed());
            for (i, own) in own.iter().enumerate().filter(|(_, own)| **own == Own::Drained) {
                assert_eq!(*own, Own::Drained);
                watched.world.step(Event::Operator(NodeId(id(i)), AdminState::Drain));
            }
            (watched, own)
        });
        Self { both, row: None, changes: Vec::new(), now: 0 }
    }

    fn reading(&self) -> Reading {
        let row =
            |(row, at): &(Row, u64)| Reading::Row(Row { age: Duration::from_millis(self.now - at), ..row.clone() });
        self.row.as_ref().map_or(Reading::NoRow, row)
    }

    /// Time passes, and each of them looks at the nodes and at the record.
    fn pass(&mut self, millis: u64) {
        self.now += millis;
        for one in 0..2 {
            let reading = self.reading();
            let (watched, own) = &mut self.both[one];
            watched.world.now = watched.world.now.max(self.now);
            for (i, own) in own.iter().enumerate() {
                if *own == Own::Unreachable {
                    let outcome = watched.world.see(id(i), gone());
                    watched.effects.extend(outcome.effects);
                } else {
                    watched.check(i);
                }
            }
            let outcome = watched.world.step(Event::Recorded(reading));
            watched.effects.extend(outcome.effects);
            self.now = self.now.max(watched.world.now);
            for effect in std::mem::take(&mut watched.effects) {
                let Effect::Propose(proposal) = effect else { continue };
                if self.row.as_ref().map(|(row, _)| row.epoch) == proposal.epoch {
                    let epoch = proposal.epoch.unwrap_or(0) + 1;
                    self.changes.push((proposal.name.clone(), self.now));
                    let row = Row { epoch, uuid: proposal.uuid, name: proposal.name, age: Duration::ZERO };
                    self.row = Some((row, self.now));
                }
            }
            let reading = self.reading();
            self.both[one].0.world.step(Event::Recorded(reading));
        }
    }

    fn writers(&self) -> [Option<u32>; 2] {
        self.both.each_ref().map(|(watched, _)| watched.world.core.writer().map(|id| id.0))
    }
}

#[test]
fn a_third_node_that_suits_both_balancers_is_chosen_and_stays() {
    let mut own = [[Own::Fit; NODES]; 2];
    own[0][0] = Own::Drained;
    own[1][1] = Own::Drained;
    let mut two = Two::new(own);
    for _ in 0..60 {
        two.pass(5_000);
    }
    assert_eq!(two.writers(), [Some(2), Some(2)], "{:?}", two.changes);
    assert!(two.changes.len() <= 3, "{:?}", two.changes);
}

fn own() -> impl Strategy<Value = Own> {
    proptest::sample::select(vec![Own::Fit, Own::Fit, Own::Drained, Own::Unreachable])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn balancers_that_rule_out_different_nodes_come_to_one_that_suits_both(
        a in proptest::array::uniform4(own()), b in proptest::array::uniform4(own()), common in 0..NODES
    ) {
        let (mut a, mut b) = (a, b);
        (a[common], b[common]) = (Own::Fit, Own::Fit);
        let mut two = Two::new([a, b]);
        // One takeover in 30 s, and each rules out one more node.
        for _ in 0..(NODES * 3 + 2) {
            two.pass(10_000);
        }
        let settled = two.changes.len();
        let [one, other] = two.writers();
        prop_assert_eq!(one, other, "{:?}", two.changes);
        let writer = one.expect("a writer") as usize;
        prop_assert!(a[writer] == Own::Fit && b[writer] == Own::Fit, "{} of {:?}", writer, two.changes);
        for _ in 0..12 {
            two.pass(10_000);
        }
        prop_assert_eq!(two.changes.len(), settled, "{:?}", two.changes);
    }
}

// ---- a recorded writer that is not configured

/// Of this node in this life, changed so many seconds ago.
pub(super) fn row(epoch: u64, node: u32, life: u32, age: u64) -> Reading {
    let uuid = format!("{node:08x}-{life:04x}-11ef-8000-000000000000").into();
    Reading::Row(Row { epoch, uuid, name: format!("n{node}").into(), age: Duration::from_secs(age) })
}

fn proposed(outcome: &Outcome) -> Option<u32> {
    outcome.effects.iter().find_map(|e| if let Effect::Propose(p) = e { Some(p.node.0) } else { None })
}

/// A balancer whose configuration lacks the first of three nodes; the others are checked.
fn without_the_first(memory: Option<&super::super::Memory>) -> Watched {
    let mut watched = Watched::new(3, Tell::Table, agreed());
    watched.world = World::new(0, agreed());
    for i in 1..3 {
        watched.world.step(Event::Added(NodeId(i), spec(i, 0)));
    }
    if let Some(memory) = memory {
        watched.world.core.recall(&agreed(), memory);
    }
    (1..3).for_each(|i| watched.check(i));
    watched
}

#[test]
fn a_recorded_writer_that_was_ours_and_is_not_configured_any_more_hands_the_role_on() {
    let mut before = Watched::new(3, Tell::Table, agreed());
    before.world.step(Event::Recorded(row(5, 0, 0, 500)));
    let memory = before.world.core.memory();
    assert_eq!(memory.writer_member.as_ref().map(|(_, name)| &**name), Some("n0"));
    // Restarted in between, it has another UUID and the same name.
    for life in [0, 7] {
        let mut watched = without_the_first(Some(&memory));
        let young = watched.world.step(Event::Recorded(row(5, 0, life, 10)));
        assert_eq!(
            (proposed(&young), watched.world.core.writer()),
            (None, None),
            "another balancer may have moved it just now"
        );
        watched.world.now += 20_000;
        assert_eq!(proposed(&watched.world.step(Event::Recorded(row(5, 0, life, 30)))), Some(1));
    }
    // One that another balancer has, and this one never had.
    for memory in [None, Some(&memory)] {
        let mut watched = without_the_first(memory);
        watched.group.members.push(watched.group.members[0].clone());
        watched.group.crash(3);
        watched.group.settle();
        watched.group.start(3);
        (1..3).for_each(|i| watched.check(i));
        let outcome = watched.world.step(Event::Recorded(row(6, 3, 1, 500)));
        assert_eq!((proposed(&outcome), watched.world.core.writer()), (None, None));
        let note = watched.world.core.writer_note().unwrap();
        assert!(note.contains("add it to `nodes`, or move the writer by hand"), "{note}");
    }
}

#[test]
fn a_recorded_writer_that_never_answered_here_is_waited_for_no_longer_than_a_silent_one() {
    for (tell, check) in
        [(Tell::Table, timed_out()), (Tell::Auto, timed_out()), (Tell::Table, refused()), (Tell::Table, not_made())]
    {
        let mut watched = Watched::new(3, tell, agreed());
        watched.world = World::new(3, agreed());
        let look = |watched: &mut Watched| {
            for _ in 0..2 {
                watched.check(0);
                watched.check(1);
                watched.world.see(2, check.clone());
            }
        };
        look(&mut watched);
        watched.world.step(Event::Recorded(row(5, 2, 0, 500)));
        assert_eq!(watched.world.core.writer(), None, "{check:?}");
        watched.world.now += 5_000;
        look(&mut watched);
        assert_eq!(proposed(&watched.world.step(Event::Recorded(row(5, 2, 0, 505)))), None, "{check:?}");
        watched.world.now += 1_000;
        look(&mut watched);
        assert_eq!(proposed(&watched.world.step(Event::Recorded(row(5, 2, 0, 506)))), Some(0), "{check:?}");
    }
}
