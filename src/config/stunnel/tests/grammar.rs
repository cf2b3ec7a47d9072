//! Lines, comments, sections and names.

use super::*;
use crate::config::stunnel::lines::{Line, lines};

fn shown(text: &str) -> Vec<String> {
    let show = |line: Line<'_>| match line {
        Line::Comment(it) => format!("comment {:?}", it.text),
        Line::Section(it) => format!("section {:?}", it.text),
        Line::Option(name, value) => format!("option {:?} {:?}", name.text, value.text),
        Line::Broken(it) => format!("broken {:?}", it.text),
    };
    lines(text).map(show).collect()
}

#[test]
fn a_line_is_a_comment_a_section_or_an_option_split_at_the_first_equals() {
    let text = "\u{feff} ; a = b\n#c\n\t[ one ]  \r\n\n  Name=  a = b ; c\t\n empty =\n=x\nneither\n[half\n";
    let expected = [
        "comment \"a = b\"",
        "comment \"c\"",
        "section \"one\"",
        "option \"Name\" \"a = b ; c\"",
        "option \"empty\" \"\"",
        "option \"\" \"x\"",
        "broken \"neither\"",
        "broken \"[half\"",
    ];
    assert_eq!(shown(text), expected);
}

#[test]
fn every_piece_says_where_it_stands() {
    let text = "\u{feff}  cert \t=  /é \r\n[ two ]";
    let spans: Vec<&str> = lines(text)
        .flat_map(|line| match line {
            Line::Option(name, value) => vec![name.span, value.span],
            Line::Section(name) => vec![name.span],
            _ => vec![],
        })
        .map(|span| &text[span.start..span.end])
        .collect();
    assert_eq!(spans, ["cert", "/é", "two"]);
}

#[test]
fn names_and_yes_and_no_are_read_in_any_case() {
    let text = SERVER.replace("accept", "ACCEPT").replace("cert", "Cert") + "CLIENT = No\nsYsLoG_ = yes\n";
    assert_eq!(said(&text), ["6: error: there is no option `sYsLoG_`"]);
    assert!(service(&(SERVER.replace("accept", "ACCEPT") + "CLIENT = No\n")).tls.is_some());
}

#[test]
fn nothing_but_yes_and_no_is_taken_for_either() {
    for value in ["true", "1", "on", "", "yes please"] {
        let (message, help) = only(&server_with(&format!("sessionResume = {value}")));
        assert_eq!(message, format!("error: `{value}` is neither yes nor no"));
        assert_eq!(help, "write yes or no");
    }
}

#[test]
fn an_unknown_option_is_fatal_and_the_nearest_is_named() {
    let refused = parse(&server_with("verifyChian = yes")).unwrap_err().to_string();
    let expected = "stunnel.conf:5:1: error: there is no option `verifyChian`\n    \
                    5 | verifyChian = ***\n      \
                    | ^^^^^^^^^^^\n      \
                    = help: did you mean `verifyChain`?";
    assert_eq!(refused, expected);
    let (_, help) = only(&server_with("xyzzyxyzzy = 1"));
    assert_eq!(help, "see docs/stunnel.md for the options there are");
}

#[test]
fn a_line_without_an_equals_is_fatal() {
    assert_eq!(only(&server_with("verify 2")).0, "error: no `=` stands here");
    assert_eq!(
        only(&server_with("[two] ; the second")).1,
        "a section's line ends with `]`; a comment is a line of its own"
    );
}

#[test]
fn options_before_the_first_section_are_defaults_of_all() {
    let text = format!("cert = /c.pem\nTIMEOUTidle = 7\n{SERVER}cert = /own.pem\n[b]\naccept = 1\nconnect = 2\n");
    let read = good(&text);
    let idle: Vec<_> = read.config.services.iter().map(|service| service.idle_timeout.unwrap().as_secs()).collect();
    assert_eq!(idle, [7, 7]);
    let certs: Vec<_> =
        read.config.services.iter().map(|service| service.tls.as_ref().unwrap().identity.cert.clone()).collect();
    assert_eq!(certs, [PathBuf::from("/own.pem"), PathBuf::from("/c.pem")]);
}

#[test]
fn options_of_the_process_are_errors_in_a_section() {
    for option in
        ["chroot = /x", "output = /x", "pid = /x", "log = append", "syslog = no", "foreground = yes", "fips = no"]
    {
        let (message, help) = only(&server_with(option));
        let name = option.split(' ').next().unwrap();
        assert_eq!(message, format!("error: `{name}` is about the whole process"));
        assert_eq!(help, "move it before the first [section]");
    }
}

#[test]
fn of_options_that_do_not_repeat_the_last_holds() {
    assert_eq!(accept_tls("cert = /d.pem\ncert = /e.pem").identity.cert, PathBuf::from("/e.pem"));
}

#[test]
fn a_file_without_a_section_is_refused_as_one_for_inetd() {
    let expected = "error: there is no [section]: galeway does not run under inetd";
    assert_eq!(only("client = yes\nconnect = 127.0.0.1:1\n").0, expected);
    assert_eq!(only("").0, expected);
}

#[test]
fn all_errors_come_in_one_go_with_their_lines() {
    let text = "[a]\naccept = x:y:z\nverify = 9\nfoo = 1\n[]\n";
    assert_eq!(
        said(text),
        [
            "1: error: Service [a]: Each service must define two endpoints: section `a` has no `connect`",
            "1: error: section `a` accepts TLS and has no `cert`",
            "2: error: `x:y:z`: `z` is neither a port number nor a TCP service of /etc/services",
            "3: error: `9` is no level",
            "4: error: there is no option `foo`",
            "5: error: this section has no name",
            "5: error: Service []: Each service must define two endpoints: section `` has no `accept`",
            "5: error: Service []: Each service must define two endpoints: section `` has no `connect`",
            "5: error: section `` accepts TLS and has no `cert`",
        ]
    );
}

#[test]
fn two_sections_of_one_name_are_told_apart() {
    let text = format!("{SERVER}{}", SERVER.replace("3307", "3308"));
    let read = usable(&text);
    let names: Vec<&str> = read.config.services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["mysql", "mysql-2"]);
    assert_eq!(said(&text), ["5: warning: there is a section `mysql` already: this one is called `mysql-2` here"]);
}

#[test]
fn a_comment_in_another_encoding_harms_nobody_and_a_value_is_refused() {
    assert!(parse(&server_with("; caf\u{fffd}")).is_ok());
    assert_eq!(only(&server_with("key = /caf\u{fffd}")).0, "error: the value of `key` is not UTF-8 text");
}

#[test]
fn secrets_are_kept_out_of_every_excerpt() {
    for option in
        ["ticketKeySecret = hunter2", "protocolPassword = hunter2", "ticketKeySecrt = hunter2", "pasword = hunter2"]
    {
        let shown = parse(&server_with(option)).unwrap_err().to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
