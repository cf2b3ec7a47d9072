//! A terminal with a program in it: a pseudo-terminal (pty(7)) that is the program's controlling one, so that Ctrl-C,
//! Ctrl-Z, a new size and a hang-up reach it as they would from a window.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{until, watchdog, within};

/// `O_NOCTTY` of open(2): the tests keep their own terminal.
const NO_CONTROLLING_TERMINAL: i32 = 0o400;

pub const CTRL_C: u8 = 3;
pub const CTRL_Z: u8 = 26;

#[derive(Debug)]
pub struct Terminal {
    /// The window's side; gone after a hang-up.
    window: Option<File>,
    /// The program's side, held open: what it left of the terminal's settings can be read when it has ended.
    inside: File,
    program: Child,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Runs the program in a terminal of that size.
    pub fn start(rows: u16, columns: u16, program: &mut Command) -> Self {
        let window = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&window).unwrap();
        unlockpt(&window).unwrap();
        let name = ptsname(&window, Vec::new()).unwrap().into_string().unwrap();
        let inside =
            OpenOptions::new().read(true).write(true).custom_flags(NO_CONTROLLING_TERMINAL).open(name).unwrap();
        resize(&window, rows, columns);
        let end = || OwnedFd::from(inside.try_clone().unwrap());
        // Of util-linux. It becomes the leader of a new session, takes the terminal for it, and turns into the program.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(program.get_program()).args(program.get_args()).env("TERM", "xterm");
        let program = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        watchdog::started(program.id());
        let window = File::from(window);
        let drawn = Arc::new(Mutex::new(Vec::new()));
        let (mut reading, to) = (window.try_clone().unwrap(), Arc::clone(&drawn));
        // It ends with the program's side; an error of it is that end.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = reading.read(&mut bytes) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..length]);
            }
        });
        Self { window: Some(window), inside, program, drawn }
    }

    /// All that the program has written so far.
    pub fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until what was written fits, and returns it.
    #[track_caller]
    pub fn wait_drawn(&self, limit: Duration, what: &str, fits: impl Fn(&str) -> bool) -> String {
        within(limit, || Some(self.drawn()).filter(|drawn| fits(drawn)))
            .unwrap_or_else(|| panic!("not within {limit:?}: {what}; drawn:\n{:?}", self.drawn()))
    }

    pub fn type_key(&mut self, key: u8) {
        self.window.as_mut().unwrap().write_all(&[key]).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        resize(self.window.as_ref().unwrap(), rows, columns);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.program), signal).unwrap();
    }

    /// As the kernel has it: `S` sleeping, `T` stopped.
    pub fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.program.id())).unwrap();
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }

    /// How keys are treated now.
    pub fn modes(&self) -> Termios {
        tcgetattr(&self.inside).unwrap()
    }

    /// How it ended.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let ended = until(limit, "the program in the terminal ends", || self.program.try_wait().unwrap());
        watchdog::ended(self.program.id());
        ended
    }
}

fn resize(window: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    tcsetwinsize(window, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.program.try_wait(), Ok(None)) {
            let _ = self.program.kill();
            let _ = self.program.wait();
            watchdog::ended(self.program.id());
        }
    }
}
