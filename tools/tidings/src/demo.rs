//! `tidings demo`: the system, a few dozen orders, one order as it happens and its trace, the totals, the verdict.

pub(crate) mod orders;
mod timeline;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use contracts::Codec;
use contracts::clock;
use contracts::codec::RegistryConfig;
use contracts::topics::Topics;
use futures::{StreamExt, stream};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::orders::Plan;
use crate::client::{Answer, Client};
use crate::follow::Follower;
use crate::import::progress::Progress;
use crate::import::watch::watch;
use crate::services::ServiceName;
use crate::state::RunningSystem;
use crate::text::duration;
use crate::trace;
use crate::up::options::Options;
use crate::up::process::Say;
use crate::up::stack::Stack;
use crate::up::{self, StopSignals};
use crate::verify;
use crate::verify::failures::Failures;

/// How long all orders may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// How long the last spans may take to arrive.
const TRACE_ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// Orders sent at once.
const CONCURRENCY: usize = 8;

/// Runs the demo. With `exit` it ends after the verdict, else it stays up until Ctrl-C or SIGTERM.
/// The code is 0 when every kind of end was seen and every guarantee holds.
///
/// # Errors
/// When the system can't be started, or an order's outcome can't be known.
pub async fn run(options: &Options, exit: bool) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut stop = StopSignals::listen()?;
    let say = up::to_terminal();
    let (stack, state_file) = tokio::select! {
        registered = up::start_registered(options, &say) => registered?,
        () = stop.received() => return Ok(ExitCode::from(130)),
    };
    say(format!("all five services are ready after {}", duration(started.elapsed())));
    let shown = tokio::select! {
        shown = show(&stack, started, &say) => shown,
        () = stop.received() => Ok(false),
        error = stack.failed() => Err(error),
    };
    let mut outcome = shown;
    if !exit && outcome.is_ok() {
        up::list(&stack, &say);
        tokio::select! {
            () = stop.received() => {}
            error = stack.failed() => outcome = Err(error),
        }
    }
    drop(state_file);
    stack.stop().await?;
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

async fn show(stack: &Stack, started: Instant, say: &Say) -> anyhow::Result<bool> {
    let order = stack.client(ServiceName::Order)?;
    let inventory = stack.client(ServiceName::Inventory)?;
    // A process id repeats in containers; the keys of another demo's orders would be answered with those.
    let run = clock::new_id();
    for (sku, quantity) in orders::STOCK {
        let key = format!("demo-{run}-{sku}");
        inventory.replenish(sku, &key, quantity).await.into_result().context("replenishing")?;
    }
    follow_one_order(stack, &order, run, started, say).await?;

    let progress = Arc::new(Progress::default());
    let placing_done = CancellationToken::new();
    let placing = async {
        let placed = place_all(&order, run, &progress).await;
        placing_done.cancel();
        placed
    };
    let (placed, have_ended) = tokio::join!(placing, watch(&order, &progress, &placing_done, ENDS_WITHIN));
    placed?;
    let has_every_end = totals(&progress, say);
    if !have_ended {
        say(format!("not all orders ended within {ENDS_WITHIN:?}"));
    }
    say(String::new());
    let options = verify::Options { wait: Some(ENDS_WITHIN), failures: Failures::Unexpected };
    let report = verify::run(&stack.system().into(), options).await?;
    report.to_string().lines().for_each(|line| say(line.to_owned()));
    say(String::new());
    Ok(has_every_end && have_ended && report.holds())
}

async fn follow_one_order(
    stack: &Stack,
    order: &Client,
    run: Uuid,
    started: Instant,
    say: &Say,
) -> anyhow::Result<()> {
    let system = stack.system();
    let registry = RegistryConfig { url: system.registry.clone(), auto_register_schemas: false };
    let topics = Topics::new(system.topics_prefix.clone());
    let codec = Codec::connect(&registry, topics, &[], &verify::topics::all_types()).await?;
    let mut follower = Follower::begin(&system.kafka, codec).await?;
    say(String::new());
    let request = orders::request(0, Plan::Confirmed);
    let placed = place(order, &order_key(run, 0), &request).await?;
    say(format!("POST /orders  202  order {placed}"));
    timeline::print(&mut follower, placed, say).await?;
    say(format!("the first order was confirmed {} after the start", duration(started.elapsed())));
    show_trace(system, order, placed, say).await;
    Ok(())
}

/// The same order in its spans. A trace that is not there (sampled out, say) is no reason to end.
async fn show_trace(system: &RunningSystem, order: &Client, order_id: Uuid, say: &Say) {
    let Some(traces_url) = system.traces.clone() else { return };
    let options =
        trace::Options { order_url: order.base().to_owned(), traces_url, wait: TRACE_ARRIVES_WITHIN };
    say(String::new());
    match trace::run(order_id, &options).await {
        Ok(trace) => trace.to_string().lines().for_each(|line| say(line.to_owned())),
        Err(error) => say(format!("{error:#}")),
    }
}

/// The Idempotency-Key of an order: that of no other run.
fn order_key(run: Uuid, number: usize) -> String {
    format!("demo-{run}-{number}")
}

/// Places one order, repeating it while its outcome is unknown.
async fn place(order: &Client, key: &str, request: &Value) -> anyhow::Result<Uuid> {
    for _ in 0..10 {
        match order.place_order(key, request).await {
            Answer::Done { body, .. } => return Ok(body.order_id),
            Answer::Rejected(why) => bail!("the order service rejected an order: {why}"),
            Answer::Unknown(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
    bail!("the order service at {} does not answer", order.shown())
}

async fn place_all(order: &Client, run: Uuid, progress: &Progress) -> anyhow::Result<()> {
    let placed: Vec<anyhow::Result<()>> = stream::iter(orders::plans().into_iter().enumerate())
        .map(async |(index, plan)| {
            let number = index + 1;
            let order_id = place(order, &order_key(run, number), &orders::request(number, plan)).await?;
            if plan == Plan::Cancelled {
                let key = format!("demo-cancel-{order_id}");
                let path = format!("/orders/{order_id}/cancellation");
                order.post::<Value>(&path, &key, &serde_json::json!({})).await.into_result()?;
            }
            progress.accepted(&order.order(order_id).await.into_result()?, false);
            Ok(())
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    placed.into_iter().collect()
}

/// Says how many orders came to which end; whether every kind was seen.
fn totals(progress: &Progress, say: &Say) -> bool {
    let ends = progress.snapshot().ends;
    say(String::new());
    say(format!("{} more orders:", ends.values().sum::<u64>()));
    for (end, count) in &ends {
        say(format!("  {count:>3} {end}"));
    }
    orders::EVERY_END.iter().all(|end| ends.contains_key(*end))
}
