//! The same as TOML.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::config::stunnel::convert::{Converted, convert_in};
use crate::config::{self, Config, Dialect, Process};

/// The files that converted files name have to be there.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("galeway-convert-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("certs")).unwrap();
        for file in ["c.pem", "k.pem", "ca.pem", "crl.pem"] {
            fs::write(path.join(file), "").unwrap();
        }
        Self(path)
    }

    /// A text with `/` in front of the names of these files made this directory.
    fn within(&self, text: &str) -> String {
        let here = self.0.display();
        ["c.pem", "k.pem", "ca.pem", "crl.pem", "certs", "log", "pid"]
            .iter()
            .fold(text.to_owned(), |text, name| text.replace(&format!("= /{name}"), &format!("= {here}/{name}")))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn converted(text: &str) -> Converted {
    let read = convert_in(text, Path::new("/etc/stunnel/stunnel.conf"), &world());
    read.unwrap_or_else(|refused| panic!("{refused}"))
}

/// The services of a converted file, read back, against those that stunnel's file has.
fn same(text: &str) -> Config {
    let toml = converted(text).toml;
    let back = config::parse(&toml, Path::new("/etc/galeway/galeway.toml"))
        .unwrap_or_else(|refused| panic!("{refused}\n{text}\n{toml}"));
    for warning in &back.warnings {
        let said = warning.message();
        assert!(!said.contains("effect") && !said.contains("state_dir"), "{}\n{toml}", back.warnings);
    }
    let back = back.config;
    let read = usable(text).config;
    // A note says so.
    let services: Vec<_> = read.services.iter().map(|service| without_resumption_of_certificates(service)).collect();
    let back_services: Vec<_> = back.services.iter().map(|service| service.as_ref().clone()).collect();
    assert_eq!(back_services, services, "{text}\n{toml}");
    assert_eq!(back.admin, read.admin, "{toml}");
    let default = Process::default();
    let process = Process { access_log: default.access_log, ..read.process };
    assert_eq!(back.process, process, "{toml}");
    back
}

/// What TOML has no key for, and in TOML's words.
fn without_resumption_of_certificates(service: &Service) -> Service {
    let mut service = service.clone();
    service.tls = service.tls.map(|tls| {
        let mut tls = TlsAccept { resumption_with_certificates: false, ..tls.as_ref().clone() };
        tls.peer.dialect = Dialect::Toml;
        std::sync::Arc::new(tls)
    });
    service.connect_tls = service.connect_tls.map(|tls| {
        let mut tls = tls.as_ref().clone();
        tls.peer.dialect = Dialect::Toml;
        std::sync::Arc::new(tls)
    });
    service
}

#[test]
fn man06_reads_well_as_toml() {
    let files = Files::new("man06");
    let text = "# Authentication stuff\nverify = 2\nCApath = /certs\ncert = /c.pem\nkey = /k.pem\n;debug = 7\noutput = /log\n\
                pid = /pid\nsetuid = nobody\nsetgid = nogroup\nclient = yes\n\n; Replication from site one.\n;TIMEOUTidle = 5\n\
                ; See the wiki.\n[mysql]\naccept = 127.0.0.1:3307\nconnect = server1.domain.one:3307\n\
                checkHost = server1.domain.one\n";
    let text = files.within(text);
    same(&text);
    let expected = "# Converted from /etc/stunnel/stunnel.conf, with `galeway convert`. What is not here has Galeway's default.\n\
        # Note: TOML has no daemon: `galeway run` stays in the foreground, as systemd wants it.\n\
        # Note: log lines go to one place; left out: to the system's log (`syslog`).\n\
        # Note: where no target can be had, clients wait for `queue_timeout` before they are turned away; under `galeway stunnel` they are after one round.\n\
        \n\
        # [mysql], line 16: takes connections in clear and sends them out in TLS.\n\
        # Replication from site one.\n\
        # See the wiki.\n\
        [service.mysql]\n\
        accept = [\"127.0.0.1:3307\"]\n\
        connect = [\"server1.domain.one:3307\"]\n\
        attempts = 1\n\
        connect_timeout = \"10s\"\n\
        queue_timeout = \"11s\"\n\
        idle_timeout = \"12h\"\n\
        \n\
        [service.mysql.connect_tls]\n\
        ca = \"/certs\"\n\
        check_names = [\"server1.domain.one\"]\n\
        cn_fallback = true\n\
        cert = \"/c.pem\"\n\
        key = \"/k.pem\"\n\
        min_version = \"1.2\"\n\
        resumption = true\n\
        \n\
        [admin]\n\
        listen = \"\"\n\
        socket = \"\"\n\
        \n\
        [process]\n\
        state_dir = \"\"\n\
        user = \"nobody\"\n\
        group = \"nogroup\"\n\
        pid_file = \"/pid\"\n\
        log = \"/log\"\n\
        shutdown_timeout = \"0s\"\n";
    let shown = converted(&text).toml.replace(&format!("\"{}/", files.0.display()), "\"/");
    assert_eq!(shown, expected);
    assert!(converted(&text).missing.is_empty());
}

#[test]
fn every_policy_reads_back_as_itself() {
    let files = Files::new("policies");
    for base in [SERVER, "[m]\nclient = yes\naccept = 127.0.0.1:3307\nconnect = db.example:3307\n"] {
        for policy in [
            "",
            "verify = 0",
            "verify = 1\nCAfile = /ca.pem",
            "verify = 2\nCAfile = /ca.pem\nCApath = /certs",
            "verify = 3\nCAfile = /ca.pem\nCRLfile = /crl.pem",
            "verify = 4\nCAfile = /ca.pem",
            "verify = 4\nCAfile = /ca.pem\ncheckHost = a\ncheckIP = ::1",
            "verify = 2\nCAfile = /ca.pem\ncheckHost = a.example\ncheckEmail = x@y",
            "verify = 2\nCAfile = /ca.pem\nrequireCert = no",
            "requireCert = yes",
            "sslVersion = all\nciphers = ECDHE+AESGCM\ncurves = P-256",
            "sslVersion = TLSv1.2\nsessionResume = no",
            "ciphersuites = TLS_AES_128_GCM_SHA256",
            "cert = /c.pem\nkey = /k.pem",
        ] {
            same(&files.within(&format!("{base}{policy}\n")));
        }
    }
}

#[test]
fn who_is_in_the_store_is_named_above_the_rules() {
    let files = Files::new("store");
    let pair = rcgen::generate_simple_self_signed(["peer.example".to_owned()]).unwrap();
    fs::write(files.0.join("ca.pem"), pair.cert.pem()).unwrap();
    fs::write(files.0.join("certs/0123abcd.0"), pair.cert.pem()).unwrap();
    fs::write(files.0.join("certs/policy.info"), pair.cert.pem()).unwrap();
    let line = |toml: &str| {
        toml.lines().filter(|line| line.starts_with("# In the store now: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let file = line(&converted(&files.within(&server_with("verify = 4\nCAfile = /ca.pem"))).toml);
    assert_eq!(file.len(), 1);
    assert!(file[0].starts_with("# In the store now: CN=rcgen self signed cert sha256/"), "{file:?}");
    let directory = line(&converted(&files.within(&server_with("verify = 3\nCApath = /certs"))).toml);
    assert_eq!(directory, file);
    assert_eq!(line(&converted(&files.within(&server_with("verify = 2\nCAfile = /ca.pem"))).toml), [""; 0]);
    let gone = converted(&server_with("verify = 4\nCAfile = /nowhere.pem")).toml;
    assert!(gone.contains("# /nowhere.pem cannot be read now: No such file"), "{gone}");
}

#[test]
fn what_toml_cannot_say_is_said_to_be_missing() {
    let hidden = "[b]\nsni = mysql:b.example\nconnect = db2:3306\ncert = /b.pem\n";
    let lines =
        "verifyPeer = yes\nCAfile = /ca\nredirect = 80\ntransparent = source\nreset = no\nsocket = l:SO_RCVBUF=1000";
    let converted = converted(&format!("{SERVER}{lines}\n{hidden}"));
    let begin: Vec<&str> = converted.missing.iter().map(|one| one.split([':', ';']).next().unwrap()).collect();
    let expected = [
        "`redirect` of [mysql]",
        "`transparent` of [mysql]",
        "`reset = no` of [mysql]",
        "`socket` buffers of [mysql]",
        "section [b] (`sni`)",
    ];
    assert_eq!(begin, expected);
    for missing in &converted.missing {
        assert!(converted.toml.contains(&format!("# NOT CONVERTED: {missing}\n")));
    }
    assert!(!converted.toml.contains("service.b"));
}

#[test]
fn a_section_that_only_sends_its_clients_elsewhere_is_left_out() {
    let text = format!(
        "{}[b]\naccept = 1\nconnect = 2\ncert = /c.pem\n",
        SERVER.replace("connect = 127.0.0.1:3306", "exec = /bin/x\nverifyPeer = yes\nCAfile = /ca\nredirect = 80")
    );
    let converted = converted(&text);
    assert!(converted.missing.iter().any(|one| one.starts_with("section [mysql] (`exec`)")), "{:?}", converted.missing);
    assert!(!converted.toml.contains("[service.mysql]"), "{}", converted.toml);
    assert!(
        converted.toml.contains("# [b], line 8: takes TLS and sends it on in clear.\n[service.b]\n"),
        "{}",
        converted.toml
    );
}

#[test]
fn what_is_wrong_is_refused_as_it_is_at_a_start() {
    let refused = convert_in("[a]\nexec = /bin/sh\n", Path::new("x"), &world()).unwrap_err();
    assert!(refused.to_string().contains("programs are not started here"));
}

#[test]
fn names_are_made_fit_for_toml() {
    let text =
        format!("{}{}", SERVER.replace("[mysql]", "[a b]"), SERVER.replace("[mysql]", "[a-b]").replace("3307", "3308"));
    let toml = converted(&text).toml;
    assert!(toml.contains("# [a b], line 1: takes TLS and sends it on in clear.\n[service.a-b]\n"), "{toml}");
    assert!(toml.contains("[service.a-b-2]\n"), "{toml}");
}

#[test]
fn a_comment_of_the_file_cannot_become_a_line_of_the_other() {
    let toml = converted(&format!("; x\ry = 1\u{7}\n{SERVER}")).toml;
    assert!(toml.lines().filter(|line| line.contains("y = 1")).all(|line| line.starts_with('#')), "{toml}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_converted_reads_back_as_itself(
        client: bool,
        times in prop::collection::vec(prop_oneof![Just(1_u32), Just(5), Just(10), 1_u32..200_000], 3),
        close in 0_u32..3,
        targets in 1_usize..4,
        rr: bool,
        idle_off: bool,
        policy in prop::sample::select(vec!["", "verify = 2\nCAfile = /ca.pem\ncheckHost = a", "verify = 3\nCAfile = /ca.pem", "verify = 4\nCApath = /certs"]),
        versions in prop::sample::select(vec!["", "sslVersion = all", "sslVersionMin = TLSv1.2\nciphers = HIGH:!aNULL", "sslVersion = TLSv1.2"]),
        more in prop::sample::select(vec!["", "local = 127.0.0.1", "socket = l:TCP_KEEPIDLE=30", "socket = a:IP_FREEBIND=1", "sessionResume = no", "debug = 7"]),
    ) {
        let files = Files::new("property");
        let connect: String = (0..targets).map(|at| format!("connect = db{at}.example:3306\n")).collect();
        let text = format!(
            "[s]\nclient = {}\naccept = 127.0.0.1:3307\n{connect}cert = /c.pem\nTIMEOUTbusy = {}\nTIMEOUTconnect = {}\n\
             TIMEOUTclose = {close}\nTIMEOUTidle = {}\nfailover = {}\n{policy}\n{versions}\n{more}\n",
            if client { "yes" } else { "no" },
            times[0],
            times[1],
            if idle_off { "-1".to_owned() } else { times[2].to_string() },
            if rr { "rr" } else { "prio" },
        );
        same(&files.within(&text));
    }
}
