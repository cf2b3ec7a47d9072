//! The configuration file as a file, and the files it names.

use super::*;
use crate::config::{TlsMode, load};

#[test]
fn a_file_that_is_not_there_is_one_clear_error() {
    let refused = load(Path::new("/nonexistent/galeway.toml")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "/nonexistent/galeway.toml: error: there is no such file\n      = help: name another with -c FILE"
    );
}

#[test]
fn a_directory_is_no_configuration_file() {
    let scratch = Scratch::new();
    let refused = load(&scratch.0).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("{}: error: this is a directory, not a configuration file", scratch.0.display())
    );
}

#[test]
fn bytes_that_are_not_text_are_named_by_their_place() {
    let scratch = Scratch::new();
    let path = scratch.write("galeway.toml", b"[process]\n# \xc3\xa4 \xff\n");
    let refused = load(&path).unwrap_err();
    assert!(refused.to_string().contains("galeway.toml:2:5: error: this byte is not UTF-8\n"), "{refused}");
}

#[test]
fn a_file_beyond_all_measure_is_refused_without_being_read_whole() {
    let refused = load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(refused.to_string(), "/dev/zero: error: it is larger than 4 MiB: not a configuration file");
}

#[test]
fn paths_start_beside_the_file_that_names_them() {
    let scratch = Scratch::new();
    scratch.write("ca.pem", "");
    let loaded = scratch.parse(&with("", "tls = 'verify-ca'\nca = 'ca.pem'", "")).unwrap();
    let tls = &loaded.config.clusters[0].monitor.tls;
    assert_eq!((tls.mode, tls.ca.as_deref()), (TlsMode::VerifyCa, Some(scratch.0.join("ca.pem").as_path())));
}

#[test]
fn a_certificate_and_its_key_come_together() {
    let scratch = Scratch::new();
    let (cert, key) = (scratch.write("c.pem", ""), scratch.write("k.pem", ""));
    let loaded = scratch.parse(&with("", "tls = 'require'\ncert = 'c.pem'\nkey = 'k.pem'", "")).unwrap();
    assert_eq!(loaded.config.clusters[0].monitor.tls.identity, Some((cert, key)));
    for (one, other) in [("cert", "key"), ("key", "cert")] {
        let refused = scratch.parse(&with("", &format!("tls = 'require'\n{one} = 'c.pem'"), "")).unwrap_err();
        assert!(refused.to_string().contains(&format!("error: `{one}` without `{other}`")), "{refused}");
        assert_eq!(refused.len(), 1);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_at_its_place() {
    let scratch = Scratch::new();
    let refused = scratch.parse(&with("", "tls = 'verify-identity'\nca = 'no.pem'", "")).unwrap_err();
    let only = refused.iter().next().unwrap();
    assert_eq!((refused.len(), only.place()), (1, Some((6, 6))), "{refused}");
    assert_eq!(only.help(), Some("paths are relative to the configuration file"));
    let refused = scratch.parse(&with("", "tls = 'verify-identity'\nca = '.'", "")).unwrap_err();
    assert!(refused.to_string().contains("Is a directory"), "{refused}");
    assert_eq!(messages(&with("", "tls = 'verify-ca'\nca = ''", "")), ["error: `ca` is empty"]);
}

#[test]
fn a_protection_that_would_not_be_there_is_refused() {
    let scratch = Scratch::new();
    scratch.write("f.pem", "");
    for (keys, message) in [
        ("ca = 'f.pem'", "`ca` is not looked at with tls = \"off\""),
        ("tls = 'require'\nca = 'f.pem'", "`ca` is not looked at with tls = \"require\""),
    ] {
        let refused = scratch.parse(&with("", keys, "")).unwrap_err();
        assert_eq!(refused.iter().map(|item| item.message()).collect::<Vec<_>>(), [message]);
    }
    let refused = scratch.parse(&with("", "cert = 'f.pem'\nkey = 'f.pem'", "")).unwrap_err();
    let said: Vec<&str> = refused.iter().map(|item| item.message()).collect();
    assert_eq!(said, ["`cert` is not used with tls = \"off\"", "`key` is not used with tls = \"off\""]);
}
