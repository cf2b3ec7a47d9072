//! The seven ways in which clusters lose nodes.

use super::*;

const SAFE: &str = "sed -i 's/^safe_to_bootstrap: *0/safe_to_bootstrap: 1/' /var/lib/mysql/grastate.dat";
const PC_HERE: &str = "mariadb -e \"SET GLOBAL wsrep_provider_options='pc.bootstrap=true'\"";
const PC_BOOTSTRAP: &str = "mariadb -h db3 -u root -p -e \"SET GLOBAL wsrep_provider_options='pc.bootstrap=true'\"";

#[test]
fn one_of_three_stopped_and_the_others_are_primary_so_it_just_starts() {
    let advice = advise(&[primary("db1", 9, 2), primary("db2", 9, 2), stopped("db3", 7)]);
    assert_eq!(advice.verdict, Verdict::Primary);
    assert_eq!(advice.headline, "Bootstrap nothing: db1 and db2 are Primary.");
    assert_eq!(commands(&advice), ["systemctl start mariadb"]);
    says(&advice, "Start db3 as usual");
}

#[test]
fn two_of_three_stopped_and_the_last_is_primary_alone_so_they_start_one_after_the_other() {
    let advice = advise(&[primary("db1", 9, 1), stopped("db2", 7), gone("db3")]);
    assert_eq!(advice.verdict, Verdict::Primary);
    says(&advice, "Start db2 and db3 as usual, one after the other");
}

#[test]
fn all_stopped_and_the_one_that_left_last_is_bootstrapped_without_an_edit() {
    let advice = advise(&[stopped("db1", 7), last("db2", 12), stopped("db3", 9)]);
    assert_eq!(named(&advice), "db2");
    assert!(!commands(&advice).contains(&SAFE), "{advice:#?}");
    let by_hand = format!("mariadbd --user=mysql --wsrep-new-cluster --wsrep-start-position={}:12", uuid(H));
    assert_eq!(commands(&advice)[..3], ["galera_new_cluster", "systemctl start mysql@bootstrap", by_hand.as_str()]);
    let behind: Vec<_> = advice.nodes.iter().map(|n| n.behind).collect();
    assert_eq!(behind, [Some(5), Some(0), Some(3)]);
    assert_eq!(advice.nodes[0].meaning, "5 transactions behind: receives them when it joins");
    says(&advice, "No server runs on db1, db2 and db3");
}

#[test]
fn one_of_three_crashed_and_the_others_keep_their_quorum_so_it_just_starts() {
    let advice = advise(&[primary("db1", 9, 2), primary("db2", 9, 2), silent(crashed("db3"))]);
    assert_eq!(advice.verdict, Verdict::Primary);
    assert_eq!(commands(&advice), ["systemctl start mariadb"]);
}

#[test]
fn two_of_three_vanished_and_the_third_is_made_primary_where_it_runs() {
    let advice = advise(&[silent(recovered("db1", 9)), silent(recovered("db2", 9)), non_primary("db3", 9)]);
    assert_eq!(named(&advice), "db3");
    assert_eq!(commands(&advice)[..2], [PC_HERE, PC_BOOTSTRAP]);
    says(&advice, "db1 does not answer from here (connection refused). Look on that machine");
    says(&advice, "db2 does not answer from here (connection refused). Look on that machine");
    says(&advice, "Run it on db3 alone");
    says(&advice, "start db1 and db2, one after the other");
}

#[test]
fn the_survivor_alone_is_named_with_a_warning_that_nothing_is_known_of_others() {
    let advice = advise(&[non_primary("db3", 9)]);
    assert_eq!(named(&advice), "db3");
    says(&advice, "Only db3 was named");
    says(&advice, "No node of this cluster that was not named here is Primary anywhere");
}

#[test]
fn all_crashed_and_each_gets_the_whole_command_that_reads_its_position() {
    let advice = advise(&[crashed("db1"), crashed("db2"), recovered("db3:3307", 9)]);
    assert_eq!(advice.verdict, Verdict::Refused);
    assert_eq!(advice.headline, "No node is safe to bootstrap: the position of db1 and db2 is unknown.");
    says(&advice, "db1: its position is unknown: its grastate.dat says seqno -1: it crashed, or it runs.");
    let recover =
        "mariadbd --user=mysql --wsrep-on=ON --wsrep-cluster-address=gcomm:// --wsrep-recover --disable-log-error";
    let mariadb: Vec<_> = commands(&advice).into_iter().filter(|c| c.starts_with("mariadbd")).collect();
    assert_eq!(mariadb, [format!("{recover} 2> db1.log"), format!("{recover} 2> db2.log")]);
    assert!(commands(&advice).iter().any(|c| c.starts_with("mysqld --user=mysql --wsrep-cluster-address=gcomm://")));
    let named_file = advise(&[crashed("db3:3307")]);
    assert!(commands(&named_file)[0].ends_with("2> db3-3307.log"), "{named_file:#?}");
}

#[test]
fn all_crashed_and_recovered_and_the_furthest_is_bootstrapped_by_its_position() {
    let advice = advise(&[recovered("db1", 8), recovered("db2", 11), recovered("db3", 11)]);
    assert_eq!(named(&advice), "db2");
    assert_eq!(commands(&advice)[..2], [SAFE, "galera_new_cluster"]);
    assert!(commands(&advice).iter().any(|c| c.ends_with(&format!("--wsrep-start-position={}:11", uuid(H)))));
    says(&advice, "db3 is as far; db2 was named first.");
    assert_eq!(advice.nodes[1].source, "its log, line 24");
}

#[test]
fn all_crashed_with_their_last_view_and_they_restore_it_without_a_bootstrap() {
    let views = [[1, 2, 3], [2, 1, 3], [3, 1, 2]];
    let nodes = |make: fn(&str) -> Evidence| {
        let names = ["db1", "db2", "db3"].into_iter();
        names.zip(&views).map(|(n, v)| remembering(make(n), v)).collect::<Vec<_>>()
    };
    let unknown = advise(&nodes(crashed));
    assert_eq!(unknown.verdict, Verdict::Refused);
    let first = &unknown.steps[0].title;
    let start = "Try this first, without any bootstrap: start db1, db2 and db3 within 30 s of each other, by systemd.";
    assert!(first.starts_with(start), "{first}");
    let known = advise(&nodes(|n| recovered(n, 9)));
    assert_eq!(named(&known), "db1");
    says(&known, "Or, instead of all this: start db1, db2 and db3");
}

#[test]
fn the_last_view_restores_nothing_while_a_node_outside_it_holds_data() {
    let pair = || [remembering(crashed("db1"), &[1, 2]), remembering(crashed("db2"), &[2, 1])];
    let [db1, db2] = pair();
    says(&advise(&[db1, db2, fresh("db3")]), "without any bootstrap");
    let [db1, db2] = pair();
    let advice = advise(&[db1, db2, stopped("db3", 9)]);
    assert!(!all(&advice).contains("without any bootstrap"), "{advice:#?}");
}

#[test]
fn an_even_split_is_ended_on_one_side_and_on_the_first_of_equals() {
    let advice = advise(&["db3", "db1", "db2", "db4"].map(|n| non_primary(n, 20)));
    assert_eq!(named(&advice), "db3");
    assert_eq!(commands(&advice), [PC_HERE, PC_BOOTSTRAP, "systemctl restart mariadb"]);
    says(&advice, "db1, db2 and db4 are as far; db3 still runs.");
    says(&advice, "Run it on db3 alone: two bootstrapped components diverge for good.");
}

#[test]
fn of_equals_the_last_to_leave_wins_over_one_that_runs_and_that_over_one_that_is_stopped() {
    let advice = advise(&[stopped("db1", 9), non_primary("db2", 9), last("db3", 9)]);
    assert_eq!(named(&advice), "db3");
    says(&advice, "db1 and db2 are as far; db3 was the last to leave (safe_to_bootstrap: 1).");
    assert_eq!(named(&advise(&[stopped("db1", 9), non_primary("db2", 9)])), "db2");
    assert_eq!(named(&advise(&[stopped("db1", 9), stopped("db2", 9)])), "db1");
}

#[test]
fn a_stopped_node_that_is_further_wins_over_one_that_runs() {
    let advice = advise(&[non_primary("db1", 9), stopped("db2", 10)]);
    assert_eq!(named(&advice), "db2");
    says(&advice, "db1 should follow within seconds; restart what does not");
}

#[test]
fn a_node_that_runs_in_no_group_is_stopped_first() {
    let advice = advise(&[answer("db1", 9, |a| a.in_group = false)]);
    assert_eq!(commands(&advice)[..3], ["systemctl stop mariadb", SAFE, "galera_new_cluster"]);
}

#[test]
fn a_node_without_history_is_no_contradiction_and_receives_everything() {
    let advice = advise(&[fresh("db1"), stopped("db2", 3)]);
    assert_eq!(named(&advice), "db2");
    assert_eq!(advice.nodes[0].meaning, "no history: receives everything by state transfer");
    assert_eq!(advice.nodes[0].state, "has no data");
}

#[test]
fn percona_is_told_percona_commands_once_a_node_has_said_that_it_is_one() {
    let advice = advise(&[answer("db1", 9, |a| a.percona = true), stopped("db2", 8)]);
    let expected = [
        "mysql -e \"SET GLOBAL wsrep_provider_options='pc.bootstrap=true'\"",
        "mysql -h db1 -u root -p -e \"SET GLOBAL wsrep_provider_options='pc.bootstrap=true'\"",
        "systemctl start mysql",
    ];
    assert_eq!(commands(&advice), expected);
    let labels: Vec<_> = advice.steps.iter().flat_map(|s| &s.commands).map(|c| c.label).collect();
    assert_eq!(labels, ["as root on its host", "from elsewhere", ""]);
}

#[test]
fn a_server_with_the_provider_plugin_is_made_primary_by_its_variable() {
    const VARIABLE: &str = "mariadb -e \"SET GLOBAL wsrep_provider_pc_bootstrap=ON\"";
    let known = advise(&[answer("db1", 9, |a| a.provider_variables = Some(true))]);
    assert_eq!(commands(&known)[..2], [VARIABLE, &VARIABLE.replace(" -e", " -h db1 -u root -p -e")]);
    let unknown = advise(&[answer("db1", 9, |a| a.provider_variables = None)]);
    assert_eq!(commands(&unknown)[0], PC_HERE);
    assert_eq!(commands(&unknown)[2], VARIABLE);
    assert_eq!(unknown.steps[0].commands[2].label, "as root on its host, where the first says ERROR 1210 or 1238");
}

#[test]
fn one_that_crashed_in_a_ddl_and_is_furthest_is_named_and_keeps_its_history() {
    let advice = advise(&[blank_but("db1", at(H, Some(29))), stopped("db2", 19), stopped("db3", 19)]);
    assert_eq!(named(&advice), "db1");
    says(&advice, "The grastate.dat of db1 names no history, since it crashed in a DDL; what its storage engine holds");
    says(&advice, "db1 was not in the middle of a state transfer when it ended");
    let edit = format!("sed -i -e 's/^uuid: *00000000-0000-.*/uuid:    {}/' -e {}", uuid(H), &SAFE["sed -i ".len()..]);
    assert_eq!(commands(&advice)[0], edit);
    // Where another one has the same and its file says so, there is nothing to write.
    let advice = advise(&[blank_but("db1", at(H, Some(29))), stopped("db2", 29)]);
    assert_eq!((named(&advice), commands(&advice)[0]), ("db2", SAFE));
}

#[test]
fn one_whose_grastate_was_not_given_is_told_to_look_into_it() {
    let files = Files { recovered: Some(log(at(H, Some(29)))), ..Files::default() };
    let advice = advise(&[of_files("db1", files), stopped("db2", 19)]);
    assert_eq!(named(&advice), "db1");
    says(&advice, "name its history where grastate.dat names none");
    assert!(commands(&advice)[0].contains("s/^uuid: *00000000-0000-.*"), "{advice:#?}");
}
