//! What a writer thread writes to: a file, standard error, or a socket.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use tracing_subscriber::util::TryInitError;

/// Log files tell who connects from where: others need not read them.
const MODE: u32 = 0o640;

/// Where the system's log listens.
pub(super) const SYSLOG: &str = "/dev/log";

/// Where the journal listens (systemd: "Native Journal Protocol").
pub(super) const JOURNAL: &str = "/run/systemd/journal/socket";

/// A log service that does not read holds up its own writer thread for so long with each line, and nobody else.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a log cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file.
    #[error("cannot open the log file {}: {source}{}", path.display(), hint(source))]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A socket.
    #[error("cannot log to {path}: {source} (nobody listens there; is this the right kind of log for this system?)")]
    Socket {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is a subscriber.
    #[error("cannot start logging: {0}")]
    Taken(#[source] TryInitError),
}

fn hint(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::PermissionDenied => {
            " (it is opened by the user that this process became, who has to open it again later)"
        }
        io::ErrorKind::NotFound => " (its directory is missing; with a chroot the path is one inside it)",
        _ if e.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => " (it is a pipe that nobody reads, or a socket)",
        _ => "",
    }
}

/// What a writer thread writes to.
#[derive(Debug)]
pub(super) struct Sink {
    to: To,
    failures: Failures,
}

#[derive(Debug)]
enum To {
    Stderr,
    File(Reopen),
    Datagrams { socket: UnixDatagram, path: String },
}

/// A file that may be opened again.
#[derive(Debug, Clone)]
pub(super) struct Reopen {
    path: PathBuf,
    append: bool,
    /// None before it is opened. Locked only to take it out or to put another one in: see [`Self::file`].
    file: Arc<Mutex<Option<Arc<File>>>>,
}

/// What could not be written.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures(Arc<Mutex<Option<(usize, String)>>>);

impl Sink {
    pub(super) fn stderr() -> Self {
        Self { to: To::Stderr, failures: Failures::default() }
    }

    pub(super) fn file(path: &Path, append: bool) -> Self {
        let file = Reopen { path: path.to_owned(), append, file: Arc::default() };
        Self { to: To::File(file), failures: Failures::default() }
    }

    pub(super) fn datagrams(path: &str) -> Result<Self, OpenError> {
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            socket.set_write_timeout(Some(PATIENCE))?;
            Ok(socket)
        });
        let socket = connected.map_err(|source| OpenError::Socket { path: path.to_owned(), source })?;
        Ok(Self { to: To::Datagrams { socket, path: path.to_owned() }, failures: Failures::default() })
    }

    /// The file, if it is one.
    pub(super) fn open(&mut self) -> Result<(), OpenError> {
        match &self.to {
            To::File(file) => file.again(),
            _ => Ok(()),
        }
    }

    pub(super) fn reopen(&self) -> Option<Reopen> {
        match &self.to {
            To::File(file) => Some(file.clone()),
            _ => None,
        }
    }

    pub(super) fn failures(&self) -> Failures {
        self.failures.clone()
    }

    /// Whether its lines can be shown on a terminal.
    pub(super) fn is_for_people(&self) -> bool {
        !matches!(self.to, To::Datagrams { .. })
    }

    pub(super) fn thread_name(&self) -> &'static str {
        match self.to {
            To::Stderr => "log-stderr",
            To::File(_) => "log-file",
            To::Datagrams { .. } => "log-socket",
        }
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.to {
            To::Stderr => io::stderr().write_all(line),
            To::File(file) => match file.file() {
                Some(file) => (&*file).write_all(line),
                None => Err(io::ErrorKind::NotFound.into()),
            },
            To::Datagrams { socket, path } => match socket.send(line) {
                Ok(_) => Ok(()),
                // The log service was restarted, and listens on a new socket under the old name.
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotConnected) => {
                    socket.connect(&*path).map_err(|_| e)?;
                    socket.send(line).map(|_| ())
                }
                Err(e) => Err(e),
            },
        }
    }
}

/// Never an error: it could only be thrown away.
impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(e) = self.put(line) {
            self.failures.count(&e);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reopen {
    /// Opens the path. Where that fails what was open before stays in use.
    pub(super) fn again(&self) -> Result<(), OpenError> {
        let mut how = OpenOptions::new();
        // O_APPEND in both cases: two that write one file must not overwrite each other's lines.
        how.append(true).create(true).mode(MODE);
        // A pipe that nobody reads is an error: to wait for its reader would stop everything that the process does.
        how.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let opened = how.open(&self.path).and_then(|file| {
            // To write is the writer thread's business, which may wait for a slow reader.
            fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
            // A terminal or a pipe (`output = /dev/stdout`) has nothing to be overwritten.
            if !self.append && file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            Ok(file)
        });
        let opened = opened.map_err(|source| OpenError::File { path: self.path.clone(), source })?;
        let before = self.locked().replace(Arc::new(opened));
        // Closed once nobody holds the lock, for that may wait as well.
        drop(before);
        Ok(())
    }

    /// What is open now. It is written to without the lock: a pipe that is not read any more holds up its writer for good, and
    /// would hold up whoever opens it again, who has to answer signals.
    fn file(&self) -> Option<Arc<File>> {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    fn count(&self, e: &io::Error) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = told.as_ref().map_or(0, |(lines, _)| *lines);
        *told = Some((lines.saturating_add(1), e.to_string()));
    }

    /// How many lines, and the last reason.
    pub(super) fn told(&self) -> Option<(usize, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("galeway-sink-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn opened(path: &Path, append: bool) -> Sink {
        let mut sink = Sink::file(path, append);
        sink.open().unwrap();
        sink
    }

    #[test]
    fn a_file_is_appended_to_or_overwritten_as_it_is_asked_for() {
        let scratch = Scratch::new("append");
        let path = scratch.0.join("log");
        std::fs::write(&path, "old\n").unwrap();
        opened(&path, true).write_all(b"new\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\nnew\n");
        opened(&path, false).write_all(b"newer\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "newer\n");
    }

    #[test]
    fn a_file_that_is_opened_again_loses_no_line_and_one_that_cannot_be_is_kept() {
        let scratch = Scratch::new("reopen");
        let (path, moved) = (scratch.0.join("log"), scratch.0.join("log.1"));
        let mut sink = opened(&path, true);
        sink.write_all(b"1\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        sink.write_all(b"2\n").unwrap();
        let again = sink.reopen().unwrap();
        again.again().unwrap();
        sink.write_all(b"3\n").unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "1\n2\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "3\n");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let said = again.again().unwrap_err().to_string();
        assert!(said.starts_with("cannot open the log file"), "{said}");
        sink.write_all(b"4\n").unwrap();
        assert!(sink.failures().told().is_none(), "it goes to the file that was open");
    }

    #[test]
    fn a_pipe_is_not_waited_for_and_one_that_is_read_is_written_to() {
        let scratch = Scratch::new("pipe");
        let path = scratch.0.join("log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (done, end) = std::sync::mpsc::channel();
        let mut sink = Sink::file(&path, false);
        std::thread::spawn(move || {
            let said = sink.open().map_err(|e| e.to_string());
            done.send((sink, said)).unwrap();
        });
        let (mut sink, said) = end.recv_timeout(Duration::from_secs(10)).expect("it does not wait");
        assert!(said.unwrap_err().ends_with("(it is a pipe that nobody reads, or a socket)"));
        // Its end for writing as well: so this does not wait either.
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        sink.open().unwrap();
        sink.write_all(b"line\n").unwrap();
        let mut bytes = [0; 5];
        std::io::Read::read_exact(&mut &reader, &mut bytes).unwrap();
        assert_eq!(&bytes, b"line\n");
        let To::File(file) = &sink.to else { unreachable!("it is a file") };
        let flags = fcntl_getfl(&*file.file().unwrap()).unwrap();
        assert!(!flags.contains(OFlags::NONBLOCK), "a full pipe loses no line");
    }

    #[test]
    fn a_pipe_that_is_not_read_any_more_does_not_hold_up_whoever_opens_the_log_again() {
        /// More than a pipe of Linux holds (pipe(7): 65,536 bytes).
        const FLOOD: usize = 1 << 20;
        let scratch = Scratch::new("stopped");
        let (path, moved) = (scratch.0.join("log"), scratch.0.join("pipe"));
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut sink = opened(&path, true);
        let again = sink.reopen().unwrap();
        let writer = std::thread::spawn(move || {
            sink.write_all(&[b'.'; FLOOD]).unwrap();
            sink
        });
        let mut bytes = vec![0; FLOOD];
        let (first, rest) = bytes.split_first_mut().unwrap();
        // Now it writes, and waits.
        std::io::Read::read_exact(&mut &reader, std::slice::from_mut(first)).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        let (done, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(again.again().map_err(|e| e.to_string())));
        end.recv_timeout(Duration::from_secs(10)).expect("it does not wait for the writer").unwrap();
        assert!(!writer.is_finished(), "the writer still waits");
        std::io::Read::read_exact(&mut &reader, rest).unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'.'), "what was begun is written where it was begun");
        writer.join().unwrap().write_all(b"line\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line\n");
    }

    #[test]
    fn devices_are_written_to() {
        for device in ["/dev/null", "/dev/full"] {
            let mut sink = opened(Path::new(device), false);
            sink.write_all(b"line\n").unwrap();
            assert_eq!(sink.failures().told().is_some(), device == "/dev/full");
        }
    }

    #[test]
    fn what_a_log_service_does_not_take_is_counted_and_one_that_comes_back_is_found() {
        let scratch = Scratch::new("socket");
        let path = scratch.0.join("log");
        let service = UnixDatagram::bind(&path).unwrap();
        let mut sink = Sink::datagrams(path.to_str().unwrap()).unwrap();
        sink.write_all(b"one").unwrap();
        let mut bytes = [0; 16];
        assert_eq!(service.recv(&mut bytes).unwrap(), 3);
        drop(service);
        std::fs::remove_file(&path).unwrap();
        sink.write_all(b"two").unwrap();
        assert_eq!(sink.failures().told().unwrap().0, 1);
        let service = UnixDatagram::bind(&path).unwrap();
        sink.write_all(b"three").unwrap();
        assert_eq!(service.recv(&mut bytes).unwrap(), 5);
        assert_eq!(sink.failures().told().unwrap().0, 1);
    }
}
