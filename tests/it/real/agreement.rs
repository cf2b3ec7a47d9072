//! Two Galeways before one cluster have one writer, which they agree upon through a record that the cluster replicates.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{ROUND, SLACK, TIMEOUT};
use crate::harness::galeway::WRITER_AND_READER;
use crate::harness::load::Manner;
use crate::harness::sessions::{Lists, longest_apart};
use crate::harness::{Cluster, Galeway, Load, Settings, cluster, full, millis, secs, within};

/// The record, its account, and an account for the clients of each Galeway, by which the process lists tell them apart.
pub(crate) fn prepare(cluster: &Cluster) {
    for sql in [
        "CREATE DATABASE galeway",
        "CREATE TABLE galeway.writer (cluster_name VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, \
         epoch BIGINT UNSIGNED NOT NULL, node_uuid CHAR(36) NOT NULL, node_name VARCHAR(255) NOT NULL, \
         changed_at TIMESTAMP(6) NOT NULL) ENGINE=InnoDB",
        "CREATE USER galeway@'%' IDENTIFIED BY 'galeway'",
        "GRANT SELECT, INSERT, UPDATE ON galeway.writer TO galeway@'%'",
        "CREATE DATABASE load_test",
        "CREATE TABLE load_test.t (id BIGINT PRIMARY KEY AUTO_INCREMENT, node VARCHAR(64) NOT NULL)",
        "CREATE USER by_a@'%' IDENTIFIED BY 'by_a'",
        "CREATE USER by_b@'%' IDENTIFIED BY 'by_b'",
        "GRANT SELECT, INSERT ON load_test.* TO by_a@'%', by_b@'%'",
    ] {
        cluster.nodes[0].sql(sql);
    }
}

pub(crate) fn clear(cluster: &Cluster) {
    for sql in ["DROP DATABASE galeway", "DROP DATABASE load_test", "DROP USER galeway@'%', by_a@'%', by_b@'%'"] {
        cluster.nodes[0].sql(sql);
    }
}

/// One check round with this interval.
const SHORT_ROUND: Duration = millis(250).saturating_add(TIMEOUT);

const AGREED: Settings<'static> = Settings {
    cluster: "",
    monitor: "interval = \"250ms\"",
    eligibility: "",
    writer: "agreement = \"cluster\"\nuser = \"galeway\"\npassword = \"galeway\"",
    // What an operator drains would go on for as long.
    sessions: "drain_timeout = \"0s\"",
    roles: WRITER_AND_READER,
    service: "",
    reader: "",
    // Clients that stay do not hold a restart up.
    admin: "",
    process: "shutdown_timeout = \"500ms\"",
    launcher: &[],
};

/// Sessions of half a second that write all the time.
fn writes(galeway: &Galeway, user: &'static str) -> Load {
    let statement = Some("INSERT INTO load_test.t (node) VALUES (@@wsrep_node_name)");
    let manner = Manner { threads: 3, user, statement, stay: millis(500), ..Manner::CALM };
    Load::with(galeway.service("writer"), manner)
}

/// The one row: epoch, node.
fn record(cluster: &Cluster) -> Option<(u64, String)> {
    let rows = cluster.nodes.iter().find_map(|n| n.try_sql("SELECT epoch, node_name FROM galeway.writer").ok())?;
    let [epoch, name] = &rows.first()?[..] else { return None };
    Some((epoch.as_ref()?.parse().ok()?, name.clone()?))
}

/// The writer that this Galeway tells, if it can be asked.
fn writer(galeway: &Galeway) -> Option<String> {
    let (code, body) = galeway.try_get("/api/status")?;
    let status: serde_json::Value = serde_json::from_str(&body).ok()?;
    (code == 200).then(|| status["clusters"][0]["writer"].as_str().map(str::to_owned))?
}

/// Numbers that only have to differ from run to run (xorshift); the seed is printed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
        println!("agreement: seed {seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}

/// One Galeway ends, by either signal, and a new one takes its place after a while.
fn restart(galeway: &mut Galeway, random: &mut Random) {
    if random.below(2) == 0 {
        galeway.kill();
    } else {
        galeway.stop();
    }
    std::thread::sleep(millis(random.below(700)));
    galeway.start_again();
}

#[test]
fn two_galeways_that_are_restarted_at_random_never_write_to_two_nodes() {
    let cluster = cluster();
    prepare(&cluster);
    let (mut a, mut b) = (Galeway::before(&cluster, AGREED), Galeway::before(&cluster, AGREED));
    let first = within(secs(10), || Some(writer(&a)?).filter(|w| writer(&b).as_ref() == Some(w)));
    let first = first.unwrap_or_else(|| panic!("no agreement: {} {}", a.cluster(), b.cluster()));
    assert_eq!(record(&cluster).expect("the record").1, first);
    let lists = Lists::watch(&cluster, "by_");
    let loads = [writes(&a, "by_a"), writes(&b, "by_b")];
    loads.iter().for_each(|l| l.wait_for(6));

    let long = full();
    let length = if long { secs(120) } else { secs(15) };
    let (mut random, began) = (Random::new(), Instant::now());
    let mut told = BTreeMap::<&str, usize>::new();
    let (mut drained, mut stopped): (Option<String>, Option<Instant>) = (None, None);
    while began.elapsed() < length {
        // Long enough for a disagreement to last longer than it may: a restart ends what sessions there are.
        std::thread::sleep(millis(500 + random.below(3000)));
        // A takeover needs 30 s from the last one: a short run has time for one.
        let stop_now = stopped.is_none_or(|at| at.elapsed() > secs(50)) && began.elapsed() > secs(3);
        let step = if stop_now { 9 } else { random.below(8) };
        match step {
            0..=2 => {
                restart(&mut a, &mut random);
                *told.entry("restarts of a").or_default() += 1;
            }
            3..=5 => {
                restart(&mut b, &mut random);
                *told.entry("restarts of b").or_default() += 1;
            }
            6 | 7 => {
                // Of both: an operator who drains a node means every balancer.
                let (node, state) = match (drained.take(), record(&cluster)) {
                    (Some(node), _) => (node, "ready"),
                    (None, Some((_, node))) => (node, "drain"),
                    (None, None) => continue,
                };
                for galeway in [&a, &b] {
                    // One that has just been started may not listen yet.
                    if within(secs(5), || galeway.try_get("/healthz")).is_some() {
                        galeway.set_node(&node, state);
                    }
                }
                if state == "drain" {
                    drained = Some(node);
                }
                *told.entry("drains and readies").or_default() += 1;
            }
            _ => {
                stopped = Some(Instant::now());
                let Some((_, name)) = record(&cluster) else { continue };
                let node = cluster.node(&name);
                node.stop();
                node.rejoin();
                *told.entry("stops of the writer's node").or_default() += 1;
            }
        }
    }
    if let Some(node) = drained {
        for galeway in [&a, &b] {
            // The one that was restarted last may not listen yet.
            assert!(within(secs(5), || galeway.try_get("/healthz")).is_some(), "{}", galeway.log());
            galeway.set_node(&node, "ready");
        }
    }
    cluster.wait_whole();
    // All rest: they agree, and on what the record says.
    let agreed = within(secs(40), || {
        let (_, name) = record(&cluster)?;
        (writer(&a)? == name && writer(&b)? == name).then_some(name)
    });
    let agreed = agreed.unwrap_or_else(|| panic!("{:?}: {} {}", record(&cluster), a.cluster(), b.cluster()));
    loads.iter().for_each(|l| l.wait_for(6));
    let reports = loads.map(Load::stop);
    let seen = lists.seen();
    drop(lists);

    let apart = longest_apart(&seen, "by_a", "by_b");
    println!("agreement: longest time on different writers, of {} lists: {apart:?}", seen.len());
    println!("agreement: {told:?} in {:?}; at the end {:?}", began.elapsed(), record(&cluster));
    for (report, user) in reports.iter().zip(["by_a", "by_b"]) {
        let mut nodes = BTreeMap::<&str, usize>::new();
        report.iterations.iter().filter_map(|i| i.node.as_deref()).for_each(|n| *nodes.entry(n).or_default() += 1);
        println!("{user}: sessions by node {nodes:?}, {} failed connects", report.failed_connects().len());
        assert!(nodes.contains_key(agreed.as_str()), "{nodes:?}");
        assert!(seen.iter().any(|s| s.sessions.iter().any(|s| s.user == user)), "the lists show {user}");
    }
    for what in ["restarts of a", "restarts of b", "stops of the writer's node"] {
        assert!(told.contains_key(what) || (!long && what.starts_with("restarts")), "no {what}: {told:?}");
    }
    assert!(record(&cluster).is_some_and(|(epoch, name)| epoch > 1 || name != first), "the writer moved");
    let longest = apart.as_ref().map(|a| a.lasted).unwrap_or_default();
    assert!(longest <= SHORT_ROUND + SLACK, "{apart:?}");
    clear(&cluster);
}

#[test]
#[ignore = "long, a takeover may have to wait for 30 s: scripts/test --full runs it"]
fn a_galeway_that_starts_takes_the_recorded_writer_and_not_the_first_node() {
    let cluster = cluster();
    prepare(&cluster);
    let a = Galeway::before(&cluster, AGREED);
    a.wait_writer("n1", secs(10));
    a.set_node("n1", "drain");
    a.wait_writer("n2", ROUND + SLACK + secs(30));
    let (epoch, name) = record(&cluster).expect("the record");
    assert_eq!(name, "n2");
    let b = Galeway::before(&cluster, AGREED);
    b.wait_writer("n2", secs(5));
    assert_eq!(record(&cluster), Some((epoch, name)), "read, and not written");
    clear(&cluster);
}
