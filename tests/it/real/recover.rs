//! `galeway recover` on what real nodes leave behind, and its commands carried out.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::cli::{Output, run};
use crate::harness::galeway::binary;
use crate::harness::node::Start;
use crate::harness::{Cluster, Node, cluster, full, millis, ports, secs, until, watchdog};

/// `galeway recover` with the monitor's account.
pub(super) fn recover(arguments: &[String]) -> Output {
    let password = watchdog::fresh_path("password");
    std::fs::write(&password, "monitor\n").unwrap();
    run(Command::new(binary())
        .arg("recover")
        .args(arguments)
        .args(["--user", "monitor", "--password-file"])
        .arg(password))
}

/// The same as JSON.
#[track_caller]
pub(super) fn advice(arguments: &[String], code: i32) -> Value {
    let seen = recover(&[arguments, &["--json".to_owned()]].concat());
    assert_eq!(seen.code, Some(code), "{seen:?}");
    serde_json::from_str(&seen.stdout).unwrap()
}

pub(super) fn data(node: &Node) -> [String; 2] {
    ["--file".to_owned(), format!("{}={}", node.name, node.data().display())]
}

pub(super) fn all_data(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().flat_map(data).collect()
}

pub(super) fn lines(advice: &Value) -> Vec<String> {
    let commands = advice["steps"].as_array().unwrap().iter().flat_map(|s| s["commands"].as_array().unwrap());
    commands.map(|c| c["line"].as_str().unwrap().to_owned()).collect()
}

/// Carries the printed --wsrep-recover command out on the node's data, whose configuration is its flags, and returns
/// the log as a file to give.
#[track_caller]
fn run_recovery(node: &Node, advice: &Value) -> [String; 2] {
    let end = format!("2> {}.log", node.name);
    let line = lines(advice).into_iter().find(|l| l.ends_with(&end)).unwrap_or_else(|| panic!("{advice:#}"));
    let flags = line.strip_prefix("mariadbd --user=mysql ").unwrap().strip_suffix(&end).unwrap();
    let seen = node.run_to_end(&flags.split_whitespace().collect::<Vec<_>>());
    assert_eq!(seen.code, Some(0), "{}: {seen:?}", node.name);
    let log: PathBuf = watchdog::fresh_path(&format!("{}.log", node.name));
    std::fs::write(&log, &seen.stderr).unwrap();
    ["--file".to_owned(), format!("{}={}", node.name, log.display())]
}

/// The number in a log, read without Galeway.
pub(super) fn recovered_seqno(argument: &str) -> u64 {
    let log = std::fs::read_to_string(argument.split_once('=').unwrap().1).unwrap();
    let line = log.lines().rfind(|l| l.contains("WSREP: Recovered position: ")).unwrap();
    let digits = line.rsplit_once(':').unwrap().1;
    digits.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn of_three_that_were_stopped_the_last_to_leave_is_named_and_begins_the_cluster_anew() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    n3.stop();
    n2.wait(secs(20), "Synced in a smaller component", |s| s.size == 2 && s.synced());
    n2.sql("CREATE DATABASE one");
    n1.stop();
    n2.wait(secs(20), "Synced alone", |s| s.size == 1 && s.synced());
    n2.sql("CREATE DATABASE two");
    let history = n2.state().unwrap().state_uuid;
    n2.stop();

    println!("{}", recover(&all_data(&cluster)).stdout);
    let said = advice(&all_data(&cluster), 0);
    assert_eq!((&said["verdict"], &said["candidate"]), (&"bootstrap".into(), &"n2".into()), "{said:#}");
    let nodes = said["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|n| n["state"] == "stopped" && n["uuid"] == *history), "{said:#}");
    assert_eq!(nodes[1]["safe_to_bootstrap"], true);
    let behind = |i: usize| nodes[i]["behind"].as_u64().unwrap();
    assert!(behind(2) > behind(0) && behind(0) > behind(1) && behind(1) == 0, "{said:#}");
    assert_eq!(lines(&said)[0], "galera_new_cluster", "no edit is needed: {said:#}");

    n2.start(Start::Bootstrap(None));
    let state = n2.wait_synced(1);
    assert_eq!(state.state_uuid, history);
    n2.sql("USE two");
}

#[test]
fn of_three_that_were_killed_none_is_named_until_the_printed_commands_have_read_their_positions() {
    let cluster = cluster();
    let n1 = &cluster.nodes[0];
    n1.sql("CREATE TABLE demo.killed (id INT PRIMARY KEY AUTO_INCREMENT)");
    for _ in 0..20 {
        n1.sql("INSERT INTO demo.killed VALUES ()");
    }
    let history = n1.state().unwrap().state_uuid;
    cluster.nodes.iter().for_each(Node::kill);

    let text = recover(&all_data(&cluster));
    println!("{}", text.stdout);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(text.stdout.starts_with("No node is safe to bootstrap: the position of n1, n2 and n3 is unknown.\n"));
    let said = advice(&all_data(&cluster), 1);
    let first = said["steps"][0]["title"].as_str().unwrap();
    assert!(first.starts_with("Try this first, without any bootstrap: start n1, n2 and n3 within 30 s"), "{said:#}");

    let logs: Vec<[String; 2]> = cluster.nodes.iter().map(|n| run_recovery(n, &said)).collect();
    let two = [all_data(&cluster), logs[..2].concat()].concat();
    assert_eq!(advice(&two, 1)["headline"], "No node is safe to bootstrap: the position of n3 is unknown.");
    let evidence = [all_data(&cluster), logs.concat()].concat();
    let text = recover(&evidence);
    println!("{}", text.stdout);
    let said = advice(&evidence, 0);
    let seqnos: Vec<u64> = logs.iter().map(|l| recovered_seqno(&l[1])).collect();
    let most = seqnos.iter().copied().max().unwrap();
    let furthest = &cluster.nodes[seqnos.iter().position(|s| *s == most).unwrap()];
    println!("recovered: {seqnos:?}");
    assert_eq!(said["candidate"], *furthest.name, "{said:#}");

    // The two commands for it, as they are printed: the edit, where its data are, and the start by hand.
    let lines = lines(&said);
    let sed = lines[0].replace("/var/lib/mysql", &furthest.data().display().to_string());
    assert_eq!(run(Command::new("sh").args(["-c", &sed])).code, Some(0), "{sed}");
    let by_hand = lines.iter().find_map(|l| l.strip_prefix("mariadbd --user=mysql --wsrep-new-cluster ")).unwrap();
    furthest.start_with(Start::Join, &["--wsrep-new-cluster", by_hand]);
    let state = furthest.wait_synced(1);
    assert_eq!(state.state_uuid, history, "without its position it would have begun a new history");
    let committed: u64 = furthest.status("wsrep_last_committed").parse().unwrap();
    assert!(committed >= most, "it begins at {committed}, and {most} was recovered");
    if full() {
        let others = cluster.nodes.iter().zip(&seqnos).filter(|(n, _)| n.name != furthest.name);
        for ((other, seqno), size) in others.zip([2, 3]) {
            // As a systemd unit starts it, which reads its position first.
            other.start_with(Start::Join, &[&format!("--wsrep-start-position={history}:{seqno}")]);
            other.wait_synced(size);
        }
    }
}

#[test]
fn a_survivor_without_a_quorum_is_named_and_the_printed_statement_makes_it_primary() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    n2.kill();
    n3.kill();
    // While Galera itself has not noticed.
    let live = vec![n1.addr().to_string()];
    assert_eq!(advice(&live, 0)["verdict"], "primary");
    n1.wait(secs(20), "non-Primary", |s| !s.primary());

    let dead = [live.clone(), vec![n2.addr().to_string(), n3.addr().to_string()]].concat();
    let said = advice(&dead, 1);
    assert!(said["why"][0].as_str().unwrap().contains("it does not answer (connection refused)"), "{said:#}");
    let evidence = [live.clone(), data(n2).to_vec(), data(n3).to_vec()].concat();
    let said = advice(&evidence, 1);
    let evidence = [evidence, run_recovery(n2, &said).to_vec(), run_recovery(n3, &said).to_vec()].concat();
    let text = recover(&evidence);
    println!("{}", text.stdout);
    let said = advice(&evidence, 0);
    assert_eq!(said["candidate"], *live[0], "{said:#}");
    let before = said["before"].as_array().unwrap();
    assert!(before[0].as_str().unwrap().starts_with("No server runs on n2 and n3"), "{said:#}");

    // The form for root of that host, at the socket of this node.
    let here = lines(&said)[0].replacen("mariadb ", &format!("mariadb -u root -S {} ", n1.socket().display()), 1);
    assert!(here.contains(" -e \"SET GLOBAL "), "{here}");
    let elsewhere = format!("mariadb -h 127.0.0.1 -P {} -u root -p -e \"SET GLOBAL ", n1.addr().port());
    assert!(lines(&said)[1].starts_with(&elsewhere), "{said:#}");
    let seen = run(Command::new("sh").args(["-c", &here]));
    assert_eq!(seen.code, Some(0), "{here}: {seen:?}");
    n1.wait_synced(1);
    assert_eq!(advice(&evidence, 0)["verdict"], "primary");
}

#[test]
fn where_a_node_is_primary_nothing_is_bootstrapped() {
    let cluster = cluster();
    let live: Vec<String> = cluster.addrs().iter().map(ToString::to_string).collect();
    let seen = recover(&live);
    assert_eq!(seen.code, Some(0), "{seen:?}");
    let headline = format!("Bootstrap nothing: {}, {} and {} are Primary.\n", live[0], live[1], live[2]);
    assert!(seen.stdout.starts_with(&headline), "{}", seen.stdout);
    // A data directory in use looks like a crashed node's. The node that runs is believed.
    let evidence = [live.clone(), vec!["--file".into(), format!("{}={}", live[1], cluster.nodes[1].data().display())]];
    let said = advice(&evidence.concat(), 0);
    assert!(said["warnings"][0].as_str().unwrap().contains("its own answer counts"), "{said:#}");
}

#[test]
fn a_mistake_on_the_command_line_or_in_a_file_is_exit_code_2_and_says_where() {
    let dir = watchdog::fresh_path("files");
    std::fs::create_dir(&dir).unwrap();
    let file = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        format!("db1={}", dir.join(name).display())
    };
    let half = file("half", "# GALERA saved state\nversion: 2.1\nuuid: e8602858\n");
    let other = file("other", "[mysqld]\nwsrep_on=ON\n");
    let nothing = file("grastate.dat", "");
    let mut skipped =
        format!("mysqld_safe Skipping wsrep-recover for {}:13 pair\n", "e8602858-e58b-11f1-8220-62a9bfe79695");
    skipped.insert_str(0, "mysqld_safe Logging to '/x'.\n");
    let skipped = file("skipped.log", &skipped);
    let xz = file("xz.log", "\u{fd}7zXZ");
    std::fs::write(dir.join("xz.log"), b"\xfd7zXZ\0").unwrap();
    let good = file("good", "uuid: e8602858-e58b-11f1-8220-62a9bfe79695\nseqno: 3\n");
    let empty = dir.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let nobody = format!("127.0.0.1:{}", ports::free());
    let mistakes: [(&[&str], &str); 12] = [
        (&["--file", "db1=/does/not/exist"], "--file db1=/does/not/exist: No such file"),
        (&["--file", "/does/not/exist"], "write NAME=PATH"),
        (&["--file", &half], "line 3: \"e8602858\" is no UUID; leave it out and give the log of --wsrep-recover"),
        (&["--file", &other], "no `WSREP: Recovered position` in its 2 lines"),
        (&["--file", &nothing], "it is empty (0 bytes), cut short by a crash; leave it out and give the log"),
        (
            &["--file", &skipped],
            "line 2: mysqld_safe skipped the recovery, since the position then stood in grastate.dat",
        ),
        (&["--file", &xz], "it is compressed by xz: unpack it first"),
        (&["--file", &good, "--file", &good], "db1 has a second grastate.dat"),
        (&["--file", &format!("db1={}", empty.display())], "there is neither grastate.dat nor gvwstate.dat in it"),
        (&[&nobody], "--user"),
        (&[&nobody, &nobody, "--user", "monitor"], "is named twice"),
        (&[], "name every node whose data still exist"),
    ];
    for (arguments, says) in mistakes {
        let seen = run(Command::new(binary()).arg("recover").args(arguments));
        assert_eq!((seen.code, seen.stdout.as_str()), (Some(2), ""), "{arguments:?}: {seen:?}");
        assert!(seen.stderr.contains(says), "{arguments:?}: {}", seen.stderr);
    }
}

#[test]
fn an_empty_gvwstate_is_a_warning_and_a_log_is_read_in_the_form_it_was_kept_in() {
    let dir = watchdog::fresh_path("forms");
    let history = "e8602858-e58b-11f1-8220-62a9bfe79695";
    let node = |name: &str, seqno: &str| {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        let grastate = format!("# GALERA saved state\nversion: 2.1\nuuid:    {history}\nseqno:   {seqno}\n");
        std::fs::write(dir.join(name).join("grastate.dat"), grastate).unwrap();
        ["--file".to_owned(), format!("{name}={}", dir.join(name).display())]
    };
    let nodes = [node("n1", "-1"), node("n2", "12"), node("n3", "11")].concat();
    std::fs::write(dir.join("n1").join("gvwstate.dat"), "").unwrap();
    let said = advice(&nodes, 1);
    assert_eq!(said["headline"], "No node is safe to bootstrap: the position of n1 is unknown.");
    let warning = said["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("n1: its gvwstate.dat does not count: it is empty (0 bytes)."), "{said:#}");

    let line = format!("{{\"log\":\"[Note] WSREP: Recovered position: {history}:10\\n\",\"stream\":\"stderr\"}}\n");
    std::fs::write(dir.join("n1.log"), line).unwrap();
    assert_eq!(run(Command::new("gzip").arg(dir.join("n1.log"))).code, Some(0));
    let log = ["--file".to_owned(), format!("n1={}", dir.join("n1.log.gz").display())];
    let said = advice(&[nodes, log.to_vec()].concat(), 0);
    assert_eq!((&said["candidate"], &said["nodes"][0]["seqno"]), (&"n2".into(), &10.into()), "{said:#}");
}

#[test]
fn of_three_that_were_killed_in_a_ddl_the_one_ahead_is_named_and_carries_its_history_on() {
    let cluster = cluster();
    let [n1, n2, n3] = &cluster.nodes[..] else { panic!("three nodes") };
    let history = n1.state().unwrap().state_uuid;
    n1.sql("CREATE TABLE demo.ddl (id INT PRIMARY KEY)");
    n1.sql("INSERT INTO demo.ddl SELECT seq FROM demo.seq_1_to_3000");
    n1.sql("CREATE TABLE demo.ahead (id INT PRIMARY KEY)");
    let created: u64 = n1.status("wsrep_last_committed").parse().unwrap();
    for node in [n2, n3] {
        until(secs(10), "the tables are everywhere", || {
            (node.status("wsrep_last_committed").parse::<u64>().ok()? >= created).then_some(())
        });
    }
    for node in &cluster.nodes {
        node.sql("SET GLOBAL innodb_flush_log_at_trx_commit=1");
    }
    // The others apply nothing from here on, as under a backup.
    let mut held = [n2, n3].map(|node| node.root().unwrap());
    for conn in &mut held {
        conn.query("FLUSH TABLES WITH READ LOCK").unwrap();
    }
    for i in 0..10 {
        n1.sql(&format!("INSERT INTO demo.ahead VALUES ({i})"));
    }
    let committed: u64 = n1.status("wsrep_last_committed").parse().unwrap();
    // A DDL that computes for many seconds.
    let ddl = std::thread::spawn({
        let mut conn = n1.root().unwrap();
        move || conn.query("ALTER TABLE demo.ddl ADD COLUMN sum CHAR(128) AS (SHA2(REPEAT(id, 1000000), 512)) STORED")
    });
    let zeros = || std::fs::read_to_string(n1.data().join("grastate.dat")).unwrap().contains("00000000-0000-0000");
    until(secs(10), "n1's grastate.dat is all zeros", || zeros().then_some(()));
    cluster.nodes.iter().for_each(Node::kill);
    let _ = ddl.join();
    drop(held);

    let said = advice(&all_data(&cluster), 1);
    println!("{}", recover(&all_data(&cluster)).stdout);
    assert_eq!(said["headline"], "No node is safe to bootstrap: the position of n1, n2 and n3 is unknown.");
    assert!(
        said["why"][0].as_str().unwrap().contains("it crashed in a DDL, and its data may be the newest"),
        "{said:#}"
    );
    let titles = said["steps"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap());
    assert!(titles.into_iter().all(|t| !t.contains("pc.recovery")), "{said:#}");

    let logs: Vec<_> = cluster.nodes.iter().map(|n| run_recovery(n, &said)).collect();
    let seqnos: Vec<u64> = logs.iter().map(|l| recovered_seqno(&l[1])).collect();
    assert!(seqnos[0] == committed && seqnos[0] > seqnos[1].max(seqnos[2]), "{seqnos:?}, {committed} committed");
    let evidence = [all_data(&cluster), logs.concat()].concat();
    println!("{}", recover(&evidence).stdout);
    let said = advice(&evidence, 0);
    assert_eq!(said["candidate"], "n1", "{said:#}");

    let lines = lines(&said);
    let edit = lines[0].replace("/var/lib/mysql", &n1.data().display().to_string());
    assert_eq!(run(Command::new("sh").args(["-c", &edit])).code, Some(0), "{edit}");
    let by_hand = lines.iter().find_map(|l| l.strip_prefix("mariadbd --user=mysql --wsrep-new-cluster ")).unwrap();
    n1.start_with(Start::Join, &["--wsrep-new-cluster", by_hand]);
    let state = n1.wait_synced(1);
    assert_eq!(state.state_uuid, history, "its grastate.dat of zeros would have begun a new one");
    assert_eq!(n1.sql("SELECT COUNT(*) FROM demo.ahead")[0][0].as_deref(), Some("10"));
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn two_primary_components_are_a_split_brain_and_none_is_bootstrapped() {
    let cluster = cluster();
    let n3 = &cluster.nodes[2];
    n3.isolate();
    n3.wait(secs(20), "non-Primary", |s| !s.primary());
    n3.sql("SET GLOBAL wsrep_provider_options='pc.bootstrap=true'");
    n3.wait_synced(1);
    until(secs(20), "the others are two", || (cluster.nodes[0].state().ok()?.size == 2).then_some(()));
    let live: Vec<String> = cluster.addrs().iter().map(ToString::to_string).collect();
    let seen = recover(&live);
    println!("{}", seen.stdout);
    assert_eq!(seen.code, Some(1), "{seen:?}");
    assert!(seen.stdout.starts_with("Split brain: two components are Primary. Bootstrap nothing.\n"), "{seen:?}");
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn three_that_were_killed_restore_their_last_view_by_themselves_when_all_are_started() {
    let cluster = cluster();
    let history = cluster.nodes[0].state().unwrap().state_uuid;
    cluster.nodes.iter().for_each(Node::kill);
    let said = advice(&all_data(&cluster), 1);
    assert!(
        said["steps"][0]["title"].as_str().unwrap().starts_with("Try this first, without any bootstrap"),
        "{said:#}"
    );
    let logs: Vec<_> = cluster.nodes.iter().map(|n| run_recovery(n, &said)).collect();
    for (node, log) in cluster.nodes.iter().zip(&logs) {
        // As a systemd unit starts it, which reads its position first. Without one the history would be none.
        node.start_with(Start::Join, &[&format!("--wsrep-start-position={history}:{}", recovered_seqno(&log[1]))]);
        std::thread::sleep(millis(200));
    }
    cluster.wait_whole();
    assert_eq!(cluster.nodes[0].state().unwrap().state_uuid, history);
}
