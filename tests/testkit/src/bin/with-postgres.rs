//! Runs a command, such as `cargo test`, with one private PostgreSQL server for all its tests.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use testkit::postgres::{PostgresOptions, PrivatePostgres, Storage, TEST_POSTGRES, Version};

/// Starts a private PostgreSQL, runs COMMAND with its URL in TIDINGS_TEST_POSTGRES, stops it, and ends with the
/// command's exit code.
#[derive(Debug, Parser)]
#[command(after_help = "Example: with-postgres --version 15 cargo test --workspace")]
struct Arguments {
    /// A major version such as 15, or `newest`; without it, the newest that is installed.
    #[arg(long, value_parser = version, default_value = "any")]
    version: Version,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "any" => Ok(Version::Any),
        "newest" => Ok(Version::Newest),
        major => major
            .parse()
            .map(Version::Major)
            .map_err(|_| format!("{major} is no major version, nor `newest`")),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = PostgresOptions { version: arguments.version, ..PostgresOptions::for_tests() };
    let server = PrivatePostgres::start(&Storage::Temporary, &options).await?;
    eprintln!("PostgreSQL {} on port {}", server.major_version(), server.port());
    let (program, rest) = arguments.command.split_first().context("no command")?;
    let mut command = tokio::process::Command::new(program);
    command.args(rest).env(TEST_POSTGRES, server.url("postgres")).kill_on_drop(true);
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut child = command.spawn().with_context(|| format!("running {program}"))?;
    // Ctrl-C reaches the command by itself: it belongs to the same terminal.
    let status = tokio::select! {
        status = child.wait() => Some(status?),
        _ = tokio::signal::ctrl_c() => None,
        _ = terminate.recv() => None,
    };
    drop(child);
    server.stop().await?;
    let code = status.and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(130)))
}
