//! `galeway convert`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{NO, WRONG, say};
use crate::config::stunnel;

#[derive(Debug, Args)]
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
