//! Files that change, and certificates that expire, while sessions go on.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rcgen::date_time_ymd;

use super::{NAME, Site, dial, echo, galeway, service};
use crate::fakes::{LONG, access};
use crate::harness::process::Signal;
use crate::harness::{Galeway, millis, secs, until};
use crate::peer::tls::{Authority, Identity};

/// After it a session whose certificate is no longer good is over, and what a busy machine may add.
const ENDED: Duration = secs(5);
const SLACK: Duration = secs(1);

/// A session that says something and hears it again, over and over, until it fails or is stopped.
pub(super) struct Stream {
    from: Option<SocketAddr>,
    rounds: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    failed: Arc<Mutex<Option<Instant>>>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    #[track_caller]
    pub(super) fn new(site: &Site, accept: SocketAddr, identity: &Identity) -> Self {
        let mut client = dial(accept, site.client(Some(identity))).unwrap();
        let from = client.sock.local_addr().ok();
        let (rounds, stop, failed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default(), Arc::default());
        let shared = (Arc::clone(&rounds), Arc::clone(&stop), Arc::<Mutex<Option<Instant>>>::clone(&failed));
        let thread = std::thread::spawn(move || {
            let (rounds, stop, failed) = shared;
            let (bytes, mut heard) = ([7; 1000], [0; 1000]);
            while !stop.load(Ordering::SeqCst) {
                let round =
                    client.write_all(&bytes).and_then(|()| client.flush()).and_then(|()| client.read_exact(&mut heard));
                if round.is_err() {
                    *failed.lock().unwrap() = Some(Instant::now());
                    return;
                }
                rounds.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(millis(5));
            }
        });
        let stream = Self { from, rounds, stop, failed, thread: Some(thread) };
        stream.goes_on();
        stream
    }

    /// Bytes still go both ways, and this is not the first time that it was asked.
    #[track_caller]
    pub(super) fn goes_on(&self) {
        let before = self.rounds.load(Ordering::SeqCst);
        until(LONG, "further bytes", || (self.rounds.load(Ordering::SeqCst) > before + 3).then_some(()));
    }

    /// Waits for its end and returns when it came.
    #[track_caller]
    pub(super) fn ended(&self) -> Instant {
        until(LONG, "the session's end", || *self.failed.lock().unwrap())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A server end that asks for certificates, with a CRL, in front of an echo.
fn server_end(site: &Site, crl: &str) -> (SocketAddr, Galeway) {
    let (accept, section) = service("s", &[echo()], "");
    (accept, galeway(&(section + &site.accepting("s", &site.line("crl", crl)))))
}

/// Whether someone with this certificate is let in now, and heard.
pub(super) fn is_let_in(site: &Site, accept: SocketAddr, identity: &Identity) -> bool {
    let Ok(mut client) = dial(accept, site.client(Some(identity))) else { return false };
    client.write_all(b"x").and_then(|()| client.read_exact(&mut [0])).is_ok()
}

/// Waits for a line of the log that holds all of these.
#[track_caller]
pub(super) fn logged(galeway: &Galeway, words: &[&str]) -> String {
    until(LONG, &format!("{words:?} in the log"), || {
        galeway.log().lines().find(|line| words.iter().all(|w| line.contains(w))).map(str::to_owned)
    })
}

/// The session of the first ends within the time since `since`, by the rules; the second's bytes go on.
#[track_caller]
pub(super) fn one_ends(galeway: &Galeway, since: Instant, gone: &Stream, stays: &Stream, words: &str) {
    let took = gone.ended() - since;
    stays.goes_on();
    let event = access(galeway, gone.from);
    println!("ended {took:?} after the change: {event}");
    assert!(took < ENDED + SLACK, "{took:?}");
    assert_eq!((event["end"].as_str(), event["by"].as_str()), (Some("certificate_withdrawn"), Some("galeway")));
    assert!(event["detail"].as_str().unwrap().contains(words), "{event}");
    let closed = |reason| galeway.metric("galeway_connections_closed_total", &[("reason", reason)]);
    assert_eq!(closed("certificate_withdrawn"), 1.0);
    assert!(galeway.access_log().iter().all(|e| e["client"] != stays.from.unwrap().to_string()));
}

#[test]
fn a_session_whose_certificate_is_revoked_ends_and_the_others_go_on() {
    let site = Site::new();
    let (one, two) = (site.issue("one"), site.issue("two"));
    site.put("crl.pem", &site.ca.crl(&[]));
    let (accept, galeway) = server_end(&site, "crl.pem");
    let (gone, stays) = (Stream::new(&site, accept, &one), Stream::new(&site, accept, &two));
    let since = Instant::now();
    site.put("crl.pem", &site.ca.crl(&[&one]));
    let words = format!("it is revoked by the CRL in {}", site.path("crl.pem").display());
    one_ends(&galeway, since, &gone, &stays, &words);
    logged(&galeway, &["no longer good: its sessions end", "\"subject\":\"/CN=one\"", &words]);
    assert!(!is_let_in(&site, accept, &one) && is_let_in(&site, accept, &two));
    stays.goes_on();
}

#[test]
fn a_link_that_is_turned_to_another_directory_counts_as_a_change() {
    let site = Site::new();
    let (one, two) = (site.issue("one"), site.issue("two"));
    // As Kubernetes mounts secrets: the file is a link into a directory that is itself behind one.
    for (version, list) in [("v1", site.ca.crl(&[])), ("v2", site.ca.crl(&[&one]))] {
        std::fs::create_dir(site.path(version)).unwrap();
        std::fs::write(site.path(version).join("crl.pem"), list).unwrap();
    }
    symlink("v1", site.path("now")).unwrap();
    symlink("now/crl.pem", site.path("crl.pem")).unwrap();
    let (accept, galeway) = server_end(&site, "crl.pem");
    let (gone, stays) = (Stream::new(&site, accept, &one), Stream::new(&site, accept, &two));
    let since = Instant::now();
    symlink("v2", site.path("next")).unwrap();
    std::fs::rename(site.path("next"), site.path("now")).unwrap();
    one_ends(&galeway, since, &gone, &stays, "it is revoked by the CRL in");
}

#[test]
fn files_that_are_bad_change_nothing_and_are_named() {
    let site = Site::new();
    let one = site.issue("one");
    site.put("crl.pem", &site.ca.crl(&[]));
    let (accept, galeway) = server_end(&site, "crl.pem");
    let stream = Stream::new(&site, accept, &one);
    let all = ["crl.pem", "ca.pem", "server.pem"];
    let good = all.map(|name| std::fs::read_to_string(site.path(name)).unwrap());
    // Each by itself, so that none can hide behind another.
    for (name, text) in all.iter().zip(&good) {
        site.put(name, "-----BEGIN CERTIFICATE-----\nhalf\n");
        logged(&galeway, &["not read again: ", &site.path(name).display().to_string()]);
        assert!(is_let_in(&site, accept, &one), "{name}");
        stream.goes_on();
        site.put(name, text);
        logged(&galeway, &["read again: in force", &format!("\"file\":\"{}\"", site.path(name).display())]);
    }
    // A certificate without its key.
    site.put("server.pem", &site.ca.issue(NAME, &[NAME]).certificate_pem);
    logged(&galeway, &["not read again: ", "server.key", "is not the key of the certificate in"]);
    assert!(is_let_in(&site, accept, &one));
    stream.goes_on();
}

#[test]
fn a_new_certificate_of_ours_is_shown_to_new_connections_without_a_restart() {
    let site = Site::new();
    let one = site.issue("one");
    site.put("crl.pem", &site.ca.crl(&[]));
    let (accept, galeway) = server_end(&site, "crl.pem");
    let stream = Stream::new(&site, accept, &one);
    let shown = || dial(accept, site.client(Some(&one))).unwrap().conn.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown(), site.server.certificate);
    let until_2031 = |params: &mut rcgen::CertificateParams| params.not_after = date_time_ymd(2031, 1, 1);
    let new = site.ca.issue_with(NAME, &[NAME], until_2031);
    site.keep("server", &new);
    until(LONG, "the new certificate", || (shown() == new.certificate).then_some(()));
    stream.goes_on();
    let expiry = |name: &str| {
        let path = site.path(name).display().to_string();
        galeway.metric("galeway_tls_certificate_expiry_timestamp_seconds", &[("service", "s"), ("file", &path)])
    };
    assert_eq!(expiry("server.pem"), 1_924_992_000.0);
    // Of the CRL's next update, and of the CA.
    assert_eq!(expiry("crl.pem"), date_time_ymd(4000, 1, 1).unix_timestamp() as f64);
    assert_eq!(expiry("ca.pem"), date_time_ymd(4096, 1, 1).unix_timestamp() as f64);
}

#[test]
fn a_session_whose_certificate_expires_ends_soon_after() {
    let site = Site::new();
    let valid = secs(8);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + valid;
    // Whole seconds are all that a certificate can say.
    let at = Duration::from_secs(at.as_secs());
    let soon = site.ca.issue_with("soon", &["soon"], |params| params.not_after = date_time_ymd(1970, 1, 1) + at);
    site.put("crl.pem", &site.ca.crl(&[]));
    let (accept, galeway) = server_end(&site, "crl.pem");
    let (gone, stays) = (Stream::new(&site, accept, &soon), Stream::new(&site, accept, &site.issue("two")));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let expires = Instant::now() + at.checked_sub(now).expect("a machine that makes a certificate in 8 s");
    assert!(gone.ended() >= expires, "it was good until then");
    one_ends(&galeway, expires, &gone, &stays, "/CN=soon (issuer /CN=site");
    assert!(access(&galeway, gone.from)["detail"].as_str().unwrap().contains("it expired at "));
    assert!(!is_let_in(&site, accept, &soon));
}

#[test]
fn sighup_reads_everything_again_changed_or_not() {
    let site = Site::new();
    let one = site.issue("one");
    site.put("crl.pem", &site.ca.crl(&[]));
    let (accept, mut galeway) = server_end(&site, "crl.pem");
    let stream = Stream::new(&site, accept, &one);
    assert!(!galeway.log().contains("read again"));
    galeway.signal(Signal::HUP);
    for name in ["crl.pem", "ca.pem", "server.pem"] {
        logged(&galeway, &["read again: in force", &format!("\"file\":\"{}\"", site.path(name).display())]);
    }
    stream.goes_on();
    // Another CA in place of ours, and asked for: nobody of ours is let in, and running sessions end.
    let since = Instant::now();
    site.put("ca.pem", &Authority::new("new").pem());
    galeway.signal(Signal::HUP);
    let took = stream.ended() - since;
    assert!(took < ENDED + SLACK, "{took:?}");
    let event = access(&galeway, stream.from);
    assert_eq!(event["end"], "certificate_withdrawn");
    assert!(event["detail"].as_str().unwrap().contains("its issuer /CN=site is not in"), "{event}");
}
