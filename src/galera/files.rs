//! What a node that does not run has left in files: `grastate.dat`, `gvwstate.dat`, and the error log of
//! `--wsrep-recover`. Texts in, facts or the line that is wrong out; who reads the files is the caller.
//!
//! Forms as galera-4 26.4 with MariaDB 10.11 writes them; older ones and Percona's are noted where they differ.

#[cfg(test)]
mod tests;

use std::fmt;

/// A file that holds a state and is longer than this is no such file.
pub const MOST_STATE: usize = 64 * 1024;

/// A history's or a group member's identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(u128);

impl Uuid {
    /// All zeros: Galera's word for "none".
    pub const ZERO: Self = Self(0);

    /// Reads the form with four dashes.
    pub fn parse(text: &str) -> Option<Self> {
        const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
        let groups: Vec<&str> = text.split('-').collect();
        let right = groups.iter().map(|g| g.len()).eq(GROUPS);
        let hex = |g: &&str| g.bytes().all(|b| b.is_ascii_hexdigit());
        if !right || !groups.iter().all(hex) {
            return None;
        }
        u128::from_str_radix(&groups.concat(), 16).ok().map(Self)
    }

    /// Whether it names nothing.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |shift: u32, mask: u128| (self.0 >> shift) & mask;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            part(96, 0xffff_ffff),
            part(80, 0xffff),
            part(64, 0xffff),
            part(48, 0xffff),
            part(0, 0xffff_ffff_ffff)
        )
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which history.
    pub uuid: Uuid,
    /// How far; `None` = written as -1: unknown.
    pub seqno: Option<u64>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seqno {
            Some(seqno) => write!(f, "{}:{seqno}", self.uuid),
            None => write!(f, "{}:-1", self.uuid),
        }
    }
}

/// `grastate.dat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grastate {
    /// `uuid:` and `seqno:`; the seqno is -1 from a start to an orderly stop.
    pub position: Position,
    /// `safe_to_bootstrap:`; older versions write none.
    pub safe_to_bootstrap: Option<bool>,
}

/// `gvwstate.dat`: the last Primary view of a node that did not leave it in an orderly way. An orderly stop removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gvwstate {
    /// The node's own identity in the group.
    pub my_uuid: Uuid,
    /// `view_id:` as it stands: equal on all members of one view.
    pub view_id: String,
    /// The view's members, this node among them.
    pub members: Vec<Uuid>,
}

/// The last recovered position of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// What the storage engine held.
    pub position: Position,
    /// The line that says so, from 1.
    pub line: u64,
    /// The beginning of that line where it is a time.
    pub time: Option<String>,
    /// A later line that shows the server running: what it wrote from there on, the position does not know.
    pub outdated_by: Option<u64>,
}

/// Text that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// From 1; 0 = the file as a whole.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

fn malformed<T>(line: u64, message: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed { line, message: message.into() })
}

/// The kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `grastate.dat`.
    Grastate,
    /// `gvwstate.dat`.
    Gvwstate,
    /// Any other text: a log.
    Log,
}

/// What a file is by its first lines: its name may be a copy's.
pub fn kind(head: &str) -> Kind {
    for line in head.lines().map(str::trim_start).take(20) {
        let starts = |words: &[&str]| words.iter().any(|w| line.starts_with(w));
        if starts(&["# GALERA saved state", "uuid:", "seqno:", "safe_to_bootstrap:"]) {
            return Kind::Grastate;
        }
        if starts(&["my_uuid:", "#vwbeg", "view_id:", "member:"]) {
            return Kind::Gvwstate;
        }
    }
    Kind::Log
}

/// The `KEY: VALUE` lines of a state file with their numbers; `#` begins a comment.
fn pairs(text: &str) -> Result<Vec<(u64, &str, &str)>, Malformed> {
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(':') {
            Some((key, value)) => pairs.push((number, key.trim(), value.trim())),
            None => return malformed(number, format!("{} is no KEY: VALUE", quoted(line))),
        }
    }
    Ok(pairs)
}

fn once<T>(slot: &mut Option<T>, line: u64, key: &str, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => malformed(line, format!("{key} stands there twice")),
    }
}

fn uuid(line: u64, text: &str) -> Result<Uuid, Malformed> {
    Uuid::parse(text).map_or_else(|| malformed(line, format!("{} is no UUID", quoted(text))), Ok)
}

fn seqno(text: &str) -> Option<Option<u64>> {
    match text.parse::<i64>() {
        Ok(-1) => Some(None),
        Ok(number) => u64::try_from(number).ok().map(Some),
        Err(_) => None,
    }
}

impl Grastate {
    /// Reads the file. Keys that it does not know are left alone, since newer versions may write more.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (mut history, mut number, mut safe) = (None, None, None);
        for (line, key, value) in pairs(text)? {
            match key {
                "uuid" => once(&mut history, line, key, uuid(line, value)?)?,
                "seqno" => match seqno(value) {
                    Some(seqno) => once(&mut number, line, key, seqno)?,
                    None => return malformed(line, format!("seqno: {} is no position", quoted(value))),
                },
                "safe_to_bootstrap" => match value {
                    "0" => once(&mut safe, line, key, false)?,
                    "1" => once(&mut safe, line, key, true)?,
                    _ => return malformed(line, format!("safe_to_bootstrap: {} is neither 0 nor 1", quoted(value))),
                },
                _ => {}
            }
        }
        match (history, number) {
            (Some(uuid), Some(seqno)) => Ok(Self { position: Position { uuid, seqno }, safe_to_bootstrap: safe }),
            (None, _) => malformed(0, "a grastate.dat without uuid:, cut short"),
            (_, None) => malformed(0, "a grastate.dat without seqno:, cut short"),
        }
    }
}

impl Gvwstate {
    /// Reads the file.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (mut mine, mut view, mut members) = (None, None, Vec::new());
        for (line, key, value) in pairs(text)? {
            match key {
                "my_uuid" => once(&mut mine, line, key, uuid(line, value)?)?,
                "view_id" => once(&mut view, line, key, value.to_owned())?,
                "member" => members.push(uuid(line, value.split_whitespace().next().unwrap_or_default())?),
                _ => {}
            }
        }
        match (mine, view) {
            (Some(my_uuid), Some(view_id)) if members.contains(&my_uuid) => Ok(Self { my_uuid, view_id, members }),
            (Some(_), Some(_)) => malformed(0, "a gvwstate.dat whose members lack its own my_uuid, cut short"),
            (None, _) => malformed(0, "a gvwstate.dat without my_uuid:, cut short"),
            (_, None) => malformed(0, "a gvwstate.dat without view_id:, cut short"),
        }
    }
}

/// Reads a log line by line for its last recovered position.
///
/// A server that runs again after it was recovered writes on, and an old position that passes for the present one
/// names the wrong node: so every line after it is looked at too.
#[derive(Debug, Default)]
pub struct LogScan {
    lines: u64,
    last: Option<Result<Recovered, Malformed>>,
    without_wsrep: Option<u64>,
    /// Where `mysqld_safe` last found a position in `grastate.dat`, and asked the storage engine for none.
    skipped: Option<(u64, String)>,
    error: Option<String>,
}

impl LogScan {
    /// Takes the next line in.
    pub fn line(&mut self, line: &str) {
        self.lines = self.lines.saturating_add(1);
        let number = self.lines;
        if let Some(text) = recovered(line) {
            let read = position(text).map(|position| {
                let time = line.get(..19).filter(|t| t.starts_with("20") && t.contains(':'));
                Recovered { position, line: number, time: time.map(str::to_owned), outdated_by: None }
            });
            let wrong =
                || Malformed { line: number, message: format!("{} is no position UUID:SEQNO", quoted(text.trim())) };
            self.last = Some(read.ok_or_else(wrong));
            self.skipped = None;
        } else if runs(line)
            && let Some(Ok(recovered)) = &mut self.last
        {
            recovered.outdated_by.get_or_insert(number);
        }
        if let Some((_, pair)) = line.split_once("Skipping wsrep-recover for ") {
            // The server had stopped in an orderly way since: what was recovered before is out of date.
            self.last = None;
            self.skipped = Some((number, cut(pair.trim_end_matches(" pair"), 80)));
        }
        if line.contains("skipping position recovery") {
            self.without_wsrep = Some(number);
        }
        if let Some((_, error)) = line.split_once("[ERROR]")
            && !error.trim().ends_with("Aborting")
        {
            self.error = Some(cut(error.trim(), 200));
        }
    }

    /// The last position. The last one that cannot be read is an error: the one before it is out of date.
    pub fn finish(self) -> Result<Recovered, Malformed> {
        if let Some(last) = self.last {
            return last;
        }
        if self.lines == 0 {
            return malformed(0, "it is empty");
        }
        if let Some((line, pair)) = self.skipped {
            let why = format!(
                "mysqld_safe skipped the recovery, since the position then stood in grastate.dat ({pair}): leave this log out \
                 and give grastate.dat"
            );
            return malformed(line, why);
        }
        if let Some(line) = self.without_wsrep {
            let why = "the server skipped the recovery, since it ran without wsrep: add --wsrep-on=ON, and --wsrep-provider \
                       if its configuration names none";
            return malformed(line, why);
        }
        let lines = self.lines;
        let error = self.error.map(|e| format!("; its last error: {e}")).unwrap_or_default();
        malformed(
            0,
            format!(
                "neither grastate.dat nor gvwstate.dat, and no `WSREP: Recovered position` in its {lines} lines: is it the \
                 log of a run with --wsrep-recover?{error}"
            ),
        )
    }
}

/// What follows the words, where a line has them: `WSREP: Recovered position: U:N` (the server), the same without the
/// second colon (`mysqld_safe`, `galera_recovery`), or `--wsrep_start_position=U:N` (what `galera_recovery` prints).
/// `Recovered position from storage:` is something else.
fn recovered(line: &str) -> Option<&str> {
    let printed = ["--wsrep_start_position=", "--wsrep-start-position="];
    if let Some(text) = printed.iter().find_map(|p| line.trim_start().strip_prefix(p)) {
        return Some(text);
    }
    let (before, after) = line.split_once("Recovered position")?;
    let apart = after.starts_with([':', ' ', '\t']) && !after.trim_start().starts_with("from ");
    (before.contains("WSREP") && apart).then(|| after.strip_prefix(':').unwrap_or(after))
}

/// `UUID:SEQNO`; a GTID may follow after a comma or a space.
fn position(text: &str) -> Option<Position> {
    let first = text.trim().split([',', ' ', '\t']).next()?;
    let (uuid, number) = first.split_once(':')?;
    Some(Position { uuid: Uuid::parse(uuid)?, seqno: seqno(number)? })
}

/// Lines of a server that takes part in its group or serves; `--wsrep-recover` prints none of them.
fn runs(line: &str) -> bool {
    line.contains("ready for connections") || (line.contains("WSREP") && line.contains("Shifting "))
}

/// A piece of a file for a message.
fn quoted(text: &str) -> String {
    format!("{:?}", cut(text, 60))
}

fn cut(text: &str, most: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}
