//! How the process starts, who it becomes, and where its lines go.

use super::*;
use crate::config::stunnel::{LogId, Output, Syslog};
use crate::config::{LogLevel, LogTo};

fn with_globals(lines: &str) -> Stunnel {
    good(&format!("{lines}\n{SERVER}"))
}

#[test]
fn without_a_word_it_is_a_daemon_that_logs_to_the_system() {
    let read = good(SERVER);
    let launch = &read.launch;
    assert!(!launch.foreground && !launch.stderr);
    assert_eq!((launch.output.as_ref(), launch.level), (None, 5));
    assert_eq!(launch.syslog, Some(Syslog { facility: 3, ident: "stunnel".into() }));
    let process = &read.config.process;
    assert_eq!((process.log.clone(), process.log_level), (LogTo::Syslog, LogLevel::Info));
    assert!(process.state_dir.is_none() && !process.access_log && process.shutdown_timeout.is_zero());
    assert!(read.config.admin.listen.is_none() && read.config.admin.socket.is_none());
    assert!(read.config.clusters.is_empty());
}

#[test]
fn the_foreground_has_three_forms() {
    for (value, expected) in
        [("yes", (true, true)), ("quiet", (true, false)), ("no", (false, false)), ("YES", (true, true))]
    {
        let launch = with_globals(&format!("foreground = {value}")).launch;
        assert_eq!((launch.foreground, launch.stderr), expected);
    }
    assert_eq!(only(&format!("foreground = maybe\n{SERVER}")).1, "write yes, quiet, no");
}

#[test]
fn the_log_has_a_file_a_system_and_a_level() {
    let read =
        with_globals("output = /var/log/s.log\nlog = overwrite\nsyslog = no\ndebug = local3.debug\nservice = tunnel");
    assert_eq!(read.launch.output, Some(Output { path: "/var/log/s.log".into(), append: false }));
    assert_eq!((read.launch.syslog, read.launch.level), (None, 7));
    assert_eq!(read.config.process.log, LogTo::File("/var/log/s.log".into()));
    assert_eq!(read.config.process.log_level, LogLevel::Trace);
    let launch = with_globals("debug = local3.debug\nservice = tunnel\nlog = append\nsyslog = yes").launch;
    assert_eq!(launch.syslog, Some(Syslog { facility: 19, ident: "tunnel".into() }));
    let paths = with_globals("output = s.log").launch.output.unwrap().path;
    assert_eq!(paths, PathBuf::from("/start/s.log"));
}

#[test]
fn levels_are_numbers_or_names_and_a_section_may_have_its_own() {
    for (value, level) in
        [("0", 0), ("emerg", 0), ("ERR", 3), ("warning", 4), ("notice", 5), ("daemon.info", 6), ("7", 7)]
    {
        let read = good(&format!("debug = {value}\n{SERVER}"));
        assert_eq!((read.launch.level, read.launch.services["mysql"].level), (level, level), "{value}");
    }
    let read = good(&format!("debug = 3\n{SERVER}debug = 7\n"));
    assert_eq!((read.launch.level, read.launch.services["mysql"].level), (3, 7));
    for wrong in ["8", "", "daemon.", "nothing.5", "07"] {
        assert!(only(&format!("debug = {wrong}\n{SERVER}")).0.starts_with("error: "), "{wrong}");
    }
    assert!(only(&server_with("debug = daemon.5")).0.contains("the whole process has one facility"));
}

#[test]
fn the_pid_file_is_a_full_path_or_none() {
    assert_eq!(with_globals("pid = /run/s.pid").config.process.pid_file, Some("/run/s.pid".into()));
    let read = with_globals("pid = /run/s.pid\npid =");
    assert_eq!(read.config.process.pid_file, None);
    assert_eq!(only(&format!("pid = s.pid\n{SERVER}")).0, "error: `s.pid` is no full path");
}

#[test]
fn it_becomes_the_user_and_the_group_of_the_file() {
    let process = with_globals("setuid = nobody\nsetgid = 65534").config.process;
    assert_eq!((process.user.as_deref(), process.group.as_deref()), (Some("nobody"), Some("65534")));
    for wrong in ["", "a b", "a:b"] {
        assert!(only(&format!("setuid = {wrong}\n{SERVER}")).0.ends_with("is neither a name nor a number"), "{wrong}");
    }
}

#[test]
fn a_user_or_a_group_that_is_not_there_is_an_error_at_its_line() {
    for (line, message, help) in [
        ("setuid = stunnel4", "there is no user `stunnel4` on this host", "make it, or name another user"),
        ("setgid = stunnel4", "there is no group `stunnel4` on this host", "make it, or name another group"),
        (
            "setgid = nobody",
            "there is no group `nobody` on this host",
            "Debian calls it nogroup: write setgid = nogroup",
        ),
        ("setuid = 4294967295", "there is no user `4294967295` on this host", "make it, or name another user"),
    ] {
        let text = format!("foreground = yes\n{line}\n{SERVER}");
        assert_eq!(said(&text), [format!("2: error: {message}")]);
        assert_eq!(only(&text).1, help);
    }
    assert!(super::super::names::known(Account::User, "root"));
    assert!(!super::super::names::known(Account::Group, "no such group, surely"));
}

#[test]
fn in_a_section_they_own_its_unix_socket() {
    let text = SERVER.replace("127.0.0.1:3307", "/run/s.sock") + "setuid = mysql\nsetgid = mysql\n";
    let read = good(&text);
    assert_eq!(read.config.process.user, None);
    assert_eq!(only_service(&read).socket.owner().as_deref(), Some("mysql:mysql"));
}

#[test]
fn paths_that_are_looked_at_inside_a_new_root_start_there() {
    let lines = "chroot = /jail\noutput = /log/s.log\npid = /run/s.pid\nCApath = /certs\nCRLpath = crls\nCAfile = /ca.pem\n\
                 CRLfile = /crl.pem\nverify = 2";
    let read = with_globals(lines);
    let process = &read.config.process;
    assert_eq!(process.chroot, Some("/jail".into()));
    assert_eq!(process.pid_file, Some("/run/s.pid".into()));
    assert_eq!(read.launch.output.as_ref().unwrap().path, PathBuf::from("/log/s.log"));
    let tls = read.config.services[0].tls.clone().unwrap();
    let ca = ["/ca.pem", "/jail/certs"].map(PathBuf::from).to_vec();
    assert_eq!(tls.peer.ca, Some(crate::config::CaStore::Paths(ca)));
    assert_eq!(tls.peer.crl, ["/crl.pem", "/jail/crls"].map(PathBuf::from).to_vec());
    assert!(only(&format!("chroot =\n{SERVER}")).0.ends_with("there is no path"));
    assert!(only(&format!("output =\n{SERVER}")).0.ends_with("there is no path"));
}

#[test]
fn connections_are_told_apart_in_four_ways() {
    for (value, expected) in [
        ("sequential", LogId::Sequential),
        ("unique", LogId::Unique),
        ("thread", LogId::Thread),
        ("process", LogId::Process),
    ] {
        assert_eq!(extras(&server_with(&format!("logId = {value}"))).log_id, expected);
    }
    assert_eq!(only(&server_with("logId = x")).0, "error: `x` cannot stand here");
}

#[test]
fn a_section_can_be_renamed() {
    assert_eq!(&*service(&server_with("service = other")).name, "other");
    assert_eq!(only(&server_with("service =")).0, "error: a service needs a name");
}
