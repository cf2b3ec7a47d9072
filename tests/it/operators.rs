//! What operators do: the admin socket, the token, `galeway status`, `node` and `notify`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::fakes::{Fakes, LONG, ip, set_state};
use crate::harness::cli::{self, Output};
use crate::harness::galeway::binary;
use crate::harness::process::Signal;
use crate::harness::{Galeway, Settings, millis, ports, secs, until, watchdog};
use crate::peer::Peer;

const TOKEN: &str = "open-sesame";

/// Two good nodes behind a Galeway with a socket and, if wanted, a token.
struct Scene {
    fakes: Fakes,
    _data: Vec<Peer>,
    galeway: Galeway,
    dir: PathBuf,
}

impl Scene {
    fn new(admin: &str) -> Self {
        Self::with(admin, "")
    }

    fn with(admin: &str, monitor: &str) -> Self {
        let (fakes, data) = Fakes::good(2);
        let dir = fresh_dir();
        std::fs::write(dir.join("token"), format!("{TOKEN}\n")).unwrap();
        let admin =
            format!("socket = \"{}\"\n{}", dir.join("a.sock").display(), admin.replace("DIR", &dir.to_string_lossy()));
        let galeway = fakes.galeway(Settings { admin: &admin, monitor, ..Settings::default() });
        Self { fakes, _data: data, galeway, dir }
    }

    fn token() -> Self {
        Self::new("token_file = \"DIR/token\"")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("a.sock")
    }

    fn unix(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    fn tcp(&self) -> String {
        self.galeway.admin().to_string()
    }

    fn token_file(&self) -> String {
        self.dir.join("token").to_str().unwrap().to_owned()
    }

    /// `galeway` with these arguments, one a word.
    fn run(&self, arguments: &str) -> Output {
        let arguments = arguments.replace("SOCKET", &self.unix()).replace("TCP", &self.tcp());
        galeway(&arguments.replace("TOKEN", &self.token_file()).split(' ').collect::<Vec<_>>())
    }

    fn over_socket(&self, request: &str) -> (u16, String) {
        split(&exchange(UnixStream::connect(self.socket()).unwrap(), request))
    }

    fn over_tcp(&self, request: &str) -> (u16, String) {
        split(&exchange(TcpStream::connect(self.galeway.admin()).unwrap(), request))
    }

    fn set_to(&self, node: &str) -> String {
        self.galeway.node(node)["admin_state"].as_str().unwrap().to_owned()
    }
}

fn fresh_dir() -> PathBuf {
    let dir = watchdog::fresh_path("operator");
    std::fs::create_dir(&dir).unwrap();
    dir
}

fn galeway(arguments: &[&str]) -> Output {
    let output = cli::run(Command::new(binary()).args(arguments));
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    output
}

/// Sends bytes and reads all that comes.
fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn split(answer: &str) -> (u16, String) {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("{answer:?}")), answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// A request with these further header lines.
fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
}

const NODE: &str = "/api/clusters/main/nodes/n1";
const DRAIN: &str = "{\"state\":\"drain\"}";

#[test]
fn the_socket_is_for_its_user_and_group_and_changes_go_over_it() {
    let scene = Scene::new("");
    let file = std::fs::symlink_metadata(scene.socket()).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.mode() & 0o7777, 0o660);
    assert_eq!(scene.over_socket("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), (200, "alive\n".to_owned()));
    let (code, said) = scene.over_socket(&post(NODE, "", DRAIN));
    assert_eq!(code, 200, "{said}");
    assert!(said.contains("n1") && said.contains("drain"), "{said}");
    assert_eq!((&*scene.set_to("n1"), &*scene.set_to("n2")), ("drain", "ready"));
    until(LONG, "the log says who did it", || scene.galeway.log().contains("socket, uid ").then_some(()));
}

#[test]
fn the_socket_goes_with_an_orderly_end() {
    let mut scene = Scene::new("");
    scene.galeway.signal(Signal::TERM);
    assert!(scene.galeway.wait(LONG).unwrap().success());
    assert!(!scene.socket().exists());
}

#[test]
fn without_a_token_tcp_reads_only() {
    let scene = Scene::new("");
    for headers in ["", "Authorization: Bearer \r\n", "Authorization: Bearer x\r\n"] {
        let (code, said) = scene.over_tcp(&post(NODE, headers, DRAIN));
        assert_eq!((code, &*said), (403, "read-only over TCP: set [admin] token_file or use the socket\n"));
    }
    assert_eq!(scene.set_to("n1"), "ready");
}

#[test]
fn over_tcp_a_change_shows_the_token() {
    let scene = Scene::token();
    let missing = exchange(TcpStream::connect(scene.galeway.admin()).unwrap(), &post(NODE, "", DRAIN));
    assert!(
        missing.starts_with("HTTP/1.1 401 ") && missing.to_lowercase().contains("www-authenticate: bearer"),
        "{missing}"
    );
    let wrong = post(NODE, "Authorization: Bearer open-sesam\r\n", DRAIN);
    assert_eq!(scene.over_tcp(&wrong).0, 401);
    assert_eq!(scene.set_to("n1"), "ready");
    let right = post(NODE, &format!("Authorization: Bearer {TOKEN}\r\n"), DRAIN);
    assert_eq!(scene.over_tcp(&right).0, 200);
    assert_eq!(scene.set_to("n1"), "drain");
    assert!(!scene.galeway.log().contains(TOKEN));
}

#[test]
fn a_web_page_changes_nothing() {
    let scene = Scene::token();
    let headers = format!("Authorization: Bearer {TOKEN}\r\nOrigin: http://127.0.0.1:9306\r\n");
    assert_eq!(scene.over_tcp(&post(NODE, &headers, DRAIN)).0, 403);
    assert_eq!(scene.over_tcp(&post("/api/notify", &headers, "")).0, 403);
    assert_eq!(scene.set_to("n1"), "ready");
}

#[test]
fn a_token_on_a_network_is_a_warning() {
    let (fakes, _data) = Fakes::good(1);
    let dir = fresh_dir();
    std::fs::write(dir.join("token"), TOKEN).unwrap();
    let (accept, admin) = (SocketAddr::from(([127, 0, 0, 1], ports::free())), ports::free());
    let admin_lines = format!("socket = \"\"\ntoken_file = \"{}\"", dir.join("token").display());
    let settings = Settings { admin: &admin_lines, ..Settings::default() };
    let text = settings.text(&[("n1".to_owned(), fakes.data(1))], accept, SocketAddr::from(([0, 0, 0, 0], admin)));
    let galeway = Galeway::spawn_text(&text, accept, SocketAddr::from(([127, 0, 0, 1], admin)));
    until(LONG, "the warning", || galeway.log().contains("travels this network in plain text").then_some(()));
}

#[test]
fn what_is_not_understood_changes_nothing_and_says_what_would_be() {
    let scene = Scene::new("");
    let body = |body: &str| scene.over_socket(&post(NODE, "", body));
    for (sent, word) in [
        ("", "not understood"),
        ("drain", "not understood"),
        ("[]", "not understood"),
        ("{\"state\":\"off\"}", "no such state"),
        ("{\"state\":\"drain\",\"force\":true}", "unknown field `force`"),
        ("{\"state\":\"drain\",\"accept_history\":1}", "not understood"),
        ("{\"state\":\"drain\",\"accept_history\":true}", "accept_history goes with ready only"),
        ("{\"state\":\"drain\"} x", "not understood"),
    ] {
        let (code, said) = body(sent);
        assert_eq!(code, 400, "{sent}: {said}");
        assert!(said.contains(word) && said.contains("ready|drain|maintenance"), "{sent}: {said}");
    }
    let to = |path: &str| scene.over_socket(&post(path, "", DRAIN));
    let (code, said) = to("/api/clusters/other/nodes/n1");
    assert_eq!((code, &*said), (404, "there is no cluster of that name; there is main\n"));
    let (code, said) = to("/api/clusters/main/nodes/n9");
    assert_eq!((code, &*said), (404, "cluster main has no node of that name; it has n1, n2\n"));
    assert_eq!(to("/api/clusters/main/nodes/%zz").0, 400);
    assert_eq!((&*scene.set_to("n1"), &*scene.set_to("n2")), ("ready", "ready"));
}

#[test]
fn only_a_post_changes_something() {
    let scene = Scene::token();
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        for path in [NODE, "/api/notify"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
            );
            let answer = exchange(TcpStream::connect(scene.galeway.admin()).unwrap(), &request);
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(answer.to_lowercase().contains("allow: post"), "{answer}");
        }
    }
}

#[test]
fn a_long_body_is_refused_and_the_refusal_arrives() {
    let scene = Scene::new("");
    let long = format!("{{\"state\":\"{}\"}}", "x".repeat(300_000));
    let (code, said) = scene.over_socket(&post(NODE, "", &long));
    assert_eq!((code, &*said), (413, "a body has at most 4096 bytes\n"));
    let chunks =
        format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(9));
    let request = format!("POST {NODE} HTTP/1.1\r\nHost: x\r\n{chunks}");
    assert_eq!(scene.over_socket(&request).0, 413);
}

#[test]
fn a_body_that_trickles_is_cut_and_holds_up_nobody() {
    let scene = Scene::new("");
    let start = Instant::now();
    let mut slow = UnixStream::connect(scene.socket()).unwrap();
    write!(slow, "POST {NODE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{").unwrap();
    let mut reader = slow.try_clone().unwrap();
    let trickle = std::thread::spawn(move || {
        while slow.write_all(b" ").is_ok() && start.elapsed() < LONG {
            std::thread::sleep(millis(200));
        }
    });
    assert_eq!(scene.over_socket(&post(NODE, "", DRAIN)).0, 200);
    let mut answer = String::new();
    let _ = reader.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(start.elapsed() < secs(15), "{:?}", start.elapsed());
    drop(reader);
    trickle.join().unwrap();
}

#[test]
fn a_socket_of_a_killed_process_is_taken_over() {
    let mut scene = Scene::new("");
    scene.galeway.signal(Signal::KILL);
    scene.galeway.wait(LONG);
    assert!(scene.socket().exists());
    let again = Galeway::spawn_text(
        &std::fs::read_to_string(&scene.galeway.config).unwrap(),
        scene.galeway.addr(),
        scene.galeway.admin(),
    );
    again.wait_ready();
    assert_eq!(scene.over_socket("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
}

/// A `galeway run` whose socket cannot be had: what it says.
fn refused_socket(scene: &Scene, socket: &Path) -> String {
    let text = Settings { admin: &format!("socket = \"{}\"", socket.display()), ..Settings::default() }.text(
        &[("n1".to_owned(), scene.fakes.data(1))],
        SocketAddr::from(([127, 0, 0, 1], 0)),
        SocketAddr::from(([127, 0, 0, 1], 0)),
    );
    let file = fresh_dir().join("galeway.toml");
    std::fs::write(&file, text).unwrap();
    let output = galeway(&["run", "-c", file.to_str().unwrap()]);
    assert_eq!(output.code, Some(2), "{output:?}");
    output.stderr.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_socket_that_somebody_answers_at_is_left_alone() {
    let scene = Scene::new("");
    let said = refused_socket(&scene, &scene.socket());
    assert!(said.starts_with("galeway: [admin] cannot listen on unix:"), "{said}");
    assert!(said.contains("another process listens there"), "{said}");
    assert_eq!(scene.over_socket("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").0, 200);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let scene = Scene::new("");
    let precious = scene.dir.join("precious");
    std::fs::write(&precious, "precious").unwrap();
    let said = refused_socket(&scene, &precious);
    assert!(said.contains("a file that is no socket has that name"), "{said}");
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
}

/// A connection to the admin address from an address of our choice.
fn from(address: std::net::Ipv4Addr, admin: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&admin.into()).unwrap();
    socket.into()
}

/// Nothing but news makes these nodes be looked at.
const SELDOM: &str = "interval = \"1h\"\nfast_interval = \"20ms\"";

#[test]
fn a_nodes_own_word_needs_no_token_and_is_not_believed() {
    let scene = Scene::with("", SELDOM);
    scene.galeway.wait_verdict("n2", "eligible", LONG);
    set_state(scene.fakes.check(2), "1");
    let said = post("/api/notify", "", "{\"n1\":\"donor\"}");
    assert_eq!(split(&exchange(from(ip(1), scene.galeway.admin()), &said)).0, 202);
    scene.galeway.wait_verdict("n2", "excluded", secs(5));
    assert_eq!(scene.galeway.node("n1")["verdict"], "eligible", "it is as its check found it");
}

#[test]
fn who_is_no_node_shows_the_token_to_notify() {
    let scene = Scene::token();
    let far = |headers: &str| scene.over_tcp(&post("/api/notify", headers, "")).0;
    assert_eq!(far(""), 401, "loopback is no node's address here");
    assert_eq!(far(&format!("Authorization: Bearer {TOKEN}\r\n")), 202);
    assert_eq!(scene.over_socket(&post("/api/notify", "", "")).0, 202);
    let without = Scene::new("");
    assert_eq!(without.over_tcp(&post("/api/notify", "", "")).0, 403);
}

#[test]
fn status_says_in_the_night_who_serves_and_why_the_others_do_not() {
    let scene = Scene::new("");
    assert_eq!(scene.run("node n2 maintenance --admin SOCKET").code, Some(0));
    set_state(scene.fakes.check(1), "1");
    scene.galeway.wait_verdict("n1", "excluded", LONG);
    let seen = scene.run("status --admin TCP");
    let line = |start: &str| seen.stdout.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{seen:?}"));
    assert!(seen.stdout.starts_with("galeway 0.1.0, running, up "), "{seen:?}");
    assert!(seen.stdout.contains("cluster main: "), "{seen:?}");
    assert!(line("    NODE").contains("VERDICT") && line("    NODE").contains("SET TO"), "{seen:?}");
    assert!(
        line("!   n1").contains("excluded") && line("!   n1").ends_with("Joiner (wsrep_local_state=1)"),
        "{seen:?}"
    );
    assert!(line("!   n2").contains("maintenance"), "{seen:?}");
    assert!(line("  service any on").contains("main/any: 0 active"), "{seen:?}");
}

#[test]
fn status_exits_by_whether_every_service_can_route() {
    let scene = Scene::new("");
    for admin in ["SOCKET", "TCP"] {
        let seen = scene.run(&format!("status --admin {admin}"));
        assert_eq!((seen.code, &*seen.stderr), (Some(0), ""), "{seen:?}");
        assert!(seen.stdout.ends_with("ready: every service can route\n"), "{seen:?}");
    }
    let json = scene.run("status --json --admin SOCKET");
    assert_eq!(json.code, Some(0));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let node = &json["clusters"][0]["nodes"][0];
    assert_eq!((&node["admin_state"], &node["priority"], &node["zone"]), (&"ready".into(), &0.into(), &"".into()));
    for i in [1, 2] {
        set_state(scene.fakes.check(i), "1");
    }
    until(LONG, "it is not ready", || (scene.galeway.get("/readyz").0 == 503).then_some(()));
    let seen = scene.run("status --admin SOCKET");
    assert_eq!(seen.code, Some(1), "{seen:?}");
    assert!(seen.stdout.contains("\n! not ready: any: no node of cluster \"main\" serves role any: "), "{seen:?}");
}

#[test]
fn status_of_nobody_is_exit_2_and_says_where_it_looked() {
    let nobody = format!("127.0.0.1:{}", ports::free());
    for admin in [nobody.as_str(), "unix:/nonexistent/a.sock"] {
        let seen = galeway(&["status", "--admin", admin]);
        assert_eq!((seen.code, &*seen.stdout), (Some(2), ""), "{seen:?}");
        assert!(seen.stderr.starts_with(&format!("galeway: {admin}: cannot connect: ")), "{seen:?}");
        assert!(seen.stderr.contains("does galeway run?"), "{seen:?}");
    }
    for wrong in ["localhost", "unix:", "9306"] {
        assert_eq!(galeway(&["status", "--admin", wrong]).code, Some(2));
    }
}

#[test]
fn status_gives_up_on_who_accepts_and_says_nothing() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    let seen = galeway(&["status", "--admin", &silent.local_addr().unwrap().to_string()]);
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(seen.stderr.contains("no answer within 5.0 s"), "{seen:?}");
    assert!(start.elapsed() < secs(15));
}

#[test]
fn node_takes_a_node_out_and_back() {
    let scene = Scene::token();
    for (command, state) in [
        ("node n1 drain --admin SOCKET", "drain"),
        ("node n1 maintenance --cluster main --admin SOCKET", "maintenance"),
        ("node n1 ready --accept-history --admin TCP --token-file TOKEN", "ready"),
    ] {
        let done = scene.run(command);
        assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{command}: {done:?}");
        assert!(done.stdout.contains("n1") && done.stdout.contains(state), "{command}: {done:?}");
        assert_eq!(scene.set_to("n1"), state);
    }
}

#[test]
fn node_says_what_is_wrong_and_exits_2() {
    let scene = Scene::token();
    for (command, word) in [
        ("node n9 drain --admin SOCKET", "no cluster has a node \"n9\"; there is n1, n2"),
        ("node n1 drain --cluster other --admin SOCKET", "there is main"),
        ("node n1 drain --accept-history --admin SOCKET", "--accept-history goes with ready only"),
        ("node n1 off --admin SOCKET", "maintenance"),
        ("node n1 drain --admin TCP", "--token-file FILE"),
        ("node n1 drain --admin TCP --token-file /nonexistent", "/nonexistent"),
        ("node n1 drain --admin unix:/nonexistent/a.sock", "cannot connect"),
    ] {
        let done = scene.run(command);
        assert_eq!((done.code, &*done.stdout), (Some(2), ""), "{command}: {done:?}");
        assert!(done.stderr.contains(word), "{command}: {done:?}");
    }
    std::fs::write(scene.dir.join("token"), "another").unwrap();
    let done = scene.run("node n1 drain --admin TCP --token-file TOKEN");
    assert!(done.code == Some(2) && done.stderr.contains("does not know this token"), "{done:?}");
    assert_eq!(scene.set_to("n1"), "ready");
}

/// As the server calls it.
const SERVER: &str = "--status donor --uuid 0e0b2a3c-7d8e-11ee-b962-0242ac120002 --primary yes --index 0 --members \
                      a/n1/127.0.0.1:0,b/n2/127.0.0.1:0";

#[test]
fn notify_makes_all_of_them_look_whatever_the_server_says() {
    let scene = Scene::with("", SELDOM);
    let mut state = 1;
    for said in
        [SERVER, "--status joined", "", "-x --help --admin nonsense --log-level loud -- -", "--uuid  --members "]
    {
        set_state(scene.fakes.check(2), if state == 1 { "1" } else { "4" });
        let done = scene.run(&format!("notify --admin SOCKET {said}"));
        assert_eq!((done.code, &*done.stdout, &*done.stderr), (Some(0), "", ""), "{said}: {done:?}");
        scene.galeway.wait_verdict("n2", if state == 1 { "excluded" } else { "eligible" }, secs(5));
        state = 1 - state;
    }
}

#[test]
fn one_that_takes_it_is_enough() {
    let scene = Scene::new("");
    let nobody = ports::free();
    let done = scene.run(&format!("notify --admin 127.0.0.1:{nobody} --admin SOCKET --admin TCP {SERVER}"));
    assert_eq!((done.code, &*done.stderr), (Some(0), ""), "{done:?}");
    let done = scene.run(&format!("notify --admin 127.0.0.1:{nobody} --admin TCP {SERVER}"));
    assert_eq!(done.code, Some(1));
    assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
    assert!(done.stderr.starts_with("galeway notify: nobody took it: 127.0.0.1:"), "{done:?}");
    assert!(done.stderr.contains("403: read-only over TCP"), "{done:?}");
    let done = Scene::token();
    assert_eq!(done.run(&format!("notify --token-file TOKEN --admin TCP {SERVER}")).code, Some(0));
}

#[test]
fn notify_never_holds_up_the_server() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|a| (silent, a.to_string())).unwrap();
    // A pipe that nobody writes to and nobody closes.
    let fifo = fresh_dir().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let hang = fifo.to_str().unwrap();
    for arguments in [
        vec!["--admin", &silent.1],
        vec!["--admin", "name.invalid:9306"],
        vec!["--admin", "192.0.2.1:9306"],
        vec!["--admin", &silent.1, "--token-file", hang],
        vec!["--admin", &silent.1, "--admin", "name.invalid:1", "--admin", "192.0.2.1:1"],
    ] {
        let mut all = vec!["notify"];
        all.extend(&arguments);
        all.extend(SERVER.split_whitespace());
        // The machine may be busy with other tests: one of a few runs shows what the command does by itself.
        let took = (0..5).map(|_| {
            let start = Instant::now();
            let done = galeway(&all);
            assert_eq!(done.code, Some(1), "{arguments:?}: {done:?}");
            start.elapsed()
        });
        let limit = Duration::from_millis(300);
        let times: Vec<_> = took.collect();
        assert!(times.iter().any(|took| *took < limit), "{arguments:?}: {times:?}");
    }
}
