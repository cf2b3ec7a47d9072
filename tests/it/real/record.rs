//! Several balancers come to one writer by the record that the cluster replicates.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::node::DONOR;
use crate::harness::process::Signal;
use crate::harness::{Cluster, Galeway, Node, Settings, cluster, secs, until};

const WRITER: &str = "donor_grace = \"0s\"\nagreement = \"cluster\"\nuser = \"galeway\"\npassword = \"galeway\"";

const PACE: &str = "interval = \"100ms\"\nfast_interval = \"20ms\"";

const SETTINGS: Settings<'_> = Settings {
    cluster: "",
    monitor: PACE,
    eligibility: "",
    writer: WRITER,
    sessions: "",
    roles: &["any"],
    service: crate::harness::galeway::ROUND_ROBIN,
    reader: "",
    admin: "",
    process: "",
    launcher: &[],
};

/// The account, and the table once it is made; dropped, both are gone.
struct Record<'a>(&'a Node);

impl<'a> Record<'a> {
    fn account(cluster: &'a Cluster) -> Self {
        let node = &cluster.nodes[2];
        node.sql("CREATE USER galeway@'%' IDENTIFIED BY 'galeway'");
        Self(node)
    }

    fn new(cluster: &'a Cluster) -> Self {
        let record = Self::account(cluster);
        record.make();
        record
    }

    /// With the statements of the document.
    fn make(&self) {
        let page = include_str!("../../../docs/agreement.md");
        let block = page.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
        assert!(block.contains("CREATE TABLE galeway.writer"), "{block}");
        for statement in block.split(";\n").map(str::trim).filter(|s| !s.is_empty() && !s.starts_with("CREATE USER")) {
            self.0.sql(&statement.replace("@'10.0.0.%'", "@'%'"));
        }
    }

    /// Its epoch and the writer's name, as this node has it after all that was committed before.
    fn row(&self) -> Option<(u64, String)> {
        let mut conn = self.0.root().unwrap();
        conn.query("SET SESSION wsrep_sync_wait = 1").unwrap();
        let rows = conn.query("SELECT epoch, node_name, cluster_name FROM galeway.writer").unwrap();
        assert!(rows.len() < 2, "{rows:?}");
        let row = rows.into_iter().next()?;
        assert_eq!(row[2].as_deref(), Some("main"));
        Some((row[0].as_ref()?.parse().ok()?, row[1].clone()?))
    }

    fn is(&self, epoch: u64, writer: &str) -> bool {
        self.row() == Some((epoch, writer.to_owned()))
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_sql("DROP DATABASE IF EXISTS galeway");
        let _ = self.0.try_sql("DROP USER galeway@'%'");
    }
}

/// Not waited for; its nodes in this order, of which the first is preferred.
fn spawn(cluster: &Cluster, order: [usize; 3]) -> Galeway {
    let node = |i: usize| (cluster.nodes[i].name.clone(), cluster.nodes[i].addr());
    let nodes: Vec<(String, SocketAddr)> = order.map(node).to_vec();
    Galeway::spawn(&nodes, SETTINGS)
}

fn status(galeway: &Galeway) -> Option<Value> {
    let (_, body) = galeway.try_get("/api/status")?;
    serde_json::from_str::<Value>(&body).ok().map(|status| status["clusters"][0].clone())
}

fn writer(galeway: &Galeway) -> Option<String> {
    Some(status(galeway)?["writer"].as_str()?.to_owned())
}

#[track_caller]
fn wait_writer(galeway: &Galeway, name: &str) {
    until(secs(20), &format!("the writer is {name}"), || (writer(galeway)? == name).then_some(()));
}

#[test]
fn two_balancers_that_propose_different_writers_at_once_end_with_one_and_one_step() {
    let cluster = cluster();
    let record = Record::new(&cluster);
    let both = [spawn(&cluster, [0, 1, 2]), spawn(&cluster, [2, 1, 0])];
    let named = both.each_ref().map(|g| until(secs(20), "a writer", || writer(g)));
    assert_eq!(named[0], named[1]);
    // A few readings later nothing has moved.
    std::thread::sleep(secs(1));
    assert_eq!(both.each_ref().map(writer), named.clone().map(Some));
    assert!(record.is(1, &named[0]), "{:?}", record.row());
    let told = both.each_ref().map(|g| g.log().contains("\"writer recorded\""));
    assert!(told[0] != told[1], "{told:?}: exactly one of them made it");
}

#[test]
fn a_writer_that_becomes_unfit_is_followed_in_one_step_by_all_and_found_by_who_starts() {
    let cluster = cluster();
    let record = Record::new(&cluster);
    let (first, mut second) = (spawn(&cluster, [0, 1, 2]), spawn(&cluster, [0, 1, 2]));
    for galeway in [&first, &second] {
        wait_writer(galeway, "n1");
    }
    let n1 = &cluster.nodes[0];
    n1.desync();
    n1.wait(secs(5), "Donor/Desynced", |s| s.local_state == DONOR);
    for galeway in [&first, &second] {
        wait_writer(galeway, "n2");
    }
    assert!(record.is(2, "n2"), "{:?}", record.row());
    n1.resync();
    first.wait_verdict("n1", "eligible", secs(10));
    second.signal(Signal::TERM);
    second.wait(secs(10)).unwrap();
    // Of another mind, and without a memory.
    let third = spawn(&cluster, [0, 1, 2]);
    until(secs(20), "a writer", || writer(&third));
    assert_eq!([&first, &third].map(writer), [Some("n2".to_owned()), Some("n2".to_owned())]);
    assert!(!third.log().contains("\"writer\":\"n1\""), "{}", third.log());
    assert!(record.is(2, "n2"), "{:?}", record.row());
}

#[test]
fn without_the_table_there_is_no_writer_but_the_reason_and_with_it_there_is_one() {
    let cluster = cluster();
    let record = Record::account(&cluster);
    let galeway = spawn(&cluster, [0, 1, 2]);
    let note = until(secs(20), "the reason", || {
        Some(status(&galeway)?["writer_note"].as_str()?.to_owned()).filter(|note| note.contains("docs/agreement.md"))
    });
    println!("{note}");
    assert!(note.starts_with("no writer: the record galeway.writer cannot be read (1142 "), "{note}");
    assert_eq!(writer(&galeway), None);
    record.make();
    wait_writer(&galeway, "n1");
    assert!(record.is(1, "n1"), "{:?}", record.row());
    assert_eq!(status(&galeway).unwrap()["writer_note"], Value::Null);
    // And gone again: whoever is the writer stays it.
    cluster.nodes[2].sql("DROP TABLE galeway.writer");
    until(secs(20), "a warning", || galeway.log().contains("cannot be read: the writer stays").then_some(()));
    assert_eq!(writer(&galeway), Some("n1".to_owned()));
}

#[test]
fn an_account_with_a_wrong_password_is_named_and_not_hammered() {
    let cluster = cluster();
    let record = Record::new(&cluster);
    cluster.nodes[0].sql("ALTER USER galeway@'%' IDENTIFIED BY 'changed'");
    let galeway = spawn(&cluster, [0, 1, 2]);
    let note = until(secs(20), "the reason", || {
        Some(status(&galeway)?["writer_note"].as_str()?.to_owned()).filter(|note| note.contains("1045"))
    });
    assert!(note.contains("refuses the login of \"galeway\""), "{note}");
    assert!(!note.contains("changed") && !galeway.log().contains("IDENTIFIED"), "{note}");
    cluster.nodes[0].sql("ALTER USER galeway@'%' IDENTIFIED BY 'galeway'");
    wait_writer(&galeway, "n1");
    assert!(record.is(1, "n1"), "{:?}", record.row());
}

#[test]
fn a_row_that_an_operator_changed_is_obeyed() {
    let cluster = cluster();
    let record = Record::new(&cluster);
    let galeway = spawn(&cluster, [0, 1, 2]);
    wait_writer(&galeway, "n1");
    let page = include_str!("../../../docs/agreement.md");
    let statement = page.split("```sql\n").find(|b| b.starts_with("UPDATE galeway.writer")).unwrap();
    cluster.nodes[2].sql(statement.split(';').next().unwrap().replace("'db2'", "'n3'").as_str());
    wait_writer(&galeway, "n3");
    until(secs(10), "a line", || galeway.log().contains("another balancer recorded the writer").then_some(()));
    assert!(record.is(2, "n3"), "{:?}", record.row());
}

#[test]
fn a_killed_writer_is_followed_once_galera_has_given_it_up() {
    let cluster = cluster();
    let record = Record::new(&cluster);
    let both = [spawn(&cluster, [0, 1, 2]), spawn(&cluster, [0, 2, 1])];
    for galeway in &both {
        wait_writer(galeway, "n1");
    }
    let killed = std::time::Instant::now();
    cluster.nodes[0].kill();
    let named = until(secs(20), "another writer", || writer(&both[0]).filter(|w| w != "n1"));
    println!("killed writer: {named} after {:?}", killed.elapsed());
    wait_writer(&both[1], &named);
    assert!(record.is(2, &named), "{:?}", record.row());
    cluster.nodes[0].rejoin();
    cluster.wait_whole();
}
