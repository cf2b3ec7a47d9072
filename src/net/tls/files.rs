//! Files of certificates, keys and CRLs: what is in them, and what is wrong with them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::SetupError;

/// The most that a file may hold; the largest CRLs have some 10 MB.
const MOST_BYTES: u64 = 64 << 20;

/// A file that is no good.
pub(super) fn bad_file(path: &Path, what: impl ToString) -> SetupError {
    SetupError::File { path: path.to_owned(), what: what.to_string() }
}

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, SetupError> {
    read_from(path, path)
}

/// The bytes of the file that is found at `here` and written as `path`, by which errors name it.
pub(super) fn read_from(here: &Path, path: &Path) -> Result<Vec<u8>, SetupError> {
    let whole = || {
        let mut bytes = Vec::new();
        File::open(here)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).is_ok_and(|n| n > MOST_BYTES) {
            return Err(io::Error::other("is larger than 64 MB"));
        }
        Ok(bytes)
    };
    whole().map_err(|e| bad_file(path, denied(&e)))
}

/// The error in words; where it is about rights, with the user that we run as, since that is no longer root once
/// privileges are dropped.
pub(super) fn denied(e: &io::Error) -> String {
    let text = e.to_string();
    let text = text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words);
    if e.kind() != io::ErrorKind::PermissionDenied {
        return text.to_owned();
    }
    let user = nix::unistd::geteuid();
    let name = nix::unistd::User::from_uid(user).ok().flatten().map_or_else(|| format!("user {user}"), |u| u.name);
    format!("{text} (we run as {name} now)")
}

/// Whether the text has a section of this label.
pub(super) fn has_section(bytes: &[u8], label: &str) -> bool {
    let line = format!("-----BEGIN {label}-----");
    bytes.windows(line.len()).any(|w| w == line.as_bytes())
}

/// Why nothing usable was found in `bytes`.
fn nothing(bytes: &[u8], wanted: &str) -> String {
    let found = if has_section(bytes, "TRUSTED CERTIFICATE") {
        " but a TRUSTED CERTIFICATE of OpenSSL: write it anew with `openssl x509 -in FILE -out NEW`"
    } else if has_section(bytes, "ENCRYPTED PRIVATE KEY") {
        " but an ENCRYPTED PRIVATE KEY"
    } else if has_section(bytes, "X509 CRL") {
        " but a CRL"
    } else if has_section(bytes, "CERTIFICATE REQUEST") {
        " but a CERTIFICATE REQUEST: a CA has to sign it first"
    } else if has_section(bytes, "CERTIFICATE") {
        " but certificates"
    } else if bytes.first() == Some(&0x30) {
        " but DER: write it anew in PEM with `openssl x509 -inform DER -in FILE -out NEW`"
    } else {
        ""
    };
    format!("holds no {wanted} in PEM form{found}")
}

/// Every certificate of a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    certificates_in(&read(path)?, path)
}

/// The same of what was read from it.
pub(super) fn certificates_in(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad_file(path, nothing(bytes, "certificate"))),
        Ok(found) => Ok(found),
        Err(e) => Err(bad_file(path, e)),
    }
}

/// Every CRL in what was read from the PEM file `path`; at least one.
pub(super) fn crls_in(bytes: &[u8], path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, SetupError> {
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad_file(path, nothing(bytes, "CRL"))),
        Ok(found) => Ok(found),
        Err(e) => Err(bad_file(path, e)),
    }
}

/// The key in what was read from `path`, not encrypted.
pub(super) fn key_in(bytes: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
    let old_encryption = b"Proc-Type: 4,ENCRYPTED";
    if bytes.windows(old_encryption.len()).any(|w| w == old_encryption) {
        return Err(bad_file(
            path,
            "its key is encrypted in OpenSSL's old form (Proc-Type: 4,ENCRYPTED): \
             write it anew with `openssl pkcs8 -topk8 -in FILE -out NEW`",
        ));
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|_| bad_file(path, nothing(bytes, "private key")))
}

/// Whether a file in a directory of hashed names counts: eight digits, and behind the dot `infix` and a number.
pub(super) fn is_hashed(name: &str, infix: &str) -> bool {
    let Some((hash, number)) = name.split_once('.') else { return false };
    let Some(number) = number.strip_prefix(infix) else { return false };
    hash.len() == 8
        && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// The files of a path: itself, or those of a directory that have a hashed name, in order.
pub(super) fn hashed_files(path: &Path, infix: &str) -> io::Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| is_hashed(name, infix)) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
