//! What is refused, and what is only warned of.

use super::*;
use crate::config::stunnel::options::{OPTIONS, Scope};
use crate::config::stunnel::refused;

/// A file with this line where the option may stand.
fn file(name: &str, value: &str) -> String {
    let known = OPTIONS.iter().find(|option| option.name == name).unwrap();
    match known.scope {
        Scope::Global => format!("{name} = {value}\n{SERVER}"),
        Scope::Service => server_with(&format!("{name} = {value}")),
    }
}

#[test]
fn everything_on_the_list_is_refused_with_its_line_a_reason_and_a_way_out() {
    for (name, value, why) in [
        ("OCSP", "http://x", "OCSP is not asked here, and without it a revoked certificate would be let in"),
        ("OCSPaia", "yes", "OCSP is not asked here"),
        ("OCSPflag", "NOCERTS", "OCSP is not asked here"),
        ("OCSPnonce", "yes", "OCSP is not asked here"),
        ("OCSPrequire", "yes", "OCSP is not asked here"),
        ("TIMEOUTocsp", "5", "OCSP is not asked here"),
        ("PSKsecrets", "/psk", "keys shared beforehand are not supported"),
        ("PSKidentity", "me", "keys shared beforehand are not supported"),
        ("engine", "pkcs11", "OpenSSL's engines are not used here"),
        ("engineCtrl", "PIN:1", "OpenSSL's engines are not used here"),
        ("engineDefault", "ALL", "OpenSSL's engines are not used here"),
        ("engineId", "x", "OpenSSL's engines are not used here"),
        ("engineNum", "1", "OpenSSL's engines are not used here"),
        ("CAengine", "x", "OpenSSL's engines are not used here"),
        ("provider", "pkcs11", "OpenSSL's providers are not used here"),
        ("providerParameter", "x", "OpenSSL's providers are not used here"),
        ("CAstore", "x", "OpenSSL's providers are not used here"),
        ("setEnv", "A=b", "it sets the environment"),
        ("fips", "yes", "nothing here runs in OpenSSL's FIPS mode"),
        ("libwrap", "yes", "hosts.allow and hosts.deny are not read here"),
        ("ident", "joe", "IDENT is not asked"),
        ("exec", "/bin/x", "programs are not started here"),
        ("execArgs", "x", "programs are not started here"),
        ("pty", "yes", "programs are not started here"),
        ("retry", "yes", "it starts a program again"),
        ("protocol", "smtp", "only `proxy` is known here"),
        ("protocolAuthentication", "x", "no application protocol"),
        ("protocolDomain", "x", "no application protocol"),
        ("protocolHeader", "x", "no application protocol"),
        ("protocolHost", "x", "no application protocol"),
        ("protocolPassword", "x", "no application protocol"),
        ("protocolUsername", "x", "no application protocol"),
        ("compression", "zlib", "compressed TLS gives secrets away"),
        ("renegotiation", "yes", "connections are not renegotiated here"),
        ("securityLevel", "1", "the limits of level 2 are what is kept here"),
        ("securityLevel", "3", "the limits of level 2 are what is kept here"),
        ("config", "Curves:x", "OpenSSL's own configuration commands are unknown here"),
        ("sessiond", "x:1", "sessions are not shared"),
        ("ticketKeySecret", "00", "session tickets under a fixed key"),
        ("ticketMacSecret", "00", "session tickets under a fixed key"),
        ("transparent", "destination", "connections go to addresses that stand in the file"),
        ("transparent", "both", "connections go to addresses that stand in the file"),
        ("socket", "a:SO_BINDTODEVICE=lo", "connections of every network interface would be taken"),
    ] {
        let refused = parse(&file(name, value)).expect_err(name);
        assert_eq!(refused.len(), 1, "{refused}");
        let item = refused.iter().next().unwrap();
        let line = file(name, value).lines().position(|line| line.starts_with(name)).unwrap() + 1;
        assert_eq!(item.place().unwrap().0, line, "{name}");
        assert!(item.message().contains("is refused: "), "{}", item.message());
        assert!(item.message().contains(why), "{}", item.message());
        assert!(item.help().is_some_and(|help| help.len() > 10), "{name}");
    }
}

#[test]
fn the_harmless_value_of_what_is_refused_is_taken() {
    for (name, value) in [
        ("fips", "no"),
        ("libwrap", "no"),
        ("retry", "no"),
        ("renegotiation", "no"),
        ("securityLevel", "2"),
        ("transparent", "none"),
        ("transparent", "no"),
    ] {
        good(&file(name, value));
    }
}

#[test]
fn what_changes_nothing_is_warned_of() {
    for name in [
        "RNDbytes",
        "RNDfile",
        "RNDoverwrite",
        "EGD",
        "stack",
        "iconActive",
        "iconError",
        "iconIdle",
        "taskbar",
        "sessionCacheSize",
        "sessionCacheTimeout",
        "session",
    ] {
        let (message, _) = only(&file(name, "1"));
        assert!(message.starts_with(&format!("warning: `{name}` has no effect here: ")), "{message}");
    }
}

/// An option that the table knows and nothing reads would be ignored without a word.
#[test]
fn every_option_of_the_table_does_something_or_says_that_it_does_not() {
    for option in OPTIONS {
        let key = option.name.to_ascii_lowercase();
        if refused::always(&key).is_some() || refused::idle(&key).is_some() || key == "include" {
            continue;
        }
        // A value that no option takes: whoever reads it complains.
        let all = parse(&file(option.name, "\u{1}")).map_or_else(|refused| refused, |read| read.warnings).to_string();
        let paths = ["cert", "key", "CAfile", "CApath", "CRLfile", "CRLpath", "chroot", "output"];
        assert!(!all.contains("does not know what to do about it"), "{}", option.name);
        assert!(
            paths.contains(&option.name) || option.name == "sni" || all.contains("error"),
            "{}: {all}",
            option.name
        );
    }
}
