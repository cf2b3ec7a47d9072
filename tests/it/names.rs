//! Looking names up at the nameservers of the configuration: a real DNS server, and what it must not be taken to say.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use galeway::health::{Lookup, LookupError};

use crate::harness::dns::{Dns, RecordType, Reply};
use crate::harness::{millis, secs, watchdog};

/// With the deadline of a whole look-up, and what a busy machine adds.
const DEADLINE: Duration = secs(5);
const SLACK: Duration = secs(4);

/// The two files of a machine, which it is never without.
struct Machine {
    hosts: PathBuf,
    resolv_conf: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let dir = watchdog::fresh_path("names");
        std::fs::create_dir(&dir).unwrap();
        let machine = Self { hosts: dir.join("hosts"), resolv_conf: dir.join("resolv.conf") };
        machine.hosts("127.0.0.1 localhost\n");
        machine.resolv_conf("");
        machine
    }

    fn hosts(&self, text: &str) {
        std::fs::write(&self.hosts, text).unwrap();
    }

    fn resolv_conf(&self, text: &str) {
        // Its own servers are nobody's that is asked here.
        std::fs::write(&self.resolv_conf, format!("nameserver 192.0.2.53\n{text}")).unwrap();
    }

    fn lookup(&self, servers: &[&Dns]) -> Lookup {
        let servers: Vec<SocketAddr> = servers.iter().map(|dns| dns.address()).collect();
        Lookup::with_files(&servers, &self.hosts, &self.resolv_conf)
    }
}

fn one() -> (Dns, Lookup) {
    let dns = Dns::start();
    let lookup = Machine::new().lookup(&[&dns]);
    (dns, lookup)
}

async fn found(lookup: &Lookup, host: &str) -> Vec<String> {
    let addresses = lookup.addresses(host).await.unwrap_or_else(|e| panic!("{host}: {e}"));
    addresses.iter().map(IpAddr::to_string).collect()
}

async fn missed(lookup: &Lookup, host: &str) -> String {
    match lookup.addresses(host).await {
        Ok(addresses) => panic!("{host}: {addresses:?}"),
        Err(e) => e.to_string(),
    }
}

#[tokio::test]
async fn all_addresses_of_both_families_are_found_sorted_and_each_once() {
    let (dns, lookup) = one();
    dns.set("db.example", &["192.0.2.9", "2001:db8::1", "192.0.2.10", "192.0.2.9"]);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.9", "192.0.2.10", "2001:db8::1"]);
    dns.set("four.example", &["192.0.2.1"]);
    assert_eq!(found(&lookup, "four.example").await, ["192.0.2.1"]);
    dns.set("six.example", &["2001:db8::1"]);
    assert_eq!(found(&lookup, "six.example").await, ["2001:db8::1"]);
}

#[tokio::test]
async fn an_address_that_comes_or_goes_is_seen_at_the_next_look_up() {
    let (dns, lookup) = one();
    dns.set("db.example", &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.1", "192.0.2.2"]);
    dns.set("db.example", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    dns.set("db.example", &["192.0.2.3"]);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.3"]);
    assert_eq!(dns.asked("db.example"), 6, "both families, three times: nothing is kept");
    dns.none("db.example");
    assert_eq!(missed(&lookup, "db.example").await, "no such name");
    dns.set("db.example", &["192.0.2.4"]);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.4"], "that it was gone is not kept either");
}

#[tokio::test]
async fn no_such_name_and_no_address_are_told_from_no_answer() {
    let (dns, lookup) = one();
    dns.none("gone.example");
    assert_eq!(lookup.addresses("gone.example").await, Err(LookupError::NoSuchName));
    dns.set("empty.example", &[]);
    assert_eq!(lookup.addresses("empty.example").await, Err(LookupError::NoAddress));
    dns.fail("broken.example");
    assert_eq!(missed(&lookup, "broken.example").await, "no answer: SERVFAIL");
    dns.reply("foreign.example", &Reply::Refused);
    assert_eq!(missed(&lookup, "foreign.example").await, "no answer: REFUSED");
    dns.reply("below.example", &Reply::Referral);
    assert_eq!(missed(&lookup, "below.example").await, "no answer: a referral");
}

#[tokio::test]
async fn a_name_that_cannot_be_is_no_such_name() {
    let (_dns, lookup) = one();
    for host in ["a..b", &"x".repeat(64), &"x.".repeat(200), ""] {
        assert_eq!(lookup.addresses(host).await, Err(LookupError::NoSuchName), "{host}");
    }
}

#[tokio::test]
async fn half_an_answer_is_none() {
    for (broken, told) in [(Reply::Servfail, "SERVFAIL"), (Reply::Refused, "REFUSED")] {
        for (kind, other) in [(RecordType::AAAA, "192.0.2.1"), (RecordType::A, "2001:db8::1")] {
            let (dns, lookup) = one();
            dns.set("db.example", &[other]);
            dns.reply_for("db.example", kind, broken.clone());
            assert_eq!(missed(&lookup, "db.example").await, format!("no answer: {told}"), "{kind}");
        }
    }
    let (dns, lookup) = one();
    dns.set("db.example", &["192.0.2.1"]);
    // Wrong of the server, since the name is there; but of the addresses it leaves no doubt.
    dns.reply_for("db.example", RecordType::AAAA, Reply::None);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.1"]);
}

#[tokio::test]
async fn where_the_system_wants_no_ipv6_addresses_none_is_asked_for() {
    let (dns, machine) = (Dns::start(), Machine::new());
    machine.resolv_conf("options no-aaaa\n");
    dns.set("db.example", &["192.0.2.1"]);
    dns.reply_for("db.example", RecordType::AAAA, Reply::Servfail);
    assert_eq!(found(&machine.lookup(&[&dns]), "db.example").await, ["192.0.2.1"]);
    assert_eq!(dns.asked("db.example"), 1);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let (dns, lookup) = one();
    dns.silent("db.example");
    let start = Instant::now();
    assert_eq!(missed(&lookup, "db.example").await, "no answer: timed out");
    assert!(start.elapsed() >= DEADLINE - millis(100) && start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());
    assert!(dns.asked("db.example") > 2, "a datagram may be lost: it is repeated");
}

#[tokio::test]
async fn a_look_up_that_was_given_up_is_joined_by_the_next_and_not_repeated() {
    let (dns, lookup) = one();
    dns.silent("db.example");
    for _ in 0..3 {
        assert!(tokio::time::timeout(millis(50), lookup.addresses("db.example")).await.is_err());
    }
    let asked = dns.asked("db.example");
    assert!(asked <= 2, "{asked} questions within 150 ms");
    dns.set("db.example", &["192.0.2.1"]);
    // Its datagram is repeated by the look-up that is under way.
    let (one, other) = tokio::join!(found(&lookup, "db.example"), found(&lookup, "db.example"));
    assert_eq!((one, other), (vec!["192.0.2.1".to_owned()], vec!["192.0.2.1".to_owned()]));
}

#[tokio::test]
async fn behind_a_silent_server_the_next_one_is_asked_and_then_stays_the_first() {
    let (silent, good) = (Dns::start(), Dns::start());
    silent.otherwise(Reply::Silence);
    good.set("db.example", &["192.0.2.1", "2001:db8::1"]);
    let lookup = Machine::new().lookup(&[&silent, &good]);
    let start = Instant::now();
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.1", "2001:db8::1"]);
    assert!(start.elapsed() < DEADLINE, "{:?}", start.elapsed());
    let asked = silent.asked("db.example");
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.1", "2001:db8::1"]);
    assert_eq!(silent.asked("db.example"), asked);
    // Until it fails in its turn.
    good.otherwise(Reply::Silence);
    good.silent("db.example");
    silent.set("db.example", &["192.0.2.2"]);
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.2"]);
}

#[tokio::test]
async fn behind_a_server_that_fails_or_refuses_the_next_one_is_asked() {
    for reply in [Reply::Servfail, Reply::Refused, Reply::Referral] {
        let (bad, good) = (Dns::start(), Dns::start());
        bad.otherwise(reply.clone());
        good.set("db.example", &["192.0.2.1"]);
        let start = Instant::now();
        assert_eq!(found(&Machine::new().lookup(&[&bad, &good]), "db.example").await, ["192.0.2.1"], "{reply:?}");
        assert!(start.elapsed() < secs(2), "at once: {:?}", start.elapsed());
    }
    // That there is no such name is an answer.
    let (knows, other) = (Dns::start(), Dns::start());
    other.set("db.example", &["192.0.2.1"]);
    assert_eq!(missed(&Machine::new().lookup(&[&knows, &other]), "db.example").await, "no such name");
    assert_eq!(other.asked("db.example"), 0);
}

#[tokio::test]
async fn where_every_server_is_silent_the_deadline_holds_all_the_same() {
    let servers = [Dns::start(), Dns::start(), Dns::start()];
    servers.iter().for_each(|dns| dns.otherwise(Reply::Silence));
    let start = Instant::now();
    let lookup = Machine::new().lookup(&servers.each_ref());
    assert_eq!(missed(&lookup, "db.example").await, "no answer: timed out");
    assert!(start.elapsed() < DEADLINE + SLACK, "{:?}", start.elapsed());
    assert!(servers.iter().all(|dns| dns.asked("db.example") > 0));
}

#[tokio::test]
async fn nobody_at_the_port_of_a_server_is_no_answer() {
    let dns = Dns::start();
    let lookup = Machine::new().lookup(&[&dns]);
    drop(dns);
    assert!(missed(&lookup, "db.example").await.starts_with("no answer: "));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_fetched_by_tcp() {
    let (dns, lookup) = one();
    let addresses: Vec<String> = (1..=200).map(|i| format!("192.0.2.{i}")).collect();
    dns.set("db.example", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    dns.truncate("db.example");
    assert_eq!(found(&lookup, "db.example").await.len(), 200);
    assert_eq!(dns.asked_by_tcp("db.example"), 2);
}

#[tokio::test]
async fn an_alias_leads_to_the_addresses() {
    let (dns, lookup) = one();
    dns.set("real.example", &["192.0.2.1"]);
    dns.reply("db.example", &Reply::Alias("real.example".to_owned()));
    assert_eq!(found(&lookup, "db.example").await, ["192.0.2.1"]);
    dns.fail("real.example");
    assert_eq!(missed(&lookup, "db.example").await, "no answer: SERVFAIL");
}

#[tokio::test]
async fn a_short_name_is_looked_for_under_the_search_list() {
    let (dns, machine) = (Dns::start(), Machine::new());
    machine.resolv_conf("search galera.svc.cluster.local svc.cluster.local -- cluster.local\noptions ndots:5\n");
    let lookup = machine.lookup(&[&dns]);
    dns.set("db.galera.svc.cluster.local", &["192.0.2.1"]);
    dns.set("db.svc.cluster.local", &["192.0.2.2"]);
    assert_eq!(found(&lookup, "db").await, ["192.0.2.1"]);
    assert_eq!((dns.asked("db"), dns.asked("db.svc.cluster.local")), (0, 0));
    dns.set("db.other", &["192.0.2.3"]);
    assert_eq!(found(&lookup, "db.other").await, ["192.0.2.3"], "the name itself is the last that is asked for");
    assert_eq!(dns.asked("db.other.cluster.local"), 2);
    dns.set("db.other.cluster.local", &["192.0.2.4"]);
    assert_eq!(found(&lookup, "db.other").await, ["192.0.2.4"]);
    assert_eq!(found(&lookup, "db.other.").await, ["192.0.2.3"], "a final dot means that it is whole");
    // As many dots as `ndots`: itself first.
    dns.set("a.b.c.d.e.f", &["192.0.2.5"]);
    assert_eq!(found(&lookup, "a.b.c.d.e.f").await, ["192.0.2.5"]);
    assert_eq!(dns.asked("a.b.c.d.e.f.galera.svc.cluster.local"), 0);
    assert_eq!(missed(&lookup, "nobody").await, "no such name");
    dns.set("half.cluster.local", &[]);
    assert_eq!(missed(&lookup, "half").await, "no address");
}

#[tokio::test]
async fn a_change_of_the_search_list_needs_no_restart_and_its_loss_none() {
    let (dns, machine) = (Dns::start(), Machine::new());
    let lookup = machine.lookup(&[&dns]);
    dns.set("db.one.example", &["192.0.2.1"]);
    dns.set("db.two.example", &["192.0.2.2"]);
    assert_eq!(missed(&lookup, "db").await, "no such name");
    machine.resolv_conf("search one.example\n");
    assert_eq!(found(&lookup, "db").await, ["192.0.2.1"]);
    machine.resolv_conf("domain two.example\n");
    assert_eq!(found(&lookup, "db").await, ["192.0.2.2"]);
    std::fs::remove_file(&machine.resolv_conf).unwrap();
    assert_eq!(found(&lookup, "db").await, ["192.0.2.2"], "as in a chroot");
}

#[tokio::test]
async fn a_failure_within_the_search_list_is_not_passed_over_for_another_name() {
    let (dns, machine) = (Dns::start(), Machine::new());
    machine.resolv_conf("search one.example two.example\n");
    let lookup = machine.lookup(&[&dns]);
    dns.fail("db.one.example");
    dns.set("db.two.example", &["192.0.2.2"]);
    assert_eq!(missed(&lookup, "db").await, "no answer: SERVFAIL for db.one.example.");
    // One that serves its own zones only refuses the rest, every time.
    dns.reply("db.one.example", &Reply::Refused);
    assert_eq!(found(&lookup, "db").await, ["192.0.2.2"]);
    dns.none("db.two.example");
    assert_eq!(missed(&lookup, "db").await, "no answer: REFUSED for db.one.example.");
}

#[tokio::test]
async fn the_hosts_file_comes_before_the_servers() {
    let (dns, machine) = (Dns::start(), Machine::new());
    let lookup = machine.lookup(&[&dns]);
    dns.set("db1", &["192.0.2.1"]);
    assert_eq!(found(&lookup, "db1").await, ["192.0.2.1"]);
    machine.hosts("# a comment\n10.0.0.9 other # db1\n10.0.0.2\tDB1.example  db1\nfe80::1%eth0 db1\n\n::5 db1\n");
    let asked = dns.asked("db1");
    assert_eq!(found(&lookup, "db1").await, ["10.0.0.2", "::5"]);
    assert_eq!(found(&lookup, "db1.EXAMPLE").await, ["10.0.0.2"]);
    assert_eq!(dns.asked("db1"), asked);
}

#[tokio::test]
async fn localhost_is_this_host_even_where_no_file_says_so() {
    let (dns, machine) = (Dns::start(), Machine::new());
    machine.hosts("");
    machine.resolv_conf("search example\n");
    dns.set("localhost.example", &["192.0.2.1"]);
    assert_eq!(found(&machine.lookup(&[&dns]), "localhost").await, ["127.0.0.1", "::1"]);
    assert_eq!(dns.asked("localhost.example"), 0);
}
