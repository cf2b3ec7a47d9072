//! `discover = "dns"`: nodes that come and go with a name's addresses, under load.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use crate::fakes::LONG;
use crate::harness::dns::Dns;
use crate::harness::process::Signal;
use crate::harness::{Conn, Galeway, Load, millis, ports, secs, until};
use crate::peer::FakeNode;

/// Short, so that tests are.
const INTERVAL: Duration = millis(200);

const OFF: &str = "discover = \"off\"";
const DNS: &str = "discover = \"dns\"";

/// Three nodes on one port, and a name for some of them.
struct Scene {
    nodes: Vec<FakeNode>,
    port: u16,
    dns: Dns,
    /// What the nodes are.
    kind: &'static str,
}

impl Scene {
    fn new() -> Self {
        let port = ports::free();
        let node = |i: u8| {
            let node = FakeNode::on(TcpListener::bind((ip(i), port)).unwrap(), &format!("n{i}"));
            node.set_status("wsrep_cluster_size", "3");
            node.set_status("wsrep_local_index", &(i - 1).to_string());
            node
        };
        Self { nodes: (1..=3).map(node).collect(), port, dns: Dns::start(), kind: "galera" }
    }

    /// The name leads to these nodes.
    fn set(&self, nodes: &[u8]) {
        let addresses: Vec<String> = nodes.iter().map(|i| ip(*i).to_string()).collect();
        self.dns.set("db.test", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// As it is shown.
    fn name(&self, i: u8) -> String {
        format!("{}:{}", ip(i), self.port)
    }

    /// Its addresses are nodes.
    fn galeway(&self, more: &str) -> Galeway {
        let interval = INTERVAL.as_millis();
        let discovery = format!("discover = \"dns\"\ndiscover_interval = \"{interval}ms\"\n{more}");
        self.spawn(&format!("{{ address = \"db.test:{}\", weight = 50 }}", self.port), &discovery)
    }

    /// The name is one node.
    fn galeway_of(&self, more: &str) -> Galeway {
        self.spawn(&format!("{{ address = \"db.test:{}\", name = \"db\" }}", self.port), more)
    }

    fn spawn(&self, node: &str, more: &str) -> Galeway {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (accept, admin) = (local(ports::free()), local(ports::free()));
        let text = format!(
            "[cluster.main]\nnodes = [{node}]\n{more}\n\
             [cluster.main.monitor]\nkind = \"{}\"\nuser = \"monitor\"\npassword = \"monitor\"\ninterval = \"100ms\"\n\
             [cluster.main.sessions]\ndrain_timeout = \"3s\"\n\
             [service.any]\naccept = \"{accept}\"\ncluster = \"main\"\nbalance = \"round-robin\"\n\
             [admin]\nlisten = \"{admin}\"\nsocket = \"\"\n\
             [process]\nstate_dir = \"\"\nlog_format = \"json\"\nnameservers = [\"{}\"]\n",
            self.kind,
            self.dns.address(),
        );
        Galeway::spawn_text(&text, accept, admin)
    }

    /// Goes on with this in place of that in its file, and with the addresses of names as nodes, to the reload's end.
    #[track_caller]
    fn reload(galeway: &mut Galeway, from: &str, to: &str) {
        let before = galeway.status()["generation"].as_u64();
        let text = std::fs::read_to_string(&galeway.config).unwrap();
        let interval = format!("\ndiscover_interval = \"{}ms\"", INTERVAL.as_millis());
        assert!(text.contains(from) && text.contains(OFF), "{text}");
        let text = text.replace(from, to).replace(OFF, &(DNS.to_owned() + &interval));
        std::fs::write(&galeway.config, text).unwrap();
        galeway.signal(Signal::HUP);
        until(LONG, "the reload", || {
            assert!(!galeway.log().contains("reload refused"), "{}", galeway.log());
            (galeway.status()["generation"].as_u64() > before).then_some(())
        });
    }

    /// Waits until these are the nodes, all of them eligible.
    #[track_caller]
    fn wait_nodes(&self, galeway: &Galeway, nodes: &[u8]) {
        let wanted: Vec<(String, String)> = nodes.iter().map(|i| (self.name(*i), "eligible".to_owned())).collect();
        until(LONG, &format!("{wanted:?}"), || (shown(galeway) == wanted).then_some(()));
    }
}

fn ip(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 2, i)
}

/// Names and verdicts, sorted.
fn shown(galeway: &Galeway) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = galeway.cluster()["nodes"].as_array().cloned().unwrap_or_default();
    let mut shown: Vec<_> = nodes.iter().map(|n| (text(&n["name"]), text(&n["verdict"]))).collect();
    shown.sort();
    shown
}

/// No client of this load failed to connect, and none was cut.
#[track_caller]
fn assert_unnoticed(load: Load) {
    let report = load.stop();
    assert_eq!(report.failed_connects(), Vec::<String>::new());
    assert_eq!(report.broken(), []);
}

#[test]
fn records_come_and_go_under_load_and_no_client_notices() {
    let scene = Scene::new();
    scene.set(&[1, 2]);
    let galeway = scene.galeway("");
    galeway.wait_ready();
    scene.wait_nodes(&galeway, &[1, 2]);
    assert_eq!(galeway.node(&scene.name(1))["weight"], 50, "what its name has");
    let load = Load::start(galeway.addr());
    load.wait_for(50);

    scene.set(&[1, 2, 3]);
    scene.wait_nodes(&galeway, &[1, 2, 3]);
    let mut kept = galeway.session_on("n3");
    load.wait_for(50);

    // DNS in trouble: the last good answer holds.
    // A look-up that nobody answers takes its whole deadline.
    for (trouble, time) in
        [(Dns::fail as fn(&Dns, &str), INTERVAL * 5), (Dns::none, INTERVAL * 5), (Dns::silent, secs(12))]
    {
        trouble(&scene.dns, "db.test");
        std::thread::sleep(time);
        scene.wait_nodes(&galeway, &[1, 2, 3]);
    }
    scene.set(&[]);
    std::thread::sleep(INTERVAL * 5);
    scene.wait_nodes(&galeway, &[1, 2, 3]);

    // One is taken away: nobody new, and who is there may finish.
    scene.set(&[1, 2]);
    until(LONG, "n3 leaves", || (galeway.node(&scene.name(3))["verdict"] == "excluded").then_some(()));
    assert_eq!(galeway.node(&scene.name(3))["reason"], "its name does not lead here any more");
    assert_eq!(kept.one("SELECT @@wsrep_node_name").unwrap(), "n3");
    // And comes back before that.
    scene.set(&[1, 2, 3]);
    scene.wait_nodes(&galeway, &[1, 2, 3]);
    assert_eq!(kept.one("SELECT @@wsrep_node_name").unwrap(), "n3");
    kept.quit().unwrap();

    scene.set(&[1, 2]);
    scene.wait_nodes(&galeway, &[1, 2]);
    let series = galeway.get("/metrics").1;
    assert!(!series.contains(&scene.name(3)), "its series are gone: {series}");
    assert!(series.contains(&scene.name(2)));
    let after = scene.nodes[2].logins();
    load.wait_for(50);
    assert_eq!(scene.nodes[2].logins(), after, "nobody goes there, no check either");

    scene.set(&[2, 3, 1]);
    scene.wait_nodes(&galeway, &[1, 2, 3]);
    assert!(galeway.get("/metrics").1.contains(&scene.name(3)));
    drop(galeway.session_on("n3"));
    assert_unnoticed(load);
}

#[test]
fn a_session_on_an_address_that_is_gone_ends_at_the_drains_time() {
    let scene = Scene::new();
    scene.set(&[1, 2]);
    let galeway = scene.galeway("");
    galeway.wait_ready();
    let mut kept = galeway.session_on("n1");
    scene.set(&[2]);
    until(LONG, "its end", || kept.one("SELECT 1").is_err().then_some(()));
    scene.wait_nodes(&galeway, &[2]);
    let ends = || galeway.access_log().into_iter().map(|l| l["end"].clone());
    until(LONG, "a line that says so", || ends().any(|end| end == "drained").then_some(()));
}

#[test]
fn a_name_that_does_not_resolve_yet_is_shown_as_a_node_that_cannot_be_reached() {
    let scene = Scene::new();
    scene.dns.fail("db.test");
    let galeway = scene.galeway("");
    let name = format!("db.test:{}", scene.port);
    until(LONG, "the name as a node", || {
        let node = galeway.try_get("/api/status").map(|_| galeway.node(&name))?;
        let reason = node["reason"].as_str()?;
        (node["verdict"] == "excluded" && reason == "unreachable (cannot resolve)").then_some(())
    });
    assert_eq!(galeway.get("/readyz").0, 503);
    until(LONG, "the log says so", || galeway.log().contains("cannot resolve: no node is known yet").then_some(()));
    scene.set(&[1, 2]);
    scene.wait_nodes(&galeway, &[1, 2]);
    galeway.wait_ready();
}

#[test]
fn an_address_outside_discover_allow_is_never_contacted() {
    let scene = Scene::new();
    scene.set(&[1, 2]);
    let galeway = scene.galeway("discover_allow = [\"127.0.2.1\"]");
    galeway.wait_ready();
    scene.wait_nodes(&galeway, &[1]);
    std::thread::sleep(INTERVAL * 5);
    assert_eq!(scene.nodes[1].connections(), 0, "the login is not for it");
    assert!(galeway.log().contains("discover_allow"));
}

#[test]
fn a_reload_from_addresses_to_a_name_serves_by_the_old_until_the_name_is_known_and_keeps_those_it_leads_to() {
    let scene = Scene::new();
    scene.dns.fail("db.test");
    let node = |i: u8| format!("{{ address = \"{}\", name = \"node{i}\" }}", scene.name(i));
    let listed = format!("{}, {}, {}", node(1), node(2), node(3));
    let name = format!("\"db.test:{}\"", scene.port);
    let mut galeway = scene.spawn(&listed, OFF);
    galeway.wait_ready();
    let sessions = ["n1", "n2", "n3"].map(|n| galeway.session_on(n));
    let load = Load::start(galeway.addr());
    load.wait_for(50);

    Scene::reload(&mut galeway, &format!("nodes = [{listed}]"), &format!("nodes = [{name}]"));
    load.wait_for(200);
    let of = |verdict: &str| shown(&galeway).iter().filter(|(_, shown)| shown == verdict).count();
    until(LONG, "the name itself is shown as well", || (of("excluded") == 1).then_some(()));
    assert_eq!(of("eligible"), 3, "{:?}", shown(&galeway));

    // It leads to two of them.
    scene.set(&[1, 2]);
    until(LONG, "n3 leaves", || (of("excluded") == 1 && of("eligible") == 2).then_some(()));
    assert_eq!(galeway.node("node3")["reason"], "taken out of the configuration");
    let [mut first, mut second, third] = sessions;
    third.quit().unwrap();
    scene.wait_nodes(&galeway, &[1, 2]);
    assert_eq!(first.one("SELECT @@wsrep_node_name").unwrap(), "n1");
    assert_eq!(second.one("SELECT @@wsrep_node_name").unwrap(), "n2");
    let series = galeway.get("/metrics").1;
    assert!(series.contains(&format!("node=\"{}\"", scene.name(1))) && !series.contains("node=\"node"), "{series}");
    load.wait_for(50);
    assert_unnoticed(load);
}

#[test]
fn a_reload_to_names_of_which_one_does_not_resolve_keeps_the_nodes_that_served() {
    let scene = Scene::new();
    for i in 1..=3 {
        scene.dns.set(&format!("n{i}.test"), &[&ip(i).to_string()]);
    }
    scene.dns.fail("late.test");
    scene.set(&[1]);
    let node = |i: u8| format!("{{ address = \"n{i}.test:{}\", name = \"node{i}\" }}", scene.port);
    let listed = format!("{}, {}, {}", node(1), node(2), node(3));
    let names = format!("\"db.test:{0}\", \"late.test:{0}\"", scene.port);
    let mut galeway = scene.spawn(&listed, OFF);
    galeway.wait_ready();
    let load = Load::start(galeway.addr());
    load.wait_for(50);
    Scene::reload(&mut galeway, &format!("nodes = [{listed}]"), &format!("nodes = [{names}]"));
    // Longer than anybody who is silent is waited for.
    until(LONG, "n1 is found", || shown(&galeway).iter().any(|(name, _)| *name == scene.name(1)).then_some(()));
    std::thread::sleep(secs(10));
    let serve = || (1..=3).all(|i| galeway.node(&format!("node{i}"))["verdict"] == "eligible");
    assert!(serve(), "{:?}", shown(&galeway));
    assert_eq!(galeway.node(&scene.name(1))["reason"], "the same server as node node1");
    assert_eq!(galeway.cluster()["writer"], "node1");
    scene.dns.set("late.test", &[&ip(2).to_string()]);
    scene.wait_nodes(&galeway, &[1, 2]);
    assert_eq!(galeway.cluster()["writer"], scene.name(1).as_str());
    load.wait_for(50);
    assert_unnoticed(load);
}

/// Its name does not change, and nothing but its number tells that it is the same server.
#[test]
fn a_server_of_kind_mysql_goes_on_as_what_its_name_leads_to() {
    let scene = Scene { kind: "mysql", ..Scene::new() };
    scene.nodes[0].set_variable("version", "10.11.6-MariaDB");
    scene.nodes[0].set_variable("read_only", "OFF");
    scene.nodes[0].set_variable("server_id", "1");
    scene.nodes[0].remove_status("wsrep_cluster_state_uuid");
    scene.nodes[0].set_answer("SHOW ALL SLAVES STATUS", &["Connection_name"], Vec::new());
    scene.set(&[1]);
    let galeway = &mut scene.spawn(&format!("\"db.test:{}\"", scene.port), OFF);
    galeway.wait_ready();
    let load = Load::start(galeway.addr());
    load.wait_for(50);
    Scene::reload(galeway, "[service", "[service");
    scene.wait_nodes(galeway, &[1]);
    load.wait_for(50);
    assert_unnoticed(load);
}

#[test]
fn a_reload_that_makes_nodes_of_a_names_addresses_serves_all_the_while() {
    let scene = Scene::new();
    scene.set(&[1, 2, 3]);
    let mut galeway = scene.galeway_of(OFF);
    galeway.wait_ready();
    let mut kept = Conn::app(galeway.addr(), LONG).unwrap();
    let load = Load::start(galeway.addr());
    load.wait_for(50);
    Scene::reload(&mut galeway, ", name = \"db\"", "");
    until(LONG, "its addresses are nodes", || (shown(&galeway).len() == 4).then_some(()));
    kept.one("SELECT 1").unwrap();
    kept.quit().unwrap();
    scene.wait_nodes(&galeway, &[1, 2, 3]);
    assert_unnoticed(load);
}

#[test]
#[ignore = "long: scripts/test --full runs it"]
fn a_name_that_leads_elsewhere_takes_its_checks_and_clients_along() {
    let scene = Scene::new();
    scene.set(&[1]);
    let galeway = scene.galeway_of("");
    galeway.wait_ready();
    let mut kept = galeway.session_on("n1");
    // The old server lives on, so nothing but the name tells.
    scene.set(&[2]);
    let began = std::time::Instant::now();
    until(LONG * 2, "clients of the new address", || {
        let mut conn = Conn::app(galeway.addr(), LONG).unwrap();
        (conn.one("SELECT @@wsrep_node_name").unwrap() == "n2").then_some(())
    });
    println!("the name's new address was met after {:?}", began.elapsed());
    let checked = || scene.nodes[1].logins() >= 2;
    until(LONG, "the check goes there too", || checked().then_some(()));
    assert_eq!(kept.one("SELECT @@wsrep_node_name").unwrap(), "n1", "who is there stays there");
    // DNS in trouble changes nothing.
    scene.dns.fail("db.test");
    std::thread::sleep(secs(35));
    assert_eq!(galeway.node("db")["verdict"], "eligible");
}
