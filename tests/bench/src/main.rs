//! The program `bench`.

use std::process::ExitCode;

use bench::cli::Cli;
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let run = || tokio::runtime::Runtime::new()?.block_on(cli.run());
    match run() {
        Ok(code) => code,
        Err(error) => {
            tidings::output::diagnostic(&format_args!("bench: {error:#}"));
            ExitCode::from(1)
        }
    }
}
