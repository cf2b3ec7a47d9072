//! `/clustercheck/NODE` as the script's users ask it: by hand, and by a real HAProxy whose servers follow it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use crate::fakes::{FAST, Fakes, LONG, set_state};
use crate::harness::galeway::table;
use crate::harness::process::Process;
use crate::harness::{Conn, Galeway, Settings, ports, until, watchdog};
use crate::peer::{FakeNode, Mode};

/// What comes back, to the last byte.
struct Answer {
    code: u16,
    /// In small letters.
    head: String,
    body: String,
}

/// As HAProxy asks where nothing else is configured: HTTP/1.0, no Host.
#[track_caller]
fn ask(addr: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"));
    Answer { code, head: head.to_lowercase(), body: body.to_owned() }
}

/// Code, body, and the reason that stands beside it.
#[track_caller]
fn told(galeway: &Galeway, node: &str) -> (u16, String, String) {
    let answer = ask(galeway.admin(), "GET", &format!("/clustercheck/{node}"));
    let reason = answer.head.lines().find_map(|l| l.strip_prefix("x-galeway-reason: ")).unwrap_or_default();
    (answer.code, answer.body, reason.to_owned())
}

/// Waits until it is told so.
#[track_caller]
fn wait_told(galeway: &Galeway, node: &str, code: u16, words: &str, reason: &str) {
    let body = format!("Percona XtraDB Cluster Node is {words}.\r\n");
    let wanted = (code, body, reason.to_lowercase());
    let mut last = None;
    let seen = crate::harness::within(LONG, || {
        let seen = told(galeway, node);
        let as_wanted = (seen == wanted).then_some(());
        last = Some(seen);
        as_wanted
    });
    assert!(seen.is_some(), "{node}: {last:?} instead of {wanted:?}");
}

#[test]
fn each_verdict_has_the_words_that_the_script_has_for_it() {
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(Settings::default());
    wait_told(&galeway, "n1", 200, "synced", "Synced");

    set_state(fakes.check(1), "1");
    wait_told(&galeway, "n1", 503, "not synced", "Joiner (wsrep_local_state=1)");
    // The other one donates to it: nobody else serves, so it does.
    set_state(fakes.check(2), "2");
    wait_told(&galeway, "n2", 200, "synced", "Donor/Desynced, last resort: no node is Synced");
    set_state(fakes.check(1), "4");
    wait_told(&galeway, "n1", 200, "synced", "Synced");
    // It had the role of writer, and keeps that for a while; the script knows no roles.
    let graced = "Donor/Desynced, keeps the writer role for up to 60 s (donor_grace)";
    wait_told(&galeway, "n2", 503, "not synced", graced);
    set_state(fakes.check(2), "4");
    wait_told(&galeway, "n2", 200, "synced", "Synced");

    fakes.check(1).set_variable("read_only", "ON");
    wait_told(&galeway, "n1", 503, "read-only", "read_only=ON");
    fakes.check(1).set_variable("read_only", "OFF");
    fakes.check(1).set_status("wsrep_cluster_status", "non-Primary");
    wait_told(&galeway, "n1", 503, "not synced", "non-Primary");
    fakes.check(1).set_status("wsrep_cluster_status", "Primary");
    wait_told(&galeway, "n1", 200, "synced", "Synced");

    galeway.set_node("n1", "drain");
    wait_told(&galeway, "n1", 503, "manually disabled", "drained by the operator");
    galeway.set_node("n1", "maintenance");
    wait_told(&galeway, "n1", 503, "manually disabled", "under maintenance");
    galeway.set_node("n1", "ready");
    wait_told(&galeway, "n1", 200, "synced", "Synced");
}

#[test]
fn the_answer_has_the_scripts_headers_also_to_a_client_of_http_1_0() {
    let (fakes, _data) = Fakes::good(1);
    let galeway = fakes.galeway(Settings::default());
    for method in ["GET", "HEAD", "OPTIONS"] {
        let answer = ask(galeway.admin(), method, "/clustercheck/n1");
        assert_eq!(answer.code, 200, "{method}");
        for header in ["content-type: text/plain\r\n", "connection: close\r\n", "content-length: 40\r\n"] {
            assert!(format!("{}\r\n", answer.head).contains(header), "{method} {header:?}: {}", answer.head);
        }
        let body = if method == "HEAD" { "" } else { "Percona XtraDB Cluster Node is synced.\r\n" };
        assert_eq!(answer.body, body, "{method}");
    }
    let post = ask(galeway.admin(), "POST", "/clustercheck/n1");
    assert!(post.code == 405 && post.head.contains("allow: get, head, options"), "{}", post.head);
}

#[test]
fn what_was_never_checked_is_not_synced() {
    let fakes = Fakes::new(1);
    fakes.check(1).set_mode(Mode::Hang);
    let galeway = fakes.spawn(Settings::default());
    until(LONG, "it answers", || galeway.try_get("/healthz"));
    let (code, body, _) = told(&galeway, "n1");
    assert_eq!((code, &*body), (503, "Percona XtraDB Cluster Node is not synced.\r\n"));
}

#[test]
fn a_node_of_weight_0_is_not_offered_to_others_either() {
    let node = FakeNode::start("n1");
    let galeway = Galeway::spawn_nodes(
        &[table("n1", node.addr(), "weight = 0")],
        Settings { monitor: FAST, ..Settings::default() },
    );
    until(LONG, "it answers", || galeway.try_get("/healthz"));
    wait_told(&galeway, "n1", 503, "manually disabled", "weight 0");
}

#[test]
fn a_node_is_found_by_its_name_or_by_that_and_its_clusters() {
    let (a, b) = (FakeNode::start("a"), FakeNode::start("b"));
    let cluster = |name: &str, nodes: &str| {
        let service = format!("[service.{name}]\naccept = \"127.0.0.1:0\"\ncluster = \"{name}\"\n");
        format!("{service}[cluster.{name}]\nnodes = [{nodes}]\n[cluster.{name}.monitor]\nuser = \"m\"\n{FAST}\n")
    };
    let one = cluster("one", &format!("{}, \"unix:/run/no one.sock\"", table("db1", a.addr(), "")));
    let galeway = Galeway::sections(&format!("{one}{}", cluster("two", &table("db1", b.addr(), ""))));
    until(LONG, "it answers", || galeway.try_get("/healthz"));
    wait_told(&galeway, "one/db1", 200, "synced", "Synced");
    wait_told(&galeway, "two/db1", 200, "synced", "Synced");
    let get = |path: &str| {
        let answer = ask(galeway.admin(), "GET", path);
        (answer.code, answer.body)
    };
    assert_eq!(get("/clustercheck/unix:%2Frun%2Fno%20one.sock").0, 503, "its name is enough: no other cluster has it");
    assert_eq!(get("/clustercheck/one/unix:%2Frun%2Fno%20one.sock").0, 503);
    let both = "several clusters have a node of this name: /clustercheck/one/db1 /clustercheck/two/db1\n";
    assert_eq!(get("/clustercheck/db1"), (409, both.to_owned()));
    let known = "no such node; known: /clustercheck/one/db1 /clustercheck/one/unix:%2Frun%2Fno%20one.sock \
                 /clustercheck/two/db1\n";
    for path in ["/", "/db9", "/two/db9", "/three/db1", "/one/db1/"] {
        assert_eq!(get(&format!("/clustercheck{path}")), (404, known.to_owned()), "{path}");
    }
    assert_eq!(get("/clustercheck/one/db%zz").0, 400);
    assert_eq!(get("/clustercheck/one/db1?role=writer").0, 400, "what is not looked at is not taken");
    assert_eq!(get("/clustercheck").0, 404);
}

// ---- a real HAProxy

/// One that asks Galeway.
struct Haproxy {
    process: Process,
    socket: PathBuf,
    front: SocketAddr,
    config: PathBuf,
}

impl Haproxy {
    /// `proxies` are its sections but for `global` and `defaults`; `FRONT` in them is where clients come.
    fn start(proxies: &str) -> Self {
        let dir = watchdog::fresh_path("haproxy");
        std::fs::create_dir(&dir).unwrap();
        let (socket, config) = (dir.join("sock"), dir.join("cfg"));
        let front = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let text = format!(
            "global\n stats socket {} mode 600 level admin\ndefaults\n mode tcp\n timeout connect 5s\n \
             timeout client 1m\n timeout server 1m\n timeout check 5s\n{}\n",
            socket.display(),
            proxies.replace("FRONT", &front.to_string())
        );
        std::fs::write(&config, text).unwrap();
        let process = Process::spawn(Command::new("haproxy").arg("-db").arg("-f").arg(&config));
        Self { process, socket, front, config }
    }

    /// The state of a server and what its last check said: `UP L7OK 200`.
    fn server(&mut self, proxy: &str, server: &str) -> String {
        let ended = self.process.ended();
        assert!(ended.is_none(), "haproxy ended ({ended:?}) with\n{}", std::fs::read_to_string(&self.config).unwrap());
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return String::new() };
        stream.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap().trim_start_matches("# ").split(',').collect();
        let place = |name: &str| names.iter().position(|n| *n == name).unwrap();
        let row = lines.map(|l| l.split(',').collect::<Vec<_>>()).find(|r| r[0] == proxy && r[1] == server);
        let row = row.unwrap_or_else(|| panic!("no server {proxy}/{server}:\n{text}"));
        [row[place("status")], row[place("check_status")], row[place("check_code")]].join(" ").trim().to_owned()
    }

    #[track_caller]
    fn wait(&mut self, proxy: &str, server: &str, wanted: &str) {
        let mut last = String::new();
        let seen = crate::harness::within(LONG, || {
            last = self.server(proxy, server);
            (last == wanted).then_some(())
        });
        assert!(seen.is_some(), "{proxy}/{server}: {last:?} instead of {wanted:?}");
    }

    /// The node that a client meets.
    #[track_caller]
    fn meets(&self) -> String {
        let conn = Conn::greet(self.front, LONG).unwrap();
        conn.greeting.version.trim_start_matches("5.5.5-").to_owned()
    }
}

/// A block of docs/migration.md as it is, but for the addresses, the names and the pace of a test.
fn documented(holds: &str, fakes: &Fakes, admin: SocketAddr) -> String {
    let blocks = crate::docs::blocks("docs/migration.md", "haproxy");
    let mut block = blocks.into_iter().find(|b| b.contains(holds)).unwrap_or_else(|| panic!("no block with {holds}"));
    // A third node that is not there would be DOWN, and no more.
    for i in 1..=2_u8 {
        block = block.replace(&format!("10.0.0.1{i}:3306"), &fakes.data(i).to_string());
    }
    for (old, new) in [
        ("bind :3306", "bind FRONT"),
        ("server db", "server n"),
        ("addr 127.0.0.1 port 9306", &*format!("addr 127.0.0.1 port {}", admin.port())),
        ("inter 1s", "inter 100ms"),
    ] {
        assert!(block.contains(old), "{old:?} is not in {block}");
        block = block.replace(old, new);
    }
    block.replace("check_db", "check_n").replace("/db", "/n")
}

#[test]
fn servers_of_a_haproxy_follow_galeways_verdicts() {
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(Settings::default());
    let mut haproxy = Haproxy::start(&documented("uri-lf", &fakes, galeway.admin()));
    for node in ["n1", "n2"] {
        haproxy.wait("mariadb", node, "UP L7OK 200");
    }
    haproxy.wait("mariadb", "n3", "DOWN L7STS 404");
    set_state(fakes.check(1), "2");
    haproxy.wait("mariadb", "n1", "DOWN L7STS 503");
    assert_eq!([haproxy.meets(), haproxy.meets()], ["n2", "n2"]);
    set_state(fakes.check(1), "4");
    haproxy.wait("mariadb", "n1", "UP L7OK 200");
    galeway.set_node("n2", "drain");
    haproxy.wait("mariadb", "n2", "DOWN L7STS 503");
    assert_eq!([haproxy.meets(), haproxy.meets()], ["n1", "n1"]);
    // The last one stays: the script's default would leave nobody here.
    set_state(fakes.check(1), "2");
    galeway.wait_verdict("n1", "last-resort", LONG);
    haproxy.wait("mariadb", "n1", "UP L7OK 200");
    assert_eq!(haproxy.meets(), "n1");
}

#[test]
fn servers_of_an_older_haproxy_follow_a_backend_for_each() {
    let (fakes, _data) = Fakes::good(2);
    let galeway = fakes.galeway(Settings::default());
    // Without a method it asks by OPTIONS.
    let proxies = documented("track check_", &fakes, galeway.admin()).replace("httpchk GET ", "httpchk ");
    let mut haproxy = Haproxy::start(&proxies);
    for node in ["n1", "n2"] {
        haproxy.wait(&format!("check_{node}"), node, "UP L7OK 200");
        haproxy.wait("mariadb", node, "UP");
    }
    galeway.set_node("n1", "maintenance");
    haproxy.wait("mariadb", "n1", "DOWN");
    assert_eq!([haproxy.meets(), haproxy.meets()], ["n2", "n2"]);
    galeway.set_node("n1", "ready");
    haproxy.wait("mariadb", "n1", "UP");
}

#[test]
fn a_galeway_behind_a_haproxy_learns_who_the_client_is() {
    let (fakes, _data) = Fakes::good(1);
    let galeway =
        fakes.galeway(crate::fakes::service("proxy_protocol = \"require\"\nproxy_protocol_from = [\"127.0.0.1\"]"));
    let block = crate::docs::blocks("docs/migration.md", "haproxy").into_iter().find(|b| b.contains("send-proxy-v2"));
    let block = block
        .unwrap()
        .replace("bind :3306", "bind FRONT")
        .replace("service=mysql", "service=any")
        .replace("10.0.0.5:3307", &galeway.addr().to_string())
        .replace("check port 9306", &format!("check addr 127.0.0.1 port {} inter 100ms", galeway.admin().port()));
    let mut haproxy = Haproxy::start(&block);
    haproxy.wait("mariadb", "galeway1", "UP L7OK 200");
    let client = Conn::greet(haproxy.front, LONG).unwrap();
    let from = client.local;
    drop(client);
    let event = crate::fakes::access(&galeway, from);
    assert_eq!(event["node"], "n1", "{event}");
    set_state(fakes.check(1), "1");
    haproxy.wait("mariadb", "galeway1", "DOWN L7STS 503");
}
