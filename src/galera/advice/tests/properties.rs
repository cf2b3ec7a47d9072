//! The sentences of the room's documentation, over thousands of invented outages.

use proptest::prelude::*;

use super::*;
use crate::galera::cases;

fn position() -> impl Strategy<Value = Position> {
    let history = prop_oneof![6 => Just(H), 1 => Just(0xbb), 1 => Just(0)];
    let seqno = prop_oneof![4 => (0..6_u64).prop_map(Some), 1 => Just(None)];
    (history, seqno).prop_map(|(h, s)| at(h, s))
}

fn files() -> impl Strategy<Value = Files> {
    let grastate = (position(), proptest::option::of(any::<bool>()))
        .prop_map(|(position, safe_to_bootstrap)| Grastate { position, safe_to_bootstrap });
    let log = (position(), proptest::option::weighted(0.2, Just(99)))
        .prop_map(|(position, outdated_by)| Recovered { outdated_by, ..log(position) });
    let view = (proptest::collection::vec(1..5_u8, 1..4)).prop_map(|members| {
        let members: Vec<Uuid> = members.into_iter().map(uuid).collect();
        Gvwstate { my_uuid: members[0], view_id: format!("3 x {}", members.len()), members }
    });
    (proptest::option::weighted(0.9, grastate), proptest::option::weighted(0.3, log), proptest::option::of(view))
        .prop_map(|(grastate, recovered, gvwstate)| Files { grastate, gvwstate, recovered, ..Files::default() })
}

fn live() -> impl Strategy<Value = Live> {
    let word = || "[a-z]{0,4}";
    prop_oneof![
        4 => (position(), 0..12_u8, 1..4_u64, any::<bool>()).prop_map(|(position, kind, size, applying)| {
            Live::Answered(Box::new(Answer {
                primary: kind == 0,
                in_group: kind < 8,
                joiner: kind == 9,
                position: Some(position),
                size: Some(size),
                member: (kind > 3).then(|| uuid(kind)),
                applying,
                ..Answer::default()
            }))
        }),
        1 => word().prop_map(Live::Unreadable),
        3 => word().prop_map(Live::Silent),
    ]
}

fn outage() -> impl Strategy<Value = Vec<Evidence>> {
    let one = (proptest::option::weighted(0.3, live()), proptest::option::weighted(0.9, files()));
    proptest::collection::vec(one, 0..5).prop_map(|nodes| {
        let name = |i: usize| format!("db{i}");
        (1..).zip(nodes).map(|(i, (live, files))| Evidence { name: name(i), live, files }).collect()
    })
}

/// Mostly sound evidence, so that most cases name somebody.
fn clean() -> impl Strategy<Value = Vec<Evidence>> {
    let one = (0..6_u64, 0..5_u8);
    proptest::collection::vec(one, 1..5).prop_map(|nodes| {
        let make = |name: String, seqno, kind| match kind {
            0 => last(&name, seqno),
            1 => recovered(&name, seqno),
            2 => non_primary(&name, seqno),
            3 => fresh(&name),
            _ => stopped(&name, seqno),
        };
        (1..).zip(nodes).map(|(i, (seqno, kind))| make(format!("db{i}"), seqno, kind)).collect()
    })
}

/// Every position that any evidence of a node shows, whether or not it counts.
fn shown(evidence: &Evidence) -> Vec<Position> {
    let files = evidence.files.iter();
    let files = files.flat_map(|f| f.grastate.iter().map(|g| g.position).chain(f.recovered.iter().map(|r| r.position)));
    match &evidence.live {
        Some(Live::Answered(answer)) => answer.position.into_iter().collect(),
        Some(Live::Unreadable(_)) => Vec::new(),
        _ => files.collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(4000)))]

    #[test]
    fn the_node_that_is_named_is_behind_no_other(nodes in prop_oneof![outage(), clean()]) {
        if let Verdict::Bootstrap(name) = advise(&nodes).verdict {
            let furthest = |e: &Evidence| shown(e).iter().filter(|p| !p.uuid.is_zero()).filter_map(|p| p.seqno).max();
            let own = nodes.iter().find(|e| e.name == name).and_then(furthest);
            prop_assert!(own.is_some());
            for other in &nodes {
                prop_assert!(furthest(other) <= own, "{name} is behind {}", other.name);
            }
        }
    }

    #[test]
    fn none_is_named_while_two_histories_are_there(nodes in outage()) {
        if let Verdict::Bootstrap(_) = advise(&nodes).verdict {
            let mut seen: Vec<Uuid> = nodes.iter().flat_map(shown).map(|p| p.uuid).collect();
            seen.retain(|u| !u.is_zero());
            seen.sort();
            seen.dedup();
            prop_assert!(seen.len() <= 1, "{seen:?}");
        }
    }

    #[test]
    fn none_is_named_while_a_position_is_unknown_except_of_a_node_without_history(nodes in outage()) {
        if let Verdict::Bootstrap(_) = advise(&nodes).verdict {
            for node in &nodes {
                let shown = shown(node);
                prop_assert!(!shown.is_empty(), "{} was never seen", node.name);
                // A grastate.dat of zeros does not say that there is nothing.
                let log = node.files.as_ref().and_then(|f| f.recovered.as_ref());
                let holds_nothing = log.is_some_and(|l| l.position.uuid.is_zero() && l.outdated_by.is_none());
                let has_position = shown.iter().any(|p| p.seqno.is_some() && !p.uuid.is_zero());
                prop_assert!(has_position || holds_nothing, "{}'s position is unknown", node.name);
                prop_assert!(!matches!(node.live, Some(Live::Unreadable(_))));
                if let Some(Live::Answered(answer)) = &node.live {
                    prop_assert!(!answer.applying, "{}'s position moves on", node.name);
                }
            }
        }
    }

    #[test]
    fn none_is_named_and_no_bootstrap_is_printed_while_a_node_is_primary(mut nodes in outage()) {
        nodes.push(primary("db9", 3, 1));
        let advice = advise(&nodes);
        prop_assert!(!matches!(advice.verdict, Verdict::Bootstrap(_)));
        prop_assert!(!commands(&advice).iter().any(|c| c.contains("bootstrap") || c.contains("new_cluster")));
    }

    #[test]
    fn a_refusal_says_why_and_the_same_evidence_gives_the_same_advice(nodes in outage()) {
        let advice = advise(&nodes);
        prop_assert_eq!(&advise(&nodes), &advice);
        prop_assert!(!advice.why.is_empty());
        prop_assert_eq!(advice.nodes.len(), nodes.len());
        if advice.verdict == Verdict::Refused {
            prop_assert!(!commands(&advice).iter().any(|c| c.contains("new_cluster") || c.contains("pc.bootstrap")));
        }
    }

    #[test]
    fn sound_evidence_with_any_data_names_somebody(nodes in clean()) {
        let any = nodes.iter().flat_map(shown).any(|p| p.seqno.is_some());
        prop_assert_eq!(matches!(advise(&nodes).verdict, Verdict::Bootstrap(_)), any);
    }
}
