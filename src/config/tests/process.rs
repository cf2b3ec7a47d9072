//! `[process]`: who we are, where we are, and where log lines go.

use super::*;
use crate::config::{LogTo, Process};

/// The section with these keys.
fn process(keys: &str) -> String {
    format!("{LEAST}[process]\n{keys}\n")
}

fn read(keys: &str) -> Process {
    good(&process(keys)).process
}

#[test]
fn a_user_and_a_group_are_known_to_the_system_by_name_or_number() {
    let root = read("user = 'root'\ngroup = '0'");
    assert_eq!((root.user.as_deref(), root.group.as_deref()), (Some("root"), Some("0")));
    assert_eq!(read("user = '4294967294'\ngroup = '1'").user.as_deref(), Some("4294967294"));
    let said = marked(&process("user = '4294967294'\ngroup = ''"));
    let message = "user 4294967294 has no group: this host does not know it by name";
    assert_eq!(said, [format!("'4294967294': {message} (write group = \"…\" as well)")]);
    let none = read("user = ''\ngroup = ''");
    assert_eq!((none.user, none.group), (None, None));
    for key in ["user", "group"] {
        for name in ["nobody-of-this-name", "4294967295", "4294967296", "-1", "a:b"] {
            let said = marked(&process(&format!("{key} = '{name}'")));
            let message = format!("there is no {key} `{name}` on this host");
            let help = format!("make it, or name another; \"\" keeps the {key} that starts Galeway");
            assert_eq!(said, [format!("'{name}': {message} ({help})")]);
        }
        assert_eq!(messages(&process(&format!("{key} = \"a\\u0000\""))).len(), 1);
    }
}

#[test]
fn a_chroot_is_a_directory_that_somebody_else_than_root_is_kept_in() {
    assert_eq!(read("chroot = '/tmp'\nuser = 'root'").chroot.as_deref(), Some(Path::new("/tmp")));
    assert_eq!(read("chroot = ''").chroot, None);
    let said = messages(&process("chroot = '/dev/null'\nuser = 'root'"));
    assert_eq!(said, ["error: `/dev/null` is not a directory"]);
    for keys in ["chroot = '/tmp'", "chroot = '/tmp'\nuser = ''"] {
        let help = "write user = \"…\" as well";
        assert_eq!(
            marked(&process(keys)),
            [format!("'/tmp': `chroot` without `user`: root leaves it at will ({help})")]
        );
    }
}

#[test]
fn a_pid_file_is_made_in_a_directory_that_is_there() {
    let scratch = Scratch::new();
    let read = |path: &str| scratch.parse(&process(&format!("pid_file = '{path}'"))).map(|read| read.config.process);
    assert_eq!(read("a.pid").unwrap().pid_file, Some(scratch.0.join("a.pid")));
    assert_eq!(read("").unwrap().pid_file, None);
    for (path, part) in [
        (".", "is a directory: the file of the process number needs a name in it"),
        ("no/a.pid", "for the file of the process number"),
    ] {
        let refused = read(path).unwrap_err();
        assert_eq!((refused.len(), refused.iter().next().unwrap().place()), (1, Some((9, 12))), "{refused}");
        assert!(refused.iter().next().unwrap().message().contains(part), "{refused}");
    }
}

#[test]
fn what_is_made_behind_a_chroot_is_looked_for_there() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("root")).unwrap();
    let read = |keys: &str| scratch.parse(&process(&format!("user = 'root'\nchroot = 'root'\n{keys}")));
    let process = read("pid_file = '/a.pid'\nlog = '/galeway.log'").unwrap().config.process;
    assert_eq!((process.pid_file, process.log), (Some("/a.pid".into()), LogTo::File("/galeway.log".into())));
    for key in ["pid_file", "log"] {
        let refused = read(&format!("{key} = '/run/a'")).unwrap_err().to_string();
        assert!(refused.contains("there is no directory") && refused.contains("root/run`"), "{refused}");
    }
}

#[test]
fn log_lines_go_to_one_of_three_or_to_a_file() {
    for (word, to) in [("stderr", LogTo::Stderr), ("journald", LogTo::Journald), ("syslog", LogTo::Syslog)] {
        assert_eq!(read(&format!("log = '{word}'")).log, to);
    }
    let scratch = Scratch::new();
    let file =
        |written: &str| scratch.parse(&process(&format!("log = '{written}'"))).map(|read| read.config.process.log);
    assert_eq!(file("galeway.log"), Ok(LogTo::File(scratch.0.join("galeway.log"))));
    assert_eq!(file("./syslog"), Ok(LogTo::File(scratch.0.join("syslog"))));
    assert_eq!(file("sys.log"), Ok(LogTo::File(scratch.0.join("sys.log"))));
    assert!(file("no/galeway.log").unwrap_err().to_string().contains("there is no directory"));
    for (written, help) in [
        ("journal", "did you mean \"journald\"? A file of this name is \"./journal\""),
        ("sylog", "did you mean \"syslog\"? A file of this name is \"./sylog\""),
        ("", "write \"stderr\", \"journald\", \"syslog\" or the path of a file"),
    ] {
        let said = marked(&process(&format!("log = '{written}'")));
        assert_eq!(said, [format!("'{written}': `log` cannot be `{written}` ({help})")]);
    }
    let said = parse(&process("log = \"\"\"stderr\"\npassword = \"hidden\"\n\"\"\"")).unwrap_err().to_string();
    assert!(!said.contains("hidden") && !said.contains("./"), "{said}");
}
