//! `tidings load` as a command line: where to, how fast, for how long, how patient.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{DEFAULT_INVENTORY_URL, DEFAULT_ORDER_URL, service_url};
use crate::load;
use crate::output;
use crate::state::RunningSystem;

/// Places orders steadily, of every kind that the demo knows, until it is stopped.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings load                       one order a second in the system that `tidings up` runs
  tidings load --rate 0.2 --for 600  one every five seconds, for ten minutes

It gives inventory what its orders will take, a round ahead. A service that does not answer is asked again, for 30 s before its
first answer and for 300 s afterwards; then the load ends with 1 and the reason.
Ends with 0 on Ctrl-C, SIGTERM, or after --for.")]
pub(super) struct LoadArgs {
    /// Orders a second, at most: each waits for the answer to the one before.
    #[arg(long, value_name = "ORDERS", default_value = "1", value_parser = rate)]
    rate: f64,
    /// Ends after so many seconds.
    #[arg(long = "for", value_name = "SECONDS")]
    duration: Option<u64>,
    /// Gives up when one request has no answer for so many seconds [default: 30 before the first answer, 300 afterwards]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    give_up_after: Option<u64>,
    /// order's base URL [default: the running system's, else http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// inventory's base URL [default: the running system's, else http://127.0.0.1:8081]
    #[arg(long)]
    inventory_url: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.001 to 10000".to_owned()),
    }
}

impl LoadArgs {
    pub(super) async fn run(self, name: Option<&str>) -> anyhow::Result<ExitCode> {
        let running = RunningSystem::find(name)?;
        let url = |service, default| service_url(running.as_ref(), service, default);
        let options = load::Options {
            order_url: self.url.unwrap_or_else(|| url("order", DEFAULT_ORDER_URL)),
            inventory_url: self.inventory_url.unwrap_or_else(|| url("inventory", DEFAULT_INVENTORY_URL)),
            rate: self.rate,
            duration: self.duration.map(Duration::from_secs),
            give_up_after: self.give_up_after.map(Duration::from_secs),
        };
        output::line(&load::run(&options).await?)?;
        Ok(ExitCode::SUCCESS)
    }
}
