//! The two files of the EGI's manual MAN06, as it prints them and as they are meant.

use super::*;
use crate::config::ClientAuth;

const PRIMARY: &str = "# Authentication stuff verify = 2
CApath = /etc/grid-security/certificates
cert = /etc/grid-security/hostcert.pem
key = /etc/grid-security/hostkey.pem
# Some debugging stuff
;debug = 7
output = /var/log/stunnel.log
pid = /var/run/stunnel/stunnel.pid
;chroot = /var/run/stunnel
setuid = nobody setgid = nobody
[mysql]
accept = 3307
connect = 127.0.0.1:3306
";

fn replica() -> String {
    PRIMARY
        .replace("[mysql]\n", "client = yes\n[mysql]\n")
        .replace("accept = 3307", "accept = 127.0.0.1:3307")
        .replace("connect = 127.0.0.1:3306", "connect = server1.domain.one:3307")
}

fn repaired(text: &str) -> String {
    text.replace("# Authentication stuff verify = 2", "# Authentication stuff\nverify = 2")
        .replace("setuid = nobody setgid = nobody", "setuid = nobody\nsetgid = nogroup")
}

#[test]
fn as_published_both_traps_are_named() {
    for text in [PRIMARY.to_owned(), replica()] {
        let all = said(&text);
        let swallowed = "1: warning: this is a comment, so `verify = 2` does not hold";
        assert!(all.contains(&swallowed.to_owned()), "{all:?}");
        let second = "10: error: `setgid =` stands in the value of `setuid`, and so is not read";
        assert!(all.contains(&second.to_owned()), "{all:?}");
        assert!(
            all.contains(&"2: warning: `CApath` is not looked at: no certificate is verified here".to_owned()),
            "{all:?}"
        );
        assert_eq!(all.iter().filter(|one| one.contains(" error: ")).count(), 1, "{all:?}");
    }
}

#[test]
fn with_its_comment_as_published_the_primary_asks_nobody() {
    let text = repaired(PRIMARY).replace("# Authentication stuff\n", "# Authentication stuff ");
    assert_eq!(only_service(&usable(&text)).tls.unwrap().client_auth, ClientAuth::Off);
}

#[test]
fn as_meant_the_primary_lets_in_who_has_a_certificate_of_a_ca() {
    let read = good(&repaired(PRIMARY));
    let service = only_service(&read);
    let tls = service.tls.unwrap();
    assert_eq!((tls.client_auth, tls.peer.chain, tls.peer.in_store), (ClientAuth::Require, true, false));
    assert_eq!(tls.identity.key, PathBuf::from("/etc/grid-security/hostkey.pem"));
    assert_eq!(service.accept.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0.0.0.0:3307", "[::]:3307"]);
    let process = read.config.process;
    assert_eq!(
        (process.user.as_deref(), process.group.as_deref(), process.chroot),
        (Some("nobody"), Some("nogroup"), None)
    );
    assert_eq!(process.pid_file, Some("/var/run/stunnel/stunnel.pid".into()));
}

#[test]
fn as_meant_the_replica_is_told_that_any_certificate_of_the_directory_will_do() {
    let text = repaired(&replica());
    assert_eq!(said(&text), ["14: warning: Service [mysql] uses \"verifyChain\" without subject checks"]);
    let service = only_service(&usable(&text));
    assert!(service.tls.is_none());
    assert!(service.connect_tls.unwrap().peer.chain);
    good(&text.replace("accept = ", "checkHost = server1.domain.one\naccept = "));
}
