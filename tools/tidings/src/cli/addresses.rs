//! `tidings addresses` as a command line: which part, and whether with its password.

use std::process::ExitCode;

use clap::Args;

use crate::{addresses, output};

/// Prints where the parts of the running system are: services, database, broker, registry, traces, logs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings addresses                                       all parts, without passwords
  tidings addresses registry                              one address, for a script
  psql \"$(tidings addresses database --with-password)\"   \\c tidings_order enters order's database

Ends with 0 when a system runs that has the part.")]
pub(super) struct AddressesArgs {
    /// The part: order, ..., database, kafka, registry, traces, logs [default: all]
    part: Option<String>,
    /// Prints the database's address with its password.
    #[arg(long)]
    with_password: bool,
}

impl AddressesArgs {
    pub(super) fn run(&self, system: Option<&str>) -> anyhow::Result<ExitCode> {
        output::line(&addresses::run(system, self.part.as_deref(), self.with_password)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
