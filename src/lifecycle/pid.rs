//! The file that holds the process's number.
//!
//! As stunnel does, we unlink what was left behind and make a file anew: nothing is ever written through a link, soft or hard,
//! that somebody has laid at its place. One that a running process has is not taken. As proof of that counts only what no
//! other user can make up: the file's owner, and a lock for writing, for which a descriptor for writing is needed. Whoever
//! can only read the file can lock it against writers, and it says nothing. Where there are no such locks to be had (some
//! file systems and sandboxes) the number has to do, of a process that is called as we are: as good as stunnel's file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::OFlags;
use rustix::process::{Pid, geteuid, test_kill_process};

use crate::net::handover::{Good, Label};

/// Others read it: `kill $(cat …)`.
const MODE: u32 = 0o644;

/// Until it is locked nobody else opens it.
const MODE_UNLOCKED: u32 = 0o600;

/// A number has at most ten digits; what is longer is none.
const LONGEST: u64 = 32;

/// Somebody else may make or remove the file between two of our steps; then we look again.
const ATTEMPTS: u32 = 5;

/// Programs that do not lock their file: it is not taken over while a process of this name has its number. Galeway does, and
/// its number alone may be another Galeway's by now.
const UNLOCKING: [&str; 2] = ["stunnel", "stunnel4"];

/// What we are called, for where there are no locks.
const OURS: [&str; 1] = ["galeway"];

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum PidError {
    /// It cannot be made or written.
    #[error("cannot write the pid file {}: {source}{}", path.display(), hint(source))]
    Unwritable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the pid file {} belongs to {}, which runs: stop that one, or give this one a file of its own", path.display(), whose(*pid))]
    Taken {
        /// Which one.
        path: PathBuf,
        /// Whose; none, one that is being started and has not written its number yet.
        pid: Option<i32>,
    },
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::PermissionDenied => {
            " (it is written, and removed at the end, by the user that this process became: give that user a directory for it)"
        }
        io::ErrorKind::NotFound => " (its directory is missing; with a chroot the path is one inside it)",
        _ => "",
    }
}

fn whose(pid: Option<i32>) -> String {
    pid.map_or_else(|| "a process that is being started".to_owned(), |pid| format!("process {pid}"))
}

/// The file, locked for as long as this lives; then it is removed, if it is still this one.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// Another process has it as well, and removes it.
    anothers: AtomicBool,
}

impl PidFile {
    /// Makes the file and locks it. One that was left behind is replaced; one of a running process is not.
    ///
    /// Apart from [`Self::write`]: what is wrong has to be said before the process becomes a daemon, and its number is
    /// known after that. The lock outlives the fork.
    ///
    /// Where there are no locks it does without, and warns: of two that are started at once one may then lose its file, or
    /// fail in [`Self::write`].
    pub fn claim(path: &Path) -> Result<Self, PidError> {
        Self::claim_by(path, |file, asked| fcntl(file, asked))
    }

    fn claim_by(path: &Path, ask: Ask) -> Result<Self, PidError> {
        let unwritable = |source| PidError::Unwritable { path: path.to_owned(), source };
        for _ in 0..ATTEMPTS {
            match there(path, ask).map_err(unwritable)? {
                There::Nothing => {}
                There::Held(pid) => return Err(PidError::Taken { path: path.to_owned(), pid }),
                There::Changing => continue,
                There::Left(Some(locked)) if !is_at(&locked, path) => continue,
                // The lock lasts until it is gone: of two that are started at once one removes it, and not the other's new one.
                There::Left(_locked) => match std::fs::remove_file(path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(unwritable(e)),
                    _ => {}
                },
            }
            // O_EXCL follows no link, and opens nothing that is there.
            let file = match OpenOptions::new().write(true).create_new(true).mode(MODE_UNLOCKED).open(path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened.map_err(unwritable)?,
            };
            // Another one that is started now may have taken it for one that was left behind.
            let lock = lock(&file, ask);
            if lock == Lock::Refused || !is_at(&file, path) {
                continue;
            }
            if let Lock::Unknown(error) = lock {
                tracing::warn!(file = %path.display(), %error, "the pid file cannot be locked here: should another Galeway be \
                    started with it, only the number in it will tell that this one runs");
            }
            file.set_permissions(std::fs::Permissions::from_mode(MODE)).map_err(unwritable)?;
            return Ok(Self { path: path.to_owned(), file, anothers: AtomicBool::new(false) });
        }
        Err(unwritable(io::Error::other("others make and remove it all the time")))
    }

    /// That of the process whose place this one takes, with its lock. It is that one's until [`Self::write`].
    pub(super) fn of_another(path: PathBuf, file: File) -> Self {
        Self { path, file, anothers: AtomicBool::new(true) }
    }

    /// A second descriptor of it, for the process that takes the place of this one. The lock is that one's too.
    pub fn good(&self) -> io::Result<Good> {
        Ok((Label::PidFile(self.path.clone()), self.file.try_clone()?.into()))
    }

    /// Leaves it to the process that has the other descriptor.
    pub fn leave(&self) {
        self.anothers.store(true, Ordering::SeqCst);
    }

    /// Says that it is this process's to remove.
    pub fn take(&self) {
        self.anothers.store(false, Ordering::SeqCst);
    }

    /// Whether it is the one of this path.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Writes this process's number. The file is this process's from now on.
    pub fn write(&self) -> Result<(), PidError> {
        let unwritable = |source| PidError::Unwritable { path: self.path.clone(), source };
        if !is_at(&self.file, &self.path) {
            let why = "somebody removed it or put another one in its place: are two being started at once?";
            return Err(unwritable(io::Error::other(why)));
        }
        self.take();
        // Over another number, which may be longer: what is read in between is the old one, or the new one with its line end.
        let number = format!("{}\n", std::process::id());
        self.file.write_all_at(number.as_bytes(), 0).map_err(unwritable)?;
        self.file.set_len(number.len().try_into().unwrap_or(LONGEST)).map_err(unwritable)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // One that somebody put in its place is theirs.
        if !self.anothers.load(Ordering::SeqCst)
            && is_at(&self.file, &self.path)
            && let Err(e) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), error = %e, "cannot remove the pid file");
        }
    }
}

/// What is at the place of the file.
enum There {
    Nothing,
    /// One of a running process; which one, if it has written its number already.
    Held(Option<i32>),
    /// One that was left behind, or that somebody else made; with our lock on it where it can be had.
    Left(Option<File>),
    /// Somebody removed it while we looked.
    Changing,
}

/// Looks there. An error: what is there never was a pid file.
fn there(path: &Path, ask: Ask) -> io::Result<There> {
    let there = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        there => there?.file_type(),
    };
    if there.is_symlink() {
        return Ok(There::Left(None));
    }
    // Root could unlink /dev/null.
    if !there.is_file() {
        return Err(io::Error::other(format!("there is {} of this name", kind(there))));
    }
    // What stands there now may be another one: neither is a link followed nor a pipe waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let open = |write| OpenOptions::new().read(true).write(write).custom_flags(flags).open(path);
    let mut file = match open(true).or_else(|_| open(false)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(There::Changing),
        Err(_) => return Ok(There::Left(None)),
        Ok(file) => file,
    };
    let about = file.metadata()?;
    if about.nlink() == 0 {
        return Ok(There::Changing);
    }
    // One of another user's says what that user likes, and so does a second name of a file that is elsewhere.
    let ours = [0, geteuid().as_raw()].contains(&about.uid());
    if !ours || !about.is_file() || about.nlink() != 1 {
        return Ok(There::Left(None));
    }
    let written = read(&mut file);
    // A number alone proves little: it is given to another process some day.
    if let Some(pid) = written.filter(|pid| is_called(*pid, &UNLOCKING)) {
        return Ok(There::Held(Some(pid)));
    }
    let by_number =
        || written.filter(|pid| is_called(*pid, &OURS)).map_or(There::Left(None), |pid| There::Held(Some(pid)));
    match lock(&file, ask) {
        Lock::Ours => return Ok(There::Left(Some(file))),
        Lock::Unknown(_) => return Ok(by_number()),
        Lock::Refused => {}
    }
    // Asked as a reader: other readers' locks are none then. It may have been refused for a descriptor that only reads, before
    // anybody looked whether there are locks.
    let mut other = whole(libc::F_RDLCK);
    if ask(&file, FcntlArg::F_OFD_GETLK(&mut other)).is_err() {
        return Ok(by_number());
    }
    match i32::from(other.l_type) {
        libc::F_WRLCK => Ok(There::Held(written.filter(|pid| runs(*pid)))),
        // A reader's. Or one that wanted to replace the file as we do, and has done it.
        _ if !is_at(&file, path) => Ok(There::Changing),
        _ => Ok(There::Left(None)),
    }
}

/// fcntl(2), or a test's.
type Ask = fn(&File, FcntlArg<'_>) -> nix::Result<i32>;

/// What became of a wish for a lock.
#[derive(Debug, PartialEq, Eq)]
enum Lock {
    Ours,
    /// Somebody else has one, or the file could be opened for reading only.
    Refused,
    /// There are none here: ENOLCK, EINVAL, EOPNOTSUPP and ENOSYS of file systems, EPERM of sandboxes.
    Unknown(Errno),
}

/// Locks it, against others that want the same. That it fails is no reason not to start.
fn lock(file: &File, ask: Ask) -> Lock {
    match ask(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
        Ok(_) => Lock::Ours,
        Err(Errno::EAGAIN | Errno::EACCES | Errno::EBADF) => Lock::Refused,
        Err(e) => Lock::Unknown(e),
    }
}

fn kind(there: std::fs::FileType) -> &'static str {
    match there {
        there if there.is_dir() => "a directory",
        there if there.is_fifo() => "a pipe",
        there if there.is_socket() => "a socket",
        _ => "a device",
    }
}

/// A lock on all of a file, whatever its length.
fn whole(kind: i32) -> libc::flock {
    // The constants are small; their type in the structure is another one.
    let [l_type, l_whence] = [kind, libc::SEEK_SET].map(|number| i16::try_from(number).unwrap_or_default());
    libc::flock { l_type, l_whence, l_start: 0, l_len: 0, l_pid: 0 }
}

/// The number that stands there.
fn read(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    // What is no text is no number.
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether another process of this number runs, under one of these names.
fn is_called(pid: i32, names: &[&str]) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pid != std::process::id().cast_signed() && runs(pid) && names.contains(&name.trim())
}

fn runs(pid: i32) -> bool {
    let process = Pid::from_raw(pid).filter(|_| pid > 0);
    process.is_some_and(|process| test_kill_process(process) != Err(rustix::io::Errno::SRCH))
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), std::fs::symlink_metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

#[cfg(test)]
mod tests;
