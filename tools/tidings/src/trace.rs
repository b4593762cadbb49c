//! `tidings trace`: one order's way through the five services, as the tree of its spans.

mod render;
pub mod source;
mod times;
pub mod tree;

#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use contracts::clock;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::source::Source;
use self::times::Times;
use self::tree::Tree;
use crate::client::{Answer, Client};

/// The pause between two looks at a trace that still grows.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A trace that did not grow for so long has been delivered: services gather spans for a second at most.
const SETTLES_WITHIN: Duration = Duration::from_millis(1_500);
/// The services that consume every order's end; once their spans are there, so are the earlier ones.
const HEAR_OF_ENDS: [&str; 2] = ["notification", "analytics"];
/// An order that ended so long ago sends no more spans.
const SETTLED_LONG_AGO: Duration = Duration::from_secs(10);

/// Where to ask, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// order's base URL.
    pub order_url: String,
    /// Base URL of a query API in Jaeger's form.
    pub traces_url: String,
    /// How long to wait for the trace to be complete.
    pub wait: Duration,
}

/// What order says about an order, as far as its trace is concerned.
#[derive(Clone, Debug, Deserialize)]
struct TracedOrder {
    status: String,
    placed_at: DateTime<Utc>,
    #[serde(default)]
    ended_at: Option<DateTime<Utc>>,
    #[serde(default)]
    trace_id: Option<String>,
}

/// An order's trace, as it was when it was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct OrderTrace {
    /// The order.
    pub order_id: Uuid,
    /// `placed`, `confirmed` or `cancelled`.
    pub status: String,
    /// The trace's spans.
    #[serde(flatten)]
    pub tree: Tree,
    /// Where its time went.
    pub times: Times,
    /// What is missing of the order's trace; nothing when it is complete.
    pub missing: Vec<String>,
}

impl OrderTrace {
    fn new(order_id: Uuid, order: &TracedOrder, tree: Tree) -> Self {
        let mut missing = Vec::new();
        match order.ended_at {
            None => missing.push("the order has not ended".to_owned()),
            Some(ended_at) => {
                for service in HEAR_OF_ENDS {
                    let is_consumer =
                        |span: &tree::TreeSpan| span.service == service && span.start >= ended_at;
                    if !tree.spans.iter().any(is_consumer) {
                        missing.push(format!("no span of {service} since the order's end"));
                    }
                }
            }
        }
        let orphans = tree.spans.iter().filter(|span| span.is_orphan).count();
        if orphans > 0 {
            missing.push(format!("the parents of {orphans} spans"));
        }
        Self { order_id, status: order.status.clone(), times: Times::of(&tree, &[]), tree, missing }
    }

    /// Whether the trace is complete, from the request to the last mail.
    pub const fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Finds the trace of an order, and waits until it is complete, as long as the options say.
///
/// # Errors
/// When there is no such order, no trace of it, or no trace store.
pub async fn run(order_id: Uuid, options: &Options) -> anyhow::Result<OrderTrace> {
    let orders = Client::try_new(&options.order_url)?;
    let source = Source::try_new(&options.traces_url)?;
    let deadline = Instant::now() + options.wait;
    let mut seen: Option<(usize, Instant)> = None;
    let mut order = ask_for(&orders, order_id).await?;
    loop {
        let found = match &order.trace_id {
            Some(trace_id) => source.trace(trace_id).await?,
            None => source.trace_of_order(order_id, order.placed_at).await?,
        };
        let is_late = Instant::now() >= deadline;
        if let Some(trace) = found {
            let spans = trace.spans.len();
            let since =
                seen.filter(|(before, _)| *before == spans).map_or_else(Instant::now, |(_, since)| since);
            seen = Some((spans, since));
            let mut trace = OrderTrace::new(order_id, &order, Tree::new(&trace));
            if is_late || (trace.is_complete() && (has_settled(&order) || since.elapsed() >= SETTLES_WITHIN))
            {
                trace.times = Times::of(&trace.tree, &source.linked(&trace.tree).await?);
                return Ok(trace);
            }
        } else if is_late {
            bail!(
                "no trace of order {order_id} at {}: it was sampled out (telemetry.traces_sample_ratio), its services \
                 export no spans or send them elsewhere (telemetry.otlp_endpoint), or it has been forgotten there",
                options.traces_url
            );
        }
        sleep(LOOK_AGAIN).await;
        // Each question is a trace of its own there: none without need.
        if order.ended_at.is_none() {
            order = ask_for(&orders, order_id).await?;
        }
    }
}

fn has_settled(order: &TracedOrder) -> bool {
    let age = order.ended_at.map(|ended_at| clock::now() - ended_at);
    age.and_then(|age| age.to_std().ok()).is_some_and(|age| age >= SETTLED_LONG_AGO)
}

async fn ask_for(orders: &Client, order_id: Uuid) -> anyhow::Result<TracedOrder> {
    match orders.get(&format!("/orders/{order_id}")).await {
        Answer::Done { body, .. } => Ok(body),
        Answer::Rejected(why) if why.starts_with("404") => {
            bail!("there is no order {order_id} at {}; say --url for another system", orders.base())
        }
        answer @ (Answer::Rejected(_) | Answer::Unknown(_)) => {
            answer.into_result().with_context(|| format!("asking {} for order {order_id}", orders.base()))
        }
    }
}
