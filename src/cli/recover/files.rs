//! Reading a node's files, whatever they are called: what a file is shows in its first lines.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::text::{self, MOST_TEXT};
use crate::galera::advice::Files;
use crate::galera::files::{Grastate, Gvwstate, Kind, LogScan, MOST_STATE, kind};

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
    // MariaDB's and Percona's scripts make it when a full transfer begins and remove it when it has ended.
    files.transfer_unfinished |= path.join("sst_in_progress").try_exists().unwrap_or_default();
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
    let mut reader = text::decoded(file, MOST_TEXT).map_err(|e| fail(&e))?;
    let mut head = Vec::new();
    reader.by_ref().take(MOST_STATE as u64).read_to_end(&mut head).map_err(|e| fail(&e))?;
    let text = String::from_utf8_lossy(&head);
    let is_named = |file: &str| path.file_name().is_some_and(|name| name == file);
    // A power cut leaves it empty or full of zeros. What it is is then known by its name only.
    let has_content = head.iter().any(|b| *b != 0);
    let kind = if is_named("gvwstate.dat") && !has_content { Kind::Gvwstate } else { kind(&text) };
    let instead = "; leave it out and give the log of --wsrep-recover instead";
    match kind {
        Kind::Gvwstate => {
            if files.gvwstate.is_some() || files.gvwstate_damage.is_some() {
                return Err(twice("gvwstate.dat"));
            }
            match Gvwstate::parse(&text) {
                _ if head.is_empty() => files.gvwstate_damage = Some("it is empty (0 bytes)".to_owned()),
                Ok(gvwstate) => files.gvwstate = Some(gvwstate),
                Err(e) => files.gvwstate_damage = Some(e.to_string()),
            }
        }
        _ if head.is_empty() && is_named("grastate.dat") => {
            return Err(fail(&format_args!("it is empty (0 bytes), cut short by a crash{instead}")));
        }
        _ if head.is_empty() => return Err(fail(&"it is empty (0 bytes)")),
        Kind::Grastate => {
            let grastate = Grastate::parse(&text).map_err(|e| fail(&format_args!("{e}{instead}")))?;
            if files.grastate.replace(grastate).is_some() {
                return Err(twice("grastate.dat"));
            }
        }
        Kind::Log => {
            let mut scan = LogScan::default();
            text::lines(head.as_slice().chain(reader), |line| scan.line(line)).map_err(|e| fail(&e))?;
            let recovered = scan.finish().map_err(|e| fail(&e))?;
            if files.recovered.replace(recovered).is_some() {
                return Err(twice("log"));
            }
        }
    }
    Ok(())
}
