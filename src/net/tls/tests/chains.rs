//! The table of certificates on which OpenSSL and rustls differ, and all the other reasons to refuse one.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::judge::Of;
use super::super::names::{Names, Wanted};
use super::super::peers::Peers;
use super::*;
use crate::config::Pin;

pub(super) fn peers(of: Of, rules: &PeerRules) -> Peers {
    Peers::new(of, rules, rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms, None)
        .unwrap()
}

pub(super) fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

/// Whom `rules` let in: the depths of its chain; or why not.
pub(super) fn judge(of: Of, rules: &PeerRules, pem: &str, name: Option<&str>) -> Result<usize, Refusal> {
    let admitted = peers(of, rules).admit(&chain(pem), name.map(Wanted::parse).as_ref());
    admitted.map(|admitted| admitted.chain_dns().len())
}

pub(super) fn client(rules: &PeerRules, pem: &str) -> Result<usize, Refusal> {
    judge(Of::Clients, rules, pem, None)
}

/// The refusal of a client's certificate in words.
fn refused(rules: &PeerRules, pem: &str) -> String {
    client(rules, pem).unwrap_err().to_string()
}

/// That `text` has all the parts.
#[track_caller]
pub(super) fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

fn in_store(file: &Path) -> PeerRules {
    PeerRules { in_store: true, ca: Some(CaStore::Paths(vec![file.to_owned()])), ..PeerRules::default() }
}

#[test]
fn a_name_in_the_subject_counts_where_that_is_asked_for_only() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let strict = chain_to(&dir.write("ca.pem", &ca.pem));
    let fallback = PeerRules { cn_fallback: true, ..strict.clone() };
    let plain = ca.issue_with("db1.example.org", |_| ()).pem;
    let grid = ca.issue_with("host/db1.example.org", |_| ()).pem;
    for pem in [&plain, &grid] {
        let words = judge(Of::Servers, &strict, pem, Some("db1.example.org")).unwrap_err();
        assert_eq!(words.reason(), Reason::Name);
        says(
            words.what(),
            &[
                "it is not for \"db1.example.org\", it has no subjectAltName, and its common name \"db1.example.org\" does not count",
                "set cn_fallback = true",
            ],
        );
        assert_eq!(judge(Of::Servers, &fallback, pem, Some("DB1.example.org")).unwrap(), 2);
        says(
            judge(Of::Servers, &fallback, pem, Some("db2.example.org")).unwrap_err().what(),
            &["it is for db1.example.org, not for \"db2.example.org\""],
        );
    }
    // A subjectAltName rules the subject out.
    let both = ca.issue_with("db1.example.org", |p| {
        p.subject_alt_names = vec![rcgen::SanType::DnsName("db2.example.org".try_into().unwrap())]
    });
    says(
        judge(Of::Servers, &fallback, &both.pem, Some("db1.example.org")).unwrap_err().what(),
        &["it is for db2.example.org"],
    );
}

#[test]
fn a_self_signed_certificate_is_good_where_it_is_itself_in_the_store() {
    let dir = Dir::new();
    let own = self_signed("db1", |_| ());
    let store = dir.write("peer.pem", &own.pem);
    let key = super::super::certificate::Facts::parse(&chain(&own.pem)[0]).unwrap().pin();
    let pinned = PeerRules { pins: vec![key], ..PeerRules::default() };
    for rules in [in_store(&store), chain_to(&store), PeerRules { in_store: true, ..chain_to(&store) }, pinned] {
        assert_eq!(client(&rules, &own.pem).unwrap(), 1, "{rules:?}");
    }
    let other = self_signed("db1", |_| ()).pem;
    says(
        &refused(&chain_to(&store), &other),
        &[
            "certificate at depth 0, /O=Galeway/CN=db1 (issuer /O=Galeway/CN=db1, serial ",
            "it is self-signed and not in ",
            "add it there to trust it",
        ],
    );
    says(
        &refused(&in_store(&store), &other),
        &[
            "it is not itself in ",
            "peer.pem (one of the same subject and public key has to be): add it there to let it in",
        ],
    );
    // Its time counts all the same.
    let old = self_signed("db1", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let store = dir.write("old.pem", &old.pem);
    for rules in [in_store(&store), chain_to(&store)] {
        says(&refused(&rules, &old.pem), &["it expired at 2020-01-01T00:00:00Z: it has to be renewed"]);
    }
}

#[test]
fn a_renewed_certificate_of_the_same_subject_and_key_is_the_one_in_the_store() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let key = KeyPair::generate().unwrap();
    let issue = |year| {
        let mut params = named("db1");
        params.not_after = date_time_ymd(year, 1, 1);
        params.signed_by(&key, &ca.issuer()).unwrap().pem()
    };
    let store = dir.write("peer.pem", issue(2020));
    assert_eq!(client(&in_store(&store), &issue(4000)).unwrap(), 1);
}

#[test]
fn an_expired_root_vouches_for_nobody() {
    let dir = Dir::new();
    let old = Ca::root_with("ca", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let rules = chain_to(&dir.write("ca.pem", &old.pem));
    let pair = old.issue("client");
    let refusal = client(&rules, &pair.pem).unwrap_err();
    assert_eq!((refusal.reason(), refusal.depth(), refusal.subject()), (Reason::Expired, 1, "/O=Galeway/CN=ca"));
    assert_eq!(
        refusal.what(),
        "it expired at 2020-01-01T00:00:00Z: its CA has to be renewed, and the new one added to the store"
    );
    // Prolonged with the same key: the one in time counts, in whatever order they stand.
    let mut params = old.params.clone();
    params.not_after = date_time_ymd(4000, 1, 1);
    let fresh = params.self_signed(&old.key).unwrap().pem();
    for both in [format!("{}{fresh}", old.pem), format!("{fresh}{}", old.pem)] {
        assert_eq!(client(&chain_to(&dir.write("ca.pem", both)), &pair.pem).unwrap(), 2);
    }
}

#[test]
fn only_what_is_its_own_issuer_is_an_anchor() {
    let (dir, root) = (Dir::new(), Ca::root("root"));
    let between = root.intermediate("between");
    let pair = between.issue("client");
    let alone = dir.write("between.pem", &between.pem);
    let error =
        Acceptor::new(&accepting(identity(&dir, "own", &pair), ClientAuth::Require, chain_to(&alone))).unwrap_err();
    says(
        &error.to_string(),
        &[
            "between.pem: holds no certificate of a CA that could be trusted (of its 1 none is self-signed: the root belongs there",
        ],
    );
    let other = Ca::root("other");
    let beside = chain_to(&dir.write("beside.pem", format!("{}{}", between.pem, other.pem)));
    let refusal = client(&beside, &pair.pem).unwrap_err();
    assert_eq!((refusal.reason(), refusal.depth()), (Reason::UnknownCa, 1));
    says(
        refusal.what(),
        &["only this intermediate CA is in ", "its issuer /O=Galeway/CN=root is not: add that root too"],
    );
    let both = chain_to(&dir.write("both.pem", format!("{}{}", between.pem, root.pem)));
    assert_eq!(client(&both, &pair.pem).unwrap(), 3);
    let root_only = chain_to(&dir.write("root.pem", &root.pem));
    assert_eq!(client(&root_only, &format!("{}{}", pair.pem, between.pem)).unwrap(), 3);
    says(
        &refused(&root_only, &pair.pem),
        &[
            "its issuer /O=Galeway/CN=between is not in ",
            "and the peer sent no CA along",
            "have the peer send the CAs between",
        ],
    );
    // A leaf in the store is not enough where a chain is asked for.
    let leaf = chain_to(&dir.write("leaf.pem", format!("{}{}", pair.pem, other.pem)));
    says(&refused(&leaf, &pair.pem), &["certificate at depth 0, /O=Galeway/CN=client"]);
}

#[test]
fn usage_counts() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let rules = chain_to(&dir.write("ca.pem", &ca.pem));
    let usage = |usages: &[KeyUsagePurpose]| ca.issue_with("x", |params| params.key_usages = usages.to_vec()).pem;
    let purpose = |purposes: &[ExtendedKeyUsagePurpose]| {
        ca.issue_with("x", |params| params.extended_key_usages = purposes.to_vec()).pem
    };
    let wrong = usage(&[KeyUsagePurpose::KeyEncipherment]);
    let right = usage(&[KeyUsagePurpose::DigitalSignature]);
    let (server, client, both) = (
        purpose(&[ExtendedKeyUsagePurpose::ServerAuth]),
        purpose(&[ExtendedKeyUsagePurpose::ClientAuth]),
        purpose(&[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]),
    );
    for (of, good, bad, words) in [
        (
            Of::Clients,
            &client,
            &server,
            "its extendedKeyUsage does not allow it for a TLS client: have it issued with clientAuth",
        ),
        (
            Of::Servers,
            &server,
            &client,
            "its extendedKeyUsage does not allow it for a TLS server: have it issued with serverAuth",
        ),
    ] {
        for pem in [good, &both, &right] {
            assert_eq!(judge(of, &rules, pem, None).unwrap(), 2);
        }
        let refusal = judge(of, &rules, bad, None).unwrap_err();
        assert_eq!((refusal.reason(), refusal.what()), (Reason::Purpose, words));
        says(
            judge(of, &rules, &wrong, None).unwrap_err().what(),
            &["its keyUsage does not allow it for a TLS ", "have it issued with digitalSignature"],
        );
    }
    // No chain asked for: the same.
    let store = in_store(&dir.write("peer.pem", &wrong));
    assert_eq!(super::chains::client(&store, &wrong).unwrap_err().reason(), Reason::Purpose);
}

#[test]
fn time_counts_for_every_certificate_of_a_chain() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let rules = chain_to(&dir.write("ca.pem", &ca.pem));
    let expired = ca.issue_with("x", |params| params.not_after = date_time_ymd(2021, 2, 3)).pem;
    says(
        &refused(&rules, &expired),
        &["certificate at depth 0, /O=Galeway/CN=x", "it expired at 2021-02-03T00:00:00Z: it has to be renewed"],
    );
    let early = ca.issue_with("x", |params| params.not_before = date_time_ymd(4000, 1, 1)).pem;
    says(&refused(&rules, &early), &["it is not valid before 4000-01-01T00:00:00Z: is a clock wrong? It is 20"]);
    let mut between = ca.intermediate("between");
    between.params.not_after = date_time_ymd(2020, 1, 1);
    between.pem = between.params.signed_by(&between.key, &ca.issuer()).unwrap().pem();
    let refusal = client(&rules, &format!("{}{}", between.issue("x").pem, between.pem)).unwrap_err();
    assert_eq!((refusal.reason(), refusal.depth(), refusal.subject()), (Reason::Expired, 1, "/O=Galeway/CN=between"));
}

#[test]
fn chains_that_do_not_hold_are_refused_in_words() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let rules = chain_to(&dir.write("ca.pem", &ca.pem));
    let namesake = Ca::root("ca");
    says(
        &refused(&rules, &namesake.issue("x").pem),
        &["is not by the CA of that name in ", "is that another CA of the same name, or was it made anew?"],
    );
    let foreign = Ca::root("foreign").issue("x").pem;
    says(&refused(&rules, &foreign), &["its issuer /O=Galeway/CN=foreign is not in "]);
    let mut params = named("x");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let a_ca = params.signed_by(&key, &ca.issuer()).unwrap().pem();
    says(&refused(&rules, &a_ca), &["it is that of a CA, and not itself in "]);
    let mut params = named("no ca");
    let key = KeyPair::generate().unwrap();
    params.is_ca = IsCa::ExplicitNoCa;
    let no_ca = params.signed_by(&key, &ca.issuer()).unwrap().pem();
    let by_it = Ca { params, key, pem: no_ca };
    let refusal = client(&rules, &format!("{}{}", by_it.issue("x").pem, by_it.pem)).unwrap_err();
    assert_eq!(
        (refusal.depth(), refusal.what()),
        (1, "it issued the one below it and is no CA's (CA:TRUE is not set)")
    );
    let critical = ca.issue_with("x", |params| {
        let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    });
    says(
        &refused(&rules, &critical.pem),
        &["it has a critical extension that is not known here (1.2.3.4): have it issued without"],
    );
    let garbage = peers(Of::Clients, &rules).admit(&[CertificateDer::from(vec![1, 2, 3])], None).unwrap_err();
    says(&garbage.to_string(), &["certificate at depth 0: it cannot be read"]);
}

#[test]
fn what_rustls_does_not_take_is_named() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let anyone = PeerRules::default();
    let rules = chain_to(&dir.write("ca.pem", &ca.pem));
    let v1 = include_str!("../../../../tests/it/peer/keys/v1.pem");
    for rules in [&rules, &anyone] {
        says(
            &refused(rules, v1),
            &["it is of X.509 version 1, which TLS peers no longer take: have it issued anew as version 3"],
        );
    }
    dir.write(
        "req.cnf",
        "[req]\ndistinguished_name=dn\n[dn]\n[v3]\nbasicConstraints=CA:FALSE\n[ca]\nbasicConstraints=CA:TRUE\n",
    );
    dir.openssl("req -x509 -config req.cnf -extensions ca -newkey rsa:2048 -nodes -keyout ca.key -out rsa-ca.pem -subj /CN=rsa-ca -days 3650");
    dir.openssl("req -x509 -config req.cnf -extensions ca -newkey rsa:1024 -nodes -keyout weak.key -out weak-ca.pem -subj /CN=weak-ca -days 3650");
    let issue = |name: &str, bits: &str, digest: &str, by: &str, key: &str| {
        dir.openssl(&format!(
            "req -new -config req.cnf -newkey rsa:{bits} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        dir.openssl(&format!("x509 -req -in {name}.csr -CA {by} -CAkey {key} -CAcreateserial -{digest} -days 3650 -extfile req.cnf -extensions v3 -out {name}.pem"));
        std::fs::read_to_string(dir.path(&format!("{name}.pem"))).unwrap()
    };
    let rsa = chain_to(&dir.path("rsa-ca.pem"));
    assert_eq!(client(&rsa, &issue("fine", "2048", "sha256", "rsa-ca.pem", "ca.key")).unwrap(), 2);
    let sha1 = issue("sha1", "2048", "sha1", "rsa-ca.pem", "ca.key");
    says(
        &refused(&rsa, &sha1),
        &[
            "certificate at depth 0, /CN=sha1",
            "it is signed with SHA-1, which is no longer taken: have it issued anew with SHA-256",
        ],
    );
    let short = issue("short", "1024", "sha256", "rsa-ca.pem", "ca.key");
    for rules in [&rsa, &anyone] {
        says(&refused(rules, &short), &["its RSA key has 1024 bits, at least 2048 are needed: use another key"]);
    }
    let weak =
        client(&chain_to(&dir.path("weak-ca.pem")), &issue("below", "2048", "sha256", "weak-ca.pem", "weak.key"))
            .unwrap_err();
    assert_eq!((weak.depth(), weak.subject()), (1, "/CN=weak-ca"));
    says(weak.what(), &["its RSA key has 1024 bits", "that CA needs another key"]);
}

#[test]
fn each_list_has_to_hold_the_peer_and_a_refusal_offers_what_to_paste() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let chain_only = chain_to(&dir.write("ca.pem", &ca.pem));
    let pem = ca.issue("db1.example.org").pem;
    let key = super::super::certificate::Facts::parse(&chain(&pem)[0]).unwrap().pin();
    let names = PeerRules { allow_names: vec!["x.example.org".into()], ..chain_only.clone() };
    says(&refused(&names, &pem), &["none of allow_names is its name; to let it in add one of [\"db1.example.org\"]"]);
    let subjects = PeerRules { allow_subjects: vec!["/CN=x".into()], ..chain_only.clone() };
    says(
        &refused(&subjects, &pem),
        &["its subject is none of allow_subjects; to let it in add \"/O=Galeway/CN=db1.example.org\""],
    );
    let pins = PeerRules { pins: vec![Pin([7; 32])], ..chain_only.clone() };
    dir.write("leaf.pem", &pem);
    let public = dir.openssl("x509 -in leaf.pem -noout -pubkey");
    dir.write("leaf.pub", public);
    dir.openssl("pkey -pubin -in leaf.pub -outform DER -out leaf.der");
    dir.openssl("dgst -sha256 -binary -out leaf.sha leaf.der");
    let pin = format!("sha256/{}", dir.openssl("base64 -in leaf.sha").trim());
    says(&refused(&pins, &pem), &[&format!("its public key is none of pins; to let it in add \"{pin}\"")]);
    for subject in ["/O=Galeway/CN=db1.example.org", "CN=db1.example.org, O=Galeway"] {
        let all = PeerRules {
            allow_names: vec!["x".into(), "db1.example.org".into()],
            allow_subjects: vec![subject.into()],
            pins: vec![Pin([7; 32]), key],
            ..chain_only.clone()
        };
        assert_eq!(client(&all, &pem).unwrap(), 2);
        assert_eq!(
            client(&PeerRules { pins: vec![Pin([7; 32])], ..all.clone() }, &pem).unwrap_err().reason(),
            Reason::NotListed
        );
        assert_eq!(
            client(&PeerRules { allow_names: vec!["x".into()], ..all.clone() }, &pem).unwrap_err().reason(),
            Reason::NotListed
        );
        assert_eq!(
            client(&PeerRules { allow_subjects: vec!["/CN=x".into()], ..all }, &pem).unwrap_err().reason(),
            Reason::NotListed
        );
    }
    let nameless = ca.issue_with("client", |_| ()).pem;
    says(
        &refused(&names, &nameless),
        &["none of allow_names is its name, it has no subjectAltName, and its common name \"client\" does not count"],
    );
    let unreadable = PeerRules { allow_subjects: vec!["db1".into()], ..chain_only };
    let error = Peers::new(
        Of::Clients,
        &unreadable,
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms,
        None,
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "allow_subjects: \"db1\" is no subject: \"db1\" has no \"TYPE=\"");
}

#[test]
fn names_are_matched_by_kind() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let rules = chain_to(&dir.write("ca.pem", &ca.pem));
    let pem = ca.issue_with("x", |params| {
        params.subject_alt_names = vec![
            rcgen::SanType::DnsName("*.example.org".try_into().unwrap()),
            rcgen::SanType::DnsName("db1.example.com".try_into().unwrap()),
            rcgen::SanType::IpAddress("10.0.0.1".parse().unwrap()),
            rcgen::SanType::IpAddress("2001:db8::1".parse().unwrap()),
            rcgen::SanType::Rfc822Name("Ops@Example.org".try_into().unwrap()),
            rcgen::SanType::URI("spiffe://example.org/db".try_into().unwrap()),
        ];
    });
    for (name, good) in [
        ("a.example.org", true),
        ("A.Example.Org.", true),
        ("a.b.example.org", false),
        ("example.org", false),
        ("db1.example.com", true),
        ("*.example.com", true),
        ("*.com", false),
        ("b.example.com", false),
        ("10.0.0.1", true),
        ("::ffff:10.0.0.1", true),
        ("10.0.0.2", false),
        ("2001:DB8:0::1", true),
        ("[2001:db8::1]", true),
        ("Ops@example.ORG", true),
        ("ops@example.org", false),
        ("spiffe://example.org/db", true),
        ("spiffe://example.org/DB", false),
        ("", false),
    ] {
        assert_eq!(judge(Of::Servers, &rules, &pem.pem, Some(name)).is_ok(), good, "{name}");
    }
    // A star in front of a single label would be for a whole top-level domain, on either side.
    let wide = ca.issue_with("x", |params| {
        params.subject_alt_names =
            ["*.org", "db1.test"].map(|n| rcgen::SanType::DnsName(n.try_into().unwrap())).to_vec();
    });
    for name in ["example.org", "*.test"] {
        assert!(judge(Of::Servers, &rules, &wide.pem, Some(name)).is_err(), "{name}");
    }
    assert!(!Names::default().is_for(&Wanted::parse("x"), Some(&[])));
}

#[test]
fn nothing_asked_for_is_nothing_checked() {
    let old = self_signed("db1", |params| params.not_after = date_time_ymd(2020, 1, 1));
    assert_eq!(client(&PeerRules::default(), &old.pem).unwrap(), 1);
}
