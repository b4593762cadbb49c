//! The command line: parses, runs, and ends with a code that a script can trust.

use std::process::ExitCode;

use clap::Parser;
use tidings::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let run = || tokio::runtime::Runtime::new()?.block_on(cli.run());
    match run() {
        Ok(code) => code,
        Err(error) => {
            tidings::output::diagnostic(&format_args!("tidings: {error:#}"));
            ExitCode::from(1)
        }
    }
}
