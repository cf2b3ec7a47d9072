use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const LINE: &str = "2026-10-07  8:44:12 0 [Note] WSREP: Recovered position: 5ca1ab1e-1111-11ef-8000-0000000000aa:9";

fn read(bytes: &[u8], limit: u64) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    lines(decoded(bytes, limit)?, |line| all.push(line.to_owned()))?;
    Ok(all)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

#[test]
fn every_form_of_a_log_comes_to_the_line_that_the_server_wrote() {
    let docker = format!(r#"{{"log":"{LINE}\n","stream":"stderr","time":"2026-10-07T08:44:12Z"}}"#);
    let journal = format!(r#"{{ "PRIORITY" : "5", "MESSAGE" : "{LINE}" }}"#);
    let coloured = format!("\u{1b}[33m{LINE}\u{1b}[0m\n");
    let in_docker = format!(r#"{{"log":"\u001b[33m{LINE}\u001b[0m\n","stream":"stderr"}}"#);
    let marked = format!("\u{feff}{LINE}\n");
    let forms: Vec<Vec<u8>> = vec![
        LINE.into(),
        docker.into(),
        journal.into(),
        coloured.into(),
        in_docker.into(),
        gzip(LINE.as_bytes()),
        utf16(&marked, u16::to_le_bytes),
        utf16(&marked, u16::to_be_bytes),
        utf16(LINE, u16::to_le_bytes),
        utf16(LINE, u16::to_be_bytes),
        marked.into(),
    ];
    for form in forms {
        assert_eq!(read(&form, MOST_TEXT).unwrap(), [LINE], "{:?}", String::from_utf8_lossy(&form));
    }
    // Two members of gzip in one file are one text, as `cat a.gz b.gz` makes it.
    assert_eq!(read(&[gzip(b"a\n"), gzip(b"b\n")].concat(), MOST_TEXT).unwrap(), ["a", "b"]);
}

#[test]
fn a_line_of_mysqls_json_sink_has_what_the_text_sink_writes() {
    let json = r#"{ "prio" : 3, "err_code" : 0, "subsystem" : "WSREP", "msg" : "Recovered position: U:9", "time" : "2026-10-07T08:44:12.0Z", "label" : "Error" }"#;
    assert_eq!(
        read(json.as_bytes(), MOST_TEXT).unwrap(),
        ["2026-10-07T08:44:12.0Z [ERROR] [WSREP] Recovered position: U:9"]
    );
}

#[test]
fn what_is_no_json_after_all_stays_as_it_is() {
    for line in ["{", "{}", "{\"a\": 1}", r#"{"log": 3}"#, "{\"log\": \"a", "[1]"] {
        assert_eq!(read(line.as_bytes(), MOST_TEXT).unwrap(), [line]);
    }
}

#[test]
fn a_text_that_unpacks_beyond_the_limit_is_an_error_and_costs_no_more_than_the_limit() {
    let bomb = gzip(&vec![b'a'; 4 * 1024 * 1024]);
    assert!(bomb.len() < 64 * 1024, "{}", bomb.len());
    let error = read(&bomb, 1024 * 1024).unwrap_err().to_string();
    assert!(error.contains("too long: give its last part"), "{error}");
    let whole = read(&bomb, 4 * 1024 * 1024).unwrap();
    assert_eq!(whole.iter().map(String::len).collect::<Vec<_>>(), [64 * 1024], "a line is cut");
}

#[test]
fn what_is_not_read_is_refused_by_its_name() {
    for (begin, says) in [(&b"\xfd7zXZ\0\0\x04"[..], "xz -dk"), (b"BZh91AY", "bzip2"), (b"LPKSHHRH\0", "journalctl")] {
        let error = read(begin, MOST_TEXT).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let torn = gzip(LINE.as_bytes());
    assert!(read(&torn[..torn.len() - 12], MOST_TEXT).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic_or_take_more_than_its_bound(
        begin in prop_oneof![
            Just(&b""[..]), Just(&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..]), Just(&b"\xff\xfe"[..]), Just(&b"\xfe\xff"[..]),
            Just(&b"{\"log\":\""[..]), Just(&b"\x1b["[..]),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let bytes = [begin, &rest].concat();
        if let Ok(lines) = read(&bytes, 1000) {
            prop_assert!(lines.iter().map(String::len).sum::<usize>() <= 3000);
        }
    }

    #[test]
    fn a_text_in_utf_16_is_the_text(text in "[a-z🦀é]{3,20}", times in 1..2000_usize) {
        let text = text.repeat(times);
        let marked = format!("\u{feff}{text}");
        let mut back = String::new();
        decoded(utf16(&marked, u16::to_be_bytes).as_slice(), MOST_TEXT).unwrap().read_to_string(&mut back).unwrap();
        prop_assert_eq!(back, marked);
    }
}
