//! The rules for servers that take writes beside each other, over invented histories.

use proptest::prelude::*;

use super::rivals::*;
use super::*;
use crate::galera::{AdminState, Reason, Scope};

fn any_server(id: u32) -> impl Strategy<Value = Server> {
    let channel = prop_oneof![1 => Just(None), 3 => (0..3_u32).prop_map(Some)];
    let io = prop_oneof![3 => Just(("Yes", 0)), 2 => Just(("Connecting", 2003)), 1 => Just(("No", 0)), 1 => Just(("No", 1236))];
    let sql = prop_oneof![4 => Just(("Yes", 0)), 1 => Just(("No", 0)), 2 => Just(("No", 1062))];
    let read_only = prop_oneof![2 => Just("OFF"), 1 => Just("ON")];
    (channel, io, sql, read_only, 0..100_u64).prop_map(move |(source, io, sql, read_only, lag)| {
        let source = source.filter(|source| *source != id);
        let lag = (io.0 == "Yes" && sql.0 == "Yes").then_some(lag);
        Server { id, read_only, source, io, sql, lag }
    })
}

#[derive(Debug, Clone)]
enum Happening {
    Answers(Server),
    Silent(u32, bool),
    Operator(u32, AdminState),
}

fn happening() -> impl Strategy<Value = Happening> {
    let operator = prop_oneof![Just(AdminState::Ready), Just(AdminState::Ready), Just(AdminState::Drain)];
    prop_oneof![
        6 => (0..3_u32).prop_flat_map(any_server).prop_map(Happening::Answers),
        2 => (0..3_u32, any::<bool>()).prop_map(|(id, sure)| Happening::Silent(id, sure)),
        1 => (0..3_u32, operator).prop_map(|(id, state)| Happening::Operator(id, state)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(3000)))]

    #[test]
    fn nobody_is_sent_to_a_server_that_lacks_what_others_hold(
        history in proptest::collection::vec((0..3000_u64, happening()), 1..40)
    ) {
        let lag = Some(Duration::from_secs(60));
        let mut world = servers(3, Settings { max_replication_lag: lag, failback: Failback::Immediate, ..settings() });
        let mut last: [Option<Server>; 3] = [None; 3];
        for (gap, what) in history {
            world.now += gap;
            let before = writer(&world);
            match what {
                Happening::Answers(server) => {
                    last[usize::try_from(server.id).unwrap()] = Some(server);
                    world.see(server.id, server.check());
                }
                Happening::Silent(id, sure) => {
                    world.see(id, if sure { gone() } else { timed_out() });
                }
                Happening::Operator(id, state) => {
                    world.step(Event::Operator(NodeId(id), state));
                }
            }
            // What the verdict and the role depend on is settled with the step, but for a failback from the writer of that step.
            let verdicts = |w: &World| (0..3).map(|id| w.core.verdict(NodeId(id))).collect::<Vec<_>>();
            if writer(&world) != before {
                world.step(Event::Tick);
            }
            let settled = (writer(&world), verdicts(&world));
            world.step(Event::Tick);
            prop_assert_eq!((writer(&world), verdicts(&world)), settled);

            let now = writer(&world);
            if let Some(server) = now.filter(|now| Some(*now) != before).and_then(|id| last[usize::try_from(id).unwrap()]) {
                prop_assert_eq!(server.read_only, "OFF");
                prop_assert!(server.source.is_none() || server.sql != ("No", 1062), "promoted with a failed applier");
            }
            for id in 0..3 {
                let verdict = world.core.verdict(NodeId(id));
                let Some(server) = last[usize::try_from(id).unwrap()].filter(|_| verdict.kind.serves()) else { continue };
                match verdict.scope {
                    Scope::Writers => prop_assert_eq!(now, Some(id), "it is for those who write, and is not the writer"),
                    Scope::All | Scope::Readers => {
                        let replicates = server.source.is_none() || server.sql.0 == "Yes";
                        prop_assert!(replicates, "read although nothing is applied: {:?}", verdict);
                    }
                }
                prop_assert!(verdict.scope != Scope::All || server.read_only == "OFF");
                // One that takes writes and gets nothing from the writer is read by nobody.
                let writes = now.and_then(|id| last[usize::try_from(id).unwrap()]).filter(|w| w.read_only == "OFF");
                let is_ready = |id: u32| world.core.admin(NodeId(id)) == AdminState::Ready;
                if let Some(writes) = writes.filter(|w| w.id != id && server.read_only == "OFF" && server.source.is_none())
                    && is_ready(id) && is_ready(writes.id) && world.core.answers(NodeId(writes.id))
                {
                    prop_assert!(false, "{} takes writes beside {} and is read", id, writes.id);
                }
            }
        }
    }

    #[test]
    fn circular_replication_always_has_a_writer_while_one_of_it_answers(
        history in proptest::collection::vec((0..3_u32, any::<bool>()), 1..40)
    ) {
        let all = [0, 1, 2].map(|id| Server::writable_replica(id, (id + 1) % 3));
        let mut world = of(&all, settings());
        let mut lives = [true; 3];
        for (id, comes) in history {
            let at = usize::try_from(id).unwrap();
            lives[at] = comes;
            for (other, lives) in (0..3).zip(lives) {
                let source_lives = lives && world.core.answers(NodeId((other + 1) % 3));
                let server = all[usize::try_from(other).unwrap()];
                let server = if source_lives { server } else { server.cut() };
                world.see_often(other, &if lives { server.check() } else { gone() }, 3);
            }
            // One that all were waited for gets its time anew.
            world.pass(6000);
            let any = lives.contains(&true);
            let serves = writer(&world).is_some_and(|id| world.kind(id).serves());
            prop_assert_eq!(serves, any, "{:?}: {:?}", lives, writer(&world));
            let apart = (0..3).any(|id| matches!(world.core.verdict(NodeId(id)).reason, Reason::Apart(_)));
            prop_assert!(!apart);
        }
    }
}
