//! `openssl s_client` and `openssl s_server`, with the test at their standard input and output.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use super::grid::{Host, grid};
use crate::fakes::LONG;
use crate::harness::process::Process;
use crate::harness::{until, within};

/// What s_server says of a new key.
pub(super) const RENEWED: &str = "SSL_do_handshake -> 1\n";

/// What a program wrote so far; reads until it closes that.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let written = Self::default();
        let to = written.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                to.lock().extend_from_slice(&buffer[..n]);
            }
        });
        written
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where these bytes begin.
    fn find(&self, what: &[u8]) -> Option<usize> {
        self.lock().windows(what.len()).position(|window| window == what)
    }
}

#[derive(Debug)]
pub(super) struct Pipes {
    process: Process,
    input: ChildStdin,
    output: Written,
    errors: Written,
}

impl Pipes {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let child = process.child();
        let input = child.stdin.take().unwrap();
        let output = Written::of(child.stdout.take().unwrap());
        let errors = Written::of(child.stderr.take().unwrap());
        Self { process, input, output, errors }
    }

    /// Connects, with this host's certificate if there is one. Takes a server that the grid's CA vouches for.
    pub(super) fn client(to: SocketAddr, host: Option<&Host>, options: &[&str]) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-verify_return_error", "-connect", &to.to_string()]).args(options);
        command.arg("-CAfile").arg(grid().ca());
        if let Some(host) = host {
            command.arg("-cert").arg(&host.cert).arg("-key").arg(&host.key);
        }
        Self::start(&mut command)
    }

    /// Listens, and takes clients that the grid's CA vouches for.
    pub(super) fn server(port: u16, host: &Host) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-Verify", "3", "-verify_return_error"]);
        command.args(["-accept", &format!("127.0.0.1:{port}")]).arg("-CAfile").arg(grid().ca());
        command.arg("-cert").arg(&host.cert).arg("-key").arg(&host.key);
        let mut server = Self::start(&mut command);
        server.wait_output(b"ACCEPT");
        server
    }

    /// Into its standard input; it may have ended.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        let _ = self.input.write_all(bytes).and_then(|()| self.input.flush());
    }

    #[track_caller]
    pub(super) fn wait_output(&mut self, what: &[u8]) {
        let came = within(LONG, || self.output.find(what).map(|_| ()));
        assert!(came.is_some(), "no {:?}: {}", String::from_utf8_lossy(&what[..what.len().min(80)]), self.all());
    }

    /// A word to openssl itself. It is one as the first of what is read at once.
    #[track_caller]
    pub(super) fn command(&mut self, letter: &[u8; 1]) {
        self.wait_read();
        self.write(&[letter[0], b'\n']);
        self.wait_read();
    }

    /// It has read all that was written to it.
    #[track_caller]
    fn wait_read(&self) {
        until(LONG, "it reads", || (rustix::io::ioctl_fionread(&self.input).unwrap() == 0).then_some(()));
    }

    /// It ends, and has told these words of its own.
    #[track_caller]
    pub(super) fn quit(&mut self, words: &str) {
        self.command(b"Q");
        assert!(self.process.wait(LONG).is_some(), "it does not end: {}", self.all());
        let told = |written: &Written| written.find(words.as_bytes()).is_some();
        until(LONG, words, || (told(&self.output) || told(&self.errors)).then_some(()));
    }

    /// From this mark on nothing but these bytes came, as soon as so many are there.
    #[track_caller]
    pub(super) fn wait_from(&mut self, mark: &[u8], bytes: &[u8]) {
        self.wait_output(mark);
        let got = until(LONG, "all bytes", || {
            let at = self.output.find(mark)?;
            let mut got = self.output.lock()[at..].to_vec();
            // s_server's own words come when its buffer is written out.
            if let Some(told) = got.windows(RENEWED.len()).position(|window| window == RENEWED.as_bytes()) {
                got.drain(told..told + RENEWED.len());
            }
            (got.len() >= bytes.len()).then_some(got)
        });
        let same = got.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        assert!(got == bytes, "{} of {} bytes came, the first {same} as they were sent", got.len(), bytes.len());
    }

    /// Whether the other end sent this word back before it closed.
    #[track_caller]
    pub(super) fn is_answered(&mut self, word: &[u8]) -> bool {
        let mut line = word.to_vec();
        line.push(b'\n');
        self.write(&line);
        until(LONG, "an answer or an end", || {
            let ended = self.process.ended().is_some();
            let came = self.output.find(word).is_some();
            (came || ended).then_some(came)
        })
    }

    fn all(&self) -> String {
        let [output, errors] = [&self.output, &self.errors].map(|written| {
            let written = written.lock();
            String::from_utf8_lossy(&written[written.len().saturating_sub(3000)..]).into_owned()
        });
        format!("{output}\n{errors}")
    }
}
