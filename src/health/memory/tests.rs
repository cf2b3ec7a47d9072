use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::file::{self, Found, path_of};
use super::{OpenError, Store};
use crate::config::StateDir;
use crate::galera::{AdminState, Memory};

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("galeway-memory-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Store {
        open(&self.0, true).unwrap().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Puts a file there as the memory of cluster `c`, and reads it.
    fn found(&self, bytes: &[u8]) -> Found {
        let path = path_of(&self.0, "c");
        std::fs::write(&path, bytes).unwrap();
        file::read(&path, "c")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(path: &Path, written: bool) -> Result<Option<Store>, OpenError> {
    let mut store = Store::open(&StateDir { path: path.to_owned(), written })?;
    store.as_mut().map(Store::begin).transpose()?;
    Ok(store)
}

fn memory(writer: &str) -> Memory {
    Memory {
        history: Some("11111111-1111-1111-1111-111111111111".into()),
        served: [Arc::from("db1"), Arc::from("db2")].into(),
        writer: Some(writer.into()),
        writer_member: Some(("3a1b2e00-0000-11ef-8000-000000000001".into(), "node1".into())),
        operator: [(Arc::from("db3"), AdminState::Maintenance)].into(),
        members: [("galera-2".into(), AdminState::Drain)].into(),
    }
}

fn name() -> Arc<str> {
    "c".into()
}

#[track_caller]
fn wait_for(dir: &Path, wanted: &Memory) {
    let end = Instant::now() + Duration::from_secs(20);
    while file::read(&path_of(dir, "c"), "c") != Found::Memory(wanted.clone()) {
        assert!(Instant::now() < end, "not written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_kept_last_is_there_after_the_end_and_nothing_else_is() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let keeper = store.keepers().of(&name());
    assert_eq!(keeper.load(), Memory::default());
    for i in 0..100 {
        keeper.keep(&memory(&format!("db{i}")));
    }
    drop(store);
    assert_eq!(scratch.names(), ["cluster-c.json", "lock"]);
    let mode = std::fs::metadata(path_of(&scratch.0, "c")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(scratch.store().keepers().of(&name()).load(), memory("db99"));
}

#[test]
fn a_person_can_read_the_file() {
    let scratch = Scratch::new();
    file::write(&scratch.0, "c", &memory("db1")).unwrap();
    let text = std::fs::read_to_string(path_of(&scratch.0, "c")).unwrap();
    let wanted = "{\n  \"version\": 1,\n  \"cluster\": \"c\",\n  \"history\": \"11111111-1111-1111-1111-111111111111\",\n  \
                  \"served\": [\n    \"db1\",\n    \"db2\"\n  ],\n  \"writer\": \"db1\",\n  \
                  \"writer_member\": {\n    \"uuid\": \"3a1b2e00-0000-11ef-8000-000000000001\",\n    \"name\": \"node1\"\n  },\n  \
                  \"operator\": {\n    \"db3\": \"maintenance\"\n  },\n  \"members\": {\n    \"galera-2\": \"drain\"\n  }\n}\n";
    assert_eq!(text, wanted);
}

#[test]
fn a_file_is_replaced_as_a_whole_and_what_a_crash_left_behind_is_no_hindrance() {
    let scratch = Scratch::new();
    file::write(&scratch.0, "c", &memory("db1")).unwrap();
    let mut old = std::fs::File::open(path_of(&scratch.0, "c")).unwrap();
    std::fs::write(scratch.0.join("cluster-c.json.new"), "{\"ver").unwrap();
    file::write(&scratch.0, "c", &memory("db2")).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut old, &mut text).unwrap();
    assert!(text.contains("\"writer\": \"db1\""), "the old file was written into: {text}");
    assert_eq!(file::read(&path_of(&scratch.0, "c"), "c"), Found::Memory(memory("db2")));
    assert_eq!(scratch.names(), ["cluster-c.json"]);
}

#[test]
fn what_cannot_be_used_says_why() {
    let scratch = Scratch::new();
    let good = br#"{"version":1,"cluster":"c","history":null,"served":[],"writer":null,"operator":{}}"#;
    assert_eq!(scratch.found(good), Found::Memory(Memory::default()));
    let text = String::from_utf8(good.to_vec()).unwrap();
    let long = format!("{text}{}", " ".repeat(1 << 20));
    for (bytes, why) in [
        (String::new(), "it is damaged: EOF"),
        ("{\"version\":1".to_owned(), "it is damaged: EOF"),
        (text.replace("\"served\":[],", ""), "it is damaged: missing field `served`"),
        (text.replace("served", "Served"), "it is damaged: unknown field `Served`"),
        (text.replace(":{}", ":{\"db1\":\"asleep\"}"), "it is damaged: no node can be \"asleep\""),
        (text.replace(":1", ":2"), "it is of version 2, and this Galeway reads version 1"),
        ("{\"version\":7,\"new\":{}}".to_owned(), "it is of version 7"),
        (text.replace("\"c\"", "\"d\""), "it is of another cluster, \"d\""),
        (long, "it is longer than"),
    ] {
        match scratch.found(bytes.as_bytes()) {
            Found::Useless(said) => assert!(said.starts_with(why), "{said}"),
            other => panic!("{bytes:.80}: {other:?}"),
        }
    }
    std::fs::remove_file(path_of(&scratch.0, "c")).unwrap();
    std::fs::create_dir(path_of(&scratch.0, "c")).unwrap();
    assert_eq!(file::read(&path_of(&scratch.0, "c"), "c"), Found::Useless("it is no file".to_owned()));
}

#[test]
fn a_damaged_file_is_a_cold_start_and_kept_aside() {
    let scratch = Scratch::new();
    scratch.found(b"{");
    let store = scratch.store();
    let keeper = store.keepers().of(&name());
    assert_eq!(keeper.load(), Memory::default());
    assert_eq!(std::fs::read(scratch.0.join("cluster-c.json.damaged")).unwrap(), b"{");
    keeper.keep(&memory("db1"));
    drop(store);
    assert_eq!(scratch.names(), ["cluster-c.json", "cluster-c.json.damaged", "lock"]);
}

#[test]
fn different_clusters_never_share_a_file() {
    let dir = Path::new("/d");
    assert_eq!(path_of(dir, "a.b:[1]-_").to_str(), Some("/d/cluster-a.b:[1]-_.json"));
    assert_eq!(path_of(dir, "../a b%").to_str(), Some("/d/cluster-..%2Fa%20b%25.json"));
}

#[test]
fn the_second_one_in_a_directory_is_turned_away_until_the_first_has_gone() {
    let scratch = Scratch::new();
    let first = scratch.store();
    let said = open(&scratch.0, true).unwrap_err().to_string();
    let ours = format!("is in use by another Galeway (process {}): give each its own", std::process::id());
    assert!(said.contains(&ours), "{said}");
    assert!(open(&scratch.0, false).unwrap().is_none(), "a directory that nobody asked for is no reason not to start");
    drop(first);
    scratch.store();
}

#[test]
fn what_the_lock_is_a_link_to_is_left_alone() {
    let scratch = Scratch::new();
    let (precious, lock) = (scratch.0.with_extension("precious"), scratch.0.join("lock"));
    std::fs::create_dir_all(&scratch.0).unwrap();
    std::fs::write(&precious, "text").unwrap();
    for hard in [true, false] {
        let linked =
            if hard { std::fs::hard_link(&precious, &lock) } else { std::os::unix::fs::symlink(&precious, &lock) };
        linked.unwrap();
        let said = open(&scratch.0, true).unwrap_err().to_string();
        assert!(said.contains("cannot be used"), "{said}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "text");
        std::fs::remove_file(&lock).unwrap();
    }
    std::fs::remove_file(&precious).unwrap();
}

#[test]
fn who_stops_writes_on_until_its_successor_begins_and_not_after_that() {
    let scratch = Scratch::new();
    let first = scratch.store();
    let keeper = first.keepers().of(&name());
    first.hand_over();
    keeper.keep(&memory("db1"));
    wait_for(&scratch.0, &memory("db1"));
    let second = scratch.store();
    let successor = second.keepers().of(&name());
    assert_eq!(successor.load(), memory("db1"));
    successor.keep(&memory("db2"));
    wait_for(&scratch.0, &memory("db2"));
    keeper.keep(&memory("db3"));
    drop(first);
    assert_eq!(successor.load(), memory("db2"));
}

#[test]
fn who_gets_the_directory_back_from_a_successor_writes_what_changed_meanwhile() {
    let scratch = Scratch::new();
    let first = scratch.store();
    let keeper = first.keepers().of(&name());
    first.hand_over();
    let second = scratch.store();
    second.keepers().of(&name()).keep(&memory("db1"));
    wait_for(&scratch.0, &memory("db1"));
    keeper.keep(&memory("db2"));
    // Until it has found out that it may not write.
    std::thread::sleep(Duration::from_millis(50));
    drop(second);
    first.take_back();
    wait_for(&scratch.0, &memory("db2"));
    assert!(matches!(open(&scratch.0, true), Err(OpenError::Taken { .. })), "it is locked again");
}

#[test]
fn what_cannot_be_written_is_tried_again_with_the_next_change() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let keeper = store.keepers().of(&name());
    // Root may write everywhere but over a directory.
    std::fs::create_dir_all(path_of(&scratch.0, "c").join("in the way")).unwrap();
    keeper.keep(&memory("db1"));
    std::thread::sleep(Duration::from_millis(50));
    std::fs::remove_dir_all(path_of(&scratch.0, "c")).unwrap();
    keeper.keep(&memory("db2"));
    wait_for(&scratch.0, &memory("db2"));
}

#[test]
fn a_directory_is_made_and_one_that_cannot_be_is_an_error_only_where_it_was_asked_for() {
    let scratch = Scratch::new();
    let deep = scratch.0.join("a/b");
    drop(open(&deep, true).unwrap().unwrap());
    assert_eq!(std::fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::write(scratch.0.join("file"), "").unwrap();
    let below = scratch.0.join("file/state");
    let said = open(&below, true).unwrap_err().to_string();
    assert!(said.contains("cannot be used: Not a directory") && said.contains("owned by the user"), "{said}");
    assert!(open(&below, false).unwrap().is_none());
}
