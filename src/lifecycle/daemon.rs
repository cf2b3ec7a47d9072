//! Leaving the terminal.

use std::fs::{File, OpenOptions};
use std::io;

/// `/dev/null`, opened while it can be: a chroot need not have one.
#[derive(Debug)]
pub struct Null(File);

impl Null {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/null").map(Self)
    }

    /// Goes on in a child of its own session, in `/`, with nothing on standard input, output and error. The parent ends with
    /// exit code 0, so whatever its caller has to hear must have been said before.
    ///
    /// To be called while the process has one thread: no other survives.
    pub fn detach(self) -> io::Result<()> {
        // The standard descriptors are put away below: daemon(3) would open /dev/null itself.
        nix::unistd::daemon(false, true)?;
        rustix::stdio::dup2_stdin(&self.0)?;
        rustix::stdio::dup2_stdout(&self.0)?;
        rustix::stdio::dup2_stderr(&self.0)?;
        Ok(())
    }
}
