//! The sentences of the core's documentation, over thousands of invented histories.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::configured::configured;
use super::*;
use crate::galera::fitness::judge;
use crate::galera::node_state::Contact;
use crate::galera::{Departure, Fitness, Reason, Verdict};

pub(super) const NODES: u32 = 3;

/// One thing that happens, and how many milliseconds after the last.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    Check(u32, Seen),
    /// A new connection is taken, or not.
    Connect(u32, bool),
    Leave(u32, bool),
    /// A new configuration names the node, with this priority, or does not.
    Configure(u32, Option<u32>),
    /// It is found again, if it was forgotten.
    Found(u32),
    Forgotten(u32),
    Tick,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    Synced,
    SyncedFull,
    Donor,
    NonPrimary,
    Rejecting,
    NotGalera,
    TimedOut,
    Gone,
    Refused,
    Offline,
    NoEntry,
    NotMade,
}

impl Seen {
    pub(super) fn check(self) -> Check {
        match self {
            Self::Synced => synced(),
            Self::SyncedFull => answer(&[("threads_connected", "150")]),
            Self::Donor => donor(),
            Self::NonPrimary => non_primary(),
            Self::Rejecting => rejecting(),
            Self::NotGalera => answer(&[("wsrep_local_state", "")]),
            Self::TimedOut => timed_out(),
            Self::Gone => gone(),
            Self::Refused => refused(),
            Self::Offline => offline(),
            Self::NoEntry => full(),
            Self::NotMade => not_made(),
        }
    }
}

pub(super) fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        6 => Just(Seen::Synced),
        1 => Just(Seen::SyncedFull),
        2 => Just(Seen::Donor),
        1 => Just(Seen::NonPrimary),
        2 => Just(Seen::Rejecting),
        1 => Just(Seen::NotGalera),
        4 => Just(Seen::TimedOut),
        1 => Just(Seen::Gone),
        2 => Just(Seen::Refused),
        1 => Just(Seen::Offline),
        1 => Just(Seen::NoEntry),
        1 => Just(Seen::NotMade),
    ]
}

/// Each comes often in a row: that is what rise and fall are about.
pub(super) fn history() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let happening = prop_oneof![
        8 => (0..NODES, seen(), 1..4_usize).prop_map(|(id, seen, n)| vec![Happening::Check(id, seen); n]),
        // The same to all of them: rotated passwords and broken switches come so.
        2 => (seen(), 1..4_usize).prop_map(|(seen, n)| {
            (0..NODES).flat_map(|id| vec![Happening::Check(id, seen); n]).collect()
        }),
        3 => (0..NODES, any::<bool>(), 1..4_usize).prop_map(|(id, taken, n)| vec![Happening::Connect(id, taken); n]),
        1 => Just(vec![Happening::Tick]),
        1 => (0..NODES, any::<bool>()).prop_map(|(id, leaving)| vec![Happening::Leave(id, leaving)]),
        1 => (0..NODES, proptest::option::of(0..3_u32)).prop_map(|(id, named)| vec![Happening::Configure(id, named)]),
        1 => (0..NODES).prop_map(|id| vec![Happening::Forgotten(id)]),
        2 => (0..NODES).prop_map(|id| vec![Happening::Found(id)]),
    ];
    let gap = prop_oneof![4 => 0..300_u64, 1 => 300..8000_u64];
    proptest::collection::vec((gap, happening), 1..25)
        .prop_map(|runs| runs.into_iter().flat_map(|(gap, run)| run.into_iter().map(move |h| (gap, h))).collect())
}

pub(super) fn any_settings() -> impl Strategy<Value = Settings> {
    let donor = proptest::sample::select(vec![DonorRule::Never, DonorRule::LastResort, DonorRule::Always]);
    let down_after = proptest::sample::select(vec![0, 500, 6000_u64]);
    let donor_grace = proptest::sample::select(vec![0, 2000, 60_000_u64]);
    (1..4_u32, 1..4_u32, down_after, donor, any::<bool>(), any::<bool>(), donor_grace).prop_map(
        |(rise, fall, down_after, donor, kill_on_down, kill_on_donor, donor_grace)| Settings {
            donor_grace: Duration::from_millis(donor_grace),
            rise,
            fall,
            down_after: Duration::from_millis(down_after),
            donor,
            kill_on_down: kill_on_down || down_after == 500,
            kill_on_donor,
            ..super::settings()
        },
    )
}

/// What an onlooker with a pencil knows of one node, without the core's help.
#[derive(Debug, Clone, Default)]
struct Noted {
    ever_fit: bool,
    /// The last answer with rows was fit.
    fit: Option<bool>,
    /// Failures in a row, and when the first of them was.
    failures: u32,
    silent_since: u64,
    sure: bool,
    draining: bool,
    killed: bool,
    fit_since_kill: bool,
}

/// Runs a history and calls `look` after each step with the world before it, what happened, and its outcome.
pub(super) fn live(
    settings: Settings,
    history: &[(u64, Happening)],
    mut look: impl FnMut(&World, &World, &Happening, &Outcome) -> Result<(), TestCaseError>,
) -> Result<World, TestCaseError> {
    let mut world = World::new(NODES, settings);
    for (gap, happening) in history {
        let before =
            World { core: world.core.clone(), settings: world.settings.clone(), start: world.start, now: world.now };
        world.now += gap;
        let outcome = world.happen(happening);
        look(&before, &world, happening, &outcome)?;
    }
    Ok(world)
}

impl World {
    fn happen(&mut self, happening: &Happening) -> Outcome {
        match happening {
            Happening::Check(id, seen) => self.see(*id, seen.check()),
            Happening::Connect(id, taken) => self.step(super::entrances::attempt(*id, *taken, self.at())),
            Happening::Leave(id, leaving) => self.step(Event::Leaving(NodeId(*id), leaving.then_some(Departure::Name))),
            Happening::Configure(id, named) => self.step(Event::Configured(configured(*id, *named))),
            Happening::Found(id) => self.step(Event::Added(NodeId(*id), spec(*id, 0))),
            Happening::Forgotten(id) => self.step(Event::Removed(NodeId(*id))),
            Happening::Tick => self.pass(0),
        }
    }

    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        (0..NODES).map(|id| self.core.verdict(NodeId(id))).collect()
    }

    /// All that a snapshot is made of.
    fn routing(&self) -> impl PartialEq + use<> {
        let note = self.core.writer_note().map(str::to_owned);
        (self.verdicts(), self.core.writer(), self.core.donor_until, note, self.core.components())
    }

    fn all_silent(&self) -> bool {
        self.core.nodes.values().all(|e| matches!(e.state.contact, Contact::Silent | Contact::Never))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3000)))]

    #[test]
    fn who_serves_was_fit_when_it_was_last_seen(settings in any_settings(), history in history()) {
        let mut noted = vec![Noted::default(); NODES as usize];
        live(settings, &history, |_, world, happening, _| {
            if let Happening::Forgotten(id) = happening {
                noted[*id as usize] = Noted::default();
            }
            if let Happening::Check(id, seen) = happening
                && world.core.nodes.contains_key(&NodeId(*id))
            {
                let noted = &mut noted[*id as usize];
                match seen.check() {
                    Check::Answered(status) => {
                        let fit = judge(&status, world.settings.donor).0 > Fitness::None;
                        noted.fit = Some(fit);
                        noted.ever_fit |= fit;
                    }
                    Check::Unreadable(..) | Check::Offline(_) => noted.fit = Some(false),
                    _ => {}
                }
            }
            for (id, verdict) in world.verdicts().iter().enumerate() {
                if verdict.kind.serves() {
                    let leaving = world.core.nodes.get(&NodeId(super::id(id))).is_some_and(|e| e.leaving.is_some());
                    prop_assert!(!leaving, "node {} serves and its name is gone", id);
                    prop_assert!(noted[id].ever_fit, "node {} serves and was never fit", id);
                    prop_assert_eq!(noted[id].fit, Some(true), "node {} serves against its word", id);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_last_resort_serves_only_while_no_node_is_eligible(settings in any_settings(), history in history()) {
        live(settings, &history, |_, world, _, _| {
            let kinds: Vec<Kind> = world.verdicts().iter().map(|v| v.kind).collect();
            prop_assert!(!(kinds.contains(&Kind::LastResort) && kinds.contains(&Kind::Eligible)), "{:?}", kinds);
            Ok(())
        })?;
    }

    #[test]
    fn equal_histories_have_equal_outcomes_and_time_alone_changes_no_verdict(
        settings in any_settings(), history in history(), stretch in 1..50_u64
    ) {
        let mut outcomes = Vec::new();
        let mut verdicts = Vec::new();
        live(settings.clone(), &history, |before, world, happening, outcome| {
            if matches!(happening, Happening::Tick | Happening::Check(_, Seen::NotMade)) {
                prop_assert_eq!(before.verdicts(), world.verdicts());
            }
            // Who is there is no part of the verdicts.
            let of_nodes = matches!(happening, Happening::Configure(..) | Happening::Found(_) | Happening::Forgotten(_));
            prop_assert_eq!(outcome.publish, of_nodes || before.routing() != world.routing());
            outcomes.push(format!("{outcome:?}"));
            verdicts.push(world.verdicts());
            Ok(())
        })?;
        // Another process at another time.
        let mut again = outcomes.iter();
        live(settings.clone(), &history, |_, _, _, outcome| {
            prop_assert_eq!(Some(&format!("{outcome:?}")), again.next());
            Ok(())
        })?;
        // The same, slower.
        let slow: Vec<_> = history.into_iter().map(|(gap, h)| (gap * stretch, h)).collect();
        let mut again = verdicts.iter();
        live(settings, &slow, |_, world, _, _| {
            prop_assert_eq!(Some(&world.verdicts()), again.next());
            Ok(())
        })?;
    }

    #[test]
    fn fewer_than_fall_failures_change_nothing(settings in any_settings(), history in history()) {
        let mut failures = BTreeMap::new();
        live(settings, &history, |before, world, happening, outcome| {
            if let Happening::Forgotten(id) = happening {
                failures.remove(id);
            }
            let Happening::Check(id, seen) = happening else { return Ok(()) };
            match seen {
                Seen::TimedOut => *failures.entry(*id).or_insert(0) += 1,
                Seen::NotMade => return Ok(()),
                // One that is sure leaves nothing to fall from.
                Seen::Gone => { failures.insert(*id, 100); }
                _ => { failures.insert(*id, 0); }
            }
            let served = before.verdicts()[*id as usize].kind.serves();
            if served && *seen == Seen::TimedOut && failures[id] < world.settings.fall {
                prop_assert_eq!(before.verdicts(), world.verdicts());
                prop_assert!(orders(outcome).iter().all(|o| !o.ends_with(&id.to_string())), "{:?}", outcome);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_node_that_stopped_serves_again_only_after_rise_good_checks(
        settings in any_settings(), history in history()
    ) {
        let mut row = BTreeMap::new();
        live(settings, &history, |before, world, happening, _| {
            if let Happening::Forgotten(id) = happening {
                row.remove(id);
            }
            let Happening::Check(id, seen) = happening else { return Ok(()) };
            let node = |world: &World| world.core.nodes.get(&NodeId(*id)).map(|e| e.state.clone());
            let (Some(was), Some(is)) = (node(before), node(world)) else { return Ok(()) };
            match seen {
                Seen::Synced | Seen::SyncedFull | Seen::Donor => *row.entry(*id).or_insert(0) += 1,
                Seen::NotMade | Seen::NoEntry => {}
                _ => { row.insert(*id, 0); }
            }
            let settled = matches!(was.contact, Contact::Answers | Contact::Silent);
            if settled && was.fitness == Fitness::None && is.fitness > Fitness::None {
                prop_assert!(row[id] >= world.settings.rise, "after {}", row[id]);
            }
            if row.get(id).is_some_and(|n| *n > 2 * world.settings.rise) {
                prop_assert!(is.fitness > Fitness::None || world.settings.donor == DonorRule::Never, "never again");
            }
            Ok(())
        })?;
    }

    #[test]
    fn sessions_end_for_silence_only_when_it_is_the_nodes_own_and_long_enough(
        settings in any_settings(), history in history()
    ) {
        let mut noted = vec![Noted::default(); NODES as usize];
        // Since when the core is not blind, as the onlooker sees it.
        let mut blind = true;
        live(settings, &history, |_, world, happening, outcome| {
            if let Happening::Forgotten(id) = happening {
                noted[*id as usize] = Noted::default();
            }
            if let Happening::Check(id, seen) = happening
                && world.core.nodes.contains_key(&NodeId(*id))
            {
                let noted = &mut noted[*id as usize];
                match seen {
                    Seen::NotMade => {}
                    Seen::TimedOut | Seen::Gone => {
                        if noted.failures == 0 {
                            noted.silent_since = world.now;
                        }
                        noted.failures += 1;
                        noted.sure |= *seen == Seen::Gone;
                    }
                    _ => (noted.failures, noted.sure) = (0, false),
                }
            }
            if world.all_silent() {
                blind = true;
            } else if blind && !world.serving().is_empty() {
                blind = false;
                for n in &mut noted {
                    (n.silent_since, n.sure) = (n.silent_since.max(world.now), false);
                }
            }
            for effect in &outcome.effects {
                let Effect::Kill(id, reason) = effect else { continue };
                let noted = &noted[id.0 as usize];
                if matches!(reason, Reason::Unreachable(_)) {
                    prop_assert!(noted.failures > 0, "it answers");
                    prop_assert!(world.settings.kill_on_down);
                    prop_assert!(!blind, "nothing serves that could tell whose fault it is");
                    let silence = world.now - noted.silent_since;
                    let long = u128::from(silence) >= world.settings.down_after.as_millis();
                    prop_assert!(noted.sure || long, "after {} ms", silence);
                } else {
                    // Then it said so itself, just now or by what the others are: never while it rises.
                    let entry = &world.core.nodes[id];
                    prop_assert!(!entry.state.is_rising());
                    prop_assert_eq!(&entry.state.contact, &Contact::Answers);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn no_two_orders_contradict_each_other(settings in any_settings(), history in history()) {
        let mut noted = vec![Noted::default(); NODES as usize];
        live(settings, &history, |_, world, happening, outcome| {
            if let Happening::Forgotten(id) = happening {
                noted[*id as usize] = Noted::default();
            }
            if let Happening::Check(id, seen) = happening
                && matches!(seen, Seen::Synced | Seen::SyncedFull | Seen::Donor)
            {
                noted[*id as usize].fit_since_kill = true;
            }
            let mut ordered = Vec::new();
            for effect in &outcome.effects {
                let id = match effect {
                    Effect::Kill(id, _) | Effect::Drain(id, _) | Effect::Resume(id) => *id,
                    _ => continue,
                };
                prop_assert!(!ordered.contains(&id), "two orders at once: {:?}", outcome);
                ordered.push(id);
                let noted = &mut noted[id.0 as usize];
                match effect {
                    Effect::Kill(..) => {
                        prop_assert!(!noted.killed || noted.fit_since_kill, "killed twice");
                        (noted.killed, noted.fit_since_kill, noted.draining) = (true, false, false);
                    }
                    Effect::Drain(..) => {
                        prop_assert!(!noted.draining, "drains twice");
                        prop_assert!(!noted.killed || noted.fit_since_kill, "nobody is left to drain");
                        noted.draining = true;
                    }
                    Effect::Resume(_) => {
                        prop_assert!(noted.draining, "resumes without a drain");
                        noted.draining = false;
                    }
                    _ => {}
                }
            }
            for (id, verdict) in world.verdicts().iter().enumerate() {
                prop_assert!(!(verdict.kind.serves() && noted[id].draining), "node {} serves and drains", id);
                noted[id].fit_since_kill |= verdict.kind.serves();
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_tick_does_nothing_before_its_deadline_and_something_at_it(settings in any_settings(), history in history()) {
        let mut world = live(settings, &history, |_, world, _, _| {
            if let Some(at) = world.deadline() {
                let mut early = World {
                    core: world.core.clone(), settings: world.settings.clone(), start: world.start, now: world.now,
                };
                if at > early.now {
                    early.now = at - 1;
                    let outcome = early.pass(0);
                    prop_assert!(outcome.effects.is_empty() && !outcome.publish, "before its deadline");
                    early.now = at;
                    let outcome = early.pass(0);
                    prop_assert!(!outcome.effects.is_empty() || outcome.publish, "at its deadline");
                }
            }
            Ok(())
        })?;
        // It comes to an end: nobody spins.
        for _ in 0..=2 * NODES {
            let Some(at) = world.deadline() else { return Ok(()) };
            world.now = world.now.max(at);
            world.pass(0);
        }
        prop_assert_eq!(world.deadline(), None);
    }
}
