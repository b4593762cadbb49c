//! `tidings import` as a command line: which file, where to, how many at once.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{DEFAULT_INVENTORY_URL, DEFAULT_ORDER_URL, code, service_url};
use crate::import;
use crate::import::encoding::Encoding;
use crate::output;
use crate::state::RunningSystem;

/// Places the orders of a CSV file of invoices, and waits until each has ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings import orders.csv.gz --replenish 10000000    against the system that `tidings up` runs
  tidings import orders.csv --url http://127.0.0.1:8080 --limit 100 --json
  tidings import orders.csv.gz --dry-run               which invoices are orders, and which not

The columns InvoiceNo, StockCode, Quantity, UnitPrice and CustomerID are read. Rows of one InvoiceNo are one
order, in GBP, paid with tok_visa. An invoice is rejected whole, with every reason, when it is a credit note
(C...) or an adjustment (another letter), lacks a customer or has two, or has a row whose quantity is not positive or whose
price is not positive or not whole pence. A second run places nothing twice: it continues one that was interrupted.
When nothing is answered for --timeout, the rest is not sent.

Ends with 0 when every order was accepted and has ended, with 1 otherwise.")]
pub(super) struct ImportArgs {
    /// The file: .csv or .csv.gz.
    file: PathBuf,
    /// order's base URL [default: the running system's, else http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// inventory's base URL, for --replenish [default: the running system's, else http://127.0.0.1:8081]
    #[arg(long)]
    inventory_url: Option<String>,
    /// First gives every SKU of the file so many units (once: a second run with the same N adds nothing).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    replenish: Option<u64>,
    /// Requests in flight at once.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = positive)]
    concurrency: usize,
    /// How the file's characters are encoded.
    #[arg(long, value_enum, default_value_t)]
    encoding: Encoding,
    /// Places at most the first N orders of the file.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Where rejected invoices are listed with their reasons.
    #[arg(long, value_name = "FILE.csv", default_value = "rejects.csv")]
    rejects: PathBuf,
    /// Seconds to wait for the last orders to end, for the outcome of one request, and for any answer at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Reads and judges the file, and places nothing.
    #[arg(long)]
    dry_run: bool,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
    /// Shows no progress.
    #[arg(long, short)]
    quiet: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

impl ImportArgs {
    pub(super) async fn run(self, name: Option<&str>) -> anyhow::Result<ExitCode> {
        if self.dry_run {
            let figures = import::dry_run(&self.file, self.encoding, &self.rejects)?;
            if self.json {
                output::line(&serde_json::to_string_pretty(&figures)?)?;
            } else {
                output::text(&figures)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let json = self.json;
        let summary = import::run(&self.into_options(name)?).await?;
        if json {
            output::line(&serde_json::to_string_pretty(&summary)?)?;
        } else {
            output::text(&summary)?;
        }
        Ok(code(summary.is_complete()))
    }

    fn into_options(self, name: Option<&str>) -> anyhow::Result<import::Options> {
        let running = RunningSystem::find(name)?;
        let url = |service, default| service_url(running.as_ref(), service, default);
        Ok(import::Options {
            order_url: self.url.unwrap_or_else(|| url("order", DEFAULT_ORDER_URL)),
            inventory_url: self.inventory_url.unwrap_or_else(|| url("inventory", DEFAULT_INVENTORY_URL)),
            file: self.file,
            encoding: self.encoding,
            concurrency: self.concurrency,
            limit: self.limit,
            replenish: self.replenish,
            rejects: self.rejects,
            timeout: Duration::from_secs(self.timeout),
            quiet: self.quiet,
        })
    }
}
