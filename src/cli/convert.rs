//! `galeway convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{NO, WRONG, say};
use crate::config::stunnel;

const AFTER_HELP: &str = "\
The TOML goes to standard output, what there is to say to standard error.

Example:
  galeway convert /etc/stunnel/stunnel.conf > galeway.toml && galeway check -c galeway.toml

Exit codes: 0 converted; 1 printed, but for what is named as not converted; 2 usage, or a file
that cannot be used.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ConvertArgs {
    /// The stunnel.conf
    #[arg(value_name = "CONF")]
    file: PathBuf,
}

/// The TOML goes to standard output, everything else to standard error: `galeway convert CONF > galeway.toml`.
pub(super) fn run(args: &ConvertArgs) -> ExitCode {
    let converted = match stunnel::convert(&args.file) {
        Ok(converted) => converted,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(WRONG);
        }
    };
    if !converted.warnings.is_empty() {
        eprintln!("{}", converted.warnings);
    }
    say(&converted.toml);
    for missing in &converted.missing {
        eprintln!("{}: not converted: {missing}", args.file.display());
    }
    if converted.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) }
}
