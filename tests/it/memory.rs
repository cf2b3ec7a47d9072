//! What a restart does not forget, and what becomes of a memory that cannot be used.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::fakes::{Fakes, LONG, connect, set_state};
use crate::harness::process::Signal;
use crate::harness::{Galeway, Settings, cli, galeway::binary, until, watchdog};
use crate::peer::Peer;

/// Two nodes of one component, and the lines of a state directory.
fn two() -> (Fakes, Vec<Peer>, PathBuf, String) {
    let (fakes, peers) = Fakes::good(2);
    let uuid = |i: u8| format!("{i:08}-2222-2222-2222-222222222222");
    let member = |i: u8| [uuid(i), String::new(), format!("n{i}"), String::new()];
    for i in 1..=2 {
        let check = fakes.check(i);
        check.set_status("wsrep_gcomm_uuid", &uuid(i));
        check.set_status("wsrep_cluster_size", "2");
        check.set_status("wsrep_local_index", &(i - 1).to_string());
        check.set_members(Some(vec![member(1), member(2)]));
    }
    let dir = watchdog::fresh_path("state");
    let lines = format!("state_dir = {dir:?}");
    (fakes, peers, dir, lines)
}

fn start(fakes: &Fakes, process: &str) -> Galeway {
    fakes.galeway(Settings { process, ..Settings::default() })
}

fn stop(mut galeway: Galeway) {
    galeway.signal(Signal::TERM);
    assert_eq!(galeway.wait(LONG).and_then(|s| s.code()), Some(0), "{}", galeway.log());
}

#[track_caller]
fn wait_writer(galeway: &Galeway, name: &str) {
    until(LONG, &format!("the writer is {name}"), || (galeway.status()["clusters"][0]["writer"] == name).then_some(()));
}

fn file(dir: &Path) -> PathBuf {
    dir.join("cluster-main.json")
}

fn remembered(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file(dir)).unwrap()).unwrap()
}

/// The role has moved to the node that is not preferred.
fn moved_to_n2(fakes: &Fakes, galeway: &Galeway) {
    wait_writer(galeway, "n1");
    set_state(fakes.check(1), "1");
    wait_writer(galeway, "n2");
    set_state(fakes.check(1), "4");
    galeway.wait_verdict("n1", "eligible", LONG);
    wait_writer(galeway, "n2");
}

#[test]
fn the_writer_survives_a_restart() {
    let (fakes, _data, dir, lines) = two();
    let galeway = start(&fakes, &lines);
    moved_to_n2(&fakes, &galeway);
    stop(galeway);
    let written = remembered(&dir);
    assert_eq!(written["writer"], "n2", "{written}");
    assert_eq!(written["served"], serde_json::json!(["n1", "n2"]), "{written}");
    assert_eq!(written["history"], "11111111-1111-1111-1111-111111111111", "{written}");
    let galeway = start(&fakes, &lines);
    wait_writer(&galeway, "n2");
    assert!(!galeway.log().contains("\"writer\":\"n1\""), "{}", galeway.log());
}

#[test]
fn a_crash_forgets_nothing_either() {
    let (fakes, _data, dir, lines) = two();
    let mut galeway = start(&fakes, &lines);
    moved_to_n2(&fakes, &galeway);
    until(LONG, "it is written", || (file(&dir).exists() && remembered(&dir)["writer"] == "n2").then_some(()));
    galeway.kill();
    wait_writer(&start(&fakes, &lines), "n2");
}

#[test]
fn a_drained_node_stays_drained_over_a_restart() {
    let (fakes, _data, dir, lines) = two();
    stop(start(&fakes, &lines));
    let mut written = remembered(&dir);
    written["operator"]["n1"] = "drain".into();
    std::fs::write(file(&dir), written.to_string()).unwrap();
    for _ in 0..2 {
        let galeway = start(&fakes, &lines);
        assert_eq!(crate::fakes::greeted_by(&connect(&galeway)), "n2");
        wait_writer(&galeway, "n2");
        stop(galeway);
        assert_eq!(remembered(&dir)["operator"]["n1"], "drain");
    }
}

#[test]
fn a_damaged_memory_is_a_cold_start_with_a_warning() {
    let (fakes, _data, dir, lines) = two();
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(file(&dir), "{\"version\": 1, \"clu").unwrap();
    let galeway = start(&fakes, &lines);
    wait_writer(&galeway, "n1");
    let log = galeway.log();
    let warning = log.lines().find(|l| l.contains("cold start")).unwrap_or_else(|| panic!("{log}"));
    for said in ["\"WARN\"", "cluster-main.json", "it is damaged: EOF", "cluster-main.json.damaged", "drained"] {
        assert!(warning.contains(said), "{said}: {warning}");
    }
    assert!(dir.join("cluster-main.json.damaged").exists());
}

#[test]
fn another_history_that_the_configuration_names_is_served_whatever_is_remembered() {
    let (fakes, _data, dir, lines) = two();
    let other = "99999999-9999-9999-9999-999999999999";
    for i in 1..=2 {
        fakes.check(i).set_members(None);
        fakes.check(i).set_status("wsrep_cluster_size", "1");
    }
    fakes.check(2).set_status("wsrep_cluster_status", "non-Primary");
    fakes.check(2).set_status("wsrep_cluster_state_uuid", other);
    stop(start(&fakes, &lines));
    assert_eq!(remembered(&dir)["served"], serde_json::json!(["n1"]));
    fakes.check(2).set_status("wsrep_cluster_status", "Primary");
    let cluster = format!("state_uuid = \"{other}\"");
    let galeway = fakes.galeway(Settings { cluster: &cluster, process: &lines, ..Settings::default() });
    assert_eq!(crate::fakes::greeted_by(&connect(&galeway)), "n2");
    wait_writer(&galeway, "n2");
}

#[test]
fn two_processes_do_not_share_a_directory_that_was_asked_for() {
    let (fakes, _data, _dir, lines) = two();
    let first = start(&fakes, &lines);
    let mut second = fakes.spawn(Settings { process: &lines, ..Settings::default() });
    assert_eq!(second.wait(LONG).and_then(|s| s.code()), Some(2));
    let log = second.log();
    let said = format!("in use by another Galeway (process {}): give each its own", first.pid());
    assert!(log.contains("[process] state_dir") && log.contains(&said), "{log}");
}

#[test]
fn a_successor_begins_while_the_last_sessions_end_and_keeps_the_memory() {
    let (fakes, _data, dir, lines) = two();
    let mut old = start(&fakes, &lines);
    moved_to_n2(&fakes, &old);
    let _session = connect(&old);
    old.signal(Signal::TERM);
    crate::harness::galeway::wait_closed(old.addr());
    let new = start(&fakes, &lines);
    wait_writer(&new, "n2");
    fakes.check(2).set_variable("pxc_maint_mode", "MAINTENANCE");
    wait_writer(&new, "n1");
    until(LONG, "it is written", || (remembered(&dir)["writer"] == "n1").then_some(()));
    assert!(old.wait(std::time::Duration::ZERO).is_none(), "it ended too soon to show anything");
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_where_it_was_asked_for() {
    let path = watchdog::fresh_path("config");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("file"), "").unwrap();
    let text = "[cluster.c]\nnodes = [\"127.0.0.1:1\"]\n[cluster.c.monitor]\nuser = \"u\"\n[service.s]\n\
                accept = \"127.0.0.1:0\"\ncluster = \"c\"\n[admin]\nlisten = \"\"\n[process]\nstate_dir = \"file/state\"\n";
    std::fs::write(path.join("galeway.toml"), text).unwrap();
    let output = cli::run(Command::new(binary()).arg("run").arg("-c").arg(path.join("galeway.toml")));
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("cannot be used: Not a directory"), "{}", output.stderr);
    assert!(output.stderr.contains("make it, owned by the user that Galeway runs as"), "{}", output.stderr);
}
