//! Reading a node's files, whatever they are called: what a file is shows in its first lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::galera::advice::Files;
use crate::galera::files::{Grastate, Gvwstate, Kind, LogScan, MOST_STATE, kind};

/// Of a longer line the rest is passed over: what is looked for stands at its beginning.
const MOST_LINE: u64 = 64 * 1024;

/// Adds what a file or a data directory holds.
pub(super) fn add(files: &mut Files, name: &str, path: &Path) -> Result<(), String> {
    if !path.is_dir() {
        return add_file(files, name, path);
    }
    // Logs in a data directory are left alone: an old one passes for a new one, and then names the wrong node.
    let mut found = false;
    for file in ["grastate.dat", "gvwstate.dat"] {
        let file = path.join(file);
        match file.try_exists() {
            Ok(false) => {}
            Ok(true) => {
                found = true;
                add_file(files, name, &file)?;
            }
            Err(e) => return Err(of(name, &file, &e)),
        }
    }
    if found {
        return Ok(());
    }
    let help = "is it the data directory? (A node whose data were removed has nothing to say: leave it out)";
    Err(of(name, path, &format_args!("there is neither grastate.dat nor gvwstate.dat in it: {help}")))
}

fn of(name: &str, path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("--file {name}={}: {what}", path.display())
}

fn add_file(files: &mut Files, name: &str, path: &Path) -> Result<(), String> {
    let fail = |what: &dyn std::fmt::Display| of(name, path, what);
    let twice = |what: &str| fail(&format_args!("{name} has a second {what}: give the newest one only"));
    let file = File::open(path).map_err(|e| fail(&e))?;
    let mut reader = BufReader::new(file);
    let mut head = Vec::new();
    reader.by_ref().take(MOST_STATE as u64).read_to_end(&mut head).map_err(|e| fail(&e))?;
    if head.is_empty() {
        let help =
            "it is empty, cut short by a crash: leave it out (of a data directory give the other files one by one)";
        return Err(fail(&help));
    }
    let text = String::from_utf8_lossy(&head);
    let instead = "; leave it out and give the log of --wsrep-recover instead";
    match kind(&text) {
        Kind::Grastate => {
            let grastate = Grastate::parse(&text).map_err(|e| fail(&format_args!("{e}{instead}")))?;
            if files.grastate.replace(grastate).is_some() {
                return Err(twice("grastate.dat"));
            }
        }
        Kind::Gvwstate => {
            let gvwstate = Gvwstate::parse(&text).map_err(|e| fail(&format_args!("{e}; leave it out")))?;
            if files.gvwstate.replace(gvwstate).is_some() {
                return Err(twice("gvwstate.dat"));
            }
        }
        Kind::Log => {
            let mut scan = LogScan::default();
            lines(head.as_slice().chain(reader), |line| scan.line(line)).map_err(|e| fail(&e))?;
            let recovered = scan.finish().map_err(|e| fail(&e))?;
            if files.recovered.replace(recovered).is_some() {
                return Err(twice("log"));
            }
        }
    }
    Ok(())
}

/// Each line, cut at [`MOST_LINE`], of a text of any length.
fn lines(mut text: impl BufRead, mut take: impl FnMut(&str)) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if text.by_ref().take(MOST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        take(String::from_utf8_lossy(&line).trim_end());
        if line.last() != Some(&b'\n') {
            text.skip_until(b'\n')?;
        }
    }
}
