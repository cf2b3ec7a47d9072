//! One cluster's file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::galera::{AdminState, Memory};

/// Changes with what the fields mean.
const VERSION: u32 = 1;

/// Far more than a thousand nodes take.
const MOST_BYTES: u64 = 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    cluster: String,
    history: Option<String>,
    served: Vec<String>,
    writer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writer_member: Option<WrittenMember>,
    /// Of each node that is not ready, what the operator wants of it.
    operator: BTreeMap<String, String>,
    /// The same of discovered nodes, by their `wsrep_node_name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    members: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMember {
    uuid: String,
    name: String,
}

/// Read by itself first: another version may have other fields.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Memory(Memory),
    /// Something that cannot be used, and why.
    Useless(String),
}

/// Where a cluster's memory is. Names hold nothing that a file name may not, by the configuration's rule; should that
/// rule ever grow, what is strange is written as `%XX`.
pub(super) fn path_of(dir: &Path, cluster: &str) -> PathBuf {
    let mut name = String::from("cluster-");
    for byte in cluster.bytes() {
        match char::from(byte) {
            char if char.is_ascii_alphanumeric() || "-_.:[]".contains(char) => name.push(char),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name.push_str(".json");
    dir.join(name)
}

pub(super) fn read(path: &Path, cluster: &str) -> Found {
    let bytes = match read_bytes(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Found::Nothing,
        Err(e) => return Found::Useless(e.to_string()),
    };
    match parse(&bytes, cluster) {
        Ok(memory) => Found::Memory(memory),
        Err(why) => Found::Useless(why),
    }
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let about = std::fs::metadata(path)?;
    // To open a pipe would wait for its other end.
    if !about.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other(format!("it is longer than {MOST_BYTES} bytes")));
    }
    Ok(bytes)
}

fn parse(bytes: &[u8], cluster: &str) -> Result<Memory, String> {
    let damaged = |e: serde_json::Error| format!("it is damaged: {e}");
    let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
    if version != VERSION {
        return Err(format!("it is of version {version}, and this Galeway reads version {VERSION}"));
    }
    let written: Written = serde_json::from_slice(bytes).map_err(damaged)?;
    if written.cluster != cluster {
        return Err(format!("it is of another cluster, {:?}", written.cluster));
    }
    Ok(Memory {
        history: written.history.map(|h| h.to_ascii_lowercase().into()),
        served: written.served.into_iter().map(Into::into).collect(),
        writer: written.writer.map(Into::into),
        writer_member: written.writer_member.map(|m| (m.uuid.into(), m.name.into())),
        operator: states(written.operator)?,
        members: states(written.members)?,
    })
}

/// What operators wished, by some name.
fn states<Name: From<String> + Ord>(written: BTreeMap<String, String>) -> Result<BTreeMap<Name, AdminState>, String> {
    let state = |word: &str| AdminState::parse(word).ok_or_else(|| format!("it is damaged: no node can be {word:?}"));
    written.into_iter().map(|(node, word)| Ok((node.into(), state(&word)?))).collect()
}

/// Replaces the file as a whole: whoever reads it, after a crash as well, finds the old or the new memory.
pub(super) fn write(dir: &Path, cluster: &str, memory: &Memory) -> io::Result<()> {
    let written = Written {
        version: VERSION,
        cluster: cluster.to_owned(),
        history: memory.history.as_deref().map(str::to_owned),
        served: memory.served.iter().map(ToString::to_string).collect(),
        writer: memory.writer.as_deref().map(str::to_owned),
        writer_member: memory
            .writer_member
            .as_ref()
            .map(|(uuid, name)| WrittenMember { uuid: uuid.to_string(), name: name.to_string() }),
        operator: memory.operator.iter().map(|(n, state)| (n.to_string(), state.as_str().to_owned())).collect(),
        members: memory.members.iter().map(|(n, state)| (n.to_string(), state.as_str().to_owned())).collect(),
    };
    let mut text = serde_json::to_vec_pretty(&written)?;
    text.push(b'\n');
    let path = path_of(dir, cluster);
    let new = path.with_added_extension("new");
    let mut file = create(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    // The new name is on the disk only when the directory is.
    File::open(dir)?.sync_all()
}

/// Fails where [`write()`] would.
pub(super) fn try_out(dir: &Path) -> io::Result<()> {
    let path = dir.join("lock.new");
    create(&path)?;
    std::fs::remove_file(&path)
}

/// A file that was not there before: what a crash left behind, or somebody put there, a link included, goes.
fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
