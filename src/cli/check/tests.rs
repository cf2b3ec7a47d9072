//! Sentences and warnings, word by word.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::facts::Facts;
use super::policy::sentence;
use super::warnings::{Remark, of_others, of_service};
use crate::config::{
    Admin, Balance, CaStore, ClientAuth, Cluster, Config, CrlScope, Dialect, Identity, Monitor, NodeKind, NodeSpec,
    PeerRules, Pin, Place, Process, Role, Secret, Service, Target, TlsAccept, TlsConnect, TlsVersion,
};
use crate::net::tls::{Dated, Policy, Skipped, Trust};

/// 2026-11-21 16:00 UTC.
const NOW: i64 = 1_795_276_800;
const DAY: i64 = 86_400;

fn places(targets: &[&str]) -> Vec<Place> {
    let place = |text: &str| match text.strip_prefix("unix:") {
        Some(path) => Place::Unix(Path::new(path).into()),
        None => Place::Host(text.parse().unwrap()),
    };
    targets.iter().map(|text| place(text)).collect()
}

/// A service on this address for these targets.
fn service(accept: &str, targets: &[&str]) -> Service {
    let listen = match accept.strip_prefix("unix:") {
        Some(path) => crate::config::Listen::Unix(Path::new(path).into()),
        None => crate::config::Listen::Tcp(accept.parse().unwrap()),
    };
    Service::new("tunnel", vec![listen], Target::Fixed(places(targets)))
}

fn accept(client_auth: ClientAuth, peer: PeerRules) -> Option<Arc<TlsAccept>> {
    let identity = Identity { cert: "/nonexistent/c.pem".into(), key: "/nonexistent/k.pem".into(), passphrase: None };
    Some(Arc::new(TlsAccept { client_auth, peer, ..TlsAccept::new(identity) }))
}

fn connect(names: bool, peer: PeerRules) -> Option<Arc<TlsConnect>> {
    Some(Arc::new(TlsConnect { names, peer, ..TlsConnect::default() }))
}

/// A chain to one of the CAs in these.
fn chain(paths: &[&str]) -> PeerRules {
    let ca = CaStore::Paths(paths.iter().map(PathBuf::from).collect());
    PeerRules { chain: true, ca: Some(ca), ..PeerRules::default() }
}

fn dated(subject: &str, file: &str, not_after: i64) -> Dated {
    Dated { subject: subject.to_owned(), not_after, file: Some(file.into()), self_signed: false }
}

/// A store of so many CAs.
fn trust(anchors: usize) -> Policy {
    let certificates = (0..anchors).map(|at| dated(&format!("/CN={at}"), "/cas/x.0", NOW + 1000 * DAY)).collect();
    Policy {
        own: Vec::new(),
        trust: Some(Trust { anchors, certificates, store: "/cas".to_owned(), ..Trust::default() }),
    }
}

fn facts(accept: Option<Policy>, connect: Option<Policy>) -> Facts {
    Facts { accept, connect }
}

/// A configuration of this service, its cluster `main` of these nodes.
fn config(service: &Service, nodes: &[&str]) -> Config {
    let nodes = places(nodes).into_iter().map(NodeSpec::new).collect();
    let cluster = Cluster::new("main", nodes, Monitor::new("m", Secret::default()));
    Config {
        clusters: vec![Arc::new(cluster)],
        services: vec![Arc::new(service.clone())],
        admin: Admin::default(),
        process: Process::default(),
    }
}

/// What is said of a service; each without the name before it.
fn said(service: &Service, facts: &Facts, dialect: Dialect) -> Vec<String> {
    let config = config(service, &["10.0.0.1:3306", "10.0.0.2:3306"]);
    of_service(&config, service, facts, dialect, NOW).iter().map(ToString::to_string).collect()
}

#[test]
fn a_plain_service_says_that_it_is() {
    let mut plain = service("127.0.0.1:3307", &["127.0.0.1:3306"]);
    assert_eq!(
        sentence(&plain, &Facts::default(), &[]),
        "accepts in clear from anybody; forwards in clear to 127.0.0.1:3306"
    );
    (plain.allow, plain.deny) =
        (vec!["10.0.0.0/8".parse().unwrap()], vec!["10.0.0.7".parse::<std::net::IpAddr>().unwrap().into()]);
    plain.target = Target::cluster("main");
    let expected = "accepts in clear from anybody, at 10.0.0.0/8 only, but not at 10.0.0.7/32; forwards in clear to the nodes \
                    of cluster main";
    assert_eq!(sentence(&plain, &Facts::default(), &[]), expected);
}

#[test]
fn a_server_end_says_whom_it_lets_in() {
    let mut end = service("0.0.0.0:3307", &["127.0.0.1:3306"]);
    let ends = "; forwards in clear to 127.0.0.1:3306";
    let pin = Pin([0; 32]);
    let mut of = |auth: ClientAuth, peer: PeerRules, anchors: usize| {
        end.tls = accept(auth, peer);
        let said = sentence(&end, &facts(Some(trust(anchors)), None), &[]);
        said.strip_suffix(ends).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let cas = "/etc/grid-security/certificates";
    assert_eq!(
        of(ClientAuth::Require, chain(&[cas]), 94),
        "accepts TLS 1.3 from any certificate of the 94 CAs in /etc/grid-security/certificates, no name check"
    );
    assert_eq!(
        of(ClientAuth::Off, PeerRules::default(), 0),
        "accepts TLS 1.3 from anybody: no certificate is asked for"
    );
    assert_eq!(
        of(ClientAuth::Require, PeerRules::default(), 0),
        "accepts TLS 1.3 from any certificate at all, whoever made it"
    );
    assert_eq!(
        of(ClientAuth::Optional, chain(&["/a.pem", "/b.pem"]), 1),
        "accepts TLS 1.3 from anybody who shows no certificate, and from any certificate of the one CA in /a.pem and /b.pem, no \
         name check"
    );
    let named = PeerRules {
        crl: vec!["/crls".into()],
        crl_scope: CrlScope::Leaf,
        allow_names: ["a", "b", "c", "d"].map(Into::into).to_vec(),
        allow_subjects: vec!["/CN=a".into()],
        pins: vec![pin, pin],
        in_store: true,
        ..chain(&["/cas"])
    };
    assert_eq!(
        of(ClientAuth::Require, named, 2),
        "accepts TLS 1.3 from any certificate of the 2 CAs in /cas that is itself in there and whose key is one of 2 pins and \
         whose subject is /CN=a and that is for a, b and 2 more, unless revoked by /crls"
    );
    let pinned = PeerRules { pins: vec![pin], ..PeerRules::default() };
    assert_eq!(
        of(ClientAuth::Require, pinned, 0),
        "accepts TLS 1.3 from any certificate whose key is sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    );
    let in_store = PeerRules { chain: false, in_store: true, ..chain(&["/peers"]) };
    assert_eq!(of(ClientAuth::Require, in_store.clone(), 3), "accepts TLS 1.3 from the 3 certificates in /peers");
    end.tls = accept(ClientAuth::Require, in_store);
    let said = sentence(&end, &facts(Some(trust(1)), None), &places(&["127.0.0.1:80"]));
    assert!(said.ends_with(&format!("the one certificate in /peers{ends}; all others go to 127.0.0.1:80")), "{said}");
}

#[test]
fn a_client_end_says_whom_it_believes_and_who_it_is() {
    let mut end = service("127.0.0.1:3307", &["server1:3307", "server2:3307"]);
    let begins = "accepts in clear from anybody; forwards by TLS 1.3 ";
    let mut of = |names: bool, peer: PeerRules, server_name: Option<&str>, own: &[&str]| {
        let mut tls = connect(names, peer).unwrap();
        Arc::make_mut(&mut tls).server_name = server_name.map(Into::into);
        end.connect_tls = Some(tls);
        let own = own.iter().map(|subject| dated(subject, "/c.pem", NOW + 1000 * DAY)).collect();
        let said = sentence(&end, &facts(None, Some(Policy { own, ..trust(94) })), &[]);
        said.strip_prefix(begins).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(
        of(true, chain(&["/cas"]), None, &["/CN=replica", "/CN=ca"]),
        "as /CN=replica to server1:3307 or server2:3307, if it shows any certificate of the 94 CAs in /cas that is for the host \
         that is connected to"
    );
    assert_eq!(
        of(true, chain(&["/cas"]), Some("db.example"), &[]),
        "to server1:3307 or server2:3307, if it shows any certificate of the 94 CAs in /cas that is for db.example"
    );
    assert_eq!(
        of(false, chain(&["/cas"]), Some("db.example"), &[]),
        "to server1:3307 or server2:3307, if it shows any certificate of the 94 CAs in /cas, no name check"
    );
    assert_eq!(
        of(false, PeerRules::default(), None, &[]),
        "to server1:3307 or server2:3307, whoever answers there: no certificate is looked at"
    );
    let system = PeerRules { ca: Some(CaStore::System), ..chain(&[]) };
    assert!(of(true, system, None, &[]).contains("the 94 CAs in the system's store"));
}

#[test]
fn the_versions_are_those_that_are_spoken() {
    let mut end = service("127.0.0.1:3307", &["db:1"]);
    let mut of = |min_version: TlsVersion, max_version: TlsVersion| {
        let mut tls = accept(ClientAuth::Off, PeerRules::default()).unwrap();
        let protocol = &mut Arc::make_mut(&mut tls).protocol;
        (protocol.min_version, protocol.max_version) = (min_version, max_version);
        end.tls = Some(tls);
        sentence(&end, &Facts::default(), &[]).split(" from").next().unwrap().to_owned()
    };
    assert_eq!(of(TlsVersion::V12, TlsVersion::V12), "accepts TLS 1.2");
    assert_eq!(of(TlsVersion::V12, TlsVersion::V13), "accepts TLS 1.2 and 1.3");
    assert_eq!(of(TlsVersion::V13, TlsVersion::V13), "accepts TLS 1.3");
}

#[test]
fn a_server_end_that_asks_for_nothing_is_warned_of() {
    let mut end = service("0.0.0.0:3307", &["127.0.0.1:3306"]);
    end.tls = accept(ClientAuth::Off, PeerRules::default());
    let begins =
        "warning: service tunnel: no certificate is asked of clients, so anybody who reaches it is let in: write ";
    let none = Facts::default();
    assert_eq!(said(&end, &none, Dialect::Toml), [format!("{begins}client_ca = \"…\" in its tls, or pins")]);
    let remedy = "verifyChain = yes and CAfile or CApath";
    assert_eq!(said(&end, &none, Dialect::Stunnel), [format!("{begins}{remedy}")]);

    end.allow = vec!["10.0.0.0/8".parse().unwrap()];
    assert!(said(&end, &none, Dialect::Toml)[0].contains("anybody at the addresses of `allow`"));
    end.tls = accept(ClientAuth::Optional, chain(&["/nonexistent/ca.pem"]));
    let one = facts(Some(trust(1)), None);
    assert!(said(&end, &one, Dialect::Toml)[0].contains("client_auth = \"optional\" lets in"));
    // The reader of stunnel.conf says it, at the option that does it.
    assert_eq!(said(&end, &one, Dialect::Stunnel), Vec::<String>::new());
    let mut socket = service("unix:/run/x.sock", &["127.0.0.1:3306"]);
    socket.tls = accept(ClientAuth::Off, PeerRules::default());
    assert_eq!(said(&socket, &none, Dialect::Toml), Vec::<String>::new());
}

#[test]
fn trust_in_a_whole_directory_is_warned_of() {
    let directory = std::env::temp_dir();
    let shown = directory.display().to_string();
    let mut end = service("0.0.0.0:3307", &["127.0.0.1:3306"]);
    end.tls = accept(ClientAuth::Require, chain(&[&shown]));
    let of =
        |end: &Service, dialect, anchors: usize| said(end, &facts(Some(trust(anchors)), Some(trust(anchors))), dialect);
    let begins = "warning: service tunnel: only the chain of a client's certificate is looked at: each that any CA in";
    let remedy = "name those you mean: allow_names = [\"…\"] or allow_subjects = [\"…\"] in its tls";
    assert_eq!(of(&end, Dialect::Toml, 1), [format!("{begins} {shown} ever signed is let in; {remedy}")]);
    assert!(of(&end, Dialect::Stunnel, 1)[0].ends_with("name those you mean: checkHost = NAME, or verifyPeer = yes"));
    // A file of several is as broad; one of a single CA was made for this.
    end.tls = accept(ClientAuth::Require, chain(&["/nonexistent/ca.pem"]));
    assert!(of(&end, Dialect::Toml, 2)[0].starts_with(&format!("{begins} /nonexistent/ca.pem ever")));
    assert_eq!(of(&end, Dialect::Toml, 1), Vec::<String>::new());
    for narrow in [
        PeerRules { allow_names: vec!["x".into()], ..chain(&[&shown]) },
        PeerRules { allow_subjects: vec!["/CN=x".into()], ..chain(&[&shown]) },
        PeerRules { pins: vec![Pin([0; 32])], ..chain(&[&shown]) },
        PeerRules { in_store: true, ..chain(&[&shown]) },
    ] {
        end.tls = accept(ClientAuth::Require, narrow);
        assert_eq!(of(&end, Dialect::Toml, 94), Vec::<String>::new());
    }

    let mut end = service("127.0.0.1:3307", &["server:3307"]);
    end.connect_tls = connect(false, PeerRules { ca: Some(CaStore::System), ..chain(&[]) });
    let found = of(&end, Dialect::Toml, 140);
    let begins = "warning: service tunnel: only the chain of the server's certificate is looked at";
    assert!(found[0].starts_with(begins) && found[0].contains("in the system's store"), "{found:?}");
    // The reader of stunnel.conf says it in stunnel's words.
    assert_eq!(of(&end, Dialect::Stunnel, 140), Vec::<String>::new());
    end.connect_tls = connect(true, PeerRules { ca: Some(CaStore::System), ..chain(&[]) });
    assert_eq!(of(&end, Dialect::Toml, 140), Vec::<String>::new());
}

#[test]
fn a_hop_in_clear_beyond_this_host_is_warned_of_where_the_other_one_is_encrypted() {
    let one = facts(Some(trust(1)), Some(trust(1)));
    let of = |service: &Service| said(service, &one, Dialect::Toml);
    let ca = || chain(&["/nonexistent/ca.pem"]);
    let mut server = service("0.0.0.0:3307", &["127.0.0.1:3306", "localhost:3306", "[::1]:1", "unix:/run/mysqld.sock"]);
    server.tls = accept(ClientAuth::Require, ca());
    assert_eq!(of(&server), Vec::<String>::new());
    server.target = Target::Fixed(places(&["127.0.0.1:3306", "10.0.0.5:3306", "db:3306"]));
    let begins = "warning: service tunnel: what comes by TLS leaves this host in clear, to";
    let remedy = "run this end of the tunnel on that host, or give it connect_tls";
    assert_eq!(of(&server), [format!("{begins} 10.0.0.5:3306 and db:3306: {remedy}")]);
    server.connect_tls = connect(true, ca());
    assert_eq!(of(&server), Vec::<String>::new());

    let mut client = service("0.0.0.0:3307", &["server:3307"]);
    client.connect_tls = connect(true, ca());
    let begins = "warning: service tunnel: what goes out by TLS may come from other hosts in clear, on 0.0.0.0:3307";
    assert!(of(&client)[0].starts_with(begins), "{:?}", of(&client));
    for accept in ["127.0.0.1:3307", "[::1]:3307", "unix:/run/x.sock"] {
        let mut client = service(accept, &["server:3307"]);
        client.connect_tls = connect(true, ca());
        assert_eq!(of(&client), Vec::<String>::new());
    }

    // An ordinary balancer hides nothing, and promises nothing.
    assert_eq!(of(&service("0.0.0.0:3306", &["10.0.0.5:3306"])), Vec::<String>::new());
    let plain = Service::new("tunnel", service("0.0.0.0:3306", &[]).accept, Target::cluster("main"));
    assert_eq!(of(&plain), Vec::<String>::new());
}

#[test]
fn a_far_end_that_follows_a_cluster_is_told_of_gtid() {
    let mut end = Service::new("tunnel", service("0.0.0.0:3307", &[]).accept, Target::cluster("main"));
    end.tls = accept(ClientAuth::Require, chain(&["/nonexistent/ca.pem"]));
    let one = facts(Some(trust(1)), None);
    let begins = "note: service tunnel: a replica behind it has to use GTID (MASTER_USE_GTID = slave_pos, or \
                  SOURCE_AUTO_POSITION = 1), since it may be moved to another node, where a file and a position mean something else";
    let found = said(&end, &one, Dialect::Toml);
    assert!(found[0].contains("leaves this host in clear, to 10.0.0.1:3306 and 10.0.0.2:3306"), "{found:?}");
    assert_eq!(found[1], format!("{begins}; balance = \"first\" keeps it on one node while that is fit"));
    end.balance = Balance::First;
    assert_eq!(said(&end, &one, Dialect::Toml)[1], begins);
    end.balance = Balance::LeastConnections;
    if let Target::Cluster { role, .. } = &mut end.target {
        *role = Role::Writer;
    }
    assert_eq!(said(&end, &one, Dialect::Toml)[1], begins);
}

#[test]
fn any_server_of_a_cluster_of_kind_mysql_is_asked_for_a_role() {
    let mut of_servers = Service::new("sql", service("127.0.0.1:3307", &[]).accept, Target::cluster("main"));
    let mut found = |kind: NodeKind, wanted: Role| {
        if let Target::Cluster { role, .. } = &mut of_servers.target {
            *role = wanted;
        }
        let mut config = config(&of_servers, &["10.0.0.1:3306"]);
        let monitor = Monitor { kind, ..Monitor::new("m", Secret::default()) };
        config.clusters =
            vec![Arc::new(Cluster::new("main", places(&["db1"]).into_iter().map(NodeSpec::new).collect(), monitor))];
        of_service(&config, &of_servers, &Facts::default(), Dialect::Toml, NOW)
    };
    let said = found(NodeKind::Mysql, Role::Any);
    assert!(said.len() == 1 && said[0].to_string().contains("role = \"writer\""), "{said:?}");
    assert!(found(NodeKind::Galera, Role::Any).is_empty());
    assert!(found(NodeKind::Mysql, Role::Writer).is_empty() && found(NodeKind::Mysql, Role::Reader).is_empty());
}

#[test]
fn certificates_that_end_are_warned_of() {
    let mut end = service("0.0.0.0:3307", &["127.0.0.1:3306"]);
    end.tls = accept(ClientAuth::Require, PeerRules { allow_names: vec!["x".into()], ..chain(&["/cas"]) });
    let of = |policy: Policy| said(&end, &facts(Some(policy), None), Dialect::Toml);
    let own = |not_after: i64| of(Policy { own: vec![dated("/CN=us", "/c.pem", not_after)], ..trust(1) });
    let begins = "warning: /c.pem: our certificate /CN=us";
    assert_eq!(own(NOW - 1), [format!("{begins} expired on 2026-11-21")]);
    assert_eq!(own(NOW + DAY - 1), [format!("{begins} expires within a day, on 2026-11-22")]);
    assert_eq!(own(NOW + 30 * DAY - 1), [format!("{begins} expires in 29 days, on 2026-12-21")]);
    assert_eq!(own(NOW + 30 * DAY), Vec::<String>::new());
    assert_eq!(own(i64::MAX), Vec::<String>::new());

    let many = (0..7).map(|at| dated(&format!("/CN={at}"), &format!("/cas/{at}.0"), NOW - at * DAY)).collect();
    let mut policy = trust(0);
    policy.trust.as_mut().unwrap().certificates = many;
    let found = of(policy.clone());
    assert_eq!(found[0], "warning: /cas/6.0: the trusted certificate /CN=6 expired on 2026-11-15");
    assert_eq!(found[5], "warning: /cas: 2 more of its 7 certificates have expired or do so within 30 days");
    assert_eq!(found.len(), 6);
    // Whoever looks after the system looks after its store.
    for certificate in &mut policy.trust.as_mut().unwrap().certificates {
        certificate.file = None;
    }
    assert_eq!(of(policy), Vec::<String>::new());
}

#[test]
fn lists_that_are_overdue_and_files_that_do_not_count_are_warned_of() {
    let mut end = service("0.0.0.0:3307", &["127.0.0.1:3306"]);
    end.tls = accept(ClientAuth::Require, PeerRules { allow_names: vec!["x".into()], ..chain(&["/cas"]) });
    let mut policy = trust(1);
    let trust = policy.trust.as_mut().unwrap();
    trust.crls = vec![dated("/CN=CA", "/cas/1.r0", NOW - 1), dated("/CN=CB", "/cas/2.r0", NOW + 1)];
    let skipped = |at| Skipped { file: format!("/cas/{at}.0").into(), why: "it is empty".into(), mark: None };
    trust.skipped = (0..7).map(skipped).collect();
    let found = said(&end, &facts(Some(policy), None), Dialect::Toml);
    let crl = "warning: /cas/1.r0: the revocation list of /CN=CA ended on 2026-11-21: its certificates are refused until there \
               is a new one";
    assert_eq!(found[0], crl);
    assert_eq!(found[1], "warning: /cas/0.0: left out: it is empty");
    assert_eq!(found[6], "warning: /cas: 2 more are left out");
    assert_eq!(found.len(), 7);
}

#[test]
fn a_key_that_others_may_read_is_warned_of() {
    let directory = std::env::temp_dir().join(format!("galeway-key-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let key = directory.join("k.pem");
    std::fs::write(&key, "").unwrap();
    let mut end = service("unix:/run/x.sock", &["unix:/run/y.sock"]);
    let mut tls = accept(ClientAuth::Off, PeerRules::default()).unwrap();
    Arc::make_mut(&mut tls).identity.key.clone_from(&key);
    end.tls = Some(tls.clone());
    let shown = key.display();
    let remedy = "chmod 0600, or 0640 for a group that may read it";
    for (mode, what) in [
        (0o600, None),
        (0o440, None),
        (0o640, None),
        (0o644, Some("everybody on this host may read or change it, and it is a private key (mode 0644)")),
        (0o602, Some("everybody on this host may read or change it, and it is a private key (mode 0602)")),
        (0o660, Some("its group may change it, and it is a private key (mode 0660)")),
    ] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let expected: Vec<String> =
            what.map(|what| format!("warning: {shown}: {what}: {remedy}")).into_iter().collect();
        assert_eq!(said(&end, &Facts::default(), Dialect::Toml), expected);
        // Those of the admin address, and of checks, as well.
        let mut of_admin = config(&service("127.0.0.1:1", &["db:1"]), &[]);
        of_admin.admin.tls = Some(tls.clone());
        let mut of_checks = config(&service("127.0.0.1:1", &["db:1"]), &[]);
        Arc::make_mut(&mut of_checks.clusters[0]).monitor.tls.identity = Some(("/nonexistent".into(), key.clone()));
        for config in [of_admin, of_checks] {
            let found: Vec<String> = of_others(&config, None, NOW).iter().map(Remark::to_string).collect();
            assert_eq!(found, expected);
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_token_that_travels_in_clear_is_warned_of() {
    let mut config = config(&service("127.0.0.1:1", &["db:1"]), &[]);
    let of = |config: &Config| of_others(config, None, NOW).len();
    config.admin.token = Some(Secret::new("x"));
    assert_eq!(of(&config), 0);
    config.admin.listen = Some("0.0.0.0:9306".parse().unwrap());
    assert_eq!(
        of_others(&config, None, NOW),
        [Remark::Warning(
            "admin: the token travels in clear to 0.0.0.0:9306: whoever hears it may drain nodes; listen on 127.0.0.1, \
             or put a tunnel before it"
                .to_owned()
        )]
    );
    config.admin.tls = accept(ClientAuth::Off, PeerRules::default());
    assert_eq!(of(&config), 0);
    (config.admin.tls, config.admin.token) = (None, None);
    assert_eq!(of(&config), 0);
}
