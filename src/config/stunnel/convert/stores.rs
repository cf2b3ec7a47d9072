//! Who is in a store of certificates that peers have to be in: for comments, so that a reader sees who is let in.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::pem::Pem;

use super::super::super::model::{CaStore, PeerRules, Pin};
use super::super::super::source::harmless;

/// A comment is no place for more.
const MOST: usize = 20;

/// Far more than any store of peers.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// A line for each certificate that is in the store now: its subject and its pin. Empty where a peer need not be in there.
pub(super) fn comments(peer: &PeerRules) -> String {
    let mut out = String::new();
    let Some(CaStore::Paths(paths)) = peer.ca.as_ref().filter(|_| peer.in_store) else { return out };
    let mut found = Vec::new();
    for path in paths {
        // Writing to a string does not fail.
        match in_store(path) {
            Ok(some) => found.extend(some),
            Err(reason) => {
                let _ = writeln!(out, "# {} cannot be read now: {reason}", harmless(&path.display().to_string()));
            }
        }
    }
    for (subject, pin) in found.iter().take(MOST) {
        let _ = writeln!(out, "# In the store now: {} {pin}", harmless(subject));
    }
    if let Some(more) = found.len().checked_sub(MOST).filter(|more| *more > 0) {
        let _ = writeln!(out, "# … and {more} more");
    }
    out
}

/// Subjects and pins of a file, or of the files under hashed names in a directory.
fn in_store(path: &Path) -> io::Result<Vec<(String, Pin)>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = path.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
        files.retain(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(hashed));
        files.sort();
    }
    let mut found = Vec::new();
    for file in files.into_iter().take(MOST * 10) {
        let mut bytes = Vec::new();
        File::open(file)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        for pem in Pem::iter_from_buffer(&bytes).flatten() {
            let Ok(certificate) = pem.parse_x509() else { continue };
            if let Ok(pin) = digest(&SHA256, certificate.public_key().raw).as_ref().try_into() {
                found.push((certificate.subject().to_string(), Pin(pin)));
            }
        }
    }
    Ok(found)
}

/// `HASH.N`, as `openssl rehash` calls them.
fn hashed(name: &str) -> bool {
    name.split_once('.').is_some_and(|(hash, number)| {
        hash.len() == 8
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}
