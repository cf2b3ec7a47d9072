//! The `galeway` command: arguments to exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    galeway::cli::main()
}
