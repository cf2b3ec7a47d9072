//! Lives of an invented group: what can happen to it, and what an onlooker sees of that.

use proptest::prelude::*;

use super::configured::configured;
use super::group::{Group, Late, Member, Tell, Watched};
use super::*;
use crate::galera::{AdminState, Departure};

pub(super) const NODES: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Happening {
    Check(usize),
    Round,
    Pass(u64),
    Stop(usize),
    Crash(usize),
    Start(usize),
    Freeze(usize),
    Thaw(usize),
    Donor(usize),
    Synced(usize),
    Operator(usize, AdminState),
    /// Its name does not lead to it, or does again.
    Leave(usize, bool),
    /// A new configuration names the node, with this priority, or does not.
    Configure(usize, Option<u32>),
    /// It is not watched any more, or is again.
    Forgotten(usize),
    Discovered(usize),
    /// Galera's own timeouts pass.
    Settle,
    Merge(usize),
    // What people do wrong.
    Isolate(usize),
    Bootstrap(usize),
    Found(usize),
    Rebootstrap(usize),
    Delay(usize, Late),
    CatchUp(usize),
}

pub(super) use Happening::*;

pub(super) fn node() -> impl Strategy<Value = usize> {
    0..NODES
}

pub(super) fn late() -> impl Strategy<Value = Happening> {
    (node(), proptest::sample::select(vec![Late::Paused, Late::Busy])).prop_map(|(i, why)| Delay(i, why))
}

/// What can happen to any cluster.
pub(super) fn ordinary() -> impl Strategy<Value = Happening> {
    prop_oneof![
        10 => node().prop_map(Check),
        8 => Just(Round),
        2 => (0..7000_u64).prop_map(Pass),
        1 => node().prop_map(Stop),
        1 => node().prop_map(Crash),
        3 => node().prop_map(Start),
        1 => node().prop_map(Freeze),
        3 => node().prop_map(Thaw),
        1 => node().prop_map(Donor),
        2 => node().prop_map(Synced),
        3 => Just(Settle),
        1 => late(),
        2 => node().prop_map(CatchUp),
        2 => node().prop_map(Merge),
        1 => (node(), proptest::sample::select(AdminState::ALL.to_vec())).prop_map(|(i, state)| Operator(i, state)),
    ]
}

/// What is done to a cluster on an ordinary day, while some of its nodes make backups or apply large transactions.
pub(super) fn busy() -> impl Strategy<Value = Happening> {
    prop_oneof![
        10 => node().prop_map(Check),
        8 => Just(Round),
        3 => (0..30_000_u64).prop_map(Pass),
        1 => node().prop_map(Stop),
        3 => node().prop_map(Start),
        3 => late(),
        2 => node().prop_map(CatchUp),
    ]
}

/// And to one whose nodes are discovered.
pub(super) fn moving() -> impl Strategy<Value = Happening> {
    prop_oneof![
        30 => ordinary(),
        1 => (node(), any::<bool>()).prop_map(|(i, leaving)| Leave(i, leaving)),
        1 => (node(), proptest::option::of(0..3_u32)).prop_map(|(i, named)| Configure(i, named)),
        1 => node().prop_map(Forgotten),
        2 => node().prop_map(Discovered),
    ]
}

/// And what should not.
pub(super) fn anything() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => moving(),
        1 => node().prop_map(Isolate),
        1 => node().prop_map(Bootstrap),
        1 => node().prop_map(Found),
        1 => node().prop_map(Rebootstrap),
    ]
}

pub(super) fn life(of: impl Strategy<Value = Happening>) -> impl Strategy<Value = Vec<Happening>> {
    proptest::collection::vec(of, 1..40)
}

/// Tables and addresses tell for certain, the others do not.
pub(super) fn certain() -> impl Strategy<Value = Tell> {
    proptest::sample::select(vec![Tell::Table, Tell::Addresses])
}

pub(super) fn weak() -> impl Strategy<Value = Tell> {
    proptest::sample::select(vec![Tell::Auto, Tell::Nat, Tell::Empty])
}

pub(super) fn any_tell() -> impl Strategy<Value = Tell> {
    proptest::sample::select(vec![Tell::Table, Tell::Table, Tell::Addresses, Tell::Auto, Tell::Nat, Tell::Empty])
}

pub(super) fn rules() -> impl Strategy<Value = Settings> {
    let grace = proptest::sample::select(vec![0, 10, 60]);
    (any::<bool>(), any::<bool>(), 1..3_u32, grace).prop_map(|(refuse_split_brain, kill_on_demote, rise, grace)| {
        let donor_grace = Duration::from_secs(grace);
        Settings { refuse_split_brain, kill_on_demote, rise, donor_grace, ..settings() }
    })
}

impl Watched {
    pub(super) fn step(&mut self, event: Event) {
        let outcome = self.world.step(event);
        self.effects.extend(outcome.effects);
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        let group = &mut self.group;
        match happening {
            Check(i) => self.check(i),
            Round => self.round(),
            Pass(millis) => self.pass(millis),
            Stop(i) => group.stop(i),
            Crash(i) => group.crash(i),
            Start(i) => group.start(i),
            Freeze(i) => group.freeze(i),
            Thaw(i) => group.thaw(i),
            Donor(i) if group.members[i].primary => group.members[i].state = 2,
            Synced(i) if group.members[i].primary => group.members[i].state = 4,
            Donor(_) | Synced(_) => {}
            Operator(i, state) => self.step(Event::Operator(NodeId(id(i)), state)),
            Leave(i, leaving) => self.step(Event::Leaving(NodeId(id(i)), leaving.then_some(Departure::Name))),
            Configure(i, named) => self.step(Event::Configured(configured(id(i), named))),
            Forgotten(i) => self.step(Event::Removed(NodeId(id(i)))),
            Discovered(i) => self.step(Event::Added(NodeId(id(i)), spec(id(i), 0))),
            Settle => group.settle(),
            Merge(i) => group.merge(i),
            Isolate(i) => group.isolate(i),
            Bootstrap(i) => group.bootstrap(i),
            Found(i) => group.found(i),
            Rebootstrap(i) => group.rebootstrap(i),
            Delay(i, why) => group.delay(i, why),
            CatchUp(i) => group.catch_up(i),
        }
    }
}

/// What an onlooker remembers of the last answer of each node.
pub(super) type Notes = Vec<Option<Member>>;

/// Lives a life and calls `look` after each happening, with what was last heard of each node and the effects it brought.
pub(super) fn live(
    tell: Tell,
    settings: Settings,
    life: &[Happening],
    mut look: impl FnMut(&Watched, &Notes, Happening, &[Effect]) -> Result<(), TestCaseError>,
) -> Result<Watched, TestCaseError> {
    let mut watched = Watched::new(NODES, tell, settings);
    let heard = |group: &Group, i: usize| Some(group.members[i].told()).filter(|m| m.runs && !m.frozen);
    let mut notes: Notes = (0..NODES).map(|i| heard(&watched.group, i)).collect();
    for happening in life {
        watched.happen(*happening);
        for (i, note) in notes.iter_mut().enumerate() {
            if *happening == Round || *happening == Check(i) {
                *note = heard(&watched.group, i).or(note.take());
            }
        }
        let effects = std::mem::take(&mut watched.effects);
        look(&watched, &notes, *happening, &effects)?;
    }
    Ok(watched)
}

/// Whether one of two answers lists the other's node. A restarted node has another UUID and the same address: who lists
/// that address means the node that is there now, or an earlier life of it where it does not tell its latest view.
pub(super) fn know_each_other(tell: Tell, notes: &Notes, a: usize, b: usize) -> bool {
    let lists = |x: usize, y: usize| match (&notes[x], &notes[y]) {
        (Some(of), Some(node)) => of.lists(y, node) || tell == Tell::Addresses && of.may_mean(y, node),
        _ => false,
    };
    lists(a, b) || lists(b, a)
}

pub(super) fn pairs(serving: &[u32]) -> Vec<(usize, usize)> {
    let ids: Vec<usize> = serving.iter().map(|id| *id as usize).collect();
    ids.iter().flat_map(|a| ids.iter().filter(move |b| a < b).map(|b| (*a, *b))).collect()
}

/// No alarm, and no session ends on a node to which nothing happened.
pub(super) fn nothing_is_touched(tell: Tell, settings: Settings, life: &[Happening]) -> Result<(), TestCaseError> {
    let mut touched = [false; NODES];
    live(tell, settings, life, |watched, notes, happening, effects| {
        match happening {
            Stop(i) | Crash(i) | Freeze(i) | Rebootstrap(i) | Donor(i) | Operator(i, _) | Leave(i, _) => {
                touched[i] = true;
            }
            _ => {}
        }
        prop_assert!(!effects.iter().any(|e| matches!(e, Effect::SplitBrain(_))), "{:?}: {:?}", tell, effects);
        for effect in effects {
            let Effect::Kill(id, reason) = effect else { continue };
            let i = id.0 as usize;
            let lost_quorum = notes[i].as_ref().is_some_and(|m| !m.primary);
            prop_assert!(touched[i] || lost_quorum, "{:?}: {:?} {:?} in {:?}", tell, id, reason, watched.group);
        }
        Ok(())
    })?;
    Ok(())
}
