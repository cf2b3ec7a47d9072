//! Files that change under running sessions.

use std::time::Duration;

use super::super::judge::{Judge, Of};
use super::super::reach::Reach;
use super::super::rules::Rules;
use super::super::store::{Previous, Store, paths};
use super::chains::{chain, peers, says};
use super::*;

/// A server end, a client's certificate admitted by it, and the files behind both.
struct Running {
    dir: Dir,
    ca: Ca,
    acceptor: Arc<Acceptor>,
    connector: Arc<Connector>,
    client: Pair,
    peer: Admitted,
    _held: (Accepted<UnixStream>, Connected<UnixStream>),
}

async fn running(crl: bool) -> Running {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let store = dir.write("ca.pem", &ca.pem);
    let mut rules = chain_to(&store);
    if crl {
        rules.crl = vec![dir.write("crl.pem", ca.crl(&[], 4000))];
    }
    let accept = accepting(identity(&dir, "server", &ca.issue("db1")), ClientAuth::Require, rules);
    let client = ca.issue("client");
    let connect = connecting(Some(identity(&dir, "client", &client)), chain_to(&store));
    let (acceptor, connector) = (Acceptor::new(&accept).unwrap(), Connector::new(&connect).unwrap());
    let (accepted, connected) = shake(&acceptor, &connector, "db1").await;
    let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
    let peer = accepted.peer.clone().unwrap();
    Running { dir, ca, acceptor, connector, client, peer, _held: (accepted, connected) }
}

/// Two looks, as a change needs them.
fn look(acceptor: &Acceptor) -> Refreshed {
    let first = acceptor.refresh();
    if first.is_quiet() { acceptor.refresh() } else { first }
}

/// The words of the withdrawal, if there is one at once.
async fn withdrawn(peer: &Admitted) -> Option<Arc<str>> {
    tokio::time::timeout(Duration::from_millis(20), peer.withdrawn()).await.ok()
}

#[tokio::test]
async fn what_has_not_changed_is_not_read_again() {
    let r = running(true).await;
    assert!(look(&r.acceptor).is_quiet());
    // Not even where it cannot be read any more.
    let again = r.acceptor.reload();
    assert_eq!((again.reloaded.len(), again.failed.len()), (3, 0));
    assert!(look(&r.acceptor).is_quiet());
    assert_eq!(withdrawn(&r.peer).await, None);
}

#[tokio::test]
async fn files_that_are_still_written_are_not_read() {
    let r = running(false).await;
    for text in ["", "half", "half a"] {
        r.dir.write("ca.pem", text);
        assert!(r.acceptor.refresh().is_quiet());
    }
    r.dir.write("ca.pem", &r.ca.pem);
    assert!(r.acceptor.refresh().is_quiet());
    assert_eq!(r.acceptor.refresh().reloaded, [r.dir.path("ca.pem")]);
    assert_eq!(withdrawn(&r.peer).await, None);
    // What is written all the time is read some time; asked for by hand, at once.
    let looks = (0..9).map(|i| {
        r.dir.write("ca.pem", format!("# {i}\n{}", r.ca.pem));
        r.acceptor.refresh().reloaded.len()
    });
    assert_eq!(looks.sum::<usize>(), 1);
    r.dir.write("ca.pem", Ca::root("other").pem);
    assert_eq!(r.acceptor.reload().withdrawn.len(), 1);
}

#[tokio::test]
async fn a_revoked_peer_is_told_and_the_others_are_not() {
    let r = running(true).await;
    let other = identity(&r.dir, "other", &r.ca.issue("other"));
    let beside = Connector::new(&connecting(Some(other), chain_to(&r.dir.path("ca.pem")))).unwrap();
    let (accepted, _connected) = shake(&r.acceptor, &beside, "db1").await;
    let beside = accepted.unwrap().peer.unwrap();
    r.dir.write("crl.pem", r.ca.crl(&[&r.client], 4000));
    let result = look(&r.acceptor);
    assert_eq!(result.reloaded, [r.dir.path("crl.pem")]);
    let [gone] = result.withdrawn.as_slice() else { panic!("{result:?}") };
    assert_eq!(gone.subject, "/O=Galeway/CN=client");
    assert!(gone.words.contains("it is revoked by the CRL in "), "{}", gone.words);
    assert_eq!(withdrawn(&r.peer).await.as_deref(), Some(gone.words.as_str()));
    assert_eq!(withdrawn(&beside).await, None);
    let (ours, theirs) = words(&r.acceptor, &r.connector, "db1").await;
    assert!(ours.contains("it is revoked by the CRL in "), "{ours}");
    assert_eq!(theirs, "the peer rejected our certificate (alert certificate_revoked): its log says why");
    // Revoked by mistake: the same certificate is let in again, under a new handle.
    r.dir.write("crl.pem", r.ca.crl(&[], 4001));
    look(&r.acceptor);
    let (accepted, _connected) = shake(&r.acceptor, &r.connector, "db1").await;
    assert_eq!(withdrawn(&accepted.unwrap().peer.unwrap()).await, None);
}

#[tokio::test]
async fn a_ca_that_is_taken_out_takes_its_peers_along_and_one_that_comes_in_brings_its_own() {
    let r = running(false).await;
    let other = Ca::root("other");
    let foreign = identity(&r.dir, "foreign", &other.issue("foreign"));
    let foreign = Connector::new(&connecting(Some(foreign), chain_to(&r.dir.path("ca.pem")))).unwrap();
    assert!(words(&r.acceptor, &foreign, "db1").await.0.contains("is not in"));
    r.dir.write("ca.pem", format!("{}{}", r.ca.pem, other.pem));
    let result = look(&r.acceptor);
    assert_eq!((result.reloaded, result.withdrawn), (vec![r.dir.path("ca.pem")], Vec::new()));
    assert_eq!(words(&r.acceptor, &foreign, "db1").await.0, "");
    r.dir.write("ca.pem", other.pem);
    assert_eq!(look(&r.acceptor).withdrawn.len(), 1);
    assert!(withdrawn(&r.peer).await.unwrap().contains("its issuer /O=Galeway/CN=ca is not in "));
}

#[tokio::test]
async fn a_ca_that_is_taken_out_together_with_its_crl_takes_its_peers_along() {
    let r = running(true).await;
    // As in a directory that fetch-crl keeps: both have gone, and another's are there.
    let other = Ca::root("other");
    r.dir.write("ca.pem", &other.pem);
    r.dir.write("crl.pem", other.crl(&[], 4000));
    assert_eq!(look(&r.acceptor).withdrawn.len(), 1);
    assert!(withdrawn(&r.peer).await.unwrap().contains("its issuer /O=Galeway/CN=ca is not in "));
}

#[tokio::test]
async fn what_is_bad_changes_nothing_and_is_named_once() {
    let r = running(true).await;
    r.dir.write("ca.pem", "half a certi");
    let result = look(&r.acceptor);
    let kept =
        format!("{}: holds no certificate in PEM form: what was read before is kept", r.dir.path("ca.pem").display());
    assert_eq!(result, Refreshed { failed: vec![kept], ..Refreshed::default() });
    assert!(look(&r.acceptor).is_quiet());
    assert_eq!((withdrawn(&r.peer).await, words(&r.acceptor, &r.connector, "db1").await.0), (None, String::new()));
    std::fs::remove_file(r.dir.path("crl.pem")).unwrap();
    assert_eq!(look(&r.acceptor).failed.len(), 1);
    assert_eq!(words(&r.acceptor, &r.connector, "db1").await.0, "");
}

#[tokio::test]
async fn a_certificate_that_expires_ends_its_sessions() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let store = dir.write("ca.pem", &ca.pem);
    let accept = accepting(identity(&dir, "server", &ca.issue("db1")), ClientAuth::Require, chain_to(&store));
    let soon = ca.issue_with("client", |params| {
        params.not_after = std::time::SystemTime::now().checked_add(Duration::from_secs(2)).unwrap().into();
    });
    let connect = connecting(Some(identity(&dir, "client", &soon)), chain_to(&store));
    let (acceptor, connector) = (Acceptor::new(&accept).unwrap(), Connector::new(&connect).unwrap());
    let (accepted, _connected) = shake(&acceptor, &connector, "db1").await;
    let peer = accepted.unwrap().peer.unwrap();
    assert!(look(&acceptor).is_quiet());
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let [gone] = &look(&acceptor).withdrawn[..] else { panic!() };
    assert!(gone.words.contains("it expired at 20") && gone.words.ends_with("it has to be renewed"), "{}", gone.words);
    assert!(withdrawn(&peer).await.is_some());
}

#[tokio::test]
async fn a_crl_that_came_late_refuses_new_sessions_and_leaves_the_running_ones() {
    let r = running(true).await;
    r.dir.write("crl.pem", r.ca.crl(&[], 2021));
    let result = look(&r.acceptor);
    assert_eq!((result.withdrawn.len(), result.unknown.len()), (0, 1));
    assert!(result.unknown[0].contains("was due at 2021-01-01T00:00:00Z"), "{:?}", result.unknown);
    assert_eq!(withdrawn(&r.peer).await, None);
    assert!(words(&r.acceptor, &r.connector, "db1").await.0.contains("was due at"));
    // Told once, not with every look.
    assert!(look(&r.acceptor).is_quiet());
    // The new one comes, and has the peer on it.
    r.dir.write("crl.pem", r.ca.crl(&[&r.client], 4000));
    assert_eq!(look(&r.acceptor).withdrawn.len(), 1);
    assert!(withdrawn(&r.peer).await.is_some());
}

#[tokio::test]
async fn a_new_certificate_and_key_are_shown_from_then_on() {
    let r = running(false).await;
    let subject =
        |connected: Connected<UnixStream>| (connected.peer.serial().to_owned(), connected.peer.subject().to_owned());
    let (_, connected) = shake(&r.acceptor, &r.connector, "db1").await;
    let before = subject(connected.unwrap());
    // The certificate alone: it does not belong to the key, and the old goes on.
    let fresh = r.ca.issue("db1");
    r.dir.write("server.pem", &fresh.pem);
    let result = look(&r.acceptor);
    assert!(result.failed[0].contains("server.key: is not the key of the certificate in "), "{result:?}");
    let (_, connected) = shake(&r.acceptor, &r.connector, "db1").await;
    assert_eq!(subject(connected.unwrap()), before);
    r.dir.write("server.key", &fresh.key);
    assert_eq!(look(&r.acceptor).reloaded, [r.dir.path("server.key")]);
    let (_, connected) = shake(&r.acceptor, &r.connector, "db1").await;
    assert_ne!(subject(connected.unwrap()), before);
}

#[tokio::test]
async fn without_rights_to_the_key_a_certificate_renewed_for_it_is_taken_and_trust_goes_on() {
    let r = running(false).await;
    let key = KeyPair::from_pem(&std::fs::read_to_string(r.dir.path("server.key")).unwrap()).unwrap();
    // As after privileges were dropped; root would be let in all the same, so the key is gone for good.
    std::fs::remove_file(r.dir.path("server.key")).unwrap();
    let renewed = named("db1").signed_by(&key, &r.ca.issuer()).unwrap().pem();
    r.dir.write("server.pem", renewed);
    r.dir.write("ca.pem", format!("{}{}", r.ca.pem, Ca::root("other").pem));
    let result = look(&r.acceptor);
    assert_eq!(result.failed, Vec::<String>::new());
    assert!(result.reloaded.contains(&r.dir.path("server.pem")) && result.reloaded.contains(&r.dir.path("ca.pem")));
    // One for another key is not.
    r.dir.write("server.pem", r.ca.issue("db1").pem);
    let result = look(&r.acceptor);
    assert!(result.failed[0].contains("server.key: No such file or directory"), "{result:?}");
    assert!(result.failed[0].ends_with("what was read before is kept"), "{result:?}");
}

#[test]
fn a_file_that_we_may_not_read_is_told_with_the_user_we_are() {
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let words = super::super::files::denied(&denied);
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    assert_eq!(words, format!("permission denied (we run as {user} now)"));
}

#[tokio::test]
async fn a_swapped_symlink_is_a_change() {
    let r = running(false).await;
    let (one, two) = (r.dir.write("one/ca.pem", &r.ca.pem), r.dir.write("two/ca.pem", Ca::root("other").pem));
    std::fs::remove_file(r.dir.path("ca.pem")).unwrap();
    std::os::unix::fs::symlink(one.parent().unwrap(), r.dir.path("data")).unwrap();
    std::os::unix::fs::symlink("data/ca.pem", r.dir.path("ca.pem")).unwrap();
    assert_eq!(look(&r.acceptor).withdrawn.len(), 0);
    assert!(look(&r.acceptor).is_quiet());
    std::os::unix::fs::symlink(two.parent().unwrap(), r.dir.path("data.new")).unwrap();
    std::fs::rename(r.dir.path("data.new"), r.dir.path("data")).unwrap();
    assert_eq!(look(&r.acceptor).withdrawn.len(), 1);
}

#[tokio::test]
async fn the_facts_of_a_policy_are_there_to_be_told() {
    let r = running(true).await;
    let policy = r.acceptor.describe();
    assert_eq!(policy.own[0].subject, "/O=Galeway/CN=db1");
    let trust = policy.trust.unwrap();
    assert_eq!((trust.anchors, trust.certificates.len(), trust.crls.len()), (1, 1, 1));
    assert_eq!(trust.crls[0].subject, "/O=Galeway/CN=ca");
    let files: Vec<_> = r.acceptor.expiries().into_iter().map(|(file, _)| file).collect();
    assert_eq!(files, ["ca.pem", "crl.pem", "server.pem"].map(|name| r.dir.path(name)));
}

#[test]
fn what_a_peer_sends_along_without_need_makes_no_verdict_of_its_own() {
    let (dir, root) = (Dir::new(), Ca::root("root"));
    let between = root.intermediate("between");
    let again = between.params.signed_by(&between.key, &root.issuer()).unwrap().pem();
    let pair = between.issue("client");
    let peers = peers(Of::Clients, &chain_to(&dir.write("ca.pem", &root.pem)));
    let admit = |parts: &[&str]| peers.admit(&chain(&parts.concat()), None).unwrap();
    let first = admit(&[&pair.pem, &between.pem]);
    for i in 0..20 {
        let junk = Ca::root(&format!("junk{i}")).pem;
        assert!(admit(&[&pair.pem, &junk, &between.pem]).same(&first));
        assert!(admit(&[&pair.pem, &between.pem, &between.pem, &junk]).same(&first));
    }
    assert_eq!(peers.remembered(), 1);
    // After a change, too, when the verdict is made anew.
    peers.refresh(true, &mut Refreshed::default());
    assert!(admit(&[&pair.pem, &Ca::root("junk").pem, &between.pem]).same(&first));
    assert_eq!(peers.remembered(), 1);
    // Another link is another path, and one without any none.
    assert!(!admit(&[&pair.pem, &again]).same(&first));
    assert_eq!(peers.remembered(), 2);
    assert_eq!(peers.admit(&chain(&pair.pem), None).unwrap_err().reason(), Reason::UnknownCa);
}

#[test]
fn only_what_leads_out_of_the_chroot_is_outside_and_what_stays_with_it_is_told_apart() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let (shown, jail) = (identity(&dir, "jail/server", &ca.issue("db1")), dir.path("jail"));
    let out = dir.write("server.key", std::fs::read(&shown.key).unwrap());
    let (inside, rules) = (shown.cert.clone(), chain_to(&dir.write("jail/ca.pem", &ca.pem)));
    let outside = |identity: &Identity| {
        let accept = accepting(identity.clone(), ClientAuth::Require, rules.clone());
        Acceptor::inside(&accept, false, Some(&jail)).unwrap().outside()
    };
    assert_eq!(outside(&shown), Outside::default());
    let (files, with) = ([out.clone()].into(), [inside].into());
    assert_eq!(outside(&Identity { key: out, ..shown }), Outside { files, with, system: false });
}

#[test]
fn the_systems_store_has_its_name_in_refusals_after_a_reload_inside_a_chroot_too() {
    let (dir, ca) = (Dir::new(), Ca::root("ca"));
    let rules = PeerRules { ca: Some(CaStore::System), ..chain_to(&dir.path("ca.pem")) };
    let mut reach = Reach::new(Some(&dir.0), paths(&rules));
    // As from the system, which need not have one here.
    let mut before = Store::load(&chain_to(&dir.write("ca.pem", &ca.pem)), None, &reach).unwrap();
    before.members.iter_mut().for_each(|member| member.file = None);
    reach.enter();
    let after = Store::load(&rules, Some(Previous { store: &before, is_anew: true }), &reach).unwrap();
    assert_eq!((after.words.as_str(), after.anchors.len()), ("the system's store", 1));
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let judge = Judge { of: Of::Servers, rules: &Rules::new(&rules).unwrap(), store: &after, algorithms: &algorithms };
    let refusal =
        judge.judge(&chain(&Ca::root("other").issue("db1").pem), None, super::super::peers::now()).unwrap_err();
    says(refusal.what(), &["its issuer /O=Galeway/CN=other is not in the system's store"]);
}
