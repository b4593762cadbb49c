//! `tidings import`: a file of real invoices becomes orders, each placed once, and is watched to its end.

mod bar;
mod breaker;
pub mod encoding;
pub mod file;
pub mod place;
pub mod price;
pub mod progress;
pub mod report;
pub mod rules;
pub mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::bar::Bar;
use self::encoding::Encoding;
use self::file::Invoices;
use self::place::Pace;
use self::progress::Progress;
use self::report::{FileFigures, Summary, Took};
use self::rules::{NewOrder, Reason, judge};
use crate::client::Client;

/// How long a service may take to be ready before anything is sent.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// What to import, where to, and how hard.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file, `.csv` or `.csv.gz`.
    pub file: PathBuf,
    /// How its characters are encoded.
    pub encoding: Encoding,
    /// order's base URL.
    pub order_url: String,
    /// inventory's base URL, for `replenish`.
    pub inventory_url: String,
    /// Requests in flight at once.
    pub concurrency: usize,
    /// Place at most the first so many orders.
    pub limit: Option<usize>,
    /// Give every SKU of the file so many units first.
    pub replenish: Option<u64>,
    /// Where rejected invoices are listed.
    pub rejects: PathBuf,
    /// How long to wait for the last ends, for one request's outcome, and for any answer at all.
    pub timeout: Duration,
    /// Whether to show nothing on the way.
    pub quiet: bool,
}

/// A file's invoices, judged.
#[derive(Debug, Default)]
pub struct Judged {
    /// Those that are orders, in file order.
    pub orders: Vec<NewOrder>,
    /// Those that are not, with every reason.
    pub rejects: Vec<(String, BTreeSet<Reason>)>,
}

/// Judges every invoice of a file.
pub fn judge_all(invoices: Invoices) -> Judged {
    let mut judged = Judged::default();
    for invoice in invoices.invoices {
        let number = invoice.number.clone();
        match judge(invoice) {
            Ok(order) => judged.orders.push(order),
            Err(reasons) => judged.rejects.push((number, reasons)),
        }
    }
    judged
}

/// Reads and judges a file, lists its rejects, and places nothing.
///
/// # Errors
/// When the file is broken or the rejects can't be written.
pub fn dry_run(file: &Path, encoding: Encoding, rejects_file: &Path) -> anyhow::Result<FileFigures> {
    let (figures, judged, _) = read_and_judge(file, encoding, rejects_file, None)?;
    drop(judged);
    Ok(figures)
}

fn read_and_judge(
    file: &Path,
    encoding: Encoding,
    rejects_file: &Path,
    limit: Option<usize>,
) -> anyhow::Result<(FileFigures, Vec<NewOrder>, BTreeSet<String>)> {
    refuse_same(file, rejects_file)?;
    let mut invoices = file::read(file, encoding)?;
    let skus = std::mem::take(&mut invoices.skus);
    let (rows, count) = (invoices.rows, invoices.invoices.len());
    let Judged { mut orders, rejects } = judge_all(invoices);
    write_rejects(rejects_file, &rejects)?;
    orders.truncate(limit.unwrap_or(usize::MAX));
    let figures = FileFigures {
        rows,
        invoices: count,
        orders: orders.len(),
        rejected: rejects.len(),
        rejected_by_reason: Reason::count(rejects.iter().map(|(_, reasons)| reasons)),
        units: orders.iter().map(NewOrder::units).sum(),
        total_minor: orders.iter().map(NewOrder::total_minor).sum(),
    };
    Ok((figures, orders, skus))
}

/// Runs the whole import.
///
/// # Errors
/// When the file is broken, rejects can't be written, a service is not ready, or inventory refuses the replenishment.
pub async fn run(options: &Options) -> anyhow::Result<Summary> {
    let orders_client = Client::try_new(&options.order_url)?;
    let inventory_client = Client::try_new(&options.inventory_url)?;
    let (file, rejects) = (options.file.clone(), options.rejects.clone());
    let (encoding, limit) = (options.encoding, options.limit);
    let (figures, orders, skus) =
        tokio::task::spawn_blocking(move || read_and_judge(&file, encoding, &rejects, limit)).await??;
    let ready_timeout = options.timeout.min(READY_TIMEOUT);
    wait_until_ready(&orders_client, "order", "--url", ready_timeout).await?;
    if options.replenish.is_some() {
        wait_until_ready(&inventory_client, "inventory", "--inventory-url", ready_timeout).await?;
    }

    let pace = Pace { concurrency: options.concurrency, timeout: options.timeout };
    let progress = Arc::new(Progress::default());
    if let Some(quantity) = options.replenish {
        let bar = Bar::replenishing(skus.len(), &progress, options.quiet);
        bar.alongside(place::replenish(&inventory_client, skus, quantity, pace, &progress)).await?;
    }
    let bar = Bar::placing(orders.len(), &progress, options.quiet);
    let took = bar.alongside(place_and_watch(&orders_client, orders, pace, &progress)).await;
    Ok(Summary::new(figures, &progress.snapshot(), took))
}

async fn place_and_watch(
    client: &Client,
    orders: Vec<NewOrder>,
    pace: Pace,
    progress: &Arc<Progress>,
) -> Took {
    let started = Instant::now();
    let placing_done = CancellationToken::new();
    let placing = async {
        place::place(client, orders, pace, progress).await;
        placing_done.cancel();
        started.elapsed()
    };
    let (placing, _) = tokio::join!(placing, watch::watch(client, progress, &placing_done, pace.timeout));
    Took { placing, total: started.elapsed() }
}

/// Asks a service whether it is ready, before the first request goes to it.
async fn wait_until_ready(
    client: &Client,
    service: &str,
    option: &str,
    timeout: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        if client.is_ready().await {
            return Ok(());
        }
        if Instant::now() + LOOK_AGAIN >= deadline {
            bail!(
                "{service} at {} is not ready after {} s; nothing was placed: start the system (tidings up), or name the service's \
                 URL ({option})",
                client.shown(),
                timeout.as_secs()
            );
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Refuses to write the rejects over the file itself, by whatever path or link.
fn refuse_same(file: &Path, rejects: &Path) -> anyhow::Result<()> {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    if identity(file).is_some_and(|input| identity(rejects) == Some(input)) {
        bail!("--rejects {} is the file to be imported; name another file", rejects.display());
    }
    Ok(())
}

/// Writes `InvoiceNo,Reasons`, one line an invoice, its reason codes separated by spaces.
fn write_rejects(path: &Path, rejects: &[(String, BTreeSet<Reason>)]) -> anyhow::Result<()> {
    let write = || -> csv::Result<()> {
        let mut csv = csv::Writer::from_path(path)?;
        csv.write_record(["InvoiceNo", "Reasons"])?;
        for (number, reasons) in rejects {
            let codes: Vec<&str> = reasons.iter().map(|reason| reason.code()).collect();
            csv.write_record([number.as_str(), &codes.join(" ")])?;
        }
        Ok(csv.flush()?)
    };
    write().with_context(|| format!("rejects can't be written to {}", path.display()))
}
