//! `galeway check` says what a file lets in, from the files that it names.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::harness::cli::{self, Output};
use crate::harness::galeway::binary;
use crate::harness::watchdog;

/// A directory of what a tunnel's end needs: `ca.pem`, `cas/` with it under a hashed name, `c.pem` and `k.pem` of this last year.
fn files(last_year: i32) -> PathBuf {
    let dir = watchdog::fresh_path("audit");
    std::fs::create_dir_all(dir.join("cas")).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name.push(DnType::CommonName, "audit CA");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "end");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(last_year, 2, 3));
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, &ca).unwrap();
    for (name, text) in
        [("ca.pem", ca.pem()), ("cas/01234567.0", ca.pem()), ("c.pem", cert.pem()), ("k.pem", key.serialize_pem())]
    {
        std::fs::write(dir.join(name), text).unwrap();
    }
    set_permissions(dir.join("k.pem"), Permissions::from_mode(0o600)).unwrap();
    dir
}

fn check(dir: &Path, name: &str, text: &str) -> Output {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    cli::run(Command::new(binary()).arg("check").arg("-c").arg(path))
}

const SERVER: &str = "[service.server]\naccept = '127.0.0.1:3307'\nconnect = '127.0.0.1:3306'\n\
                      tls = { cert = 'c.pem', key = 'k.pem', client_ca = 'cas' }\n[admin]\nlisten = ''\nsocket = ''\n";

#[test]
fn each_service_is_told_in_a_sentence_and_what_it_lets_in_unawares_in_warnings() {
    let dir = files(2090);
    let (shown, cas) = (dir.display(), dir.join("cas"));
    let client = "[service.client]\naccept = '127.0.0.1:3308'\nconnect = 'localhost:3307'\n\
                  connect_tls = { ca = 'ca.pem', cert = 'c.pem', key = 'k.pem' }\n";
    let said = check(&dir, "galeway.toml", &format!("{client}{SERVER}"));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        said.stdout,
        format!(
            "service client on 127.0.0.1:3308: accepts in clear from anybody; forwards by TLS 1.3 as /CN=end to localhost:3307, \
             if it shows any certificate of the one CA in {shown}/ca.pem that is for the host that is connected to.\n\
             service server on 127.0.0.1:3307: accepts TLS 1.3 from any certificate of the one CA in {}, no name check; \
             forwards in clear to 127.0.0.1:3306.\n\
             {shown}/galeway.toml: right (0 nodes in 0 clusters, 2 services, admin off)\n",
            cas.display()
        )
    );
    let warning = format!(
        "{shown}/galeway.toml: warning: service server: only the chain of a client's certificate is looked at: each that any CA \
         in {} ever signed is let in; name those you mean: allow_names = [\"…\"] or allow_subjects = [\"…\"] in its tls\n",
        cas.display()
    );
    assert_eq!(said.stderr, warning);

    // A file beside the CAs that is none, and a key that everybody may read.
    std::fs::write(dir.join("cas/01234567.1"), "no certificate").unwrap();
    set_permissions(dir.join("k.pem"), Permissions::from_mode(0o644)).unwrap();
    let said = check(&dir, "galeway.toml", &format!("{client}{SERVER}"));
    assert_eq!((said.code, said.stderr.lines().count()), (Some(0), 3), "{said:?}");
    assert!(said.stderr.contains(&format!("warning: {}/01234567.1: left out: ", cas.display())), "{said:?}");
    assert!(said.stderr.contains(&format!("warning: {shown}/k.pem: everybody on this host may")), "{said:?}");
}

#[test]
fn a_certificate_that_has_expired_is_warned_of() {
    let dir = files(2021);
    let said = check(&dir, "galeway.toml", SERVER);
    let warning = format!("warning: {}/c.pem: our certificate /CN=end expired on 2021-02-03\n", dir.display());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains(&warning), "{said:?}");
}

#[test]
fn files_that_cannot_be_used_are_errors_all_of_them_at_once() {
    let dir = files(2090);
    std::fs::write(dir.join("k.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    std::fs::remove_file(dir.join("cas/01234567.0")).unwrap();
    let client =
        "[service.client]\naccept = '127.0.0.1:3308'\nconnect = 'localhost:3307'\nconnect_tls = { ca = 'cas' }\n";
    let said = check(&dir, "galeway.toml", &format!("{client}{SERVER}"));
    assert_eq!((said.code, &*said.stdout), (Some(2), ""), "{said:?}");
    let shown = dir.display();
    let begins = format!("{shown}/galeway.toml: error:");
    let found: Vec<&str> = said.stderr.lines().filter(|line| line.starts_with(&begins)).collect();
    assert_eq!(found.len(), 2, "{said:?}");
    let client = format!("{begins} service client: connect_tls: {shown}/cas: holds no certificate under a hashed name");
    assert!(found[0].starts_with(&client), "{said:?}");
    let server =
        format!("{begins} service server: tls: {shown}/k.pem: is not the key of the certificate in {shown}/c.pem");
    assert_eq!(found[1], server);
}

#[test]
fn a_stunnel_conf_is_checked_as_well() {
    let dir = files(2090);
    let (shown, cas) = (dir.display(), dir.join("cas"));
    let global = format!("cert = {shown}/c.pem\nkey = {shown}/k.pem\nforeground = yes\nsyslog = no\n");
    let section = "[mysql]\naccept = 127.0.0.1:3307\nconnect = 127.0.0.1:3306\n";
    // As the manual has it that this is for: the option stands in the comment.
    let published = format!("{global}# Authentication stuff verify = 2\nCApath = {}\n{section}", cas.display());
    let said = check(&dir, "stunnel.conf", &published);
    assert_eq!(said.code, Some(0), "{said:?}");
    let ends = "forwards in clear to 127.0.0.1:3306.\n";
    let open = "service mysql on 127.0.0.1:3307: accepts TLS 1.3 from anybody: no certificate is asked for; ";
    assert_eq!(said.stdout, format!("{open}{ends}{shown}/stunnel.conf: right (stunnel.conf, 1 service)\n"));
    for part in [
        "stunnel.conf:5:24: warning: this is a comment, so `verify = 2` does not hold",
        "stunnel.conf: warning: service mysql: no certificate is asked of clients, so anybody who reaches it is let in: write \
         verifyChain = yes and CAfile or CApath",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }

    // Repaired, and under a name that tells nothing of the format.
    let repaired = published.replace("# Authentication stuff verify", "# Authentication stuff\nverify");
    let said = check(&dir, "tunnel", &repaired);
    assert_eq!(said.code, Some(0), "{said:?}");
    let chain = format!("any certificate of the one CA in {}, no name check", cas.display());
    let closed = format!("service mysql on 127.0.0.1:3307: accepts TLS 1.3 from {chain}; {ends}");
    assert!(said.stdout.starts_with(&closed), "{}", said.stdout);
    assert!(said.stderr.ends_with("name those you mean: checkHost = NAME, or verifyPeer = yes\n"), "{}", said.stderr);
    assert!(!said.stderr.contains("this is a comment"), "{}", said.stderr);

    // What is wrong with the files is wrong in either format.
    std::fs::remove_file(cas.join("01234567.0")).unwrap();
    let said = check(&dir, "tunnel", &repaired);
    assert_eq!(said.code, Some(2), "{said:?}");
    let why = format!(
        "{shown}/tunnel: error: service mysql: TLS: {}: holds no certificate under a hashed name",
        cas.display()
    );
    assert!(said.stderr.contains(&why), "{}", said.stderr);
}
