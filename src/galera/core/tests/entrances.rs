//! Nodes whose check answers and that take no new connections.

use proptest::prelude::*;

use super::group::{Tell, Watched};
use super::properties::{Happening, NODES, any_settings, history, live};
use super::*;
use crate::galera::Reason;
use crate::galera::observation::{ConnectOutcome, NewConnection};

fn timed_out_greeting() -> ConnectOutcome {
    ConnectOutcome::Failed(Unreachable::TimedOut("greeting"))
}

/// An attempt that begins and ends then.
pub(super) fn attempt(id: u32, taken: bool, begun: Instant) -> Event {
    let outcome = if taken { ConnectOutcome::Taken } else { timed_out_greeting() };
    Event::NewConnection(NodeId(id), NewConnection { begun, outcome })
}

fn no_room() -> ConnectOutcome {
    ConnectOutcome::Full(LoginFailure { code: 1040, message: "Too many connections".to_owned() })
}

fn late() -> ConnectOutcome {
    ConnectOutcome::Late { step: "greeting", after: Duration::from_secs(4) }
}

/// Three nodes, all of them Synced; the first one writes.
fn watched(settings: Settings) -> Watched {
    let mut watched = Watched::new(3, Tell::Table, Settings { kill_on_demote: true, ..settings });
    watched.rounds(2);
    watched.effects.clear();
    watched
}

impl Watched {
    /// An attempt that begins and ends now; all nodes answer their checks afterwards. Returns the nodes that are to be tried too.
    fn connect(&mut self, id: u32, outcome: ConnectOutcome) -> Vec<u32> {
        let begun = self.world.at();
        let seen = NewConnection { begun, outcome };
        let outcome = self.world.step(Event::NewConnection(NodeId(id), seen));
        let tried = |e: &Effect| if let Effect::TryConnection(id) = e { Some(id.0) } else { None };
        let wanted = outcome.effects.iter().filter_map(tried).collect();
        self.effects.extend(outcome.effects);
        self.round();
        wanted
    }

    fn writer(&self) -> Option<u32> {
        self.world.core.writer().map(|id| id.0)
    }
}

#[test]
fn a_writer_that_takes_no_new_connections_loses_the_role_and_no_other_session() {
    let mut watched = watched(settings());
    assert_eq!(watched.connect(0, timed_out_greeting()), [1, 2], "the others have to prove themselves");
    assert_eq!(watched.connect(1, ConnectOutcome::Taken), [0; 0]);
    assert_eq!((watched.writer(), watched.serving()), (Some(0), vec![0, 1, 2]), "one lost packet moves nothing");
    assert_eq!(watched.connect(0, timed_out_greeting()), [2]);
    assert_eq!(watched.orders(), ["writer 1", "demote 0"], "its other sessions live on");
    assert_eq!(watched.serving(), [1, 2]);
    assert_eq!(watched.world.reason(0), "takes no new connections (no answer: greeting timed out)");
    assert_eq!(watched.world.core.verdict(NodeId(0)).reason.label(), "no_new_connections");
}

#[test]
fn it_comes_back_by_new_connections_alone_and_after_rise() {
    let mut watched = watched(settings());
    for outcome in [timed_out_greeting(), timed_out_greeting()] {
        watched.connect(0, outcome);
    }
    watched.connect(1, ConnectOutcome::Taken);
    watched.rounds(20);
    assert_eq!(watched.serving(), [1, 2], "its kept check has answered all the time");
    watched.connect(0, ConnectOutcome::Taken);
    watched.connect(0, timed_out_greeting());
    watched.connect(0, ConnectOutcome::Taken);
    assert_eq!(watched.serving(), [1, 2], "good attempts in a row");
    watched.connect(0, ConnectOutcome::Taken);
    assert_eq!((watched.serving(), watched.writer()), (vec![0, 1, 2], Some(1)));
}

#[test]
fn an_attempt_that_was_overtaken_by_a_good_one_says_nothing() {
    let mut watched = watched(settings());
    let begun = watched.world.at();
    watched.connect(1, ConnectOutcome::Taken);
    watched.connect(0, ConnectOutcome::Taken);
    for outcome in [timed_out_greeting(), timed_out_greeting(), late()] {
        watched.world.step(Event::NewConnection(NodeId(0), NewConnection { begun, outcome }));
    }
    assert_eq!(watched.serving(), [0, 1, 2]);
}

#[test]
fn where_no_node_takes_new_connections_the_fault_may_be_ours_and_nobody_loses_anything() {
    let mut watched = watched(settings());
    for _ in 0..2 {
        for id in [0, 1, 2] {
            watched.connect(id, timed_out_greeting());
        }
    }
    assert_eq!((watched.serving(), watched.writer()), (vec![0, 1, 2], Some(0)));
    assert_eq!(watched.orders(), [""; 0]);
    for id in 0..3 {
        assert_eq!(watched.world.kind(id), Kind::LastResort);
        let reason = watched.world.reason(id);
        assert!(reason.ends_with("(no answer: greeting timed out), last resort: no other node serves"), "{reason}");
    }
    // One of them proves that it was theirs.
    watched.connect(2, ConnectOutcome::Taken);
    watched.connect(2, ConnectOutcome::Taken);
    assert_eq!((watched.serving(), watched.writer()), (vec![2], Some(2)));
}

#[test]
fn the_proof_of_another_node_must_be_newer_than_the_failure() {
    let mut watched = watched(settings());
    watched.connect(1, ConnectOutcome::Taken);
    watched.connect(0, timed_out_greeting());
    watched.connect(0, timed_out_greeting());
    watched.connect(0, timed_out_greeting());
    assert_eq!(watched.writer(), Some(0), "it may be this host that cannot connect since then");
    watched.connect(2, ConnectOutcome::Taken);
    assert_eq!(watched.writer(), Some(1));
}

#[test]
fn a_node_that_is_alone_is_left_as_a_last_resort() {
    let mut watched = watched(settings());
    for id in [1, 2] {
        watched.group.stop(id);
    }
    watched.rounds(3);
    watched.effects.clear();
    watched.connect(0, timed_out_greeting());
    watched.connect(0, timed_out_greeting());
    assert_eq!((watched.world.kind(0), watched.writer()), (Kind::LastResort, Some(0)));
    assert_eq!(watched.orders(), [""; 0]);
}

#[test]
fn a_donor_serves_before_a_node_that_takes_no_new_connections() {
    let mut watched = watched(settings());
    watched.group.stop(2);
    watched.rounds(3);
    watched.group.members[1].state = 2;
    watched.rounds(2);
    watched.connect(0, timed_out_greeting());
    watched.connect(0, timed_out_greeting());
    watched.connect(1, ConnectOutcome::Taken);
    assert_eq!((watched.serving(), watched.writer()), (vec![1], Some(1)));
}

#[test]
fn a_server_that_is_full_keeps_the_role_unless_it_is_so_for_good() {
    let mut watched = watched(settings());
    for _ in 0..20 {
        watched.connect(0, no_room());
        watched.connect(1, ConnectOutcome::Taken);
        watched.pass(1000);
    }
    assert_eq!(watched.writer(), Some(0));
    // It took a connection meanwhile: it is busy, and works.
    watched.connect(0, ConnectOutcome::Taken);
    for _ in 0..20 {
        watched.connect(0, no_room());
        watched.pass(1000);
    }
    assert_eq!(watched.writer(), Some(0));
    for _ in 0..15 {
        watched.connect(0, no_room());
        watched.connect(1, ConnectOutcome::Taken);
        watched.pass(1000);
    }
    assert_eq!(watched.writer(), Some(1));
    assert_eq!(watched.world.reason(0), "takes no new connections (1040 Too many connections)");
}

#[test]
fn a_node_that_hangs_in_its_check_is_judged_by_that() {
    let mut watched = watched(settings());
    watched.group.freeze(0);
    watched.round();
    for _ in 0..3 {
        watched.connect(0, timed_out_greeting());
        watched.connect(1, ConnectOutcome::Taken);
    }
    assert_eq!(watched.writer(), Some(0), "it has down_after to answer again");
    watched.group.thaw(0);
    watched.rounds(3);
    assert_eq!(watched.serving(), [0, 1, 2]);
}

#[test]
fn a_node_that_is_late_serves_where_all_are() {
    let mut watched = watched(settings());
    for id in 0..3 {
        watched.group.freeze(id);
    }
    watched.rounds(3);
    assert_eq!(watched.serving(), [0; 0]);
    // Each logs in at last, and its check goes on with that connection.
    for id in 0..3 {
        watched.group.thaw(id);
    }
    let begun = watched.world.at();
    for id in [0, 1, 2] {
        watched.world.step(Event::NewConnection(NodeId(id), NewConnection { begun, outcome: late() }));
    }
    watched.rounds(2);
    assert_eq!(watched.serving(), [0, 1, 2]);
    for id in 0..3 {
        assert_eq!(watched.world.kind(id), Kind::LastResort);
        let reason = watched.world.reason(id);
        assert!(reason.starts_with("answers late (greeting timed out, done after 4.0 s): raise"), "{reason}");
        assert!(reason.contains("skip_name_resolve"), "{reason}");
    }
    // The next attempts miss the deadline in the same way: that is no news.
    watched.connect(0, timed_out_greeting());
    assert!(watched.world.core.verdict(NodeId(0)).reason.is_late());
    // One that is in time is better.
    watched.connect(1, ConnectOutcome::Taken);
    watched.connect(1, ConnectOutcome::Taken);
    assert_eq!(watched.serving(), [1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3000)))]

    #[test]
    fn a_node_is_passed_over_for_its_new_connections_only_where_another_has_taken_one_since(
        settings in any_settings(), history in history()
    ) {
        // When each node last took one, and since when it takes none.
        let mut noted = vec![(None, None::<u64>); NODES as usize];
        live(settings, &history, |_, world, happening, outcome| {
            if let Happening::Connect(id, taken) = happening {
                let (last, failing) = &mut noted[*id as usize];
                if *taken {
                    *last = Some(world.now);
                    // One that has taken some of `rise` is closed still, for what it met before.
                    *failing = failing.filter(|_| world.core.entrance(NodeId(*id)).is_closed);
                } else {
                    failing.get_or_insert(world.now);
                }
            }
            for effect in &outcome.effects {
                let Effect::Changed(change) = effect else { continue };
                let by_connections = matches!(change.to.reason, Reason::NoNewConnections(_));
                if by_connections && change.to.kind == Kind::Excluded && change.from.kind == Kind::Eligible {
                    let Some(since) = noted[change.node.0 as usize].1 else { continue };
                    let others = noted.iter().zip(0..).filter(|(_, id)| *id != change.node.0);
                    prop_assert!(others.filter_map(|((last, _), _)| *last).max() >= Some(since), "{:?}", noted);
                }
            }
            let ended = |e: &Effect| match e {
                Effect::Kill(_, reason) | Effect::Drain(_, reason) => reason.label() == "no_new_connections",
                _ => false,
            };
            prop_assert!(!outcome.effects.iter().any(ended), "{:?}", outcome);
            Ok(())
        })?;
    }
}
