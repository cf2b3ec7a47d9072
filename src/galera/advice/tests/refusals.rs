//! What forbids to name a node, and what is only warned of.

use super::*;

#[test]
fn different_histories_are_refused_with_the_nodes_of_each() {
    let other = of_files("db2", grastate(at(0xbb, Some(90)), true));
    let advice = advise(&[stopped("db1", 7), other, non_primary("db3", 8)]);
    assert_eq!(advice.verdict, Verdict::Refused);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the nodes hold different histories.");
    says(&advice, &format!("{} on db1 (seqno 7) and db3 (seqno 8); {} on db2 (seqno 90)", uuid(H), uuid(0xbb)));
}

#[test]
fn a_history_whose_position_is_unknown_is_a_history() {
    let other = of_files("db2", grastate(at(0xbb, None), false));
    says(&advise(&[stopped("db1", 7), other]), "There are 2 histories");
}

#[test]
fn one_unknown_position_is_enough_to_refuse() {
    let advice = advise(&[stopped("db1", 7), stopped("db2", 900), crashed("db3")]);
    assert_eq!(advice.verdict, Verdict::Refused);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db3 is unknown.");
}

#[test]
fn a_silent_node_without_files_is_refused_with_the_way_to_go_on() {
    let advice = advise(&[non_primary("db1", 7), gone("db2")]);
    assert_eq!(advice.verdict, Verdict::Refused);
    says(
        &advice,
        "db2: its position is unknown: it does not answer (connection refused), and no file of it was given.",
    );
    says(&advice, "A node whose data are lost for good, or that never was in the cluster: leave it out.");
}

#[test]
fn a_node_that_refuses_the_login_runs_and_its_files_do_not_count() {
    let mut db2 = stopped("db2", 7);
    db2.live = Some(Live::Unreadable("it runs and refuses the login (1045)".into()));
    let advice = advise(&[stopped("db1", 6), db2]);
    assert_eq!(advice.verdict, Verdict::Refused);
    says(&advice, "db2: it runs, so its files are out of date and do not count.");
    says(&advice, "db2 runs: let the check log in there");
}

#[test]
fn a_node_in_the_middle_of_a_state_transfer_has_no_position() {
    let advice = advise(&[non_primary("db1", 9), answer("db2", 12, |a| a.joiner = true)]);
    assert_eq!(advice.verdict, Verdict::Refused);
    says(&advice, "db2: its position is unknown: it is in the middle of a state transfer");
}

#[test]
fn a_node_that_still_applies_what_it_has_received_has_no_position_yet() {
    let advice = advise(&[non_primary("db1", 9), answer("db2", 7, |a| a.applying = true)]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db2 is unknown.");
    says(&advice, "it still applies what it has received (wsrep_local_recv_queue); ask again in a moment.");
}

#[test]
fn a_grastate_and_a_log_of_different_histories_are_a_contradiction() {
    let db1 = Files { recovered: Some(log(at(0xbb, Some(7)))), ..grastate(at(H, None), false) };
    let advice = advise(&[of_files("db1", db1), stopped("db2", 6)]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: what a node has left behind contradicts itself.");
    says(&advice, &format!("its grastate.dat says history {}, its log says {}", uuid(H), uuid(0xbb)));
}

#[test]
fn a_log_without_history_beside_a_grastate_with_one_is_a_contradiction() {
    let db1 = Files { recovered: Some(log(at(0, None))), ..grastate(at(H, None), false) };
    assert_eq!(advise(&[of_files("db1", db1), stopped("db2", 6)]).verdict, Verdict::Refused);
}

#[test]
fn a_grastate_of_zeros_is_no_position_whatever_the_others_have() {
    let advice = advise(&[blank("db1"), stopped("db2", 19), stopped("db3", 19)]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db1 is unknown.");
    says(&advice, "db1: its position is unknown: its grastate.dat names no history (zeros): it crashed in a DDL, and");
    says(&advice, "A node whose data are lost for good, or that never was in the cluster: leave it out.");
    assert!(commands(&advice)[0].ends_with("2> db1.log"), "{advice:#?}");
}

#[test]
fn all_that_crashed_in_a_ddl_are_to_be_read_and_none_is_told_to_restore_a_view() {
    let nodes = [[1, 2, 3], [2, 1, 3], [3, 1, 2]].map(|view| remembering(blank(&format!("db{}", view[0])), &view));
    let advice = advise(&nodes);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db1, db2 and db3 is unknown.");
    let logs: Vec<_> = commands(&advice).into_iter().filter(|c| c.contains("2> ")).collect();
    assert_eq!(logs.len(), 3, "{advice:#?}");
    assert!(!all(&advice).contains("pc.recovery"), "{advice:#?}");
}

#[test]
fn a_transfer_that_was_interrupted_is_a_piece_of_data_whatever_its_log_says() {
    let mut db1 = blank_but("db1", at(H, Some(99)));
    db1.files.as_mut().unwrap().transfer_unfinished = true;
    let advice = advise(&[db1, stopped("db2", 6)]);
    assert_eq!(advice.verdict, Verdict::Refused);
    says(&advice, "a state transfer to it was interrupted (sst_in_progress is in its data directory)");
    says(&advice, "leave it out, and it receives everything when it joins");
    assert_eq!(commands(&advice), [""; 0], "its position is of no use");
}

#[test]
fn a_node_that_runs_without_a_history_is_stopped_and_read() {
    let advice = advise(&[answer("db1", 0, |a| a.position = Some(at(0, None))), stopped("db2", 6)]);
    says(&advice, "it runs and says no history (a wsrep_local_state_uuid of zeros)");
    says(&advice, "db1 runs without a history. Stop it:");
    assert!(commands(&advice).iter().any(|c| c.ends_with("2> db1.log")), "{advice:#?}");
}

#[test]
fn a_seqno_beside_a_last_view_is_unknown_until_a_log_says_more() {
    let doubtful = || remembering(stopped("db1", 50), &[1, 2]);
    let advice = advise(&[doubtful(), stopped("db2", 100)]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db1 is unknown.");
    says(&advice, "its grastate.dat says seqno 50 beside a gvwstate.dat, which an orderly stop removes");
    let read = |seqno| {
        let mut db1 = doubtful();
        db1.files.as_mut().unwrap().recovered = Some(log(at(H, Some(seqno))));
        advise(&[db1, stopped("db2", 100)])
    };
    assert_eq!(named(&read(101)), "db1");
    assert!(commands(&read(101))[0].contains("-e 's/^seqno:.*/seqno:   -1/'"), "{:#?}", read(101));
    says(&read(60), "db1: its server would believe the old seqno 50 in its grastate.dat: write `seqno: -1` there");
    assert_eq!(named(&read(50)), "db2");
    says(&read(49), "its log says seqno 49, and its grastate.dat 50: the log is older");
}

#[test]
fn a_gvwstate_of_no_use_is_a_warning_for_its_node() {
    let damaged = |mut node: Evidence| {
        node.files.as_mut().unwrap().gvwstate_damage = Some("it is empty (0 bytes)".into());
        node
    };
    let advice = advise(&[damaged(recovered("db1", 10)), last("db2", 12), stopped("db3", 11)]);
    assert_eq!(named(&advice), "db2");
    says(&advice, "db1: its gvwstate.dat does not count: it is empty (0 bytes). A power cut leaves such a file");
    // It crashed, so its seqno is none.
    let advice = advise(&[damaged(stopped("db1", 10)), last("db2", 12), stopped("db3", 11)]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db1 is unknown.");
}

#[test]
fn of_a_grastate_and_an_older_log_the_grastate_counts() {
    let db1 = Files { recovered: Some(log(at(H, Some(5)))), ..grastate(at(H, Some(7)), false) };
    let advice = advise(&[of_files("db1", db1), stopped("db2", 6)]);
    assert_eq!(named(&advice), "db1");
    says(&advice, "db1: its grastate.dat (7) is newer than its log (5) and counts.");
}

#[test]
fn a_log_further_than_the_grastate_shows_files_of_different_times() {
    let db1 = Files { recovered: Some(log(at(H, Some(8)))), ..grastate(at(H, Some(7)), false) };
    says(&advise(&[of_files("db1", db1), stopped("db2", 6)]), "the files are of different times");
}

#[test]
fn a_position_from_before_the_server_ran_again_is_none() {
    let old = Recovered { outdated_by: Some(40), ..log(at(H, Some(8))) };
    let db1 = Files { recovered: Some(old), ..grastate(at(H, None), false) };
    let advice = advise(&[of_files("db1", db1), stopped("db2", 6)]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db1 is unknown.");
    says(&advice, "line 40 shows that the server ran again");
}

#[test]
fn a_view_alone_is_no_position() {
    let advice = advise(&[remembering(Evidence { name: "db1".into(), ..Evidence::default() }, &[1, 2])]);
    says(&advice, "db1: its position is unknown: its gvwstate.dat names a view and no position.");
}

#[test]
fn nodes_without_any_history_are_no_cluster_to_restore() {
    let advice = advise(&[fresh("db1"), fresh("db2")]);
    assert_eq!(advice.headline, "No node is safe to bootstrap: no node holds any history.");
    says(&advice, "the logs of all name no history. To bootstrap one is to found a new cluster");
}

#[test]
fn safe_to_bootstrap_on_a_node_that_is_behind_is_warned_of() {
    let advice = advise(&[last("db1", 7), stopped("db2", 9)]);
    assert_eq!(named(&advice), "db2");
    says(&advice, "db1 says safe_to_bootstrap: 1, and db2 is further: do not bootstrap db1.");
}

#[test]
fn safe_to_bootstrap_on_two_nodes_is_warned_of() {
    let advice = advise(&[last("db1", 9), last("db2", 9)]);
    assert_eq!(named(&advice), "db1");
    says(&advice, "db1 and db2 say safe_to_bootstrap: 1. At most one node can have left last");
}

#[test]
fn members_of_the_last_view_that_no_node_given_is_are_named_by_their_uuid() {
    let nodes = [remembering(recovered("db1", 9), &[1, 2, 3]), remembering(recovered("db2", 9), &[2, 1, 3])];
    let advice = advise(&nodes);
    assert_eq!(named(&advice), "db1");
    says(&advice, &format!("has a member {} that is none of the nodes named here", uuid(3)));
    says(&advice, "(An arbitrator, garbd, is such a member as well: it holds nothing.)");
    assert!(!all(&advice).contains("instead of all this"), "{advice:#?}");
    let [db1, db2] = nodes;
    let perhaps = advise(&[db1, db2, recovered("db3", 8)]);
    says(&perhaps, "none that a gvwstate.dat given here is of (perhaps db3)");
}

#[test]
fn a_node_that_runs_is_believed_before_its_files() {
    let db1 = Evidence { files: stopped("db1", 900).files, ..non_primary("db1", 7) };
    let advice = advise(&[db1, stopped("db2", 8)]);
    assert_eq!(named(&advice), "db2");
    says(&advice, "db1: it runs, so its own answer counts and its files do not.");
}

#[test]
fn two_names_of_one_node_are_warned_of() {
    let one = |name: &str| answer(name, 9, |a| a.member = Some(uuid(1)));
    says(&advise(&[one("db1"), one("db1.lan")]), "db1 and db1.lan are one node (wsrep_gcomm_uuid).");
}
