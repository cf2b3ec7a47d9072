//! Nodes that run: Primary ones, two components of them, and what their rows say.

use super::*;
use crate::galera::observation::{Check, LoginFailure, Unreachable};
use crate::galera::status::{NodeStatus, Rows};

fn split_brain(nodes: &[Evidence], how: &str) {
    let advice = advise(nodes);
    assert_eq!(advice.verdict, Verdict::SplitBrain, "{advice:#?}");
    assert_eq!(advice.headline, "Split brain: two components are Primary. Bootstrap nothing.");
    says(&advice, how);
    assert!(!commands(&advice).iter().any(|c| c.contains("bootstrap") || c.contains("new_cluster")), "{advice:#?}");
}

fn primary_with(name: &str, change: impl FnOnce(&mut Answer)) -> Evidence {
    let mut node = primary(name, 22, 2);
    if let Some(Live::Answered(answer)) = &mut node.live {
        change(answer);
    }
    node
}

#[test]
fn two_primary_components_that_share_all_but_their_size_are_a_split_brain() {
    let sides = [primary("db1", 22, 2), primary("db2", 22, 2), primary("db3", 22, 1)];
    split_brain(&sides, "db1 and db3 are both Primary, and their components have different sizes");
    // A size is no proof, and only a proof may cost data.
    assert_eq!(commands(&advise(&sides)), [""; 0]);
    says(&advise(&sides), "GRANT SELECT on it, on every node that is Primary");
}

#[test]
fn nodes_that_are_late_and_show_other_sizes_are_no_split_brain() {
    let late: [fn(&mut Answer); 3] = [|a| a.desynced = true, |a| a.applying = true, |a| a.joiner = true];
    for change in late {
        let slow = primary_with("db2", |a| {
            a.size = Some(3);
            change(a);
        });
        let advice = advise(&[primary("db1", 22, 2), slow]);
        assert_eq!(advice.verdict, Verdict::Refused);
        let headline = "Bootstrap nothing: db1 and db2 are Primary, and whether in one component is not known.";
        assert_eq!(advice.headline, headline);
        says(&advice, "db2 is in a component of size 3, and may see a change of its component late");
        assert_eq!(commands(&advice), [""; 0]);
    }
}

#[test]
fn lists_of_members_prove_a_split_brain_even_of_a_node_that_is_late() {
    let side = |name, own: u8| {
        primary_with(name, |a| {
            a.member = Some(uuid(own));
            a.members = Some([uuid(own).to_string()].into());
            a.desynced = true;
        })
    };
    let sides = [side("db1", 1), side("db3", 3)];
    split_brain(&sides, "neither lists the other as a member");
    assert!(commands(&advise(&sides)).contains(&"rm /var/lib/mysql/grastate.dat"));
}

#[test]
fn two_primary_components_of_one_size_are_told_apart_by_their_members() {
    let with = |name, list: &[&str]| {
        let list = list.iter().map(ToString::to_string).collect();
        primary_with(name, |a| a.addresses = Some(list))
    };
    split_brain(&[with("db1", &["a", "b"]), with("db3", &["c", "d"])], "share no member (wsrep_incoming_addresses)");
    split_brain(&[with("db1", &["a", "b"]), with("db3", &["b", "d"])], "different members (wsrep_incoming_addresses)");
    let index = |name, member, index| {
        primary_with(name, |a| {
            a.member = Some(uuid(member));
            a.index = Some(index);
        })
    };
    split_brain(&[index("db1", 1, 0), index("db3", 3, 0)], "have the same place in it (wsrep_local_index 0)");
    let three = [index("db1", 1, 0), index("db2", 2, 1), index("db3", 3, 2)];
    split_brain(&three, "3 nodes are Primary, and each is in a component of 2");
    let whole = [index("db1", 1, 0), index("db2", 2, 1), index("db2.lan", 2, 1)];
    assert_eq!(advise(&whole).verdict, Verdict::Primary);
}

#[test]
fn two_primary_clusters_of_different_histories_are_a_split_brain() {
    let other = primary_with("db3", |a| a.position = Some(at(0xbb, Some(1))));
    split_brain(&[primary("db1", 22, 2), other], "hold different histories");
}

#[test]
fn a_joiner_that_holds_nothing_yet_is_no_split_brain() {
    let joiner = primary_with("db3", |a| {
        a.joiner = true;
        a.position = Some(at(0xbb, Some(1)));
        a.addresses = Some(["a".to_owned()].into());
    });
    let other = primary_with("db1", |a| a.addresses = Some(["a".to_owned(), "b".to_owned()].into()));
    assert_eq!(advise(&[other, joiner]).verdict, Verdict::Primary);
}

#[test]
fn a_non_primary_node_beside_a_primary_one_rejoins() {
    let advice = advise(&[primary("db1", 22, 2), non_primary("db3", 20)]);
    assert_eq!(advice.verdict, Verdict::Primary);
    assert_eq!(commands(&advice), ["systemctl restart mariadb"]);
    says(&advice, "db3 should rejoin by itself once it reaches the others");
}

#[test]
fn a_node_that_could_not_be_asked_is_not_restarted_and_says_why() {
    let full = Check::NoEntry(LoginFailure { code: 1040, message: "Too many connections".to_owned() });
    let live = Some(Live::from_check(&full, "-h db2"));
    let unasked = Evidence { name: "db2".into(), live, ..Evidence::default() };
    let advice = advise(&[primary("db1", 22, 2), unasked]);
    assert_eq!(advice.verdict, Verdict::Primary);
    assert_eq!(commands(&advice), [""; 0]);
    says(
        &advice,
        "db2: it runs and the check cannot get in (1040 Too many connections). Whether it is Primary as well",
    );
    says(&advice, "Let the check log in on db2 (--user, --password-file) and ask again");
    assert_eq!(advice.nodes[1].meaning, "could not be asked");
}

#[test]
fn nodes_that_would_lose_data_by_joining_are_kept_down() {
    let foreign = of_files("db2", grastate(at(0xbb, Some(900)), false));
    let advice = advise(&[primary("db1", 22, 1), foreign, stopped("db3", 20)]);
    assert_eq!(advice.verdict, Verdict::Refused);
    assert_eq!(advice.headline, "Bootstrap nothing, and do not start db2: db1 is Primary.");
    says(&advice, "If the Primary nodes were bootstrapped by mistake, it may be the one with the data.");
    says(&advice, "Start db3 as usual");
    let ahead = advise(&[primary("db1", 22, 1), stopped("db2", 30)]);
    assert_eq!(ahead.headline, "Bootstrap nothing, and do not start db2: db1 is Primary.");
    says(&ahead, "db2 is at seqno 30, further than the Primary nodes (22).");
    let in_a_ddl = advise(&[primary("db1", 22, 1), blank_but("db2", at(H, Some(30)))]);
    assert_eq!(in_a_ddl.headline, ahead.headline);
    let unread = advise(&[primary("db1", 22, 1), blank("db2")]);
    assert_eq!(unread.verdict, Verdict::Primary);
    says(&unread, "read its position before it is started (--wsrep-recover) and ask again: it may hold more");
}

/// As a node that was cut off printed them.
fn rows(changes: &[(&str, &str)]) -> Rows {
    let usual = [
        ("wsrep_cluster_status", "non-Primary"),
        ("wsrep_connected", "ON"),
        ("wsrep_on", "ON"),
        ("wsrep_local_state", "0"),
        ("wsrep_local_state_uuid", "aa000000-e58b-11f1-8220-62a9bfe79695"),
        ("wsrep_cluster_state_uuid", "aa000000-e58b-11f1-8220-62a9bfe79695"),
        ("wsrep_last_committed", "9"),
        ("wsrep_gcomm_uuid", "01000000-e58b-11f1-8220-62a9bfe79695"),
        ("wsrep_cluster_size", "1"),
        ("wsrep_local_index", "0"),
        ("wsrep_incoming_addresses", "127.0.0.1:9011"),
        ("wsrep_local_recv_queue", "0"),
    ];
    let pairs = usual.into_iter().chain(changes.iter().copied());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn read(rows: Rows) -> Live {
    let check = match NodeStatus::from_rows(rows) {
        Ok(status) => Check::Answered(Box::new(status)),
        Err((why, rows)) => Check::Unreadable(why, rows),
    };
    Live::from_check(&check, "-h db1")
}

#[track_caller]
fn answered(changes: &[(&str, &str)]) -> Answer {
    match read(rows(changes)) {
        Live::Answered(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_rows_of_a_node_that_was_cut_off_hold_its_position() {
    let answer = answered(&[]);
    let expected = Answer {
        client_options: "-h db1".into(),
        in_group: true,
        position: Some(at(H, Some(9))),
        member: Some(uuid(1)),
        size: Some(1),
        index: Some(0),
        addresses: Some(["127.0.0.1:9011".to_owned()].into()),
        ..Answer::default()
    };
    assert_eq!(answer, expected);
}

#[test]
fn addresses_that_name_nobody_are_no_list_of_members() {
    for list in ["AUTO,10.0.0.2:3306", "10.0.0.1:3306,,10.0.0.2:3306", ""] {
        assert_eq!(answered(&[("wsrep_incoming_addresses", list)]).addresses, None, "{list:?}");
    }
}

#[test]
fn a_seqno_that_says_none_is_none() {
    for none in ["18446744073709551615", "-1", ""] {
        let position = answered(&[("wsrep_last_committed", none)]).position;
        assert_eq!(position, Some(at(H, None)), "{none:?}");
    }
}

#[test]
fn a_node_that_does_not_replicate_is_not_believed_unless_it_is_primary() {
    assert!(matches!(read(rows(&[("wsrep_on", "OFF")])), Live::Unreadable(why) if why.contains("wsrep_on=OFF")));
    assert!(answered(&[("wsrep_on", "OFF"), ("wsrep_cluster_status", "Primary")]).primary);
    assert!(matches!(read(Rows::new()), Live::Unreadable(why) if why.contains("no Galera node")));
}

#[test]
fn a_refused_login_is_a_sign_of_life_and_a_closed_port_is_none() {
    let why = LoginFailure { code: 1045, message: "Access denied".into() };
    let refused = Live::from_check(&Check::LoginRefused(why), "");
    assert!(matches!(refused, Live::Unreadable(why) if why == "it runs and refuses the login (1045 Access denied)"));
    let why = LoginFailure { code: 3032, message: "offline".into() };
    let offline = Live::from_check(&Check::Offline(why), "");
    assert!(matches!(offline, Live::Unreadable(why) if why == "it runs in offline mode (3032 offline)"));
    let closed = Live::from_check(&Check::Unreachable { why: Unreachable::Refused, sure: false }, "");
    assert!(matches!(closed, Live::Silent(why) if why == "connection refused"));
}

#[test]
fn the_rows_tell_how_a_node_is_made_primary() {
    assert_eq!(answered(&[("read_only", "OFF")]).provider_variables, Some(false));
    let plugin = [("read_only", "OFF"), ("wsrep_provider_pc_bootstrap", "OFF")];
    assert_eq!(answered(&plugin).provider_variables, Some(true));
    assert_eq!(answered(&[]).provider_variables, None);
    assert!(answered(&[("wsrep_local_state", "2")]).desynced);
}
