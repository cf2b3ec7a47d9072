//! Rules that need the whole cluster.

use super::*;
use crate::galera::ClusterState;

#[test]
fn a_donor_serves_only_while_no_node_is_synced() {
    let mut world = World::healthy(settings());
    world.see(0, donor());
    assert_eq!((world.kind(0), world.reason(0).as_str()), (Kind::Excluded, "Donor/Desynced"));
    // The others go; the donor must carry on.
    world.see(1, gone());
    assert_eq!(world.serving(), [2]);
    let outcome = world.see(2, gone());
    assert_eq!(world.serving(), [0]);
    assert_eq!(
        (world.kind(0), world.reason(0).as_str()),
        (Kind::LastResort, "Donor/Desynced, last resort: no node is Synced")
    );
    assert!(outcome.publish);
    // They come back as joiners: still the donor; and then as Synced: the donor rests.
    world.see(1, answer(&[("wsrep_local_state", "1")]));
    assert_eq!(world.serving(), [0]);
    world.see(1, synced());
    assert_eq!(world.serving(), [0], "not before its rise");
    world.see(1, synced());
    assert_eq!(world.serving(), [1]);
}

#[test]
fn several_donors_serve_together_and_a_former_one_as_they_do() {
    let mut world = World::new(3, settings());
    world.see(0, donor());
    world.see(1, answer(&[("wsrep_local_state", "3")]));
    world.see(2, answer(&[("wsrep_local_state", "3"), ("wsrep_ready", "OFF")]));
    assert_eq!(world.serving(), [0, 1]);
    assert_eq!(world.reason(1), "Joined, catching up (wsrep_local_state=3), last resort: no node is Synced");
}

#[test]
fn the_other_two_rules_for_donors_hold_whatever_the_others_are() {
    for (rule, alone, beside) in [
        (DonorRule::Never, Kind::Excluded, Kind::Excluded),
        (DonorRule::LastResort, Kind::LastResort, Kind::Excluded),
        (DonorRule::Always, Kind::Eligible, Kind::Eligible),
    ] {
        let mut world = World::new(2, Settings { donor: rule, ..settings() });
        world.see(0, donor());
        assert_eq!(world.kind(0), alone, "{rule:?}");
        world.see(1, synced());
        assert_eq!(world.kind(0), beside, "{rule:?}");
    }
}

#[test]
fn one_refused_login_excludes_and_says_why() {
    let mut world = World::healthy(settings());
    let outcome = world.see(0, refused());
    assert_eq!(orders(&outcome), [""; 0], "sessions stay");
    assert_eq!(
        (world.kind(0), world.reason(0).as_str()),
        (Kind::Excluded, "check's login refused (1045 Access denied)")
    );
}

#[test]
fn a_password_rotated_on_all_nodes_leaves_those_that_were_fit_serving() {
    let mut world = World::healthy(settings());
    world.see(2, rejecting());
    for id in 0..3 {
        world.see(id, refused());
    }
    assert_eq!(world.serving(), [0, 1], "the third was unfit when it was last seen");
    assert_eq!(world.kind(0), Kind::LastResort);
    assert!(world.reason(0).contains("last resort"), "{}", world.reason(0));
    // One lost check is not the end of it.
    world.see(0, timed_out());
    world.see(0, refused());
    assert_eq!(world.serving(), [0, 1]);
    // But one that falls silent is down, and its refusals later do not bring it back.
    world.see_often(1, &timed_out(), 2);
    world.see(1, refused());
    assert_eq!(world.serving(), [0]);
    // The password is mended: no gap in between.
    world.see(0, synced());
    assert_eq!((world.serving(), world.kind(0)), (vec![0], Kind::Eligible));
}

#[test]
fn refused_logins_are_no_last_resort_while_another_node_is_fit() {
    let mut world = World::healthy(settings());
    world.see(0, refused());
    world.see(1, refused());
    assert_eq!(world.serving(), [2]);
    // A spare one is fit as well.
    world.see(2, donor());
    assert_eq!(world.serving(), [2]);
    // One that was cut off before the password was rotated still takes the old one, and can serve nobody.
    world.see(2, non_primary());
    assert_eq!(world.serving(), [0, 1]);
    world.see_often(2, &timed_out(), 2);
    assert_eq!(world.serving(), [0, 1]);
    // Mended on one, it is the one.
    world.see(1, synced());
    assert_eq!(world.serving(), [1]);
}

#[test]
fn a_node_that_never_let_the_check_in_is_no_last_resort() {
    let mut world = World::new(2, settings());
    world.see(0, refused());
    world.see(1, refused());
    assert_eq!(world.serving(), [0; 0]);
}

#[test]
fn the_cluster_is_what_its_answering_nodes_say() {
    let mut world = World::new(2, settings());
    assert_eq!(world.core.cluster(&world.settings), ClusterState::Unknown);
    world.see(0, non_primary());
    assert_eq!(world.core.cluster(&world.settings), ClusterState::NoPrimary);
    world.see(1, donor());
    assert_eq!(world.core.cluster(&world.settings), ClusterState::Primary);
    world.see_often(1, &timed_out(), 2);
    assert_eq!(world.core.cluster(&world.settings), ClusterState::NoPrimary);
    world.see_often(0, &timed_out(), 2);
    assert_eq!(world.core.cluster(&world.settings), ClusterState::Unknown);
}

#[test]
fn a_change_names_what_it_was_and_what_it_is() {
    let mut world = World::healthy(settings());
    let outcome = world.see(1, rejecting());
    let [Effect::Changed(change), Effect::Drain(NodeId(1), _)] = outcome.effects.as_slice() else {
        panic!("{outcome:?}")
    };
    assert_eq!((change.node, change.from.kind, change.to.kind), (NodeId(1), Kind::Eligible, Kind::Excluded));
    // Room alone is published, and is no change worth a log line.
    let outcome = world.see(1, answer(&[("threads_connected", "150")]));
    assert!(outcome.publish && outcome.effects.is_empty());
}
