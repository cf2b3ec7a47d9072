//! Bytes in and out while the node or the client is slow; a large dump and load.

use std::process::Command;
use std::time::Instant;

use super::session_on;
use crate::harness::{Conn, Galeway, Settings, cli, cluster, secs, standalone, until, watchdog, within};

/// 2 MB that compress to nothing shorter and repeat nowhere.
fn text(seed: u64) -> String {
    let mut state = seed;
    let mut text = String::with_capacity(2_000_000);
    while text.len() < 2_000_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}"));
    }
    text
}

#[test]
fn what_clients_wrote_before_they_quit_and_closed_arrives_at_a_node_that_did_not_run() {
    let cluster = cluster();
    let [n1, n2, _] = &cluster.nodes[..] else { panic!("three nodes") };
    n1.sql("CREATE DATABASE bulk");
    n1.sql("CREATE TABLE bulk.t (id BIGINT PRIMARY KEY, b LONGTEXT)");
    let galeway = Galeway::before(&cluster, Settings::default());
    let clients: Vec<_> = (1..=4).map(|i| (i, session_on(&galeway, "n1"))).collect();
    n1.freeze();
    let clients: Vec<_> = clients
        .into_iter()
        .map(|(i, mut conn): (u64, Conn)| {
            std::thread::spawn(move || {
                conn.send(&format!("INSERT INTO bulk.t VALUES ({i}, '{}')", text(i))).unwrap();
                conn.leave().unwrap();
            })
        })
        .collect();
    // The kernel's buffers may hold it all, or not: the node runs again when all clients have closed, or else in time
    // before anybody thinks that it is gone.
    let closed = within(secs(1), || clients.iter().all(|c| c.is_finished()).then_some(())).is_some();
    println!("all clients closed while the node was frozen: {closed}");
    n1.thaw();
    clients.into_iter().for_each(|c| c.join().unwrap());
    for i in 1..=4 {
        until(secs(20), "the row is replicated", || {
            n2.sql(&format!("SELECT 1 FROM bulk.t WHERE id = {i}")).first().map(|_| ())
        });
        let stored = n2.root().unwrap().one(&format!("SELECT b FROM bulk.t WHERE id = {i}")).unwrap();
        assert!(stored == text(i), "row {i} came changed, {} bytes", stored.len());
    }
    n1.sql("DROP DATABASE bulk");
}

#[test]
fn a_living_client_that_pauses_longer_than_user_timeout_reads_everything_afterwards() {
    let node = standalone(&[]);
    let service = "user_timeout = \"1s\"";
    let galeway = Galeway::spawn(&[("solo".into(), node.addr())], Settings { service, ..Settings::default() });
    galeway.wait_ready();
    let mut conn = Conn::app(galeway.addr(), secs(30)).unwrap();
    conn.send("SELECT seq, REPEAT(CHAR(97 + seq MOD 26), 1000000) FROM mysql.seq_1_to_64").unwrap();
    let passed_on = || galeway.metric("galeway_bytes_total", &[("direction", "out")]);
    until(secs(10), "the result comes", || (passed_on() > 0.0).then_some(()));
    // The pause is what this is about.
    std::thread::sleep(3 * secs(1));
    let held = passed_on();
    assert!(held < 60e6, "the client's window was never closed: {held} bytes were passed on");
    let rows = conn.answer().unwrap();
    assert_eq!(rows.len(), 64);
    for (i, row) in (1_u8..).zip(&rows) {
        let (seq, text) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
        assert_eq!(seq, i.to_string());
        assert!(text.len() == 1_000_000 && text.bytes().all(|b| b == b'a' + i % 26), "row {i}");
    }
    conn.quit().unwrap();
}

#[test]
fn a_dump_of_two_hundred_megabytes_and_its_load_are_the_same_through_galeway() {
    // What the server writes besides the tables costs four times the time of all else.
    let flags = ["--skip-log-bin", "--innodb-log-file-size=256M", "--innodb-buffer-pool-size=512M"];
    let node = standalone(&[&flags[..], &["--innodb-doublewrite=OFF"]].concat());
    node.sql("CREATE DATABASE original");
    node.sql("CREATE DATABASE copy");
    node.sql("CREATE TABLE original.t (id INT PRIMARY KEY, r DOUBLE, b LONGTEXT)");
    for part in 0..10 {
        let (from, to) = (part * 1000 + 1, part * 1000 + 1000);
        node.sql(&format!(
            "INSERT INTO original.t SELECT seq, RAND(seq), REPEAT(SHA2(seq, 512), 160) FROM original.seq_{from}_to_{to}"
        ));
    }
    let galeway = Galeway::spawn(&[("solo".into(), node.addr())], Settings::default());
    galeway.wait_ready();

    let began = Instant::now();
    let dump = |port: u16, name: &str| {
        let file = watchdog::fresh_path(name);
        let seen = cli::run(
            Command::new("mariadb-dump")
                .args(["--no-defaults", "--protocol=tcp", "-h127.0.0.1", "-P", &port.to_string(), "-uapp", "-papp"])
                .args(["--skip-ssl", "--skip-comments", "--skip-dump-date", "--single-transaction", "original"])
                .arg("--result-file")
                .arg(&file),
        );
        assert_eq!(seen.code, Some(0), "{seen:?}");
        file
    };
    let (through, direct) = (dump(galeway.addr().port(), "through"), dump(node.addr().port(), "direct"));
    let size = std::fs::metadata(&through).unwrap().len();
    assert!(size >= 200_000_000, "{size}");
    let seen = cli::run(Command::new("cmp").arg(&through).arg(&direct));
    assert_eq!(seen.code, Some(0), "{seen:?}");
    let dumped = began.elapsed();

    let seen = cli::run(Command::new("sh").args(["-c", "exec mariadb \"$@\" < \"$0\""]).arg(&through).args([
        "--no-defaults",
        "--protocol=tcp",
        "-h127.0.0.1",
        "-P",
        &galeway.addr().port().to_string(),
        "-uapp",
        "-papp",
        "--skip-ssl",
        "copy",
    ]));
    assert_eq!(seen.code, Some(0), "{seen:?}");
    let sums = node.sql("CHECKSUM TABLE original.t, copy.t");
    assert_eq!(sums[0][1], sums[1][1], "{sums:?}");
    println!("dump of {size} bytes, twice: {dumped:?}; load: {:?}", began.elapsed() - dumped);
    for direction in ["in", "out"] {
        let bytes = galeway.metric("galeway_bytes_total", &[("direction", direction)]);
        assert!(bytes >= 200e6, "{direction}: {bytes}");
    }
    for file in [through, direct] {
        std::fs::remove_file(file).unwrap();
    }
}
