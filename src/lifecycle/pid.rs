//! The file that holds the process's number.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, test_kill_process};

/// Others read it: `kill $(cat …)`.
const MODE: u32 = 0o644;

/// A number has at most ten digits; what is longer is none.
const LONGEST: u64 = 32;

/// Who ends removes its file between our opening and our locking it; then there is a new one to be made.
const ATTEMPTS: u32 = 5;

/// Programs whose file of this kind is not to be taken over while they run.
const KIN: [&str; 3] = ["galeway", "stunnel", "stunnel4"];

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
    #[error("the pid file {} belongs to process {pid}, which runs: stop that one, or give this one a file of its own", path.display())]
    Taken {
        /// Which one.
        path: PathBuf,
        /// Whose.
        pid: i32,
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

/// The file, locked for as long as this lives; then it is removed, if it is still this one.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Makes the file and locks it. One that was left behind is taken over; one of a running process is not.
    ///
    /// Apart from [`Self::write`]: what is wrong has to be said before the process becomes a daemon, and its number is
    /// known after that. The lock outlives the fork.
    pub fn claim(path: &Path) -> Result<Self, PidError> {
        let unwritable = |source| PidError::Unwritable { path: path.to_owned(), source };
        for _ in 0..ATTEMPTS {
            let mut how = OpenOptions::new();
            how.read(true).write(true).create(true).truncate(false).mode(MODE);
            // In a directory that others may write, a link would lead us to overwrite what it points to.
            how.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
            let mut file = how.open(path).map_err(unwritable)?;
            let written = read(&mut file).map_err(unwritable)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(PidError::Taken { path: path.to_owned(), pid: written.unwrap_or_default() });
                }
                Err(TryLockError::Error(e)) => return Err(unwritable(e)),
            }
            // Galeway locks its file; others do not. A number alone proves little: it is given to another process some day.
            if let Some(pid) = written.filter(|pid| is_kin(*pid)) {
                return Err(PidError::Taken { path: path.to_owned(), pid });
            }
            if !is_at(&file, path) {
                continue;
            }
            // The number of who left it behind is nobody's.
            file.set_len(0).map_err(unwritable)?;
            return Ok(Self { path: path.to_owned(), file });
        }
        Err(unwritable(io::Error::other("others make and remove it all the time")))
    }

    /// Writes this process's number.
    pub fn write(&mut self) -> Result<(), PidError> {
        let unwritable = |source| PidError::Unwritable { path: self.path.clone(), source };
        writeln!(self.file, "{}", std::process::id()).map_err(unwritable)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // One that somebody put in its place is theirs.
        if is_at(&self.file, &self.path)
            && let Err(e) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(file = %self.path.display(), error = %e, "cannot remove the pid file");
        }
    }
}

/// What stands there, and the position back at the beginning.
fn read(file: &mut File) -> io::Result<Option<i32>> {
    let mut text = String::new();
    // What is no text is no number.
    let read = file.take(LONGEST).read_to_string(&mut text);
    io::Seek::rewind(file)?;
    Ok(read.ok().and_then(|_| text.trim().parse().ok()))
}

fn is_kin(pid: i32) -> bool {
    let ours = std::process::id().cast_signed();
    let Some(other) = Pid::from_raw(pid).filter(|_| pid > 0 && pid != ours) else { return false };
    let gone = test_kill_process(other).is_err_and(|e| e == rustix::io::Errno::SRCH);
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    !gone && KIN.contains(&name.trim())
}

/// Whether the path still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), std::fs::symlink_metadata(path)), (Ok(a), Ok(b)) if same(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("galeway-pid-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn file(&self) -> PathBuf {
            self.0.join("pid")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn it_holds_our_number_and_goes_with_us() {
        let scratch = Scratch::new("ours");
        // Left behind by a process of another kind that got the number since, or by nobody.
        for left in ["", "1\n", "999999999\n", "no number", "\0\0\0"] {
            std::fs::write(scratch.file(), left).unwrap();
            let mut pid = PidFile::claim(&scratch.file()).unwrap();
            pid.write().unwrap();
            let text = std::fs::read_to_string(scratch.file()).unwrap();
            assert_eq!(text, format!("{}\n", std::process::id()));
            drop(pid);
            assert!(!scratch.file().exists());
        }
    }

    #[test]
    fn a_running_galeways_file_is_not_taken() {
        let scratch = Scratch::new("taken");
        let mut first = PidFile::claim(&scratch.file()).unwrap();
        first.write().unwrap();
        let said = PidFile::claim(&scratch.file()).unwrap_err().to_string();
        assert!(said.contains(&format!("belongs to process {}", std::process::id())), "{said}");
    }

    #[test]
    fn one_that_somebody_put_in_its_place_stays() {
        let scratch = Scratch::new("place");
        let pid = PidFile::claim(&scratch.file()).unwrap();
        std::fs::remove_file(scratch.file()).unwrap();
        std::fs::write(scratch.file(), "theirs").unwrap();
        drop(pid);
        assert_eq!(std::fs::read_to_string(scratch.file()).unwrap(), "theirs");
    }

    #[test]
    fn a_link_is_not_followed() {
        let scratch = Scratch::new("link");
        let precious = scratch.0.join("precious");
        std::fs::write(&precious, "text").unwrap();
        std::os::unix::fs::symlink(&precious, scratch.file()).unwrap();
        let said = PidFile::claim(&scratch.file()).unwrap_err().to_string();
        assert!(said.starts_with("cannot write the pid file"), "{said}");
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "text");
    }
}
