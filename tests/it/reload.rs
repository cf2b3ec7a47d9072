//! Another configuration for a running Galeway: SIGHUP and `POST /api/reload`, before scripted nodes.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::fakes::{FAST, LONG};
use crate::harness::certs::certificate;
use crate::harness::galeway::{table, wait_closed};
use crate::harness::process::Signal;
use crate::harness::{Conn, Galeway, Load, cli, millis, ports, secs, until, watchdog};
use crate::peer::FakeNode;

/// Nodes of one cluster, as many as there are names.
fn nodes(names: &[&str]) -> Vec<FakeNode> {
    let size = names.len().to_string();
    let node = |(i, name): (usize, &&str)| {
        let node = FakeNode::start(name);
        node.set_status("wsrep_cluster_size", &size);
        node.set_status("wsrep_local_index", &i.to_string());
        node
    };
    names.iter().enumerate().map(node).collect()
}

/// The sections of cluster `main`; each node as it stands in the list.
fn cluster(nodes: &[String], keys: &str) -> String {
    format!(
        "[cluster.main]\nnodes = [{}]\n[cluster.main.monitor]\nuser = \"monitor\"\npassword = \"monitor\"\n{FAST}\n\
         [cluster.main.sessions]\ndrain_timeout = \"2s\"\n{keys}\n",
        nodes.join(", ")
    )
}

fn service(name: &str, accept: SocketAddr, keys: &str) -> String {
    format!("[service.{name}]\naccept = \"{accept}\"\n{keys}\n")
}

const ANY: &str = "cluster = \"main\"\nbalance = \"round-robin\"";

/// Galeway and what its file begins with.
struct Reloads {
    galeway: Galeway,
    head: String,
}

impl Reloads {
    fn start(sections: &str) -> Self {
        let galeway = Galeway::sections(sections);
        let text = std::fs::read_to_string(&galeway.config).unwrap();
        let head = text.replace(sections, "@SECTIONS@");
        galeway.wait_ready();
        Self { galeway, head }
    }

    fn write(&self, sections: &str) {
        std::fs::write(&self.galeway.config, self.head.replace("@SECTIONS@", sections)).unwrap();
    }

    /// Reloads by SIGHUP, to its end.
    #[track_caller]
    fn reload(&mut self, sections: &str) {
        let before = self.generation();
        self.write(sections);
        self.galeway.signal(Signal::HUP);
        crate::harness::within(LONG, || (self.generation() > before).then_some(()))
            .unwrap_or_else(|| panic!("not reloaded: {}", self.galeway.log()));
    }

    fn generation(&self) -> u64 {
        self.galeway.status()["generation"].as_u64().unwrap()
    }

    fn service(&self, name: &str) -> serde_json::Value {
        let status = self.galeway.status();
        let all = status["services"].as_array().unwrap();
        all.iter().find(|s| s["name"] == name).cloned().unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        let nodes = self.galeway.cluster()["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|n| n["name"].as_str().unwrap().to_owned()).collect()
    }
}

fn who(conn: &mut Conn) -> String {
    conn.one("SELECT @@wsrep_node_name").unwrap()
}

fn session(addr: SocketAddr) -> Conn {
    Conn::app(addr, LONG).unwrap()
}

#[test]
fn nodes_are_added_removed_reweighted_and_renamed_and_only_sessions_of_removed_ones_end() {
    let fakes = nodes(&["n1", "n2", "n3"]);
    let accept = local(ports::free());
    let list = |names: &[(&str, usize, &str)]| -> Vec<String> {
        names.iter().map(|(name, i, keys)| table(name, fakes[*i].addr(), keys)).collect()
    };
    let text = |names: &[(&str, usize, &str)]| cluster(&list(names), "") + &service("any", accept, ANY);
    let mut reloads = Reloads::start(&text(&[("a", 0, ""), ("b", 1, "")]));
    let load = Load::start(accept);
    load.wait_for(50);
    let (mut on_a, mut on_b) = (Conn::on(accept, "n1"), Conn::on(accept, "n2"));

    reloads.reload(&text(&[("a", 0, ""), ("b", 1, ""), ("c", 2, "weight = 50")]));
    reloads.galeway.wait_verdict("c", "eligible", LONG);
    let mut on_c = Conn::on(accept, "n3");

    // Two exchange their names, and one has another weight.
    let total = reloads.galeway.node("a")["connections"]["total"].as_u64().unwrap();
    reloads.reload(&text(&[("b", 0, ""), ("a", 1, "weight = 7"), ("c", 2, "")]));
    assert_eq!(reloads.names(), ["b", "a", "c"]);
    let b = reloads.galeway.node("b");
    assert!(b["connections"]["total"].as_u64().unwrap() >= total, "its counts stay: {b}");
    assert_eq!(
        (&b["verdict"], &b["address"]),
        (&"eligible".into(), &fakes[0].addr().to_string().into()),
        "its health too"
    );
    assert_eq!(reloads.galeway.node("a")["weight"], 7);
    for (conn, name) in [(&mut on_a, "n1"), (&mut on_b, "n2"), (&mut on_c, "n3")] {
        assert_eq!(who(conn), name, "a session stays where it is");
    }
    // The session that went on is counted by the name of now.
    let active =
        |node: &str| reloads.galeway.metric("galeway_connections_active", &[("service", "any"), ("node", node)]);
    assert!(active("b") >= 1.0 && active("a") >= 1.0);

    // One goes: its session may finish until the drain's time is over.
    let gone = Instant::now();
    reloads.reload(&text(&[("b", 0, ""), ("c", 2, "")]));
    assert_eq!(who(&mut on_b), "n2", "as from a node that drains");
    let left = until(LONG, "its last session ends", || on_b.one("SELECT 1").is_err().then(|| gone.elapsed()));
    assert!(left >= millis(1500), "{left:?}");
    until(LONG, "it is forgotten", || (reloads.names() == ["b", "c"]).then_some(()));
    let metrics = reloads.galeway.get("/metrics").1;
    assert!(!metrics.contains("node=\"a\""), "{metrics}");
    assert!(metrics.contains("galeway_reloads_total{result=\"ok\"} 3"), "{metrics}");
    assert_eq!((who(&mut on_a), who(&mut on_c)), ("n1".to_owned(), "n3".to_owned()));

    load.wait_for(50);
    let report = load.stop();
    assert_eq!(report.failed_connects(), Vec::<String>::new());
    assert_eq!(report.broken(), []);
    for conn in [on_a, on_c] {
        conn.quit().unwrap();
    }
}

#[test]
fn sessions_are_counted_by_their_nodes_names_of_now_however_many_configurations_they_have_seen() {
    let fakes = nodes(&["n1", "n2"]);
    let accept = local(ports::free());
    let text = |names: [&str; 2]| {
        let list = [table(names[0], fakes[0].addr(), ""), table(names[1], fakes[1].addr(), "")];
        cluster(&list, "") + &service("any", accept, ANY)
    };
    let mut reloads = Reloads::start(&text(["n1", "n2"]));
    let held = [Conn::on(accept, "n1"), Conn::on(accept, "n2"), Conn::on(accept, "n2")];
    let counts = |galeway: &Galeway, names: [&str; 2]| {
        names.map(|node| galeway.metric("galeway_connections_active", &[("service", "any"), ("node", node)]))
    };
    // Others than these three are on their way out still.
    until(LONG, "one and two", || (counts(&reloads.galeway, ["n1", "n2"]) == [1.0, 2.0]).then_some(()));
    for names in [["east", "n2"], ["n2", "east"], ["n1", "n2"]] {
        reloads.reload(&text(names));
        assert_eq!(counts(&reloads.galeway, names), [1.0, 2.0], "{names:?}");
    }
    held.into_iter().for_each(|conn| conn.quit().unwrap());
}

#[test]
fn a_node_that_takes_a_gone_ones_name_is_told_apart_from_it_while_that_drains() {
    let fakes = nodes(&["n1", "n2", "n3"]);
    let accept = local(ports::free());
    let text = |i: usize| {
        let list = [table("old", fakes[0].addr(), ""), table("db2", fakes[i].addr(), "")];
        cluster(&list, "") + &service("any", accept, ANY)
    };
    let mut reloads = Reloads::start(&text(1));
    let mut stays = Conn::on(accept, "n2");
    reloads.reload(&text(2));
    until(LONG, "both are shown", || (reloads.names().len() == 3).then_some(()));
    let leaving = format!("db2@{}", fakes[1].addr());
    let node = reloads.galeway.node(&leaving);
    assert_eq!((&node["verdict"], &node["reason"]), (&"excluded".into(), &"taken out of the configuration".into()));
    assert_eq!(who(&mut stays), "n2");
    reloads.galeway.wait_verdict("db2", "eligible", LONG);
    // Back again before it has gone: nothing was lost.
    reloads.reload(&text(1));
    until(LONG, "the other one is gone", || (reloads.names() == ["old", "db2"]).then_some(()));
    std::thread::sleep(secs(3));
    assert_eq!(who(&mut stays), "n2", "the drain was taken back");
    stays.quit().unwrap();
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let fakes = nodes(&["n1"]);
    let accept = local(ports::free());
    let good = cluster(&[table("n1", fakes[0].addr(), "")], "") + &service("any", accept, ANY);
    let mut reloads = Reloads::start(&good);
    let mut conn = session(accept);
    reloads.write(&good.replace("balance", "balanse"));
    reloads.galeway.signal(Signal::HUP);
    let log = until(LONG, "it says so", || Some(reloads.galeway.log()).filter(|log| log.contains("reload refused")));
    assert!(log.contains("galeway.toml:") && log.contains("balanse"), "{log}");

    // Right by itself, and this machine cannot do it: nothing of it comes into force.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let renamed = good.replace("\"n1\"", "\"db1\"");
    reloads.write(&(renamed + &service("more", taken.local_addr().unwrap(), ANY)));
    reloads.galeway.signal(Signal::HUP);
    until(LONG, "it says so", || reloads.galeway.log().contains("Address already in use").then_some(()));
    until(LONG, "both were counted", || {
        reloads.galeway.get("/metrics").1.contains("galeway_reloads_total{result=\"refused\"} 2").then_some(())
    });
    assert_eq!((reloads.generation(), reloads.names()), (1, vec!["n1".to_owned()]));
    assert_eq!(who(&mut conn), "n1");
    assert_eq!(who(&mut session(accept)), "n1");
    conn.quit().unwrap();
}

#[test]
fn services_come_go_and_change_their_names_and_a_socket_that_stays_is_never_closed() {
    let fakes = nodes(&["n1"]);
    let (first, second) = (local(ports::free()), local(ports::free()));
    let head = cluster(&[table("n1", fakes[0].addr(), "")], "");
    let mut reloads = Reloads::start(&(head.clone() + &service("old", first, ANY)));
    let mut conn = session(first);
    let load = Load::start(first);
    load.wait_for(20);

    reloads.reload(&(head.clone() + &service("new", first, ANY) + &service("beside", second, ANY)));
    assert_eq!(who(&mut session(second)), "n1");
    let mut beside = session(second);
    load.wait_for(20);
    assert_eq!(reloads.service("old"), serde_json::Value::Null);
    assert!(reloads.service("new")["total"].as_u64().unwrap() >= 20);
    let gone = Instant::now();
    until(LONG, "the session of the service that is gone ends", || conn.one("SELECT 1").is_err().then_some(()));
    assert!(gone.elapsed() >= millis(1000), "it may finish until the drain's time is over: {:?}", gone.elapsed());
    until(LONG, "its series vanish", || (!reloads.galeway.get("/metrics").1.contains("service=\"old\"")).then_some(()));

    reloads.reload(&(head + &service("new", first, ANY)));
    wait_closed(second);
    assert_eq!(who(&mut beside), "n1");
    load.wait_for(20);
    let report = load.stop();
    assert_eq!(report.failed_connects(), Vec::<String>::new());
    // Those of service `old` that were under way are short.
    assert_eq!(report.broken(), []);
    until(LONG, "its sessions end as well", || beside.one("SELECT 1").is_err().then_some(()));
}

#[test]
fn limits_and_targets_of_a_service_change_and_its_counts_stay() {
    let fakes = nodes(&["n1", "n2"]);
    let accept = local(ports::free());
    let head = cluster(&[table("n1", fakes[0].addr(), "")], "")
        + &cluster(&[table("n2", fakes[1].addr(), "")], "").replace("cluster.main", "cluster.other");
    let keys = "queue_timeout = \"300ms\"\nmax_queue = 0";
    let with = |target: &str, most: u32| {
        head.clone() + &service("s", accept, &format!("{target}\nmax_connections = {most}\n{keys}"))
    };
    let main = "cluster = \"main\"";
    let mut reloads = Reloads::start(&with(main, 1));
    let mut first = session(accept);
    assert!(Conn::app(accept, LONG).is_err(), "one may");
    reloads.reload(&with(main, 2));
    let mut second = session(accept);
    assert!(Conn::app(accept, LONG).is_err(), "two may");
    reloads.reload(&with(main, 1));
    second.quit().unwrap();
    until(LONG, "one session is left", || (reloads.service("s")["active"] == 1).then_some(()));
    assert!(Conn::app(accept, LONG).is_err(), "one may again");

    reloads.reload(&with("cluster = \"other\"", 3));
    assert_eq!(who(&mut session(accept)), "n2");
    assert_eq!(who(&mut first), "n1", "a session stays on its node");
    reloads.reload(&with(&format!("connect = \"{}\"", fakes[0].addr()), 3));
    second = session(accept);
    assert_eq!(who(&mut second), "n1");
    let both = format!("connect = [\"{}\", \"{}\"]\nfailover = \"first\"", fakes[1].addr(), fakes[0].addr());
    reloads.reload(&with(&both, 4));
    assert_eq!((who(&mut session(accept)), who(&mut second)), ("n2".to_owned(), "n1".to_owned()));
    assert!(reloads.service("s")["total"].as_u64().unwrap() >= 8, "{}", reloads.service("s"));
    reloads.reload(&with(&format!("connect = \"{}\"", fakes[1].addr()), 4));
    // No cluster says how long: the default.
    assert_eq!(who(&mut second), "n1");
    assert_eq!(who(&mut first), "n1");
}

/// Clusters `one` and `two`, of one node each.
fn two_clusters(fakes: &[FakeNode]) -> String {
    let of = |(name, fake): (&str, &FakeNode)| {
        cluster(&[table("n", fake.addr(), "")], "").replace("cluster.main", &format!("cluster.{name}"))
    };
    ["one", "two"].into_iter().zip(fakes).map(of).collect()
}

#[test]
fn sessions_of_a_service_that_is_gone_end_on_nodes_of_a_target_that_it_had_before_as_well() {
    let fakes = nodes(&["n1", "n2"]);
    let (accept, other) = (local(ports::free()), local(ports::free()));
    let head = two_clusters(&fakes) + &service("stays", other, "cluster = \"one\"");
    let s = |cluster: &str| service("s", accept, &format!("cluster = \"{cluster}\""));
    let mut reloads = Reloads::start(&(head.clone() + &s("one")));
    let (mut conn, mut stays) = (session(accept), session(other));
    reloads.reload(&(head.clone() + &s("two")));
    assert_eq!((who(&mut session(accept)), who(&mut conn)), ("n2".to_owned(), "n1".to_owned()));
    reloads.reload(&head);
    until(LONG, "its session ends at the drain's time", || conn.one("SELECT 1").is_err().then_some(()));
    assert_eq!(who(&mut stays), "n1", "of another service");
}

#[test]
fn whoever_waits_for_a_former_target_holds_nobody_up() {
    let fakes = nodes(&["n1", "n2"]);
    let accept = local(ports::free());
    let s = |name: &str| service("s", accept, &format!("cluster = \"{name}\"\nqueue_timeout = \"30s\""));
    let text = |name: &str| two_clusters(&fakes) + &s(name);
    let mut reloads = Reloads::start(&text("one"));
    fakes[0].set_status("wsrep_ready", "OFF");
    let _waits = until(LONG, "a client waits for the node", || {
        let client = TcpStream::connect(accept).unwrap();
        std::thread::sleep(millis(300));
        (reloads.service("s")["queued"] == 1).then_some(client)
    });
    reloads.reload(&text("two"));
    let mut next = Conn::app(accept, secs(10)).unwrap();
    assert_eq!(who(&mut next), "n2");
}

#[test]
fn counters_of_a_service_that_comes_back_go_on() {
    let fakes = nodes(&["n1"]);
    let (accept, other) = (local(ports::free()), local(ports::free()));
    let head = cluster(&[table("n1", fakes[0].addr(), "")], "") + &service("stays", other, ANY);
    let with = head.clone() + &service("s", accept, ANY);
    let mut reloads = Reloads::start(&with);
    let accepted = |r: &Reloads| r.galeway.metric("galeway_connections_accepted_total", &[("service", "s")]);
    let shown = |r: &Reloads| r.galeway.get("/metrics").1.contains("service=\"s\"");
    (0..5).for_each(|_| session(accept).quit().unwrap());
    assert!((accepted(&reloads) - 5.0).abs() < 0.5);
    reloads.reload(&head);
    until(LONG, "its series vanish", || (!shown(&reloads)).then_some(()));
    reloads.reload(&with);
    session(accept).quit().unwrap();
    assert!((accepted(&reloads) - 6.0).abs() < 0.5, "{}", accepted(&reloads));
}

#[test]
fn of_a_refused_configuration_no_series_are_shown() {
    let fakes = nodes(&["n1", "n2"]);
    let accept = local(ports::free());
    let good = cluster(&[table("n1", fakes[0].addr(), "")], "") + &service("any", accept, ANY);
    let mut reloads = Reloads::start(&good);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let more = cluster(&[table("n2", fakes[1].addr(), "")], "").replace("cluster.main", "cluster.more");
    let bad = service("more", local(ports::free()), "cluster = \"more\"")
        + &service("taken", taken.local_addr().unwrap(), ANY);
    reloads.write(&(good + &more + &bad));
    reloads.galeway.signal(Signal::HUP);
    until(LONG, "it is refused", || reloads.galeway.log().contains("Address already in use").then_some(()));
    until(LONG, "it is counted", || {
        reloads.galeway.get("/metrics").1.contains("galeway_reloads_total{result=\"refused\"} 1").then_some(())
    });
    let metrics = reloads.galeway.get("/metrics").1;
    for name in ["cluster=\"more\"", "service=\"more\"", "service=\"taken\""] {
        assert!(!metrics.contains(name), "{metrics}");
    }
}

#[test]
fn of_certificates_those_that_are_in_force_are_shown() {
    let fakes = nodes(&["n1"]);
    let accept = local(ports::free());
    let dir = watchdog::fresh_path("certs");
    let certs = ["a", "b"].map(|name| certificate(&dir.join(name), &["localhost"]));
    let text = |i: usize, more: &str| {
        let (cert, key) = (certs[i].cert.display(), certs[i].key.display());
        let tls = format!("tls = {{ cert = \"{cert}\", key = \"{key}\" }}");
        cluster(&[table("n1", fakes[0].addr(), "")], "") + &service("s", accept, &format!("{ANY}\n{tls}")) + more
    };
    let mut reloads = Reloads::start(&text(0, ""));
    let shown = |reloads: &Reloads| {
        let metrics = reloads.galeway.get("/metrics").1;
        let is_shown = |i: usize| {
            let file = certs[i].cert.display();
            metrics
                .contains(&format!("galeway_tls_certificate_expiry_timestamp_seconds{{service=\"s\",file=\"{file}\"}}"))
        };
        [is_shown(0), is_shown(1)]
    };
    until(LONG, "the first is shown", || (shown(&reloads) == [true, false]).then_some(()));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    reloads.write(&text(1, &service("taken", taken.local_addr().unwrap(), ANY)));
    reloads.galeway.signal(Signal::HUP);
    until(LONG, "it is refused", || reloads.galeway.log().contains("Address already in use").then_some(()));
    assert_eq!(shown(&reloads), [true, false], "as before");
    // Who came in by the first holds on to it, and its files are looked after as long.
    let _early = TcpStream::connect(accept).unwrap();
    until(LONG, "it is a session", || (reloads.service("s")["total"] == 1).then_some(()));
    for _ in 0..3 {
        reloads.reload(&text(1, ""));
        until(LONG, "the other one is shown", || (shown(&reloads) == [false, true]).then_some(()));
        std::thread::sleep(millis(300));
        assert_eq!(shown(&reloads), [false, true], "and stays so");
    }
}

#[test]
fn who_waits_for_room_on_a_node_hears_of_sessions_that_began_before_it_had_a_limit() {
    let fakes = nodes(&["n1"]);
    let accept = local(ports::free());
    let text = |keys: &str| {
        cluster(&[table("n1", fakes[0].addr(), keys)], "")
            + &service("s", accept, "cluster = \"main\"\nqueue_timeout = \"30s\"")
    };
    let mut reloads = Reloads::start(&text(""));
    let first = session(accept);
    reloads.reload(&text("max_connections = 1"));
    let next = std::thread::spawn(move || Conn::app(accept, secs(10)).map(|mut next| who(&mut next)));
    until(LONG, "the next one waits", || (reloads.service("s")["queued"] == 1).then_some(()));
    first.quit().unwrap();
    assert_eq!(next.join().unwrap().unwrap(), "n1");
}

#[test]
fn a_client_that_waits_for_a_node_gets_one_of_the_target_that_its_service_has_now() {
    let fakes = nodes(&["n1", "n2"]);
    fakes[0].set_status("wsrep_local_state", "1");
    let accept = local(ports::free());
    let head = cluster(&[table("n1", fakes[0].addr(), "")], "")
        + &cluster(&[table("n2", fakes[1].addr(), "")], "").replace("cluster.main", "cluster.other");
    let to = |name: &str, target: &str| {
        head.clone()
            + &service(name, accept, &format!("cluster = \"{target}\"\nqueue_timeout = \"1h\""))
            + &service("idle", local(0), "cluster = \"main\"")
            + &service("too", local(0), "cluster = \"other\"")
    };
    let galeway = Galeway::sections(&to("s", "main"));
    let mut reloads = Reloads { head: std::fs::read_to_string(&galeway.config).unwrap(), galeway };
    reloads.head = reloads.head.replace(&to("s", "main"), "@SECTIONS@");
    until(LONG, "it runs", || (reloads.galeway.try_get("/api/status")?.1.contains("\"running\"")).then_some(()));
    let waits = || std::thread::spawn(move || Conn::app(accept, LONG).map(|mut conn| who(&mut conn)));
    let first = waits();
    until(LONG, "it waits", || (reloads.service("s")["queued"] == 1).then_some(()));
    reloads.reload(&to("s", "other"));
    assert_eq!(first.join().unwrap().unwrap(), "n2");
    reloads.reload(&to("s", "main"));
    let second = waits();
    until(LONG, "it waits", || (reloads.service("s")["queued"] == 1).then_some(()));
    // Another service has its socket, and so its clients.
    reloads.reload(&to("renamed", "other"));
    assert_eq!(second.join().unwrap().unwrap(), "n2");
    assert_eq!(reloads.service("renamed")["total"], 1);
}

#[test]
fn a_new_cluster_is_watched_and_one_that_is_gone_drains() {
    let fakes = nodes(&["n1", "n2"]);
    let accept = local(ports::free());
    let of = |name: &str, i: usize| {
        cluster(&[table(&format!("n{}", i + 1), fakes[i].addr(), "")], "")
            .replace("cluster.main", &format!("cluster.{name}"))
    };
    let s = |name: &str| service("s", accept, &format!("cluster = \"{name}\""));
    let mut reloads = Reloads::start(&(of("one", 0) + &s("one")));
    let mut conn = session(accept);
    reloads.reload(&(of("two", 1) + &s("two")));
    assert_eq!(who(&mut session(accept)), "n2", "whoever comes at once waits for the first check");
    assert_eq!(who(&mut conn), "n1");
    until(LONG, "its session ends at the drain's time", || conn.one("SELECT 1").is_err().then_some(()));
    until(LONG, "its series vanish", || (!reloads.galeway.get("/metrics").1.contains("cluster=\"one\"")).then_some(()));
    // And comes back.
    reloads.reload(&(of("one", 0) + &of("two", 1) + &s("one")));
    assert_eq!(who(&mut session(accept)), "n1");
    assert!(reloads.galeway.get("/metrics").1.contains("cluster=\"one\""));
}

#[test]
fn what_cannot_change_is_named_and_the_rest_comes_into_force() {
    let fakes = nodes(&["n1"]);
    let accept = local(ports::free());
    let text = |process: &str, name: &str| {
        cluster(&[table(name, fakes[0].addr(), "")], "") + &service("any", accept, ANY) + "[process]\n" + process
    };
    let mut reloads = Reloads::start(&text("workers = 1\nshutdown_timeout = \"1h\"\naccess_log = false\n", "n1"));
    session(accept).quit().unwrap();
    reloads.reload(&text("workers = 2\nshutdown_timeout = \"300ms\"\nlog_level = \"debug\"\n", "db1"));
    assert_eq!(reloads.names(), ["db1"]);
    // The configuration is in force before the log tells of it.
    let told = "[process] workers (threads are started once): as it was until a restart";
    until(LONG, "it is named", || reloads.galeway.log().contains(told).then_some(()));
    assert_eq!(reloads.galeway.access_log().len(), 0, "not told so far");
    until(LONG, "sessions are told from now on", || {
        session(accept).quit().unwrap();
        (!reloads.galeway.access_log().is_empty()).then_some(())
    });
    until(LONG, "and details", || {
        let mut nonsense = TcpStream::connect(reloads.galeway.admin()).unwrap();
        nonsense.write_all(b"nonsense\r\n\r\n").unwrap();
        reloads.galeway.log().contains("\"DEBUG\"").then_some(())
    });
    let mut conn = session(accept);
    reloads.galeway.signal(Signal::TERM);
    assert!(reloads.galeway.wait(LONG).is_some(), "the new shutdown_timeout counts");
    assert!(conn.one("SELECT 1").is_err());
}

#[test]
fn over_http_a_reload_needs_the_token_or_the_socket_and_answers_with_what_it_did() {
    let fakes = nodes(&["n1"]);
    let accept = local(ports::free());
    let galeway = Galeway::spawn(
        &[("n1".to_owned(), fakes[0].addr())],
        crate::harness::Settings { monitor: FAST, ..Default::default() },
    );
    galeway.wait_ready();
    let text = std::fs::read_to_string(&galeway.config).unwrap();
    let curl = |more: &[&str]| {
        let mut command = std::process::Command::new("curl");
        command.args(["-s", "-m", "20", "-X", "POST", "-w", "%{http_code}"]).args(more);
        cli::run(&mut command).stdout
    };
    let socket = galeway.dir().join("admin.sock").display().to_string();
    let refused = curl(&[&format!("http://{}/api/reload", galeway.admin())]);
    assert!(refused.ends_with("403"), "{refused}");
    let over_socket = ["--unix-socket", socket.as_str(), "http://galeway/api/reload"];

    std::fs::write(&galeway.config, text.replace("name = \"n1\"", "name = \"db1\"") + &service("more", accept, ANY))
        .unwrap();
    let done = curl(&over_socket);
    assert!(done.starts_with("reloaded: configuration 2 is in force\n") && done.ends_with("200"), "{done}");
    assert!(done.contains("  cluster main: renamed: n1 is db1 now\n"), "{done}");
    assert!(done.contains(&format!("  service more: new, on {accept}\n")), "{done}");
    assert_eq!(who(&mut session(accept)), "n1");

    std::fs::write(&galeway.config, text.replace("nodes =", "node =")).unwrap();
    let refused = curl(&over_socket);
    assert!(refused.ends_with("422") && refused.contains("galeway.toml:2:") && refused.contains('^'), "{refused}");
    assert_eq!(galeway.status()["generation"], 2);
}

#[test]
fn a_file_that_hangs_holds_up_no_signal() {
    let fakes = nodes(&["n1"]);
    let accept = local(ports::free());
    let text = cluster(&[table("n1", fakes[0].addr(), "")], "") + &service("any", accept, ANY);
    let mut reloads = Reloads::start(&text);
    std::fs::remove_file(&reloads.galeway.config).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&reloads.galeway.config).status().unwrap();
    assert!(made.success());
    reloads.galeway.signal(Signal::HUP);
    until(LONG, "it reads", || reloads.galeway.log().contains("reload: reading").then_some(()));
    assert!(TcpStream::connect_timeout(&accept, LONG).is_ok());
    reloads.galeway.signal(Signal::TERM);
    assert!(reloads.galeway.wait(Duration::from_secs(20)).is_some(), "{}", reloads.galeway.log());
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
