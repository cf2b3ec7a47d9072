//! Tests, a file for each subject.

mod addresses;
mod ciphers;
mod converting;
mod documented;
mod fuzz;
mod grammar;
mod included;
mod man06;
mod peers;
mod process;
mod refusals;
mod traffic;
mod traps;
mod versions;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::load::{World, read_in};
use super::names::Account;
use super::{ServiceExtras, Stunnel};
use crate::config::diagnostic::Diagnostics;
use crate::config::model::{Service, TlsAccept, TlsConnect};

/// A server end and nothing else.
const SERVER: &str = "[mysql]\naccept = 127.0.0.1:3307\nconnect = 127.0.0.1:3306\ncert = /c.pem\n";

/// A client end and nothing else. It verifies, so that there is nothing to warn of.
const CLIENT: &str = "[mysql]\nclient = yes\naccept = 127.0.0.1:3307\nconnect = db.example:3307\nverifyChain = yes\n\
                      CAfile = /ca.pem\ncheckHost = db.example\n";

/// The names that the tests' resolver knows.
fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    let ip = |text: &str| text.parse().unwrap();
    match host {
        "localhost" => Ok(vec![ip("::1"), ip("127.0.0.1"), ip("127.0.0.1")]),
        "here.example" => Ok(vec![ip("10.0.0.1")]),
        "nowhere.example" => Ok(Vec::new()),
        _ => Err(io::Error::other("no such name")),
    }
}

/// Parses as `stunnel.conf`, started in `/start`.
fn parse(text: &str) -> Result<Stunnel, Diagnostics> {
    read_in(text, Path::new("stunnel.conf"), &world()).map(|read| read.stunnel)
}

/// The accounts of the tests' host, which is a Debian.
fn knows(what: Account, name: &str) -> bool {
    matches!((what, name), (_, "mysql") | (Account::User, "nobody") | (Account::Group, "nogroup"))
}

fn world() -> World<'static> {
    World { directory: PathBuf::from("/start"), lookup: &lookup, knows: &knows, inside: false }
}

/// A file that is fine and calls for no warning.
fn good(text: &str) -> Stunnel {
    let read = parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(read.warnings.is_empty(), "{}", read.warnings);
    read
}

/// A file that can be used, whatever there is to say about it.
fn usable(text: &str) -> Stunnel {
    parse(text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// `LINE: SEVERITY: MESSAGE` of everything there is to say.
fn said(text: &str) -> Vec<String> {
    let all = parse(text).map_or_else(|refused| refused, |read| read.warnings);
    all.iter().map(|item| format!("{}: {}: {}", item.place().unwrap().0, item.severity(), item.message())).collect()
}

/// The only thing there is to say, and what to do about it.
fn only(text: &str) -> (String, String) {
    let all = parse(text).map_or_else(|refused| refused, |read| read.warnings);
    assert_eq!(all.len(), 1, "{all}");
    let item = all.iter().next().unwrap();
    (format!("{}: {}", item.severity(), item.message()), item.help().unwrap_or_default().to_owned())
}

/// The one service of a file that is fine.
fn service(text: &str) -> Service {
    only_service(&good(text))
}

fn only_service(read: &Stunnel) -> Service {
    assert_eq!(read.config.services.len(), 1);
    read.config.services[0].as_ref().clone()
}

fn extras(text: &str) -> ServiceExtras {
    usable(text).launch.services["mysql"].clone()
}

/// [`SERVER`] with further lines.
fn server_with(lines: &str) -> String {
    format!("{SERVER}{lines}\n")
}

/// [`CLIENT`] with further lines.
fn client_with(lines: &str) -> String {
    format!("{CLIENT}{lines}\n")
}

/// TLS of [`SERVER`] with further lines that may call for warnings.
fn accept_tls(lines: &str) -> TlsAccept {
    let service = only_service(&usable(&server_with(lines)));
    assert!(service.connect_tls.is_none());
    service.tls.unwrap().as_ref().clone()
}

/// TLS of [`CLIENT`] with further lines that may call for warnings.
fn connect_tls(lines: &str) -> TlsConnect {
    let service = only_service(&usable(&client_with(lines)));
    assert!(service.tls.is_none());
    service.connect_tls.unwrap().as_ref().clone()
}
