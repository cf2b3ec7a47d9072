//! `galeway completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, say};

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct CompletionsArgs {
    /// Whose script
    #[arg(value_enum)]
    shell: Shell,
}

const AFTER_HELP: &str = "\
The script goes to standard output. Debian's package has those of bash, zsh and fish installed already.

Examples:
  galeway completions bash > ~/.local/share/bash-completion/completions/galeway
  galeway completions zsh > ~/.zfunc/_galeway                      a directory of zsh's fpath
  galeway completions fish > ~/.config/fish/completions/galeway.fish

Exit codes: 0 printed; 2 no such shell.";

pub(super) fn run(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "galeway", &mut script);
    say(&String::from_utf8_lossy(&script));
    ExitCode::SUCCESS
}
