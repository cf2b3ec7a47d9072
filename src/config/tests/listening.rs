//! Where services listen, and how.

use super::*;
use crate::config::{HostPort, Listen, SocketAccess};

/// [`LEAST`] whose service accepts on this, written in quotes, and has further keys.
fn accepting(accept: &str, keys: &str) -> String {
    with("", "", keys).replace("accept = \"127.0.0.1:3306\"", &format!("accept = {accept}"))
}

/// The addresses that such a service accepts on.
fn accepts(accept: &str) -> Vec<String> {
    good(&accepting(accept, "")).services[0].accept.iter().map(ToString::to_string).collect()
}

#[test]
fn accept_takes_unix_sockets_and_sockets_that_are_handed_over() {
    let scratch = Scratch::new();
    let loaded = scratch.parse(&accepting("['unix:a.sock', 'unix:/tmp/b.sock', 'fd:mysql.1']", "")).unwrap();
    let expected = [
        Listen::Unix(scratch.0.join("a.sock").into()),
        Listen::Unix(Path::new("/tmp/b.sock").into()),
        Listen::Inherited("mysql.1".into()),
    ];
    assert_eq!(loaded.config.services[0].accept, expected);
    assert!(loaded.warnings.is_empty());
    assert_eq!(accepts("'unix:/tmp/b.sock'"), ["unix:/tmp/b.sock"]);
    assert_eq!(accepts("'fd:x'"), ["fd:x"]);
}

#[test]
fn a_malformed_socket_says_what_to_write() {
    let url = "write the path alone behind `unix:`, beginning with one slash";
    let abstract_help = "nothing says who may open one; write the path of a file: \"unix:/path/to/a.sock\"";
    let fd =
        "write \"fd:NAME\", the FileDescriptorName= of the .socket unit: letters, digits and signs without a colon";
    for (accept, message, help) in [
        ("unix:", "`unix:` names no path", "write \"unix:/path/to/a.sock\""),
        ("unix:///tmp/a", "`unix:///tmp/a` is a URL, not an address", url),
        ("unix:@a", "`unix:@a`: abstract sockets are not supported", abstract_help),
        ("/tmp/a", "`/tmp/a` is a path, not an address", "a Unix socket is written with `unix:` before its path"),
        ("fd:", "`fd:` names no socket", fd),
        ("fd:a:b", "`fd:a:b` names no socket", fd),
        ("fd:a b", "`fd:a b` names no socket", fd),
    ] {
        let said = marked(&accepting(&format!("'{accept}'"), ""));
        assert_eq!(said, [format!("'{accept}': {message} ({help})")]);
    }
    let said = messages(&accepting("\"unix:/tmp/a\\nb\"", ""));
    assert!(said[0].ends_with("a control character cannot stand in this path"), "{said:?}");
}

#[test]
fn a_socket_has_a_name_of_at_most_107_bytes_in_a_directory_that_is_there() {
    let scratch = Scratch::new();
    let longest = format!("/tmp/{}", "x".repeat(102));
    assert_eq!(accepts(&format!("'unix:{longest}'")), [format!("unix:{longest}")]);
    let said = messages(&accepting(&format!("'unix:{longest}x'"), ""));
    assert!(said[0].ends_with("is 108 bytes long: the path of a socket has at most 107"), "{said:?}");

    let refused = |path: &str| scratch.parse(&accepting(&format!("'unix:{path}'"), "")).unwrap_err();
    for (path, part) in [(".", "is a directory: the socket needs a name in it"), ("no/a.sock", "there is no directory")]
    {
        let refused = refused(path);
        assert_eq!((refused.len(), refused.iter().next().unwrap().place()), (1, Some((9, 10))), "{refused}");
        assert!(refused.iter().next().unwrap().message().contains(part), "{refused}");
    }
}

#[test]
fn a_port_may_be_a_name_of_etc_services() {
    // Hosts without the file know no name: what is right depends on the host, and something is asserted on each.
    let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
    let known = services.lines().any(|line| line.split_whitespace().take(2).eq(["mysql", "3306/tcp"]));
    let unknown = |text: &str| {
        let refused = text.parse::<HostPort>().unwrap_err().to_string();
        refused.ends_with(" is neither a port number nor a TCP service of /etc/services")
    };
    if known {
        assert_eq!(accepts("['127.0.0.1:mysql', '[::1]:mysql', 'localhost:ssh']").len(), 3);
        assert_eq!(accepts("'127.0.0.1:mysql'"), ["127.0.0.1:3306"]);
        assert_eq!("db1:mysql".parse::<HostPort>().unwrap().port, 3306);
    } else {
        assert!(unknown("db1:mysql"));
    }
    assert!(unknown("db1:xyzzy"));
    let said = marked(&accepting("'127.0.0.1:xyzzy'", ""));
    let message = "`127.0.0.1:xyzzy`: `xyzzy` is neither a port number nor a TCP service of /etc/services";
    assert!(said[0].starts_with(&format!("'127.0.0.1:xyzzy': {message} (")), "{said:?}");
}

#[test]
fn two_services_cannot_accept_on_one_socket() {
    for accept in ["unix:/tmp/galeway-one.sock", "fd:one"] {
        let text = accepting(&format!("'{accept}'"), "");
        let said = marked(&format!("{text}[service.other]\naccept = ['fd:two', '{accept}']\ncluster = 'main'\n"));
        let message = format!("`{accept}` is taken already: service `any` listens on `{accept}`");
        assert_eq!(said, [format!("'{accept}': {message} (see line 9)")]);
    }
}

#[test]
fn a_service_cannot_take_the_admin_socket_written_or_not() {
    let scratch = Scratch::new();
    let path = scratch.0.join("a.sock");
    let text = format!("{}[admin]\nsocket = 'a.sock'\n", accepting("'unix:a.sock'", ""));
    let refused = scratch.parse(&text).unwrap_err();
    let only = refused.iter().next().unwrap();
    let path = path.display();
    assert_eq!(only.message(), format!("`unix:{path}` is taken already: service `any` listens on `unix:{path}`"));
    assert_eq!(only.place(), Some((12, 10)));

    // The default one's directory need not be there, which is another error.
    let said = messages(&accepting("'unix:/run/galeway/admin.sock'", ""));
    let taken = "error: `unix:/run/galeway/admin.sock` is taken already: [admin] listens on \
                 `unix:/run/galeway/admin.sock`";
    assert!(said.contains(&taken.to_owned()), "{said:?}");
}

#[test]
fn freebind_is_about_addresses() {
    assert!(service("freebind = true").freebind);
    assert!(!service("freebind = false").freebind);
    let said = marked(&accepting("['fd:x', 'unix:/tmp/y']", "freebind = true"));
    let message = "`freebind` is not looked at: this service accepts on no \"IP:PORT\"";
    let help = "it is about addresses that Galeway binds itself; leave it out";
    assert_eq!(said, [format!("freebind: {message} ({help})")]);
    good(&accepting("'fd:x'", "freebind = false"));
    assert_eq!(messages(&with("", "", "freebind = 1")), ["error: expected true or false, found an integer"]);
}

/// Who may open the socket of a service on `unix:` with these keys.
fn socket(keys: &str) -> SocketAccess {
    good(&accepting("'unix:/tmp/x.sock'", keys)).services[0].socket.clone()
}

#[test]
fn a_socket_has_a_mode_and_an_owner() {
    for (text, mode) in [("0660", 0o660), ("660", 0o660), ("0777", 0o777), ("0", 0)] {
        assert_eq!(socket(&format!("socket_mode = '{text}'")).mode, mode, "{text}");
    }
    for (text, user, group) in [
        ("galeway:app", Some("galeway"), Some("app")),
        ("galeway:", Some("galeway"), None),
        (":1000", None, Some("1000")),
    ] {
        let socket = socket(&format!("socket_owner = '{text}'"));
        assert_eq!((socket.user.as_deref(), socket.group.as_deref()), (user, group), "{text}");
        assert_eq!(socket.owner().as_deref(), Some(text));
    }
    assert_eq!(socket("").owner(), None);
}

#[test]
fn a_mode_or_an_owner_that_is_none_says_what_to_write() {
    let mode = "write it in octal, \"0000\" to \"0777\"; whoever may write to the file may connect";
    let owner = "write \"USER:GROUP\", \"USER:\" or \":GROUP\"; names or numbers";
    for (key, help, texts) in [
        ("socket_mode", mode, ["", "1777", "0o660", "rw-rw----", "+660"]),
        ("socket_owner", owner, ["", ":", "galeway", "a:b:c", "a b:"]),
    ] {
        for text in texts {
            let said = marked(&accepting("'unix:/tmp/x.sock'", &format!("{key} = '{text}'")));
            assert_eq!(said, [format!("'{text}': `{key}` cannot be `{text}` ({help})")]);
        }
    }
    let said = messages(&accepting("'unix:/tmp/x.sock'", "socket_mode = 660"));
    assert_eq!(said, ["error: expected a mode in octal such as \"0660\", found an integer"]);
}

#[test]
fn a_mode_or_an_owner_without_a_socket_is_refused() {
    let help = "it is about the file of a socket that Galeway makes: accept = \"unix:/path\"";
    for (key, value) in [("socket_mode", "0666"), ("socket_owner", "a:b")] {
        let said = marked(&accepting("['127.0.0.1:1', 'fd:x']", &format!("{key} = '{value}'")));
        assert_eq!(said, [format!("{key}: `{key}` is not looked at: this service accepts on no \"unix:\" ({help})")]);
    }
    good(&with("", "", "socket_mode = '0660'"));
}
