//! Every kind of address, on the client's side and on the node's.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::fakes::{LONG, read_all};
use crate::harness::cli::{self, Output};
use crate::harness::client::tcp_from;
use crate::harness::dns::Dns;
use crate::harness::galeway::binary;
use crate::harness::process::Signal;
use crate::harness::{Galeway, ports, standalone, until, watchdog};
use crate::targets::Target;

/// Who answered, and whom the server sees.
const WHO: &str = "SELECT @@wsrep_node_name, SUBSTRING_INDEX(USER(), '@', -1)";

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Binds these sockets (`NAME=HOST:PORT`, both families where the host is `[::]`, or `NAME=PATH`; none listens whose place begins with
/// `!`) and becomes what
/// follows `--`, as systemd hands them over: descriptors from 3 on, and the environment of sd_listen_fds(3).
pub(crate) const HAND_OVER: &str = r#"
import fcntl, os, socket, sys
end = sys.argv.index('--')
names, held = [], []
for given in sys.argv[1:end]:
    name, place = given.split('=', 1)
    listens = not place.startswith('!')
    place = place.lstrip('!')
    if place.startswith('/'):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.bind(place)
    else:
        host, port = place.rsplit(':', 1)
        one = socket.socket(socket.AF_INET6 if host == '[::]' else socket.AF_INET, socket.SOCK_STREAM)
        if host == '[::]':
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host.strip('[]'), int(port)))
    if listens:
        one.listen(16)
    names.append(name)
    held.append(fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100))
for to, one in enumerate(held, 3):
    os.dup2(one, to)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)), LISTEN_FDNAMES=':'.join(names))
os.execv(sys.argv[end + 1], sys.argv[end + 1:])
"#;

/// A TCP service of /etc/services whose port is free here and open to everybody.
fn named_port() -> (String, u16) {
    let text = fs::read_to_string("/etc/services").unwrap();
    let named = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.strip_suffix("/tcp")?.parse::<u16>().ok()?))
    });
    let mut free = named.filter(|(_, port)| *port > 1024 && TcpListener::bind(local(*port)).is_ok());
    free.next().expect("a free port with a name")
}

#[test]
fn a_mariadb_client_reaches_a_real_server_over_every_kind_of_address() {
    let node = standalone(&["--bind-address=127.0.0.1,::1"]);
    let port = node.addr().port();
    let dns = Dns::start();
    // At 127.0.0.9 nobody listens. The order is the servers'.
    dns.set("two.test", &["127.0.0.9", "127.0.0.1"]);
    dns.set("six.test", &["127.0.0.9", "::1"]);
    let targets = [
        ("four", format!("127.0.0.1:{port}")),
        ("six", format!("[::1]:{port}")),
        ("socket", format!("unix:{}", node.socket().display())),
        ("localhost", format!("localhost:{port}")),
        ("two", format!("two.test:{port}")),
        ("six-by-name", format!("six.test:{port}")),
    ];
    let mut sections = String::new();
    let mut accepts = Vec::new();
    for (name, address) in &targets {
        let accept = ports::free();
        accepts.push(accept);
        sections += &format!(
            "[cluster.{name}]\nnodes = [\"{address}\"]\n\
             [cluster.{name}.monitor]\nuser = \"monitor\"\npassword = \"monitor\"\n\
             [service.{name}]\ncluster = \"{name}\"\n\
             accept = [\"127.0.0.1:{accept}\", \"[::1]:{accept}\", \"unix:{name}.sock\"]\n\
             [service.{name}-fixed]\nconnect = \"{address}\"\naccept = \"unix:{name}-fixed.sock\"\n"
        );
    }
    let (name, named) = named_port();
    let from = ports::free();
    sections += &format!("[service.named]\ncluster = \"four\"\naccept = \"localhost:{name}\"\n");
    sections += &format!(
        "[service.from]\ncluster = \"two\"\naccept = \"127.0.0.1:{from}\"\nsource = \"127.0.0.2\"\n\
         [process]\nnameservers = [\"{}\"]\n",
        dns.address()
    );
    let galeway = Galeway::sections(&sections);
    galeway.wait_ready();
    let is = |output: Output, seen: &str, what: &str| {
        assert_eq!(output.stdout, format!("solo\t{seen}\n"), "{what}: {output:?}\n{}", galeway.log());
    };
    let seen = ["127.0.0.1", "::1", "localhost", "127.0.0.1", "127.0.0.1", "::1"];
    for (((name, _), accept), seen) in targets.iter().zip(&accepts).zip(seen) {
        is(cli::mariadb(local(*accept), &[], WHO), seen, &format!("{name}, by IPv4"));
        let six = SocketAddr::new("::1".parse().unwrap(), *accept);
        is(cli::mariadb(six, &[], WHO), seen, &format!("{name}, by IPv6"));
        let socket = galeway.dir().join(format!("{name}.sock"));
        is(cli::mariadb_at(&socket, &[], WHO), seen, &format!("{name}, by its socket"));
        let socket = galeway.dir().join(format!("{name}-fixed.sock"));
        is(cli::mariadb_at(&socket, &[], WHO), seen, &format!("{name}, as a fixed address"));
    }
    is(cli::mariadb(local(named), &[], WHO), "127.0.0.1", &name);
    is(cli::mariadb(local(from), &[], WHO), "127.0.0.2", "from a source of one's own");
    let printed = cli::run(Command::new(binary()).args(["check", "--print", "-c"]).arg(&galeway.config));
    assert!(printed.stdout.contains(&format!("\"127.0.0.1:{named}\"")), "{printed:?}");
    for kind in ["127.0.0.1:", "[::1]:", "unix:uid="] {
        let is = |e: &Value| e["client"].as_str().is_some_and(|c| c.starts_with(kind));
        until(LONG, kind, || galeway.access_log().iter().any(is).then_some(()));
    }
}

/// A service in front of this target, and these lines.
fn before(target: &Target, lines: &str) -> String {
    format!("[service.s]\nconnect = \"{}\"\n{lines}\n", target.addr())
}

#[track_caller]
fn ask_socket(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    String::from_utf8(read_all(stream)).unwrap()
}

#[track_caller]
fn ask_tcp(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    String::from_utf8(read_all(stream)).unwrap()
}

/// Whether a process of neither the socket's user nor its group may connect there. Only root can find out.
fn others_may_open(path: &Path) -> Option<bool> {
    const CONNECT: &str = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let mut command = Command::new("/usr/bin/python3");
    let seen = cli::run(command.args(["-c", CONNECT]).arg(path).uid(65_534).gid(65_534));
    assert!(seen.code == Some(0) || seen.stderr.contains("PermissionError"), "{seen:?}");
    Some(seen.code == Some(0))
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_process() {
    let target = Target::start("t");
    let sections = before(&target, "accept = [\"unix:a.sock\", \"unix:b.sock\"]\nsocket_mode = \"0600\"")
        + &format!(
            "[service.open]\nconnect = \"{}\"\naccept = \"unix:open.sock\"\nsocket_mode = \"0666\"\n",
            target.addr()
        )
        // What is relative is relative to the file, on the node's side too.
        + "[service.chained]\nconnect = \"unix:a.sock\"\naccept = \"unix:chained.sock\"\n"
        + &format!("[service.usual]\nconnect = \"{}\"\naccept = \"unix:usual.sock\"\n", target.addr());
    let mut galeway = Galeway::sections(&sections);
    galeway.wait_ready();
    let files =
        [("a.sock", 0o600), ("b.sock", 0o600), ("open.sock", 0o666), ("usual.sock", 0o660), ("chained.sock", 0o660)];
    for (name, mode) in files {
        let path = galeway.dir().join(name);
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
        assert_eq!(ask_socket(&path), "t: hello", "{name}");
        if let Some(may) = others_may_open(&path) {
            assert_eq!(may, mode & 0o002 != 0, "{name}");
        }
    }
    // What a killed process leaves behind is replaced.
    galeway.kill();
    assert!(galeway.dir().join("a.sock").exists());
    galeway.start_again();
    galeway.wait_ready();
    assert_eq!(ask_socket(&galeway.dir().join("a.sock")), "t: hello");
    galeway.stop();
    for (name, _) in files {
        assert!(!galeway.dir().join(name).exists(), "{name}");
    }
}

#[test]
fn a_draining_process_leaves_its_sockets_to_the_next_one() {
    let target = Target::start("t");
    let dir = watchdog::fresh_path("next");
    fs::create_dir(&dir).unwrap();
    let path = dir.join("s.sock");
    let (tcp, other) = (ports::free(), ports::free());
    let sections = |port| before(&target, &format!("accept = [\"unix:{}\", \"127.0.0.1:{port}\"]", path.display()));
    let mut old = Galeway::sections(&sections(tcp));
    old.wait_ready();
    let mut session = UnixStream::connect(&path).unwrap();
    session.write_all(b"hel").unwrap();
    until(LONG, "the session", || (old.metric("galeway_connections_active", &[]) > 0.0).then_some(()));
    old.signal(Signal::TERM);
    until(LONG, "the file is gone", || (!path.exists()).then_some(()));
    let mut new = Galeway::sections(&sections(other));
    new.wait_ready();
    session.write_all(b"lo").unwrap();
    session.shutdown(Shutdown::Write).unwrap();
    session.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(read_all(session), b"t: hello", "it goes on");
    assert_eq!(old.wait(LONG).and_then(|ended| ended.code()), Some(0));
    assert_eq!(ask_socket(&path), "t: hello", "the old one's end leaves the new one's file");
    new.stop();
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_belongs_to_whom_the_configuration_says() {
    let target = Target::start("t");
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    // Only root may give a file away; others keep it.
    let wanted = if user.is_root() { (65_533, 65_534) } else { (user.as_raw(), group.as_raw()) };
    let lines = |owner: &str| before(&target, &format!("accept = \"unix:a.sock\"\nsocket_owner = \"{owner}\""));
    let galeway = Galeway::sections(&lines(&format!("{}:{}", wanted.0, wanted.1)));
    galeway.wait_ready();
    let found = fs::metadata(galeway.dir().join("a.sock")).unwrap();
    assert_eq!((found.uid(), found.gid()), wanted);
    assert_eq!(ask_socket(&galeway.dir().join("a.sock")), "t: hello");
    for (owner, told) in [("no-such-user:", "there is no user"), (":no-such-group", "there is no group")] {
        let seen = Galeway::refused(&lines(owner));
        assert_eq!(seen.code, Some(2), "{seen:?}");
        assert!(seen.stderr.contains(told) && seen.stderr.contains("no-such"), "{seen:?}");
    }
}

#[test]
fn what_somebody_else_has_is_left_alone_and_the_start_says_so() {
    let target = Target::start("t");
    let dir = watchdog::fresh_path("sockets");
    fs::create_dir(&dir).unwrap();
    let living = dir.join("living.sock");
    let held = UnixListener::bind(&living).unwrap();
    let plain = dir.join("plain");
    fs::write(&plain, "precious").unwrap();
    for (path, told) in [(&living, "another process listens there"), (&plain, "a file that is no socket has that name")]
    {
        let accept = format!("unix:{}", path.display());
        let seen = Galeway::refused(&before(&target, &format!("accept = \"{accept}\"")));
        assert_eq!(seen.code, Some(2), "{seen:?}");
        assert!(seen.stderr.contains(&format!("service \"s\": cannot listen on {accept}: {told}")), "{seen:?}");
    }
    let nowhere = format!("accept = \"unix:{}/none/a.sock\"", dir.display());
    let seen = Galeway::refused(&before(&target, &nowhere));
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(seen.stderr.contains(&format!("there is no directory `{}/none`", dir.display())), "{seen:?}");
    UnixStream::connect(&living).unwrap();
    assert_eq!(fs::read_to_string(&plain).unwrap(), "precious");
    drop(held);
    // Of TCP likewise; and a first address that is free is no help.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let accept = taken.local_addr().unwrap();
    let lines = format!("accept = [\"unix:{}\", \"{accept}\"]", dir.join("first.sock").display());
    let seen = Galeway::refused(&before(&target, &lines));
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(seen.stderr.contains(&format!("cannot listen on {accept}: ")), "{seen:?}");
    assert!(seen.stderr.contains("another process listens there"), "{seen:?}");
    assert!(!dir.join("first.sock").exists(), "its own file is taken away again");
}

#[test]
fn sockets_that_were_handed_over_are_served_by_their_names() {
    let (one, two) = (Target::start("one"), Target::start("two"));
    let (first, both, unused) = (ports::free(), ports::free(), ports::free());
    let dir = watchdog::fresh_path("handed");
    fs::create_dir(&dir).unwrap();
    let path = dir.join("a.sock");
    let given = [
        format!("web=127.0.0.1:{first}"),
        format!("other=127.0.0.1:{unused}"),
        // Without a name: those behind it keep theirs.
        format!("=127.0.0.1:{}", ports::free()),
        format!("web={}", path.display()),
        format!("dual=[::]:{both}"),
    ];
    let mut launcher = vec!["/usr/bin/python3", "-c", HAND_OVER];
    launcher.extend(given.iter().map(String::as_str));
    launcher.push("--");
    let sections = before(&one, "accept = \"fd:web\"")
        + &format!(
            "[service.dual]\nconnect = \"{}\"\naccept = \"fd:dual\"\ndeny = [\"127.0.0.2\", \"::ffff:127.0.0.3/128\"]\n",
            two.addr()
        );
    let mut galeway = Galeway::sections_through(&launcher, &sections);
    galeway.wait_ready();
    assert_eq!(ask_tcp(TcpStream::connect(local(first)).unwrap()), "one: hello");
    assert_eq!(ask_socket(&path), "one: hello", "all sockets of a name");
    // An IPv4 client of a socket for both families is the same client.
    let from = |last| IpAddr::from([127, 0, 0, last]);
    let six = SocketAddr::new("::1".parse().unwrap(), both);
    assert_eq!(ask_tcp(TcpStream::connect(six).unwrap()), "two: hello");
    let four = tcp_from(from(4), local(both)).unwrap();
    let name = four.local_addr().unwrap().to_string();
    assert_eq!(ask_tcp(four), "two: hello");
    until(LONG, "its usual name in the log", || galeway.access_log().into_iter().find(|e| e["client"] == *name));
    for last in [2, 3] {
        let denied = tcp_from(from(last), local(both)).unwrap();
        denied.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(read_all(denied), b"", "127.0.0.{last}");
    }
    assert_eq!(galeway.metric("galeway_connections_rejected_total", &[("reason", "denied")]), 2.0);
    let accepts = galeway.status()["services"][0]["accept"].clone();
    assert_eq!(accepts, serde_json::json!([format!("127.0.0.1:{first}"), format!("unix:{}", path.display())]));
    galeway.stop();
    assert!(path.exists(), "the file is whose who made it");
}

#[test]
fn a_name_that_nobody_handed_over_is_no_start() {
    let target = Target::start("t");
    let sections = before(&target, "accept = \"fd:web\"");
    let seen = Galeway::refused(&sections);
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(
        seen.stderr.contains("service \"s\": cannot listen on fd:web: no socket was handed to this process"),
        "{seen:?}"
    );
    assert!(seen.stderr.contains("FileDescriptorName=web"), "{seen:?}");

    let given = format!("db=127.0.0.1:{}", ports::free());
    let launcher = ["/usr/bin/python3", "-c", HAND_OVER, &given, "--"];
    let mut galeway = Galeway::sections_through(&launcher, &sections);
    let ended = galeway.wait(LONG).unwrap_or_else(|| panic!("it runs: {}", galeway.log()));
    assert_eq!(ended.code(), Some(2), "{}", galeway.log());
    assert!(galeway.log().contains("fd:web: no socket of this name was handed over; there is db"), "{}", galeway.log());

    // As with Accept=yes, and the accepts would fail for ever.
    let path = watchdog::fresh_path("deaf.sock");
    for given in [format!("web=!127.0.0.1:{}", ports::free()), format!("web=!{}", path.display())] {
        let launcher = ["/usr/bin/python3", "-c", HAND_OVER, &given, "--"];
        let mut galeway = Galeway::sections_through(&launcher, &sections);
        let ended = galeway.wait(LONG).unwrap_or_else(|| panic!("it runs: {}", galeway.log()));
        assert_eq!(ended.code(), Some(2), "{}", galeway.log());
        assert!(galeway.log().contains("what was handed over is no listening stream socket"), "{}", galeway.log());
    }
}

#[test]
fn an_address_that_this_host_does_not_hold_is_bound_with_freebind() {
    let target = Target::start("t");
    // TEST-NET-2 and the documentation's IPv6 (RFC 5737, RFC 3849): nobody's.
    for address in [format!("198.51.100.7:{}", ports::free()), format!("[2001:db8::7]:{}", ports::free())] {
        let lines = format!("accept = \"{address}\"");
        let seen = Galeway::refused(&before(&target, &lines));
        assert_eq!(seen.code, Some(2), "{seen:?}");
        assert!(seen.stderr.contains(&format!("cannot listen on {address}: ")), "{seen:?}");
        assert!(seen.stderr.contains("`freebind = true` binds it all the same"), "{seen:?}");
        let galeway = Galeway::sections(&before(&target, &format!("{lines}\nfreebind = true")));
        galeway.wait_ready();
        let accepts = galeway.status()["services"][0]["accept"].clone();
        assert_eq!(accepts, serde_json::json!([address]));
    }
    // And it takes away nobody's place.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let lines = format!("accept = \"{}\"\nfreebind = true", taken.local_addr().unwrap());
    let seen = Galeway::refused(&before(&target, &lines));
    assert!(seen.stderr.contains("another process listens there"), "{seen:?}");
}

#[test]
fn a_port_without_a_name_is_named() {
    let target = Target::start("t");
    let seen = Galeway::refused(&before(&target, "accept = \"127.0.0.1:mysq\""));
    assert_eq!(seen.code, Some(2), "{seen:?}");
    assert!(seen.stderr.contains("`mysq` is neither a port number nor a TCP service of /etc/services"), "{seen:?}");
    assert!(seen.stderr.contains("did you mean \"mysql\"?"), "{seen:?}");
}
