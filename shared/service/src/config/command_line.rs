//! The command line that all services share.

use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches, Parser};

/// What can be said when a service is started.
#[derive(Debug, Default, Parser)]
#[command(
    version,
    after_help = "Settings are taken from the defaults, then from the file, then from environment variables named \
TIDINGS_<SECTION>__<KEY>. A key that ends with _file (_FILE in the environment) names a file that holds the value.

Examples:
  order --print-config
  order --migrate
  order --check-health
  order --config tidings.toml
  TIDINGS_KAFKA__BOOTSTRAP_SERVERS=kafka:9092 TIDINGS_DATABASE__URL_FILE=/run/secrets/database-url order"
)]
pub struct CommandLine {
    /// A TOML file with sections such as `[http]` and `[database]`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration that would be used, without its secrets, and end.
    #[arg(long)]
    pub print_config: bool,
    /// Apply the migrations, and end. Several at once wait for each other.
    #[arg(long, conflicts_with = "print_config")]
    pub migrate: bool,
    /// Ask the service that runs with this configuration whether it is ready, and end with 0 or 1.
    #[arg(long, conflicts_with_all = ["print_config", "migrate"])]
    pub check_health: bool,
}

impl CommandLine {
    /// What this process was started with, as the program `name`. `--help` and errors end the process.
    ///
    /// # Errors
    /// When an argument has no value of its type.
    pub(crate) fn of_process(name: &'static str) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::command().name(name).bin_name(name).get_matches())
    }
}
