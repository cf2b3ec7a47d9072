//! The harness shows what it promises of split brains, arbitrators, notify scripts and process lists, by plain SQL.

use std::time::{Duration, Instant, SystemTime};

use crate::harness::node::{DONOR, Observer};
use crate::harness::sessions::{Lists, Seen, Session, longest_apart};
use crate::harness::{Arbitrator, Cluster, Conn, Options, cluster, cluster_of, millis, secs, split_brain, until};

/// Addresses left at `AUTO`, and a notify script: one cluster for both.
const AUTO: Options = Options { auto: true, notify: true, ..Options::USUAL };

/// The addresses in a view of this node's.
fn addresses(cluster: &Cluster, name: &str) -> Vec<String> {
    cluster.node(name).state().unwrap().incoming_addresses.split(',').map(str::to_owned).collect()
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_split_brain_with_addresses_tells_them_on_each_side() {
    let cluster = cluster();
    let split = split_brain(&cluster, &cluster.nodes[2]);
    let [n1, n2, n3] = [0, 1, 2].map(|i: usize| cluster.addrs()[i].to_string());
    assert_eq!(addresses(&cluster, "n3"), [n3]);
    assert_eq!(addresses(&cluster, "n1"), [n1, n2]);
    split.heal();
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_split_brain_without_addresses_and_grant_tells_the_monitor_only_size_and_index() {
    let cluster = cluster_of(AUTO);
    let revoked = cluster.revoke_members();
    let split = split_brain(&cluster, &cluster.nodes[2]);
    assert_eq!(addresses(&cluster, "n3"), ["AUTO"]);
    assert_eq!(addresses(&cluster, "n1"), ["AUTO", "AUTO"]);
    for node in &cluster.nodes {
        let mut monitor = Conn::connect(node.addr(), "monitor", "monitor", secs(5)).unwrap();
        let refused = monitor.query("SELECT * FROM mysql.wsrep_cluster_members").unwrap_err();
        assert_eq!(refused.code(), Some(1142), "{refused}");
        assert!(!monitor.query("SHOW GLOBAL STATUS LIKE 'wsrep\\_%'").unwrap().is_empty());
    }
    split.heal();
    drop(revoked);
    let mut monitor = Conn::connect(cluster.nodes[0].addr(), "monitor", "monitor", secs(5)).unwrap();
    assert_eq!(monitor.query("SELECT * FROM mysql.wsrep_cluster_members").unwrap().len(), 3);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn an_arbitrator_counts_in_size_and_weight_has_no_address_and_stays_with_the_others_in_a_split_brain() {
    let cluster = cluster();
    let garb = Arbitrator::join(&cluster);
    for node in &cluster.nodes {
        let (state, members) = (node.state().unwrap(), node.members());
        println!("{}: {state:?} {members:?}", node.name);
        assert_eq!((state.size, state.weight), (4, 4));
        assert_eq!(state.incoming_addresses.split(',').filter(|a| a.is_empty()).count(), 1);
        let row = members.iter().find(|m| m.name == "garb").expect("its row");
        assert_eq!(row.incoming_address, "");
    }
    let split = split_brain(&cluster, &cluster.nodes[2]);
    assert!(cluster.nodes[0].members().iter().any(|m| m.name == "garb"));
    split.heal();
    drop(garb);
    cluster.wait_whole();
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_non_primary_node_still_tells_the_members_of_its_last_primary_component() {
    let cluster = cluster();
    let n3 = &cluster.nodes[2];
    let before = n3.members();
    n3.isolate();
    let state = n3.wait(secs(20), "non-Primary", |s| !s.primary());
    let refused = n3.try_sql("SELECT * FROM mysql.user").unwrap_err();
    assert_eq!(refused.code(), Some(1047), "{refused}");
    assert_eq!(n3.members(), before, "{state:?}");
    assert_eq!((state.local_state, state.ready, state.size, state.weight), (0, false, 1, 0));
    assert_eq!(state.conf_id, u64::MAX);
    n3.heal();
    cluster.wait_whole();
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_thawed_node_tells_its_old_view_for_seconds_and_the_others_a_newer_one_without_it() {
    let cluster = cluster();
    let [n1, _, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let (old, members) = (n3.state().unwrap(), n3.members());
    n3.freeze();
    let newer = n1.wait(secs(15), "without n3", |s| s.size == 2);
    std::thread::sleep(secs(6));
    n3.thaw();
    let thawed = Instant::now();
    let said = n3.state().unwrap();
    assert!(said.synced() && said.size == 3 && said.conf_id == old.conf_id, "{said:?}");
    assert_eq!(n3.members(), members);
    assert!(newer.conf_id > said.conf_id, "{newer:?}");
    assert!(n1.members().iter().all(|m| m.uuid != said.gcomm_uuid));
    let ended = n3.wait(secs(20), "aware", |s| !s.primary());
    println!("the thawed node told its old view for {:?}, then {ended:?}", thawed.elapsed());
    cluster.wait_whole();
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_crashed_node_returns_as_another_incarnation_of_its_uuid_and_a_stopped_one_as_another() {
    let cluster = cluster();
    let n3 = &cluster.nodes[2];
    let uuid = || n3.state().unwrap().gcomm_uuid;
    let first = uuid();
    n3.kill();
    cluster.nodes[0].wait(secs(15), "without n3", |s| s.size == 2);
    n3.rejoin();
    cluster.wait_whole();
    // gvwstate.dat is kept, and the incarnation in it counted up.
    let second = uuid();
    assert_ne!(second, first);
    let incarnation = 19..23;
    assert_eq!(
        (&second[..incarnation.start], &second[incarnation.end..]),
        (&first[..incarnation.start], &first[incarnation.end..])
    );
    n3.stop();
    n3.rejoin();
    cluster.wait_whole();
    assert_ne!(uuid()[..8], first[..8]);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn the_notify_script_is_called_with_status_view_and_members() {
    let cluster = cluster_of(AUTO);
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    n1.on_notify("echo then \"$@\"");
    n3.stop();
    n3.wipe();
    let donors = [n1, n2].map(|n| n.observe(millis(2)));
    let began = SystemTime::now();
    n3.rejoin();
    cluster.wait_whole();
    for node in &cluster.nodes {
        for call in node.notified() {
            let at = call.at.duration_since(began).map_or_else(|e| -e.duration().as_secs_f64(), |d| d.as_secs_f64());
            println!("{} {at:+.3} s {:?}", node.name, call.arguments.join(" "));
        }
    }
    let donor = |o: &Observer| o.first(|s| s.local_state == DONOR).is_some();
    let at = donors.iter().position(donor).expect("a donor");
    let calls = cluster.nodes[at].notified();
    let call = calls.iter().rev().find(|c| c.value("--status") == Some("donor")).expect("its call");
    assert!(call.at > began);
    assert!(n1.notified().iter().any(|c| c.value("--members").is_some_and(|m| m.matches("/n").count() == 3)));
    assert!(n1.notify_output().contains("then --status"), "{}", n1.notify_output());
}

#[test]
fn a_process_list_tells_idle_sessions_from_statements_and_since_when() {
    let cluster = cluster();
    let n1 = &cluster.nodes[0];
    let lists = Lists::watch(&cluster, "app");
    let idle = Conn::app(n1.addr(), secs(5)).unwrap();
    let mut busy = Conn::app(n1.addr(), secs(5)).unwrap();
    busy.send("SELECT SLEEP(1)").unwrap();
    let sessions = until(secs(5), "both are listed", || {
        Some(n1.sessions("app")).filter(|s| s.iter().any(|s| s.command == "Query" && s.time > millis(300)))
    });
    let of = |conn: &Conn| sessions.iter().find(|s| s.id == u64::from(conn.greeting.connection_id)).unwrap();
    assert_eq!(of(&idle).command, "Sleep");
    assert_eq!((of(&busy).statement.as_str(), of(&busy).user.as_str()), ("SELECT SLEEP(1)", "app"));
    assert!(of(&busy).time < secs(1), "{:?}", of(&busy));
    busy.answer().unwrap();
    let seen = lists.seen();
    assert!(seen.iter().any(|s| s.node == "n1" && s.sessions.len() == 2), "{}", seen.len());
    assert!(seen.iter().all(|s| s.node == "n1" || s.sessions.is_empty()));
}

#[test]
fn sessions_are_apart_while_both_accounts_have_idle_or_newly_begun_ones_on_different_nodes() {
    let start = Instant::now() + secs(60);
    let at = |ms: u64| start + millis(ms);
    let session = |user: &str, command: &str, time: Duration| Session {
        id: 1,
        user: user.into(),
        command: command.into(),
        time,
        statement: String::new(),
    };
    let seen = |ms, node: &str, sessions: Vec<Session>| Seen { at: at(ms), node: node.into(), sessions };
    let idle = |user| session(user, "Sleep", secs(5));

    let together = [seen(0, "n1", vec![idle("a"), idle("b")]), seen(20, "n2", vec![])];
    assert_eq!(longest_apart(&together, "a", "b"), None);
    let apart = [
        seen(0, "n1", vec![idle("a")]),
        seen(20, "n2", vec![idle("b")]),
        seen(420, "n2", vec![idle("b")]),
        seen(520, "n1", vec![]),
        seen(900, "n2", vec![idle("b")]),
    ];
    let longest = longest_apart(&apart, "a", "b").unwrap();
    assert_eq!((longest.began, longest.lasted), (at(20), millis(400)));
    // What ran before is none of it; what begins after is.
    let old = |ms| session("a", "Query", millis(ms) + secs(1));
    let running = [seen(0, "n1", vec![old(0)]), seen(20, "n2", vec![idle("b")]), seen(620, "n1", vec![old(620)])];
    assert_eq!(longest_apart(&running, "a", "b"), None);
    let new = [
        seen(0, "n1", vec![old(0)]),
        seen(20, "n2", vec![idle("b")]),
        seen(620, "n1", vec![session("a", "Query", millis(300))]),
        seen(920, "n1", vec![session("a", "Query", millis(10))]),
    ];
    assert_eq!(longest_apart(&new, "a", "b").unwrap().lasted, millis(300));
}
