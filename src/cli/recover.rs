//! `galeway recover`.

mod files;
mod print;
mod text;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::nodes::{self, CheckFlags};
use super::{NO, say, wrong};
use crate::config::{DEFAULT_PORT, HostPort, NodeKind};
use crate::galera::advice::{self, Advice, Evidence, Live, Verdict};

/// Nodes that seem to be in two components are looked at again: a view may have changed between two checks, and a node
/// that was frozen tells an old one for up to 6 s.
const SECOND_LOOKS: u32 = 4;
/// The pause between them.
const PAUSE: Duration = Duration::from_secs(2);

const AFTER_HELP: &str = "\
Name every node whose data still exist: those that run as HOST[:PORT], those that do not by their
files. A file is grastate.dat, gvwstate.dat, the error log of a run with --wsrep-recover, or a
whole data directory; --file may be given several times for one node. A node that runs is believed
before its files. Nothing is changed anywhere.

Examples:
  galeway recover --file db1=db1/grastate.dat --file db2=db2/grastate.dat --file db3=db3.log
  galeway recover db3 --user monitor --password-file pw --file db1=db1 --file db2=db2

Exit codes: 0 a node is named, or one is Primary and nothing must be bootstrapped; 1 no node is
safe to name; 2 usage, or a file that cannot be read.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct RecoverArgs {
    /// Nodes that run, or may
    #[arg(value_name = "HOST[:PORT]", requires = "user")]
    nodes: Vec<HostPort>,
    /// A file, or the data directory, of a node that does not run; may be given several times
    #[arg(long = "file", value_name = "NAME=PATH", value_parser = clap::value_parser!(OsString))]
    files: Vec<OsString>,
    /// The account to check with; SELECT on mysql.wsrep_cluster_members lets it tell components apart
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    check: CheckFlags,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &RecoverArgs) -> ExitCode {
    if args.nodes.is_empty() && args.files.is_empty() {
        return wrong(
            "name every node whose data still exist: HOST[:PORT] where it runs, --file NAME=PATH where it does not \
             (--help has examples)",
        );
    }
    match advice(args) {
        Ok(advice) => {
            if args.json {
                say(&print::json(&advice));
            } else {
                say(&print::text(&advice));
            }
            match advice.verdict {
                Verdict::Bootstrap(_) | Verdict::Primary => ExitCode::SUCCESS,
                Verdict::SplitBrain | Verdict::Refused => ExitCode::from(NO),
            }
        }
        Err(message) => wrong(message),
    }
}

fn advice(args: &RecoverArgs) -> Result<Advice, String> {
    let mut evidence: Vec<Evidence> = Vec::new();
    for address in &args.nodes {
        let name = nodes::name(address);
        if evidence.iter().any(|e| e.name == name) {
            return Err(format!("{name} is named twice"));
        }
        evidence.push(Evidence { name, ..Evidence::default() });
    }
    for (name, path) in named_paths(&args.files)? {
        let at = evidence.iter().position(|e| e.name == name);
        if at.is_none() {
            evidence.push(Evidence { name: name.clone(), ..Evidence::default() });
        }
        let entry = match at {
            Some(at) => evidence.get_mut(at),
            None => evidence.last_mut(),
        };
        if let Some(entry) = entry {
            files::add(entry.files.get_or_insert_default(), &name, &path)?;
        }
    }
    let user = args.user.as_deref().unwrap_or_default();
    for look in 0..=SECOND_LOOKS {
        if !args.nodes.is_empty() {
            let probed = args.check.check(&args.nodes, user, NodeKind::Galera)?;
            // Those that are checked stand first, in their order.
            for ((entry, address), probed) in evidence.iter_mut().zip(&args.nodes).zip(probed) {
                entry.live = Some(Live::from_check(&probed.observation.check, &client_options(address)));
            }
        }
        let advice = advice::advise(&evidence);
        if !advice.may_pass || look == SECOND_LOOKS {
            return Ok(advice);
        }
        if look == 0 {
            eprintln!(
                "galeway: two components seem to be Primary; looking again for {} s",
                (PAUSE * SECOND_LOOKS).as_secs()
            );
        }
        std::thread::sleep(PAUSE);
    }
    Ok(advice::advise(&evidence))
}

/// `--file NAME=PATH`, taken apart. A path need not be UTF-8.
fn named_paths(files: &[OsString]) -> Result<Vec<(String, PathBuf)>, String> {
    use std::os::unix::ffi::OsStrExt;
    let mut named = Vec::new();
    for file in files {
        let bytes = file.as_bytes();
        let wrong = || format!("--file {}: write NAME=PATH, with the node's name", file.display());
        let at = bytes.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
        let (name, path) = bytes.split_at_checked(at).ok_or_else(wrong)?;
        let name = std::str::from_utf8(name).map_err(|_| wrong())?;
        let path = path.get(1..).unwrap_or_default();
        if name.is_empty() || path.is_empty() || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(wrong());
        }
        named.push((name.to_owned(), PathBuf::from(std::ffi::OsStr::from_bytes(path))));
    }
    Ok(named)
}

fn client_options(address: &HostPort) -> String {
    if address.port == DEFAULT_PORT {
        format!("-h {}", address.host)
    } else {
        format!("-h {} -P {}", address.host, address.port)
    }
}
