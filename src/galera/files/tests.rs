use proptest::prelude::*;

use super::*;

const HISTORY: &str = "e8602858-e58b-11f1-8220-62a9bfe79695";

fn scan(log: &str) -> Result<Recovered, Malformed> {
    let mut scan = LogScan::default();
    log.lines().for_each(|l| scan.line(l));
    scan.finish()
}

fn at(seqno: Option<u64>) -> Position {
    Position { uuid: Uuid::parse(HISTORY).unwrap(), seqno }
}

#[test]
fn a_uuid_is_printed_as_it_was_read_and_capitals_are_the_same() {
    for text in [HISTORY, "00000000-0000-0000-0000-000000000000", "00000001-e58b-11f1-8221-00000000000f"] {
        assert_eq!(Uuid::parse(text).unwrap().to_string(), text);
        assert_eq!(Uuid::parse(&text.to_uppercase()), Uuid::parse(text));
    }
    for wrong in ["", "-----", "e8602858", &HISTORY[1..], "g8602858-e58b-11f1-8220-62a9bfe79695", "+0000000-0-0-0-0"] {
        assert_eq!(Uuid::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_grastate_of_each_version_is_read() {
    let of_10_11 =
        format!("# GALERA saved state\nversion: 2.1\nuuid:    {HISTORY}\nseqno:   12\nsafe_to_bootstrap: 1\n");
    let read = Grastate::parse(&of_10_11).unwrap();
    assert_eq!(read, Grastate { position: at(Some(12)), safe_to_bootstrap: Some(true) });
    let old = format!("# GALERA saved state\r\nversion: 2.1\r\nuuid:    {HISTORY}\r\nseqno:   -1\r\ncert_index:\r\n");
    assert_eq!(Grastate::parse(&old).unwrap(), Grastate { position: at(None), safe_to_bootstrap: None });
}

#[test]
fn a_damaged_grastate_is_refused_with_its_line() {
    let says = |text: &str| Grastate::parse(text).unwrap_err().to_string();
    let uuid = format!("uuid: {HISTORY}\n");
    assert_eq!(says("version: 2.1\nuuid: e8602858\nseqno: 1"), "line 2: \"e8602858\" is no UUID");
    assert_eq!(says(&format!("{uuid}seqno: many")), "line 2: seqno: \"many\" is no position");
    assert_eq!(says(&format!("{uuid}seqno: -2")), "line 2: seqno: \"-2\" is no position");
    assert_eq!(says(&format!("{uuid}{uuid}seqno: 2")), "line 2: uuid stands there twice");
    assert_eq!(
        says(&format!("{uuid}seqno: 2\nsafe_to_bootstrap: yes")),
        "line 3: safe_to_bootstrap: \"yes\" is neither 0 nor 1"
    );
    assert_eq!(says(&uuid), "a grastate.dat without seqno:, cut short");
    assert_eq!(says("seqno: 1"), "a grastate.dat without uuid:, cut short");
    assert_eq!(says("uuid"), "line 1: \"uuid\" is no KEY: VALUE");
}

#[test]
fn a_gvwstate_names_its_own_node_and_the_members_of_its_view() {
    let text = format!(
        "my_uuid: {HISTORY}\n#vwbeg\nview_id: 3 {HISTORY} 4\nbootstrap: 1\nmember: {HISTORY} 0\n\
         member: 00000002-e58b-11f1-8221-62a9bfe79695 0\n#vwend\n"
    );
    let read = Gvwstate::parse(&text).unwrap();
    assert_eq!(read.my_uuid.to_string(), HISTORY);
    assert_eq!((read.view_id.as_str(), read.members.len()), (&*format!("3 {HISTORY} 4"), 2));
    let says = |text: &str| Gvwstate::parse(text).unwrap_err().to_string();
    assert_eq!(says(&text[..50]), "a gvwstate.dat without view_id:, cut short");
    let without = text.replace(&format!("member: {HISTORY} 0\n"), "");
    assert_eq!(says(&without), "a gvwstate.dat whose members lack its own my_uuid, cut short");
}

#[test]
fn a_file_is_known_by_its_content() {
    assert_eq!(kind("# GALERA saved state\nversion: 2.1\n"), Kind::Grastate);
    assert_eq!(kind("version: 2.1\nuuid: x\n"), Kind::Grastate);
    assert_eq!(kind("my_uuid: x\n"), Kind::Gvwstate);
    assert_eq!(kind("2026-11-21  9:19:56 0 [Note] WSREP: Recovered position: x\n"), Kind::Log);
    assert_eq!(kind(""), Kind::Log);
}

#[test]
fn every_form_of_a_recovered_position_is_read() {
    for form in [
        format!("2026-11-21  9:19:56 0 [Note] WSREP: Recovered position: {HISTORY}:9"),
        format!("2026-11-21  9:19:56 0 [Note] WSREP: Recovered position: {HISTORY}:9,0-9001-7"),
        format!("2026-11-21T09:19:56.1Z 0 [Note] [MY-000000] [WSREP] Recovered position: {HISTORY}:9"),
        format!("260101 12:00:00 mysqld_safe WSREP: Recovered position {HISTORY}:9"),
        format!("WSREP: Recovered position {HISTORY}:9"),
        format!("--wsrep_start_position={HISTORY}:9"),
        format!("   --wsrep_start_position={HISTORY}:9"),
    ] {
        let read = scan(&form).unwrap_or_else(|e| panic!("{form}: {e}"));
        assert_eq!((read.position, read.line, read.outdated_by), (at(Some(9)), 1, None), "{form}");
    }
    let nothing = scan("WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1").unwrap();
    assert_eq!(nothing.position, Position { uuid: Uuid::ZERO, seqno: None });
}

#[test]
fn the_last_position_counts_and_the_one_of_the_storage_is_none() {
    let log = format!(
        "WSREP: Recovered position: {HISTORY}:7\nnoise\n2026-11-21  9:19:56 0 [Note] WSREP: Recovered position: \
         {HISTORY}:9\nWSREP: Recovered position from storage: {HISTORY}:3\n"
    );
    let read = scan(&log).unwrap();
    assert_eq!((read.position, read.line), (at(Some(9)), 3));
    assert_eq!(read.time.as_deref(), Some("2026-11-21  9:19:56"));
    assert!(scan(&format!("WSREP: Recovered position from storage: {HISTORY}:3")).is_err());
}

#[test]
fn a_position_from_before_the_server_ran_again_is_marked_so() {
    let recovered = format!("[Note] WSREP: Recovered position: {HISTORY}:9\n");
    let ran = ["[Note] WSREP: Shifting CLOSED -> OPEN (TO: 0)", "[Note] mariadbd: ready for connections."];
    for line in ran {
        assert_eq!(scan(&format!("{recovered}x\n{line}\n{line}\n")).unwrap().outdated_by, Some(3), "{line}");
        assert_eq!(scan(&format!("{line}\n{recovered}")).unwrap().outdated_by, None, "{line}");
    }
}

#[test]
fn a_last_position_that_cannot_be_read_is_an_error_and_not_the_one_before_it() {
    let log = format!("WSREP: Recovered position: {HISTORY}:9\nWSREP: Recovered position: {HISTORY}:9x\n");
    let says = scan(&log).unwrap_err().to_string();
    assert_eq!(says, format!("line 2: {:?} is no position UUID:SEQNO", format!("{HISTORY}:9x")));
}

#[test]
fn a_recovery_that_was_skipped_points_to_the_grastate() {
    let skipped = format!("mysqld_safe Skipping wsrep-recover for {HISTORY}:13 pair\n");
    let says = format!(
        "line 2: mysqld_safe skipped the recovery, since the position then stood in grastate.dat ({HISTORY}:13): leave this \
         log out and give grastate.dat"
    );
    assert_eq!(scan(&format!("a\n{skipped}b\n")).unwrap_err().to_string(), says);
    // What was recovered before it is out of date, and what was recovered after it is not.
    let recovered = format!("WSREP: Recovered position: {HISTORY}:9\n");
    assert_eq!(scan(&format!("{recovered}{skipped}")).unwrap_err().to_string(), says);
    assert_eq!(scan(&format!("{skipped}{recovered}")).unwrap().position, at(Some(9)));
}

#[test]
fn a_log_without_a_position_says_why_where_it_can() {
    let skipped = scan("a\n[Note] WSREP: disabled, skipping position recovery\n").unwrap_err().to_string();
    assert!(skipped.starts_with("line 2: the server skipped the recovery, since it ran without wsrep"), "{skipped}");
    let aborted = "[ERROR] WSREP: rsync SST method requires wsrep_cluster_address to be configured on startup.\n\
                   [ERROR] Aborting\n";
    let aborted = scan(aborted).unwrap_err().to_string();
    assert!(aborted.contains("requires wsrep_cluster_address"), "{aborted}");
    assert!(scan("one\n").unwrap_err().to_string().contains("is it the log of a run with --wsrep-recover?"));
    assert_eq!(scan("").unwrap_err().to_string(), "it is empty");
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in any::<String>()) {
        let _ = (kind(&text), Grastate::parse(&text), Gvwstate::parse(&text), scan(&text), Uuid::parse(&text));
    }

    #[test]
    fn no_text_that_looks_right_makes_a_parser_panic(
        text in "((uuid|seqno|my_uuid|view_id|member|safe_to_bootstrap|WSREP: Recovered position)[: ]{0,2}[0-9a-f:é,-]{0,40}\n?){0,8}"
    ) {
        let _ = (kind(&text), Grastate::parse(&text), Gvwstate::parse(&text), scan(&text));
    }

    #[test]
    fn a_position_written_is_the_position_read(history in any::<u128>(), seqno in 0..=i64::MAX as u64) {
        let written = Position { uuid: Uuid(history), seqno: Some(seqno) };
        let log = format!("WSREP: Recovered position: {written},0-1-2");
        prop_assert_eq!(scan(&log).unwrap().position, written);
        let file = format!("uuid: {}\nseqno: {seqno}\n", written.uuid);
        prop_assert_eq!(Grastate::parse(&file).unwrap().position, written);
    }
}
