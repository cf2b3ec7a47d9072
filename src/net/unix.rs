//! A listening Unix socket: its file, its mode, and whose the file is.
//!
//! Who may connect is the mode's say, and it must never be wider than asked for, not even for a moment. The umask
//! could see to that, but it is the whole process's. So the socket is bound, given its mode, and only then set to
//! listen: the kernel asks for the permission at the connect, and refuses every connect to a socket that does not
//! listen yet (unix(7), connect(2)).

use std::fs::{File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::process::{Gid, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::config::SocketAccess;

/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 4096;

/// How long another process may take to make its own socket in the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Why a Unix socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// The directory is not there.
    #[error("there is no directory {}: make it, owned by the user that galeway runs as", .0.display())]
    NoDirectory(PathBuf),
    /// Something else has the name.
    #[error("a file that is no socket has that name: it is left alone; move it away or choose another path")]
    NotASocket,
    /// Somebody answers there.
    #[error("another process listens there: see `ss -xlp`, or choose another path")]
    Taken,
    /// It belongs to somebody who does not let us ask whether anybody answers.
    #[error(
        "a socket of another user has that name, and this one may not open it: see `ls -l`; remove it if nobody listens there"
    )]
    NotOurs,
    /// Another process holds the directory's lock.
    #[error("another process has locked the directory for more than a second")]
    Locked,
    /// The owner that was asked for does not exist: a user or a group.
    #[error("there is no {0} {1:?} on this host")]
    Nobody(&'static str, String),
    /// The file could not be given to its owner.
    #[error("cannot give the socket to {to}: {source} (only root may give a file away)")]
    Owner {
        /// `USER:GROUP`.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// The operating system's word.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The file of a listening socket. Dropped, it removes the file, if that is still the one that was made, and ours.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: (u64, u64),
    /// Another process goes on listening there, and removes it.
    anothers: AtomicBool,
}

impl SocketFile {
    /// That of another process, which listens there still: see [`Self::belongs`].
    pub fn of_another(path: PathBuf, made: (u64, u64)) -> Self {
        Self { path, made, anothers: AtomicBool::new(true) }
    }

    /// Says whether it is this process's to remove.
    pub fn belongs(&self, ours: bool) {
        self.anothers.store(!ours, Ordering::SeqCst);
    }

    /// Where it is, and its device and inode.
    pub fn place(&self) -> (&Path, (u64, u64)) {
        (&self.path, self.made)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.anothers.load(Ordering::SeqCst) {
            return;
        }
        // A newer process may have put its own there.
        if identity(&self.path).is_ok_and(|found| found == self.made) {
            // What cannot be removed now is found stale at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`, whose file has this mode and owner from the moment that anybody can connect. The socket is
/// non-blocking.
///
/// The file of a process that is gone is replaced; one that is answered at, and one that is no socket, never.
///
/// # Errors
/// See [`UnixError`].
pub fn bind_unix(path: &Path, access: &SocketAccess) -> Result<(UnixListener, SocketFile), UnixError> {
    let owner = access.user.as_deref().map(user).transpose()?;
    let group = access.group.as_deref().map(group).transpose()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Two that start at once could each find the other's socket, bound and not yet listening, stale.
    let _lock = lock(directory)?;
    make_way(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Held, and not named again: whoever may write the directory could put a link to another file in its place meanwhile, and
    // root would give that one away.
    let made =
        fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)?;
    let seen = fs::fstat(&made).map_err(io::Error::from)?;
    if FileType::from_raw_mode(seen.st_mode) != FileType::Socket {
        return Err(UnixError::NotASocket);
    }
    let file = SocketFile { path: path.to_owned(), made: (seen.st_dev, seen.st_ino), anothers: AtomicBool::new(false) };
    if owner.is_some() || group.is_some() {
        fs::chownat(&made, "", owner.map(Uid::from_raw), group.map(Gid::from_raw), AtFlags::EMPTY_PATH)
            .map_err(|e| UnixError::Owner { to: access.owner().unwrap_or_default(), source: e.into() })?;
    }
    // A descriptor of this kind knows no fchmod (open(2), O_PATH); by this name it is the file itself.
    std::fs::set_permissions(format!("/proc/self/fd/{}", made.as_raw_fd()), Permissions::from_mode(access.mode))?;
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from(std::os::fd::OwnedFd::from(socket)), file))
}

/// A user's number, from the number or the name.
fn user(name: &str) -> Result<u32, UnixError> {
    let found = || nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    name.parse().ok().or_else(found).ok_or_else(|| UnixError::Nobody("user", name.to_owned()))
}

/// A group's number, likewise.
fn group(name: &str) -> Result<u32, UnixError> {
    let found = || nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    name.parse().ok().or_else(found).ok_or_else(|| UnixError::Nobody("group", name.to_owned()))
}

/// Holds the directory until it is dropped.
fn lock(directory: &Path) -> Result<File, UnixError> {
    let opened = match File::open(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(UnixError::NoDirectory(directory.to_owned())),
        opened => opened?,
    };
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(opened),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(UnixError::Locked),
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
    }
}

/// Removes the socket of a process that is gone.
fn make_way(path: &Path) -> Result<(), UnixError> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
        Ok(found) if !found.file_type().is_socket() => return Err(UnixError::NotASocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    match probe.connect(&SockAddr::unix(path)?) {
        // Only this says that nobody holds it. A full queue (EAGAIN) is somebody's, and so is a socket of another type.
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok(std::fs::remove_file(path)?),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(UnixError::NotOurs),
        Ok(()) | Err(_) => Err(UnixError::Taken),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// A directory of a test's own.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("galeway-unix-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("a.sock")
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_file_has_the_mode_and_goes_with_its_owner() {
        let dir = Dir::new();
        let (_listener, file) = bind_unix(&dir.socket(), &SocketAccess::default()).unwrap();
        assert_eq!(std::fs::metadata(dir.socket()).unwrap().mode() & 0o7777, 0o660);
        UnixStream::connect(dir.socket()).unwrap();
        drop(file);
        assert!(!dir.socket().exists());
    }

    #[test]
    fn a_socket_that_nobody_answers_at_is_replaced() {
        let dir = Dir::new();
        drop(UnixListener::bind(dir.socket()).unwrap());
        assert!(dir.socket().exists());
        let _held = bind_unix(&dir.socket(), &SocketAccess::default()).unwrap();
        UnixStream::connect(dir.socket()).unwrap();
    }

    #[test]
    fn a_living_one_is_left_alone_even_when_its_queue_is_full() {
        let dir = Dir::new();
        let living = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        living.bind(&SockAddr::unix(dir.socket()).unwrap()).unwrap();
        living.listen(0).unwrap();
        let mut clients = Vec::new();
        for _ in 0..3 {
            assert!(matches!(bind_unix(&dir.socket(), &SocketAccess::default()), Err(UnixError::Taken)));
            let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
            let _ = client.connect(&SockAddr::unix(dir.socket()).unwrap());
            clients.push(client);
        }
    }

    #[test]
    fn no_file_but_a_socket_is_ever_removed() {
        let dir = Dir::new();
        std::fs::write(dir.socket(), "precious").unwrap();
        assert!(matches!(bind_unix(&dir.socket(), &SocketAccess::default()), Err(UnixError::NotASocket)));
        assert_eq!(std::fs::read_to_string(dir.socket()).unwrap(), "precious");
        std::fs::rename(dir.socket(), dir.0.join("kept")).unwrap();
        std::os::unix::fs::symlink(dir.0.join("kept"), dir.socket()).unwrap();
        assert!(matches!(bind_unix(&dir.socket(), &SocketAccess::default()), Err(UnixError::NotASocket)));
    }

    #[test]
    fn the_end_removes_no_file_of_a_successor() {
        let dir = Dir::new();
        let (listener, file) = bind_unix(&dir.socket(), &SocketAccess::default()).unwrap();
        std::fs::rename(dir.socket(), dir.0.join("old")).unwrap();
        let _successor = bind_unix(&dir.socket(), &SocketAccess::default()).unwrap();
        drop((listener, file));
        UnixStream::connect(dir.socket()).unwrap();
    }

    #[test]
    fn the_file_of_another_process_is_left_alone_until_it_is_ours() {
        let dir = Dir::new();
        let (_listener, file) = bind_unix(&dir.socket(), &SocketAccess::default()).unwrap();
        let (path, made) = file.place();
        let adopted = SocketFile::of_another(path.to_owned(), made);
        file.belongs(false);
        drop(file);
        drop(SocketFile::of_another(dir.socket(), made));
        assert!(dir.socket().exists());
        adopted.belongs(true);
        drop(adopted);
        assert!(!dir.socket().exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = Dir::new();
        let said = bind_unix(&dir.0.join("none/a.sock"), &SocketAccess::default()).unwrap_err().to_string();
        assert!(said.starts_with("there is no directory ") && said.contains("none"), "{said}");
    }

    #[test]
    fn of_many_that_start_at_once_over_a_stale_file_one_has_it() {
        let dir = Dir::new();
        drop(UnixListener::bind(dir.socket()).unwrap());
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let path = dir.socket();
                std::thread::spawn(move || bind_unix(&path, &SocketAccess::default()))
            })
            .collect();
        let held: Vec<_> = tries.into_iter().filter_map(|t| t.join().unwrap().ok()).collect();
        assert_eq!(held.len(), 1);
        UnixStream::connect(dir.socket()).unwrap();
    }
}
