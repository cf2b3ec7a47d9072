//! What a CA says that those below it may be.

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};

use super::super::judge::Of;
use super::chains::{client, judge, says};
use super::*;

fn domains(permitted: &[&str], excluded: &[&str]) -> Option<NameConstraints> {
    let trees = |of: &[&str]| of.iter().map(|name| GeneralSubtree::DnsName((*name).into())).collect();
    Some(NameConstraints { permitted_subtrees: trees(permitted), excluded_subtrees: trees(excluded) })
}

/// A root and a CA below it, `limits` on one of them.
fn limited(limits: &Option<NameConstraints>, on_root: bool) -> (Ca, Ca) {
    let set =
        |yes: bool| move |params: &mut CertificateParams| params.name_constraints = limits.clone().filter(|_| yes);
    let root = Ca::root_with("root", set(on_root));
    let between = root.intermediate_with("between", set(!on_root));
    (root, between)
}

#[test]
fn a_common_name_counts_within_the_name_constraints_of_each_ca_only() {
    let dir = Dir::new();
    for on_root in [true, false] {
        for (limits, cn, wanted, good) in [
            (domains(&["other.example"], &[]), "victim.example", "victim.example", false),
            (domains(&["other.example"], &[]), "host/victim.example", "victim.example", false),
            (domains(&["other.example"], &[]), "notother.example", "notother.example", false),
            (domains(&["other.example"], &[]), "db1.Other.example", "db1.other.example", true),
            (domains(&["other.example"], &[]), "other.example", "other.example", true),
            (domains(&[], &["victim.example"]), "db1.victim.example", "db1.victim.example", false),
            (domains(&[], &["db1.victim.example"]), "*.victim.example", "db1.victim.example", false),
            (domains(&[], &["db1.victim.example"]), "*.victim.example", "db2.victim.example", true),
            (domains(&[], &["victim.example"]), "db1.other.example", "db1.other.example", true),
        ] {
            let (root, between) = limited(&limits, on_root);
            let rules = PeerRules { cn_fallback: true, ..chain_to(&dir.write("ca.pem", &root.pem)) };
            let pem = format!("{}{}", between.issue_with(cn, |_| ()).pem, between.pem);
            let verdict = judge(Of::Servers, &rules, &pem, Some(wanted));
            assert_eq!(verdict.is_ok(), good, "{limits:?} {cn} {wanted} {verdict:?}");
            // Who does not ask for a name is not concerned.
            assert_eq!(judge(Of::Servers, &rules, &pem, None).unwrap(), 3);
        }
        let (root, between) = limited(&domains(&["other.example"], &[]), on_root);
        let rules = PeerRules { cn_fallback: true, ..chain_to(&dir.write("ca.pem", &root.pem)) };
        let pem = format!("{}{}", between.issue_with("victim.example", |_| ()).pem, between.pem);
        let refusal = judge(Of::Servers, &rules, &pem, Some("victim.example")).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Name);
        says(refusal.what(), &["a CA above it does not allow its common name \"victim.example\" (nameConstraints)"]);
        // Alternative names are webpki's to hold to them: of the anchor too.
        let pem = format!("{}{}", between.issue("victim.example").pem, between.pem);
        let refusal = judge(Of::Servers, &rules, &pem, Some("victim.example")).unwrap_err();
        assert_eq!(refusal.reason(), Reason::Bad);
        says(refusal.what(), &["a CA above it may not issue such names (nameConstraints)"]);
    }
}

#[test]
fn name_constraints_about_something_else_leave_the_common_name_alone() {
    let dir = Dir::new();
    let other = NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0]))],
        excluded_subtrees: Vec::new(),
    };
    let (root, between) = limited(&Some(other), true);
    let rules = PeerRules { cn_fallback: true, ..chain_to(&dir.write("ca.pem", &root.pem)) };
    let pem = format!("{}{}", between.issue_with("db1.example.org", |_| ()).pem, between.pem);
    assert_eq!(judge(Of::Servers, &rules, &pem, Some("db1.example.org")).unwrap(), 3);
}

#[test]
fn a_mailbox_of_the_subject_does_not_count_below_constraints_about_mailboxes() {
    let dir = Dir::new();
    for (tree, good) in [
        (GeneralSubtree::Rfc822Name("other.example".into()), false),
        (GeneralSubtree::DnsName("other.example".into()), true),
    ] {
        let limits = NameConstraints { permitted_subtrees: vec![tree], excluded_subtrees: Vec::new() };
        let (root, between) = limited(&Some(limits), true);
        let mut rules = PeerRules { cn_fallback: true, ..chain_to(&dir.write("ca.pem", &root.pem)) };
        rules.allow_names = vec!["ops@victim.example".into()];
        let pair = between.issue_with("ops", |params| {
            let email = DnType::CustomDnType(vec![1, 2, 840, 113549, 1, 9, 1]);
            params.distinguished_name.push(email, "ops@victim.example");
        });
        let verdict = client(&rules, &format!("{}{}", pair.pem, between.pem));
        assert_eq!(verdict.is_ok(), good, "{verdict:?}");
    }
}

#[test]
fn a_root_that_allows_no_ca_below_it_vouches_for_none() {
    let dir = Dir::new();
    for (most, good) in [(0, false), (1, true)] {
        let root = Ca::root_with("root", |p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(most)));
        let between = root.intermediate("between");
        let rules = chain_to(&dir.write("ca.pem", &root.pem));
        assert_eq!(client(&rules, &root.issue("client").pem).unwrap(), 2);
        let verdict = client(&rules, &format!("{}{}", between.issue("client").pem, between.pem));
        assert_eq!(verdict.is_ok(), good, "{verdict:?}");
        if let Err(refusal) = verdict {
            assert_eq!((refusal.reason(), refusal.depth(), refusal.subject()), (Reason::Bad, 2, "/O=Galeway/CN=root"));
            says(refusal.what(), &["there are 1 CAs below it, more than it allows (pathLenConstraint)"]);
        }
    }
}

#[test]
fn a_root_for_another_purpose_vouches_for_nobody() {
    let dir = Dir::new();
    for (purpose, clients, servers) in [
        (ExtendedKeyUsagePurpose::EmailProtection, false, false),
        (ExtendedKeyUsagePurpose::ClientAuth, true, false),
        (ExtendedKeyUsagePurpose::ServerAuth, false, true),
    ] {
        let root = Ca::root_with("root", |p| p.extended_key_usages = vec![purpose.clone()]);
        let rules = chain_to(&dir.write("ca.pem", &root.pem));
        let pem = root.issue("peer").pem;
        for (of, good) in [(Of::Clients, clients), (Of::Servers, servers)] {
            let verdict = judge(of, &rules, &pem, None);
            assert_eq!(verdict.is_ok(), good, "{purpose:?} {verdict:?}");
            if let Err(refusal) = verdict {
                assert_eq!((refusal.reason(), refusal.depth()), (Reason::Purpose, 1));
                says(refusal.what(), &["its extendedKeyUsage does not allow it for a TLS "]);
            }
        }
    }
}

#[test]
fn a_ca_that_may_not_sign_certificates_vouches_for_nobody() {
    let dir = Dir::new();
    let unfit = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let root = Ca::root("root");
    let between = root.intermediate_with("between", unfit);
    let rules = chain_to(&dir.write("ca.pem", &root.pem));
    let refusal = client(&rules, &format!("{}{}", between.issue("client").pem, between.pem)).unwrap_err();
    assert_eq!((refusal.reason(), refusal.depth()), (Reason::Bad, 1));
    says(refusal.what(), &["its keyUsage does not allow that (keyCertSign)"]);
    // As an anchor it does not count at all.
    let root = Ca::root_with("root", unfit);
    let refusal = client(&chain_to(&dir.write("ca.pem", &root.pem)), &root.issue("client").pem).unwrap_err();
    assert_eq!(refusal.reason(), Reason::UnknownCa);
}
