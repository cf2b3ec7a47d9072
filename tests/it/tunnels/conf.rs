//! Files of stunnel: what an operator reads in the log.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{Site, dial, local};
use crate::fakes::LONG;
use crate::harness::galeway::binary;
use crate::harness::process::{Process, Signal};
use crate::harness::{ports, until};
use crate::targets::Target;

/// A `galeway stunnel` with this file; what it says is in `stderr`.
pub(super) struct Stunnel {
    process: Process,
    said: PathBuf,
}

impl Stunnel {
    #[track_caller]
    pub(super) fn start(site: &Site) -> Self {
        let said = site.path("stderr");
        let to = fs::File::create(&said).unwrap();
        let mut command = Command::new(binary());
        command.arg("stunnel").arg(site.path("stunnel.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(to);
        let stunnel = Self { process: Process::spawn(&mut command), said };
        stunnel.wait("Accepting new connections", 1);
        stunnel
    }

    #[track_caller]
    pub(super) fn wait(&self, words: &str, times: usize) {
        let found = || (self.said().matches(words).count() == times).then_some(());
        until(LONG, &format!("{words:?} {times} times"), found);
    }

    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }
}

/// Options of a process in the foreground, and a server end's certificate for all sections.
fn head(site: &Site) -> String {
    format!(
        "foreground = yes\nsyslog = no\ndebug = debug\npid =\ncert = {}\nkey = {}\n",
        site.path("server.pem").display(),
        site.path("server.key").display()
    )
}

#[test]
fn a_redirected_client_is_told_of_by_the_name_of_its_section() {
    let site = Site::new();
    let (accept, elsewhere) = (local(ports::free()), Target::start("elsewhere"));
    let section = format!(
        "[server]\naccept = {accept}\nconnect = {}\nverifyPeer = yes\nCAfile = {}\nredirect = {}\n",
        local(ports::free()),
        site.path("ca.pem").display(),
        elsewhere.addr()
    );
    site.put("stunnel.conf", &(head(&site) + &section));
    let stunnel = Stunnel::start(&site);
    let mut client = dial(accept, site.client(None)).unwrap();
    client.conn.send_close_notify();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "elsewhere: ");
    stunnel.wait("Service [server] connected remote server from ", 1);
    assert!(!stunnel.said().contains("Service [server/"), "{}", stunnel.said());
}

#[test]
fn a_certificate_that_does_not_count_is_told_once_for_all_services_and_again_when_it_changes() {
    let site = Site::new();
    fs::create_dir(site.path("certs")).unwrap();
    site.put("certs/00000001.0", &site.ca.pem());
    site.put("certs/00000002.0", "no certificate\n");
    let mut text = head(&site) + &format!("verifyChain = yes\nCApath = {}\n", site.path("certs").display());
    for name in ["one", "two", "three"] {
        let (accept, connect) = (local(ports::free()), local(ports::free()));
        text += &format!("[{name}]\naccept = {accept}\nconnect = {connect}\n");
    }
    site.put("stunnel.conf", &text);
    let stunnel = Stunnel::start(&site);
    let bad = site.path("certs/00000002.0").display().to_string();
    let told = || {
        let of_it = |line: &&str| line.contains("does not count") && line.contains(&bad);
        stunnel.said().lines().filter(of_it).count()
    };
    assert_eq!(told(), 1, "{}", stunnel.said());
    // Another file changes, which each of the services reads all of them again for.
    site.put("certs/00000003.0", &site.ca.pem());
    stunnel.wait("certs/00000003.0", 3);
    assert_eq!(told(), 1, "{}", stunnel.said());
    site.put("certs/00000002.0", "still no certificate\n");
    until(LONG, "the changed file", || (told() == 2).then_some(()));
    stunnel.wait("read again", 6);
    assert_eq!(told(), 2, "{}", stunnel.said());
}
