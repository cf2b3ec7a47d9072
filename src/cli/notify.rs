//! `galeway notify`, for `wsrep_notify_cmd`.
//!
//! The server waits for it at every change of the cluster's view, in the thread that applies the change. So whatever
//! happens (a name that does not resolve, a peer that accepts and says nothing, a full pipe on standard error, a token
//! file on a file system that hangs), this ends in time: the work is done on threads, and the process leaves them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;

use super::NO;
use super::client::{Admin, Ask, Failure, Told, ask, token};

/// When the process ends at the latest. With what it takes to start and to leave it is under 300 ms.
const LEAVE: Duration = Duration::from_millis(270);

/// The deadline of the calls; the rest is for saying that none succeeded.
const LIMIT: Duration = Duration::from_millis(230);

const AFTER_HELP: &str = "\
Nothing that it says is believed: the instances ask the nodes. It ends within 300 ms whatever
happens, since the server waits for it.

Example, in the configuration of each server:
  wsrep_notify_cmd = '/usr/bin/galeway notify --admin 10.0.0.5:9306 --admin 10.0.0.6:9306'

Exit codes: 0 an instance took it; 1 none did; 2 usage.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct NotifyArgs {
    /// A running instance: HOST:PORT or unix:PATH; may be given several times [default: GALEWAY_ADMIN, else
    /// unix:/run/galeway/admin.sock if it exists, else 127.0.0.1:9306]
    #[arg(long, value_name = "ADDR")]
    admin: Vec<Admin>,
    /// File that holds the token; not needed on a node that the instance has configured
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What the server says; not looked at
    #[arg(value_name = "SERVER ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
    server: Vec<OsString>,
}

pub(super) fn run(args: NotifyArgs) -> ExitCode {
    let begun = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let told = tell(args.admin, args.token_file, begun);
        if let Err(why) = &told {
            eprintln!("galeway notify: {why}");
        }
        // Nobody listens any more if it is too late.
        let _ = sender.send(told.is_ok());
    };
    if std::thread::Builder::new().name("notify".to_owned()).spawn(work).is_err() {
        return ExitCode::from(NO);
    }
    match receiver.recv_timeout(LEAVE.saturating_sub(begun.elapsed())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::from(NO),
    }
}

/// Tells all of them at once. `Ok`: one took it; else each one's reason.
fn tell(mut admins: Vec<Admin>, token_file: Option<PathBuf>, begun: Instant) -> Result<(), String> {
    if admins.is_empty() {
        admins.push(Admin::of(None)?);
    }
    let (sender, receiver) = mpsc::channel();
    let mut reasons: Vec<Option<String>> = Vec::new();
    for (index, admin) in admins.iter().enumerate() {
        let (admin, token_file, sender) = (admin.clone(), token_file.clone(), sender.clone());
        let call = move || {
            let left = LIMIT.saturating_sub(begun.elapsed());
            let _ = sender.send((index, one(&admin, token_file.as_deref(), left)));
        };
        let started = std::thread::Builder::new().name("notify".to_owned()).spawn(call);
        reasons.push(Some(started.err().map_or_else(|| "no answer in time".to_owned(), |e| e.to_string())));
    }
    // The calls hold the only senders left: when the last has ended, so does the wait.
    drop(sender);
    while let Ok((index, told)) = receiver.recv_timeout(LIMIT.saturating_sub(begun.elapsed())) {
        if let Some(reason) = reasons.get_mut(index) {
            *reason = told.err();
        }
    }
    if reasons.iter().any(Option::is_none) {
        return Ok(());
    }
    let each = admins.iter().zip(reasons).map(|(admin, reason)| format!("{admin}: {}", reason.unwrap_or_default()));
    Err(format!("nobody took it: {}", each.collect::<Vec<_>>().join("; ")))
}

fn one(admin: &Admin, token_file: Option<&Path>, limit: Duration) -> Result<(), String> {
    let token = token(token_file)?;
    let told: Result<Told, Failure> = ask(admin, &Ask::post("/api/notify", String::new(), token), limit);
    match told {
        Ok((202, _)) => Ok(()),
        Ok((code, why)) => Err(format!("{code}: {}", why.trim_end())),
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        notify: NotifyArgs,
    }

    #[test]
    fn nothing_that_a_server_says_is_wrong_usage() {
        for said in [
            "--status joined --uuid 0e0b2a3c --primary no --index 2 --members a/n1/10.0.0.1:3306",
            "--members  --admin x --token-file",
            "--status donor -h --help -V --version --log-level loud",
            "--status=donor --no-such-thing=1 -- -",
            "anything",
            "",
        ] {
            let ours = ["notify", "--admin", "h:1", "--admin", "unix:/x"];
            let line = Line::try_parse_from(ours.into_iter().chain(said.split(' '))).unwrap();
            assert_eq!((line.notify.admin.len(), line.notify.server.len()), (2, said.split(' ').count()), "{said:?}");
        }
    }
}
