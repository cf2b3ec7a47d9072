//! `include = DIRECTORY`.

use std::fs;

use super::*;

/// A directory of a test's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("galeway-stunnel-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn include(&self) -> String {
        format!("include = {}\n", self.0.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_files_of_a_directory_are_read_in_the_order_of_their_names() {
    let directory = Scratch::new("order");
    directory.write("10-b.conf", "connect = 127.0.0.1:2\n[b]\naccept = 127.0.0.1:3\nconnect = 127.0.0.1:4\n");
    directory.write("00-a.conf", "cert = /c.pem\n[a]\naccept = 127.0.0.1:1\n");
    fs::create_dir(directory.0.join("05-sub")).unwrap();
    let read = good(&format!("TIMEOUTidle = 9\n{}; the last section goes on\nTIMEOUTclose = 1\n", directory.include()));
    let names: Vec<&str> = read.config.services.iter().map(|service| &*service.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(read.config.services.iter().all(|service| service.idle_timeout.unwrap().as_secs() == 9));
    let close: Vec<_> = read.config.services.iter().map(|service| service.half_close_timeout.as_secs()).collect();
    assert_eq!(close, [60, 1]);
}

#[test]
fn what_is_wrong_is_told_with_the_file_it_stands_in() {
    let directory = Scratch::new("wrong");
    directory.write("a.conf", "\nfoo = 1\n");
    let refused = parse(&format!("{SERVER}bar = 2\n{}", directory.include())).unwrap_err();
    let shown = refused.to_string();
    assert!(shown.contains("stunnel.conf:5:1: error: there is no option `bar`"), "{shown}");
    assert!(
        shown.contains(&format!("{}/a.conf:2:1: error: there is no option `foo`", directory.0.display())),
        "{shown}"
    );
    let files: Vec<_> = refused.iter().map(|item| item.file().is_some()).collect();
    assert_eq!(files, [false, true]);
}

#[test]
fn a_directory_that_is_not_there_and_one_that_includes_itself_are_errors() {
    assert!(
        only(&format!("include = /nowhere/at/all\n{SERVER}"))
            .0
            .starts_with("error: `/nowhere/at/all` cannot be included: ")
    );
    let directory = Scratch::new("self");
    directory.write("a.conf", &directory.include());
    let all = parse(&format!("{}{SERVER}", directory.include())).unwrap_err();
    assert_eq!(all.len(), 1);
    assert_eq!(all.iter().next().unwrap().help(), Some("a directory may not include itself"));
}
