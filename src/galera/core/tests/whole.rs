//! Sentences about the cluster as a whole, over thousands of lives of an invented group.
//!
//! Each was seen to fail with its rule taken out; the list stands in `docs/DESIGN.md`.

use proptest::prelude::*;

use super::group::{Group, Tell, Watched};
use super::lives::*;
use super::*;
use crate::galera::AdminState;
use crate::galera::agreement::{Reading, Row};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(3000),
        // Many lives end with nobody who could serve.
        max_global_rejects: 100 * cases(3000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_components_are_never_served(tell in certain(), settings in rules(), life in life(anything())) {
        live(tell, settings, &life, |watched, notes, _, _| {
            for (a, b) in pairs(&watched.serving()) {
                prop_assert!(know_each_other(tell, notes, a, b), "{} and {} serve: {:?}", a, b, notes);
            }
            Ok(())
        })?;
    }

    #[test]
    fn in_a_quiet_world_only_one_true_component_is_served(
        tell in any_tell(), settings in rules(), life in life(anything())
    ) {
        let mut watched = live(tell, settings, &life, |_, _, _, _| Ok(()))?;
        // No transaction takes for ever.
        watched.group.commit();
        // Sizes and indices tell of all components only where every member is heard.
        let deaf = !matches!(tell, Tell::Table | Tell::Addresses);
        prop_assume!(!deaf || watched.group.members.iter().all(|m| m.runs && !m.frozen));
        watched.rounds(5);
        watched.pass(25_000);
        watched.rounds(5);
        for (a, b) in pairs(&watched.serving()) {
            // Of two nodes whose providers are paused nothing tells that their common view is gone.
            let is_told = !(watched.group.is_late(a) && watched.group.is_late(b));
            prop_assert!(!is_told || watched.group.together(a, b), "{} and {}", a, b);
        }
    }

    #[test]
    fn who_serves_is_primary_and_of_the_one_history(tell in any_tell(), settings in rules(), life in life(anything())) {
        live(tell, settings, &life, |watched, notes, _, _| {
            let known = watched.world.core.memory().history;
            for id in watched.serving() {
                let note = notes[id as usize].as_ref().expect("it was heard of");
                prop_assert!(note.primary, "node {} is not Primary", id);
                prop_assert_eq!(known.as_deref(), Some(&*note.history_name()), "node {}", id);
            }
            Ok(())
        })?;
    }

    #[test]
    fn the_one_primary_component_is_served_whole(tell in certain(), settings in rules(), life in life(anything())) {
        let mut watched = live(tell, settings, &life, |_, _, _, _| Ok(()))?;
        for i in 0..NODES {
            watched.happen(Operator(i, AdminState::Ready));
            watched.happen(Leave(i, false));
            watched.happen(Discovered(i));
            watched.happen(CatchUp(i));
            watched.group.thaw(i);
        }
        (0..4).for_each(|_| watched.group.settle());
        let members = watched.group.members.clone();
        let primary: Vec<usize> = (0..NODES).filter(|i| members[*i].runs && members[*i].primary).collect();
        let together = |a: &usize| primary.iter().all(|b| watched.group.together(*a, *b));
        prop_assume!(!primary.is_empty() && primary.iter().all(together));
        primary.iter().for_each(|i| watched.group.members[*i].state = 4);
        watched.rounds(6);
        watched.pass(25_000);
        watched.rounds(6);
        let known = watched.world.core.memory().history;
        prop_assume!(known.as_deref() == Some(&*members[primary[0]].history_name()));
        prop_assert_eq!(watched.serving(), primary.iter().map(|i| id(*i)).collect::<Vec<_>>(), "{:?}", members);
    }

    #[test]
    fn a_node_bootstrapped_anew_touches_no_session_of_the_majority(
        tell in any_tell(), settings in rules(), which in node(), is_seen_down in any::<bool>(),
        between in proptest::collection::vec(node(), 0..8), drops_after in 0..8_usize,
    ) {
        let mut watched = Watched::new(NODES, tell, settings);
        watched.group.crash(which);
        if is_seen_down {
            watched.round();
        }
        watched.group.rebootstrap(which);
        between.iter().for_each(|i| watched.check(*i));
        for round in 0..12 {
            if round == drops_after {
                watched.group.settle();
            }
            watched.round();
            watched.pass(3000);
            prop_assert!(!watched.serving().contains(&id(which)), "{:?}: {:?}", tell, watched.serving());
        }
        let refuses = watched.world.settings.refuse_split_brain;
        let others: Vec<u32> = (0..id(NODES)).filter(|i| *i != id(which)).collect();
        prop_assert!(refuses || watched.serving() == others, "{:?}", watched.serving());
        let orders = watched.orders();
        let touches = |o: &String| o.starts_with("kill") && !o.ends_with(&format!(" {which}"));
        prop_assert!(refuses || !orders.iter().any(touches), "{:?}: {:?}", tell, orders);
        prop_assert!(orders.contains(&"split".to_owned()), "{:?}: {:?}", tell, orders);
    }

    #[test]
    fn sizes_alone_end_no_session_and_raise_no_alarm_in_the_first_20_s(
        tell in weak(), settings in rules(), life in life(moving())
    ) {
        let passes = |h: &Happening| if let Pass(millis) = h { *millis } else { 0 };
        prop_assume!(life.iter().map(passes).sum::<u64>() < 18_000);
        nothing_is_touched(tell, settings, &life)?;
    }

    #[test]
    fn joins_and_leaves_beside_busy_and_paused_nodes_are_never_a_split(
        tell in any_tell(), settings in rules(), life in life(busy())
    ) {
        nothing_is_touched(tell, settings, &life)?;
    }

    #[test]
    fn a_donor_never_serves_beside_a_synced_node(tell in any_tell(), settings in rules(), life in life(anything())) {
        live(tell, settings, &life, |watched, notes, _, _| {
            let ready = |id: &&u32| watched.world.core.admin(NodeId(**id)) == AdminState::Ready;
            let states: Vec<u8> = watched.serving().iter().filter(ready).filter_map(|id| Some(notes[*id as usize].as_ref()?.state)).collect();
            prop_assert!(!(states.contains(&2) && states.contains(&4)), "{:?}", states);
            Ok(())
        })?;
    }

    #[test]
    fn joins_leaves_crashes_and_pauses_are_no_split_and_end_no_session_elsewhere(tell in certain(), settings in rules(), life in life(moving())) {
        nothing_is_touched(tell, settings, &life)?;
    }

    #[test]
    fn while_another_node_is_fit_there_is_a_writer_that_serves(
        tell in any_tell(), settings in rules(), priorities in proptest::collection::vec(0..3_u32, NODES),
        failback in proptest::sample::select(vec![Failback::Never, Failback::Immediate, Failback::After(Duration::from_secs(3))]),
        life in life(anything())
    ) {
        let settings = Settings { failback, ..settings };
        let mut watched = Watched::new(NODES, tell, settings.clone());
        watched.world.core = Core::new();
        for (id, priority) in (0..).zip(priorities) {
            watched.world.step(Event::Added(NodeId(id), spec(id, priority)));
        }
        watched.round();
        // Since when each node is fit to be the writer, and since when this writer takes no writers.
        let mut fit_since = [None; NODES];
        let mut idle_since: Option<(NodeId, u64)> = None;
        for happening in life {
            watched.effects.clear();
            watched.happen(happening);
            let core = &watched.world.core;
            let open = |id: u32| {
                let verdict = core.shown_verdict(&settings, NodeId(id));
                let takes = if core.writer() == Some(NodeId(id)) { verdict.serves_writers() } else { verdict.kind.serves() };
                takes && core.admin(NodeId(id)) == AdminState::Ready
            };
            let any = (0..id(NODES)).any(open);
            for effect in &watched.effects {
                if let Effect::Writer { from, to: Some(to), .. } = effect
                    && Some(effect) == watched.effects.iter().rfind(|e| matches!(e, Effect::Writer { .. }))
                {
                    // A round is several steps: what it was within them is not seen from here.
                    let lost = happening == Round || from.is_none_or(|from| !open(from.0));
                    prop_assert!(open(to.0) || happening == Round, "{:?} became the writer and cannot serve", to);
                    prop_assert!(lost || failback != Failback::Never, "{:?}", effect);
                }
            }
            let Some(writer) = core.writer() else {
                prop_assert!(!any, "nobody writes though somebody serves");
                continue;
            };
            let now = watched.world.now;
            for (i, since) in (0..).zip(&mut fit_since) {
                *since = open(i).then(|| since.unwrap_or(now));
            }
            idle_since = (!open(writer.0)).then(|| idle_since.filter(|(id, _)| *id == writer).unwrap_or((writer, now)));
            prop_assert!(idle_since.is_none() || !any || core.admin(writer) == AdminState::Ready, "it is drained");
            let overdue = |since: Option<u64>| since.is_some_and(|since| now - since >= 6_000);
            prop_assert!(!(overdue(idle_since.map(|(_, since)| since)) && fit_since.into_iter().any(overdue)), "{:?}", core.nodes[&writer].state);
        }
    }

    #[test]
    fn a_writer_that_is_a_donor_keeps_its_role_for_the_grace(
        tell in certain(), settings in rules(), life in life(moving())
    ) {
        // Since when each node was heard as a donor.
        let mut donor_since = [None; NODES];
        live(tell, settings, &life, |watched, notes, happening, effects| {
            let core = &watched.world.core;
            for (i, since) in donor_since.iter_mut().enumerate() {
                // One good answer does not count yet.
                if watched.world.kind(id(i)) == Kind::Eligible {
                    *since = None;
                } else if notes[i].as_ref().is_some_and(|m| m.state == 2) {
                    since.get_or_insert(watched.world.now);
                }
            }
            for effect in effects {
                let Effect::Writer { from: Some(from), .. } = effect else { continue };
                let Some(entry) = core.nodes.get(from).filter(|e| e.is_open()) else { continue };
                let heard = entry.state.contact == crate::galera::node_state::Contact::Answers;
                let donates = matches!(core.verdict(*from).reason, crate::galera::Reason::Donor { .. });
                let since = donor_since[from.0 as usize].filter(|_| heard && donates && happening != Round);
                let grace = watched.world.settings.donor_grace.as_millis();
                let over = |since: u64| u128::from(watched.world.now - since) >= grace;
                prop_assert!(since.is_none_or(over), "{:?}", effect);
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_was_mended_serves_again_by_itself(tell in certain(), settings in rules(), life in life(anything())) {
        let mut watched = live(tell, settings, &life, |_, _, _, _| Ok(()))?;
        watched.rounds(5);
        for i in 0..NODES {
            watched.happen(Operator(i, AdminState::Ready));
            watched.happen(Leave(i, false));
            watched.happen(Discovered(i));
        }
        watched.rounds(5);
        let serving = watched.serving();
        // Of two nodes whose providers are paused nothing tells that their common view is gone.
        let are_together = pairs(&serving).iter().all(|(a, b)| watched.group.together(*a, *b));
        prop_assume!(!serving.is_empty() && are_together);
        // All that is not served is wiped and rejoins.
        let others = || (0..NODES).filter(|i| !serving.contains(&id(*i)));
        others().for_each(|i| watched.group.crash(i));
        for i in 0..NODES {
            watched.group.catch_up(i);
            watched.group.thaw(i);
            watched.group.members[i].isolated = false;
        }
        watched.group.settle();
        prop_assume!(serving.iter().all(|id| watched.group.members[*id as usize].primary));
        others().for_each(|i| watched.group.start(i));
        (0..NODES).for_each(|i| watched.group.members[i].state = 4);
        watched.rounds(6);
        prop_assert_eq!(watched.serving(), (0..id(NODES)).collect::<Vec<_>>());
        prop_assert_ne!(watched.world.core.cluster(&watched.world.settings), crate::galera::ClusterState::SplitBrain);
    }

    #[test]
    fn a_restart_serves_no_other_side(tell in certain(), life in life(anything()), first in 0..NODES) {
        let mut watched = live(tell, settings(), &life, |_, _, _, _| Ok(()))?;
        watched.rounds(5);
        let served = watched.world.core.served().to_vec();
        prop_assume!(!served.is_empty());
        let memory = watched.world.core.memory();
        let mut again = Watched::new(0, tell, settings());
        again.world = World::new(id(NODES), settings());
        for i in (0..id(NODES)).filter(|i| !watched.world.core.nodes.contains_key(&NodeId(*i))) {
            again.world.step(Event::Removed(NodeId(i)));
        }
        again.world.core.recall(&settings(), &memory);
        again.group = watched.group.clone();
        for i in 0..NODES {
            again.check((first + i) % NODES);
            for id in again.serving() {
                // Not all of a side may have been served at the moment of the restart.
                let is_of_side = |other: &NodeId| watched.group.together(id as usize, other.0 as usize);
                // By addresses a node that was restarted is not told from its earlier life, which a late one still lists.
                let late = |id: usize| tell == Tell::Addresses && watched.group.is_late(id);
                let is_late = |other: &NodeId| late(id as usize) || late(other.0 as usize);
                let is_served = |other: &NodeId| *other == NodeId(id) || is_of_side(other) || is_late(other);
                let is_served = served.iter().any(is_served);
                prop_assert!(is_served, "{} serves and {:?} did", id, served);
            }
        }
    }

    #[test]
    fn balancers_that_share_a_record_agree_and_take_turns_slowly(
        life in life(ordinary()), looks in proptest::collection::vec((0..2_usize, any::<bool>()), 40)
    ) {
        let rules = Settings { agreed: true, ..settings() };
        let mut group = Group::new(NODES, Tell::Table);
        let mut two = [0, 1].map(|_| Watched::new(NODES, Tell::Table, rules.clone()));
        let mut row: Option<(Row, u64)> = None;
        let mut changes: Vec<u64> = Vec::new();
        let mut now = 0;
        for (happening, (who, works)) in life.iter().zip(looks) {
            two[who].group = group.clone();
            two[who].happen(*happening);
            group = two[who].group.clone();
            now = now.max(two[0].world.now).max(two[1].world.now);
            for one in &mut two {
                one.world.now = now;
                let reading = |row: &Option<(Row, u64)>| match row {
                    _ if !works => Reading::Unreadable("a commit hangs".to_owned()),
                    None => Reading::NoRow,
                    Some((row, at)) => Reading::Row(Row { age: Duration::from_millis(now - at), ..row.clone() }),
                };
                let outcome = one.world.step(Event::Recorded(reading(&row)));
                one.effects.extend(outcome.effects);
                for effect in std::mem::take(&mut one.effects) {
                    let Effect::Propose(proposal) = effect else { continue };
                    // Compare and set.
                    if !works || row.as_ref().map(|(row, _)| row.epoch) != proposal.epoch {
                        continue;
                    }
                    if let Some((old, _)) = &row {
                        prop_assert_ne!(&old.uuid, &proposal.uuid, "a change that changes nothing");
                    }
                    let epoch = proposal.epoch.unwrap_or(0) + 1;
                    row = Some((Row { epoch, uuid: proposal.uuid, name: proposal.name, age: Duration::ZERO }, now));
                    changes.push(now);
                }
                if works {
                    let outcome = one.world.step(Event::Recorded(reading(&row)));
                    one.effects.extend(outcome.effects);
                }
            }
            if works {
                // The other one reads it at its next look.
                let last = two[0].world.step(Event::Recorded(match &row {
                    None => Reading::NoRow,
                    Some((row, at)) => Reading::Row(Row { age: Duration::from_millis(now - at), ..row.clone() }),
                }));
                two[0].effects.extend(last.effects);
                if row.is_some() {
                    prop_assert_eq!(two[0].world.core.writer(), two[1].world.core.writer());
                }
            }
        }
        for pair in changes.windows(2).skip(1) {
            prop_assert!(pair[1] - pair[0] >= 30_000, "{:?}", changes);
        }
    }
}

#[test]
fn a_node_that_was_not_watched_for_a_moment_shows_by_its_view_who_slept() {
    let life = [Forgotten(1), Freeze(0), Settle, Forgotten(2), Thaw(0), Discovered(1), Round, Round];
    nothing_is_touched(Tell::Table, settings(), &[&[Stop(3)], &life[..]].concat()).unwrap();
}
