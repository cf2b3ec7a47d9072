//! Files that change inside a chroot, and those that lie outside of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use super::conf::Stunnel;
use super::live::{Stream, is_let_in, logged, one_ends};
use super::{NAME, Site, dial, echo, galeway, local, service};
use crate::fakes::LONG;
use crate::harness::process::Signal;
use crate::harness::{ports, root, until};
use crate::peer::tls::Authority;

/// A site with a directory `jail` in it, in which there are the CA and an empty CRL, in one directory under hashed names.
/// `None` only where the user asked for a run without root, which is said.
fn jailed() -> Option<Site> {
    if !root("changing the root directory") {
        return None;
    }
    let site = Site::new();
    fs::create_dir_all(site.path("jail/certs")).unwrap();
    site.put("jail/certs/00000001.0", &site.ca.pem());
    site.put("jail/certs/00000001.r0", &site.ca.crl(&[]));
    Some(site)
}

#[test]
fn what_lies_inside_a_chroot_lives_and_what_does_not_is_named() {
    let Some(site) = jailed() else { return };
    let (one, two) = (site.issue("one"), site.issue("two"));
    symlink("../ca.pem", site.path("jail/linked.pem")).unwrap();
    site.put("jail/certs/00000009.0", "no certificate\n");
    let bad = site.path("jail/certs/00000009.0").display().to_string();
    let jail = site.path("jail").display().to_string();
    let mut text = String::new();
    let mut section = |name: &str, ca: &str, lines: &str| {
        let (accept, section) = service(name, &[echo()], "");
        let table = site.accepting(name, lines).replace(&site.line("client_ca", "ca.pem"), &site.line("client_ca", ca));
        text += &(section + &table);
        accept
    };
    let s = section("s", "jail/certs", &site.line("crl", "jail/certs"));
    let t = section("t", "jail/linked.pem", "");
    // Of a certificate and its key one alone.
    site.put("jail/shown.pem", &site.server.certificate_pem);
    section("u", "jail/certs", "");
    let text = match text.rsplit_once(&site.line("cert", "server.pem")) {
        Some((before, behind)) => before.to_owned() + &site.line("cert", "jail/shown.pem") + behind,
        None => panic!("no certificate in {text}"),
    };
    let mut galeway = galeway(&format!("{text}[process]\nuser = \"nobody\"\nchroot = \"{jail}\"\n"));
    let outside = |names: &[&str]| {
        let mut paths: Vec<_> = names.iter().map(|name| site.path(name).display().to_string()).collect();
        paths.sort();
        format!("\"files\":\"{}\"", paths.join(", "))
    };
    let named = ["lie outside of the chroot", "needs a restart"];
    for (service, names) in
        [("s", &["server.key", "server.pem"][..]), ("t", &["server.key", "server.pem", "jail/linked.pem"])]
    {
        logged(&galeway, &[named[0], named[1], &format!("\"service\":\"{service}\""), &outside(names)]);
    }
    let with = format!("needs a restart; with them: {jail}/shown.pem, since a certificate and its key count together");
    logged(&galeway, &[named[0], &with, "\"service\":\"u\"", &outside(&["server.key"])]);
    let unread = galeway.log().matches("cannot be read any more").count();
    assert_eq!(unread, 1, "only what the link in the jail leads to: {}", galeway.log());

    let linked = Stream::new(&site, t, &one);
    let (gone, stays) = (Stream::new(&site, s, &one), Stream::new(&site, s, &two));
    let since = Instant::now();
    site.put("jail/certs/00000001.r0", &site.ca.crl(&[&one]));
    let words = format!("it is revoked by the CRL in {jail}/certs");
    one_ends(&galeway, since, &gone, &stays, &words);

    // Told at the start, outside of the chroot, and not once more because its directory was read again inside.
    let told = || {
        let of_it = |line: &&str| line.contains("does not count") && line.contains(&bad);
        galeway.log().lines().filter(of_it).count()
    };
    assert_eq!(told(), 1, "{}", galeway.log());
    site.put("jail/certs/00000009.0", "still no certificate\n");
    until(LONG, "the changed file", || (told() == 2).then_some(()));

    // A CA that comes, and goes.
    let other = Authority::new("other");
    let three = other.issue("three", &["three"]);
    assert!(!is_let_in(&site, s, &three));
    site.put("jail/certs/00000002.r0", &other.crl(&[]));
    site.put("jail/certs/00000002.0", &other.pem());
    until(LONG, "the new CA", || is_let_in(&site, s, &three).then_some(()));
    let file = site.path("jail/certs/00000002.0").display().to_string();
    let end =
        || galeway.metric("galeway_tls_certificate_expiry_timestamp_seconds", &[("service", "s"), ("file", &file)]);
    assert!(end() > 0.0);
    fs::remove_file(&file).unwrap();
    until(LONG, "the end of the CA that is gone", || (end() == 0.0).then_some(()));
    assert!(!is_let_in(&site, s, &three) && is_let_in(&site, s, &two));

    assert_eq!(told(), 2, "{}", galeway.log());

    // What lies outside stays, also when it is asked for, and nobody loses by that.
    let before = galeway.log().matches(named[0]).count();
    site.keep("server", &site.ca.issue("renewed", &[NAME]));
    galeway.signal(Signal::HUP);
    until(LONG, "the names once more", || (galeway.log().matches(named[0]).count() >= before + 3).then_some(()));
    logged(&galeway, &["read again", &format!("{jail}/certs\"")]);
    let client = dial(s, site.client(Some(&two))).unwrap();
    assert_eq!(client.conn.peer_certificates().unwrap()[0], site.server.certificate);
    linked.goes_on();
    stays.goes_on();
    assert!(!galeway.log().contains("\"message\":\"not read again: "), "{}", galeway.log());
}

#[test]
fn a_stunnel_conf_is_read_again_inside_its_chroot_where_it_is_there_too() {
    let Some(site) = jailed() else { return };
    let (one, two) = (site.issue("one"), site.issue("two"));
    let accept = local(ports::free());
    let text = format!(
        "foreground = yes\nsyslog = no\ndebug = debug\npid =\nchroot = {}\n[s]\naccept = {accept}\nconnect = {}\n\
         cert = {}\nkey = {}\nverifyChain = yes\nCApath = /certs\nCRLpath = /certs\n",
        site.path("jail").display(),
        echo(),
        site.path("server.pem").display(),
        site.path("server.key").display()
    );
    site.put("stunnel.conf", &text);
    let mut stunnel = Stunnel::start(&site);
    stunnel.wait("lie outside of the chroot", 1);
    let (gone, stays) = (Stream::new(&site, accept, &one), Stream::new(&site, accept, &two));
    site.put("jail/certs/00000001.r0", &site.ca.crl(&[&one]));
    gone.ended();
    assert!(!is_let_in(&site, accept, &one) && is_let_in(&site, accept, &two));

    // Nothing of it is inside.
    stunnel.signal(Signal::HUP);
    stunnel.wait("Failed to reload the configuration file", 1);
    let inside = site.path("jail").join(site.path("").strip_prefix("/").unwrap());
    fs::create_dir_all(&inside).unwrap();
    let renewed = site.ca.issue("renewed", &[NAME]);
    site.keep("renewed", &renewed);
    for (from, to) in [("stunnel.conf", "stunnel.conf"), ("renewed.pem", "server.pem"), ("renewed.key", "server.key")] {
        fs::copy(site.path(from), inside.join(to)).unwrap();
    }
    stunnel.signal(Signal::HUP);
    stunnel.wait("Accepting new connections", 1);
    stunnel.wait("Configuration successful", 2);
    until(LONG, "the certificate that is inside", || {
        let client = dial(accept, site.client(Some(&two))).unwrap();
        (client.conn.peer_certificates().unwrap()[0] == renewed.certificate).then_some(())
    });
    // By now nothing is outside of the root that was there when it was read.
    let three = site.issue("three");
    assert!(is_let_in(&site, accept, &three));
    site.put("jail/certs/00000001.r0", &site.ca.crl(&[&one, &three]));
    until(LONG, "the newest CRL", || (!is_let_in(&site, accept, &three)).then_some(()));
    stays.goes_on();
    stunnel.wait("lie outside of the chroot", 1);
}
