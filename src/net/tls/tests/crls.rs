//! Revocation, and directories under hashed names.

use super::super::judge::Of;
use super::super::reach::Reach;
use super::super::store::Store;
use super::chains::{chain, client, peers, says};
use super::*;
use crate::config::CrlScope;

/// A CA, one below it, and what that issued.
struct Revocation {
    dir: Dir,
    root: Ca,
    between: Ca,
    good: String,
    bad: Pair,
}

fn revocation() -> Revocation {
    let (dir, root) = (Dir::new(), Ca::root("root"));
    let between = root.intermediate("between");
    let with = |pair: &Pair| format!("{}{}", pair.pem, between.pem);
    let (good, bad) = (with(&between.issue("good")), between.issue("bad"));
    let bad = Pair { pem: with(&bad), ..bad };
    dir.write("ca.pem", &root.pem);
    Revocation { dir, root, between, good, bad }
}

impl Revocation {
    fn rules(&self, scope: CrlScope, files: &[&str]) -> PeerRules {
        let crl = files.iter().map(|file| self.dir.path(file)).collect();
        PeerRules { crl, crl_scope: scope, ..chain_to(&self.dir.path("ca.pem")) }
    }
}

#[test]
fn a_revoked_certificate_is_refused_wherever_the_crl_lies() {
    let r = revocation();
    let crl = r.between.crl(&[&r.bad], 4000);
    r.dir.write("one.pem", &crl);
    r.dir.write("several.pem", format!("{}{crl}", r.root.crl(&[], 4000)));
    r.dir.write("crls/0a1b2c3d.r0", &crl);
    r.dir.write("crls/0a1b2c3d.signing_policy", "none of ours");
    for place in ["one.pem", "several.pem", "crls"] {
        for scope in [CrlScope::Leaf, CrlScope::Chain] {
            let rules = r.rules(scope, &[place]);
            assert_eq!(client(&rules, &r.good).unwrap(), 3, "{place}");
            let refusal = client(&rules, &r.bad.pem).unwrap_err();
            assert_eq!((refusal.reason(), refusal.depth()), (Reason::Revoked, 0));
            says(refusal.what(), &["it is revoked by the CRL in ", place, "it has to be replaced"]);
        }
    }
    // A directory of CAs may hold CRLs too; they count where `crl` names it, and only there.
    r.dir.write("cas/0a1b2c3d.0", &r.root.pem);
    r.dir.write("cas/0a1b2c3d.r0", &crl);
    let without = chain_to(&r.dir.path("cas"));
    assert_eq!(client(&without, &r.bad.pem).unwrap(), 3);
    let skipped = |rules: &PeerRules| {
        let said = |said: &Skipped| (said.file.clone(), said.why.clone());
        peers(Of::Clients, rules).store().skipped.iter().map(said).collect::<Vec<_>>()
    };
    let path = r.dir.path("cas");
    let words = "its CRLs (0a1b2c3d.r0) are not looked at, so certificates that they revoke are let in: write ";
    let to_write = format!("{words}crl = \"{}\"", path.display());
    assert_eq!(skipped(&without), [(path.clone(), to_write)]);
    let stunnel = PeerRules { dialect: Dialect::Stunnel, ..without.clone() };
    assert_eq!(skipped(&stunnel), [(path, format!("{words}CRLpath = the same directory"))]);
    assert_eq!(skipped(&PeerRules { crl: vec![r.dir.path("one.pem")], ..without.clone() }), []);
    let with = PeerRules { crl: vec![r.dir.path("cas")], ..without };
    assert_eq!(client(&with, &r.bad.pem).unwrap_err().reason(), Reason::Revoked);
}

#[test]
fn a_revoked_intermediate_counts_by_the_scope() {
    let r = revocation();
    let link = Pair {
        pem: String::new(),
        key: String::new(),
        serial: r.between.params.serial_number.clone().unwrap().to_bytes(),
    };
    r.dir.write("crl.pem", format!("{}{}", r.root.crl(&[&link], 4000), r.between.crl(&[], 4000)));
    assert_eq!(client(&r.rules(CrlScope::Leaf, &["crl.pem"]), &r.good).unwrap(), 3);
    let refusal = client(&r.rules(CrlScope::Chain, &["crl.pem"]), &r.good).unwrap_err();
    assert_eq!((refusal.reason(), refusal.depth(), refusal.subject()), (Reason::Revoked, 1, "/O=Galeway/CN=between"));
}

#[test]
fn without_a_current_crl_of_its_issuer_nobody_is_let_in() {
    let r = revocation();
    r.dir.write("root.pem", r.root.crl(&[], 4000));
    r.dir.write("late.pem", r.between.crl(&[], 2021));
    r.dir.write("new.pem", r.between.crl(&[], 4000));
    let namesake = Ca { params: r.between.params.clone(), key: KeyPair::generate().unwrap(), pem: String::new() };
    r.dir.write("forged.pem", namesake.crl(&[], 4000));
    for scope in [CrlScope::Leaf, CrlScope::Chain] {
        for (file, words) in [
            ("root.pem", "there is no CRL of its issuer, and `crl` is set: fetch the CRL of /O=Galeway/CN=between"),
            ("late.pem", "was due at 2021-01-01T00:00:00Z: fetch the new one"),
            ("forged.pem", "bears a signature that is not its issuer's: fetch it anew"),
        ] {
            let refusal = client(&r.rules(scope, &[file]), &r.good).unwrap_err();
            assert_eq!(refusal.reason(), Reason::NoRevocationStatus, "{file}");
            says(refusal.what(), &[words]);
        }
    }
    // What is wrong besides is said first: another CA's CRL would not help.
    let late = r.between.issue_with("late", |params| params.not_after = date_time_ymd(2020, 1, 1));
    for (pem, reason) in [
        (Ca::root("other").issue("foreign").pem, Reason::UnknownCa),
        (format!("{}{}", late.pem, r.between.pem), Reason::Expired),
    ] {
        assert_eq!(client(&r.rules(CrlScope::Leaf, &["root.pem"]), &pem).unwrap_err().reason(), reason);
    }
    std::fs::create_dir(r.dir.path("empty")).unwrap();
    let empty = r.rules(CrlScope::Leaf, &["empty"]);
    let store = peers(Of::Clients, &empty).store();
    says(&store.skipped[0].why, &["holds no CRL under a hashed name like 5f15c80c.r0, so no peer is let in"]);
    assert_eq!(client(&empty, &r.good).unwrap_err().reason(), Reason::NoRevocationStatus);
}

/// Made by `openssl ca -gencrl` from a file with neither crlnumber nor crl_extensions.
const FIRST_VERSION: &str = "-----BEGIN X509 CRL-----
MIGVMDwwCgYIKoZIzj0EAwIwDjEMMAoGA1UEAwwDb2xkFw0yNjExMjExODI0MjFa
GA8yMTA5MDExMDE4MjQyMVowCgYIKoZIzj0EAwIDSQAwRgIhAMV1VJRgY3PqVWU2
tM5Xf82c90V58sSh1QSn8LPdeSnnAiEA6phJfFHo3+fFZCwA8J3jJxJNh+rMMHGw
NGyNyPK/qTg=
-----END X509 CRL-----
";

#[test]
fn a_crl_of_the_first_version_is_told_with_what_to_do() {
    let r = revocation();
    r.dir.write("crls/00000000.r0", FIRST_VERSION);
    let store = peers(Of::Clients, &r.rules(CrlScope::Leaf, &["crls"])).store();
    says(&store.skipped[0].why, &["CRL 1: it is of version 1, which is not taken: have it issued as version 2"]);
}

#[test]
fn a_crl_that_cannot_be_read_is_named_and_the_others_count() {
    let r = revocation();
    let broken = "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n";
    r.dir.write("crls/00000000.r0", broken);
    r.dir.write("crls/11111111.r0", "no PEM at all");
    r.dir.write("crls/22222222.r0", r.between.crl(&[&r.bad], 4000));
    r.dir.write("both.pem", format!("{broken}{}", r.between.crl(&[&r.bad], 4000)));
    for place in ["crls", "both.pem"] {
        let rules = r.rules(CrlScope::Leaf, &[place]);
        assert_eq!(client(&rules, &r.good).unwrap(), 3);
        assert_eq!(client(&rules, &r.bad.pem).unwrap_err().reason(), Reason::Revoked);
        let store = peers(Of::Clients, &rules).store();
        says(&store.skipped[0].why, &["CRL 1: it cannot be read"]);
    }
    let store = peers(Of::Clients, &r.rules(CrlScope::Leaf, &["crls"])).store();
    assert!(store.skipped[1].file.ends_with("crls/11111111.r0"));
    assert_eq!(store.skipped[1].why, "holds no CRL in PEM form");
}

#[test]
fn a_hashed_directory_is_read_by_its_hashed_names_alone() {
    let r = revocation();
    r.dir.write("cas/0a1b2c3d.0", &r.root.pem);
    r.dir.write("cas/0a1b2c3d.1", "garbage");
    for ignored in [
        "root.pem",
        "0A1B2C3D.0",
        "0a1b2c3d.signing_policy",
        "0a1b2c3d.namespaces",
        "0a1b2c3.0",
        "0a1b2c3d.",
        "0a1b2c3d.r0",
    ] {
        r.dir.write(&format!("cas/{ignored}"), &Ca::root("ignored").pem);
    }
    let store = peers(Of::Clients, &chain_to(&r.dir.path("cas"))).store();
    assert_eq!((store.anchors.len(), store.members.len(), store.skipped.len()), (1, 1, 2));
    assert!(store.skipped[0].why.starts_with("its CRLs (0a1b2c3d.r0) are not looked at"));
    assert!(store.skipped[1].file.ends_with("cas/0a1b2c3d.1"));
    assert_eq!(store.skipped[1].why, "holds no certificate in PEM form");
    assert_eq!(client(&chain_to(&r.dir.path("cas")), &r.good).unwrap(), 3);
    r.dir.write("unhashed/root.pem", &r.root.pem);
    let error = super::super::store::Store::load(&chain_to(&r.dir.path("unhashed")), None, &Default::default())
        .unwrap_err()
        .to_string();
    says(&error, &["unhashed: holds no certificate under a hashed name like 5f15c80c.0: run `openssl rehash` on it"]);
}

#[test]
fn crls_are_read_again_where_their_own_file_has_changed_alone() {
    let r = revocation();
    r.dir.write("crls/00000000.r0", r.root.crl(&[], 4000));
    r.dir.write("crls/11111111.r0", "half");
    let peers = peers(Of::Clients, &r.rules(CrlScope::Leaf, &["crls"]));
    let before = peers.store();
    r.dir.write("crls/22222222.r0", r.between.crl(&[&r.bad], 4000));
    let mut result = Refreshed::default();
    peers.refresh(false, &mut result);
    peers.refresh(false, &mut result);
    assert_eq!(result.reloaded, [r.dir.path("crls/22222222.r0")]);
    let [half] = result.skipped.as_slice() else { panic!("{result:?}") };
    assert_eq!((&half.file, half.why.as_str()), (&r.dir.path("crls/11111111.r0"), "holds no CRL in PEM form"));
    let after = peers.store();
    assert_eq!((before.crls.len(), after.crls.len()), (1, 2));
    assert!(after.crls.iter().any(|crl| Arc::ptr_eq(crl, &before.crls[0])));
    peers.refresh(true, &mut result);
    assert!(!peers.store().crls.iter().any(|crl| Arc::ptr_eq(crl, &before.crls[0])));
}

/// What is its own issuer, as a file and as one that can sign CRLs.
fn own(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (Ca, Pair) {
    let ca = Ca::root_with(name, change);
    let pair = Pair {
        pem: ca.pem.clone(),
        key: ca.key.serialize_pem(),
        serial: ca.params.serial_number.clone().unwrap().to_bytes(),
    };
    (ca, pair)
}

#[test]
fn a_self_signed_peer_needs_a_crl_in_time_and_by_its_own_key() {
    let dir = Dir::new();
    let (ca, pair) = own("db1", |_| ());
    let rules = PeerRules { crl: vec![dir.path("crl.pem")], ..chain_to(&dir.write("ca.pem", &ca.pem)) };
    let namesake = Ca { params: ca.params.clone(), key: KeyPair::generate().unwrap(), pem: String::new() };
    let (good, late) = (ca.crl(&[], 4000), ca.crl(&[], 2021));
    for (crl, fault) in [
        (good.clone(), None),
        (late.clone(), Some((Reason::NoRevocationStatus, "was due at 2021-01-01T00:00:00Z: fetch the new one"))),
        (namesake.crl(&[], 4000), Some((Reason::NoRevocationStatus, "bears a signature that is not its issuer's"))),
        (
            namesake.crl(&[&pair], 4000),
            Some((Reason::NoRevocationStatus, "bears a signature that is not its issuer's")),
        ),
        (Ca::root("other").crl(&[], 4000), Some((Reason::NoRevocationStatus, "there is no CRL of its issuer"))),
        (ca.crl(&[&pair], 4000), Some((Reason::Revoked, "it is revoked by the CRL in "))),
        // Another's does not spoil it, and cannot help it.
        (format!("{}{good}", namesake.crl(&[&pair], 4000)), None),
        (format!("{}{late}", namesake.crl(&[], 4000)), Some((Reason::NoRevocationStatus, "was due at 2021"))),
    ] {
        dir.write("crl.pem", &crl);
        let verdict = client(&rules, &pair.pem);
        assert_eq!(verdict.as_ref().err().map(Refusal::reason), fault.map(|(reason, _)| reason), "{verdict:?}");
        if let (Err(refusal), Some((_, words))) = (verdict, fault) {
            says(refusal.what(), &[words]);
        }
    }
    let (ca, pair) = own("db2", |p| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let mut as_ca = Ca { params: ca.params.clone(), key: KeyPair::generate().unwrap(), pem: String::new() };
    as_ca.params.key_usages = Vec::new();
    as_ca.key = ca.key;
    dir.write("ca.pem", &pair.pem);
    dir.write("crl.pem", as_ca.crl(&[], 4000));
    let refusal = client(&rules, &pair.pem).unwrap_err();
    assert_eq!(refusal.reason(), Reason::NoRevocationStatus);
    says(refusal.what(), &["keyUsage does not allow it to sign CRLs (cRLSign)"]);
}

#[test]
fn a_verdict_is_good_until_the_next_crl_counts() {
    let r = revocation();
    let now = super::super::peers::now();
    let soon = now + 5;
    let begins = std::time::UNIX_EPOCH + std::time::Duration::from_secs(soon.try_into().unwrap());
    let begins = |params: &mut CertificateRevocationListParams| params.this_update = begins.into();
    // Besides the one in force an old one, which was due long ago.
    let before = format!("{}{}", r.between.crl(&[], 4000), r.between.crl(&[], 2021));
    r.dir.write("crl.pem", format!("{before}{}", r.between.crl_with(&[&r.bad], 4000, begins)));
    r.dir.write("own.pem", format!("{}{}", r.root.crl(&[], 4000), r.root.crl_with(&[], 4000, begins)));
    for (file, pem, after) in [("crl.pem", &r.bad.pem, Some(Reason::Revoked)), ("own.pem", &r.root.pem, None)] {
        let peers = peers(Of::Clients, &r.rules(CrlScope::Leaf, &[file]));
        let store = peers.store();
        let at = |at| peers.judge(&store).judge(&chain(pem), None, at);
        assert_eq!(at(now).unwrap().good_until, soon - 1, "{file}");
        assert_eq!(at(soon - 1).unwrap().good_until, soon - 1);
        let verdict = at(soon);
        assert_eq!(verdict.as_ref().err().map(Refusal::reason), after);
        // The old one would have it judged again each second.
        assert!(verdict.is_err() || verdict.unwrap().good_until > soon);
    }
    r.dir.write("crl.pem", before);
    let peers = peers(Of::Clients, &r.rules(CrlScope::Leaf, &["crl.pem"]));
    assert!(peers.judge(&peers.store()).judge(&chain(&r.good), None, now).unwrap().good_until > now);
}

#[test]
fn what_does_not_count_inside_a_chroot_is_marked_as_it_is_found_there() {
    let r = revocation();
    let jail = PathBuf::from("/no/such/jail/certs");
    r.dir.write("here/00000001.0", &r.root.pem);
    r.dir.write("here/00000002.r0", r.root.crl(&[], 4000));
    let reach = Reach::entered(&jail, &r.dir.path("here"));
    let skipped = |rules: &PeerRules| Store::load(rules, None, &reach).unwrap().skipped;
    let without = chain_to(&jail);
    let with = PeerRules { crl: vec![jail.clone()], ..without.clone() };
    let mut marks = Vec::new();
    for text in ["none", "still none"] {
        r.dir.write("here/00000003.0", text);
        r.dir.write("here/00000003.r0", text);
        let found = skipped(&with);
        assert_eq!(found, skipped(&with), "the same as long as nothing changes");
        let files: Vec<_> = found.iter().map(|bad| bad.file.clone()).collect();
        assert_eq!(files, [jail.join("00000003.0"), jail.join("00000003.r0")]);
        marks.extend(found.iter().map(|bad| bad.mark.unwrap().unwrap()));
        assert_eq!(skipped(&without)[0].mark, None, "of the directory itself");
    }
    assert!(marks[0] != marks[2] && marks[1] != marks[3], "{marks:?}");
}
