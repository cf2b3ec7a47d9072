//! Balancers behind an address that moves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use crate::harness::client::Conn;
use crate::harness::{Galeway, Lan, Machine, millis, secs, until};
use crate::peer::FakeNode;

const LONG: Duration = secs(30);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 100);

/// Fake nodes on a machine of theirs.
fn nodes(db: &Machine, count: u8) -> Vec<FakeNode> {
    let one = |i: u8| {
        let at = SocketAddr::from((Ipv4Addr::new(198, 18, 2, 100 + i), 3306));
        if i > 1 {
            db.ip(&format!("addr add {}/24 dev back", at.ip()));
        }
        let node = FakeNode::on(db.within(|| TcpListener::bind(at)).unwrap(), &format!("n{i}"));
        node.set_status("wsrep_cluster_size", &count.to_string());
        node.set_status("wsrep_local_index", &(i - 1).to_string());
        node
    };
    (1..=count).map(one).collect()
}

fn open(nodes: &[FakeNode]) -> usize {
    nodes.iter().map(FakeNode::open).sum()
}

/// A client's session through this address; queries go through.
fn session(client: &Machine, at: IpAddr) -> Conn {
    let mut conn = client.within(|| Conn::connect((at, 3306).into(), "app", "app", LONG)).unwrap();
    conn.query("SELECT 1").unwrap();
    conn
}

#[test]
fn sessions_end_when_their_address_leaves_the_host_for_longer_than_a_moment_and_no_others_do() {
    let Some(lan) = Lan::new(&["front", "back"]) else { return };
    let balancer = lan.machine("lb1", &[("front", "198.18.1.11/24"), ("back", "198.18.2.11/24")]);
    let client = lan.machine("client", &[("front", "198.18.1.50/24")]);
    let db = lan.machine("db", &[("back", "198.18.2.101/24")]);
    let nodes = nodes(&db, 1);

    // A second VIP, which flaps, one of IPv6, and addresses that are taken in without being on any interface.
    let flapping: IpAddr = "198.18.1.101".parse().unwrap();
    let v6: IpAddr = "fd00:6a1e::100".parse().unwrap();
    let anything: IpAddr = "198.18.3.7".parse().unwrap();
    balancer.ip(&format!("addr add {VIP}/32 dev front"));
    balancer.ip(&format!("addr add {flapping}/32 dev front"));
    balancer.ip(&format!("addr add {v6}/64 dev front nodad"));
    balancer.ip("route add local 198.18.3.0/24 dev lo");
    client.ip("addr add fd00:6a1e::50/64 dev front nodad");
    client.ip("route add 198.18.3.0/24 via 198.18.1.11");
    let sections = "[cluster.main]\nnodes = [\"198.18.2.101\"]\n[cluster.main.monitor]\nuser = \"monitor\"\n\
        password = \"monitor\"\n[service.any]\naccept = [\"0.0.0.0:3306\", \"[::]:3306\"]\ncluster = \"main\"\n";
    let launcher = balancer.launcher();
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    let galeway = Galeway::sections_through(&launcher, sections);
    balancer.within(|| galeway.wait_ready());

    let mut stay: Vec<_> =
        [IpAddr::from([198, 18, 1, 11]), flapping, anything].iter().map(|at| session(&client, *at)).collect();
    let go = [VIP.into(), v6].map(|at| session(&client, at));
    let all = open(&nodes);

    balancer.ip(&format!("addr del {flapping}/32 dev front"));
    balancer.ip(&format!("addr add {flapping}/32 dev front"));
    balancer.ip(&format!("addr del {VIP}/32 dev front"));
    balancer.ip(&format!("addr del {v6}/64 dev front"));
    until(LONG, "their sessions on the node end", || (open(&nodes) == all - go.len()).then_some(()));
    for conn in &mut stay {
        conn.query("SELECT 1").unwrap();
    }

    let ended = until(LONG, "the access log tells", || Some(galeway.access_log()).filter(|log| log.len() == go.len()));
    let told: Vec<_> = ended.iter().map(|e| (e["end"].as_str(), e["by"].as_str(), e["detail"].as_str())).collect();
    for at in [VIP.to_string(), v6.to_string()] {
        let words = format!("{at} has left this host");
        let expected = (Some("address_lost"), Some("galeway"), Some(words.as_str()));
        assert!(told.contains(&expected), "{told:?}");
    }
    let labels = [("reason", "address_lost")];
    let closed = balancer.within(|| galeway.metric("galeway_connections_closed_total", &labels));
    assert_eq!(closed, 2.0);
    assert!(galeway.log().contains("this host has lost an address"), "{}", galeway.log());

    // It may come back: then it serves as before.
    balancer.ip(&format!("addr add {VIP}/32 dev front"));
    let mut again = session(&client, VIP.into());
    std::thread::sleep(millis(2500));
    again.query("SELECT 1").unwrap();
}
