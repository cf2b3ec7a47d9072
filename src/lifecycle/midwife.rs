//! The process between the old one and the new one, for as long as the new one starts.
//!
//! ```text
//!  service manager ── old ── midwife ── new          until the new one is ready
//!  service manager ─┬ old
//!                   └ new                            from then on
//! ```
//!
//! systemd waits for the end of its own children only: a main process that is another's child gets SIGTERM at a stop, and SIGKILL at
//! once behind it (seen with systemd 252; `unit_kill_context`, "Supervising process … which is not our child"). A process whose
//! parent has ended becomes the service manager's child. So the new one has a parent of its own, which the old one ends before it
//! says whose turn it is. Until then that parent tells the old one how the new one ended, and takes it along when it is ended itself.

use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use super::predecessor::VARIABLE;
use super::upgrade::{Program, START_ME};
use crate::net::handover::Channel;

/// What a shell adds to the number of a signal.
const BY_SIGNAL: i32 = 128;

/// Where this process is to be the parent of a new one and nothing else: how that one ended. To be called before anything else is
/// done.
pub fn attend(program: &Program) -> Option<u8> {
    let asked = std::env::var(VARIABLE).is_ok_and(|value| value == START_ME);
    if !asked || Channel::of_stdin().is_err() {
        return None;
    }
    let mut command = program.command(&std::process::id().to_string());
    let started = command.stdin(Stdio::inherit()).spawn();
    // The channel is the new one's alone.
    if let Ok(null) = File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    let ended = started.and_then(|mut child| child.wait());
    Some(ended.map_or(u8::MAX, code))
}

fn code(status: ExitStatus) -> u8 {
    let by_signal = || status.signal().map(|signal| BY_SIGNAL.saturating_add(signal));
    status.code().or_else(by_signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_as_a_shell_tells_it() {
        assert_eq!(code(ExitStatus::from_raw(2 << 8)), 2);
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
    }
}
