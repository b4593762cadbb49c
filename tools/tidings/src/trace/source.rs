//! Where traces are asked for: Jaeger's query API, which the embedded receiver speaks too.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use embedded::otlp::jaeger::{self, Trace};
use uuid::Uuid;

use super::tree::Tree;
use crate::client::{Answer, Client, encode};

/// The attribute of spans that belong to an order.
pub const ORDER_ID: &str = "tidings.order_id";

/// How many traces that name an order are looked at: its own, and those of requests about it.
const MOST_TRACES: usize = 200;
/// How many batches of one order are looked at; an order has about a dozen.
const MOST_LINKED: usize = 100;
/// How much earlier than the order says its trace may have begun, clocks differing.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);

/// A query API.
#[derive(Clone, Debug)]
pub struct Source {
    client: Client,
}

impl Source {
    /// The query API at `base`, such as `http://127.0.0.1:16686`.
    ///
    /// # Errors
    /// When `base` is no URL.
    pub fn try_new(base: &str) -> anyhow::Result<Self> {
        Ok(Self { client: Client::try_new(base)? })
    }

    /// The trace with this id, if it is known.
    ///
    /// # Errors
    /// When there is no answer, or it is not in Jaeger's form.
    pub async fn trace(&self, trace_id: &str) -> anyhow::Result<Option<Trace>> {
        Ok(self.ask(&format!("/api/traces/{}", encode(trace_id))).await?.into_iter().next())
    }

    /// The trace in which the order was placed: the oldest that names it.
    ///
    /// # Errors
    /// When there is no answer, or it is not in Jaeger's form.
    pub async fn trace_of_order(
        &self,
        order_id: Uuid,
        placed_at: DateTime<Utc>,
    ) -> anyhow::Result<Option<Trace>> {
        let tags = serde_json::json!({ ORDER_ID: order_id }).to_string();
        let start = (placed_at - CLOCKS_DIFFER).timestamp_micros();
        let query = format!("service=order&tags={}&start={start}&limit={MOST_TRACES}", encode(&tags));
        let found = self.ask(&format!("/api/traces?{query}")).await?;
        Ok(found.into_iter().min_by_key(|trace| trace.spans.iter().map(|span| span.start_time).min()))
    }

    /// The traces that this one's spans link to, as far as they are known.
    ///
    /// # Errors
    /// When there is no answer, or it is not in Jaeger's form.
    pub async fn linked(&self, tree: &Tree) -> anyhow::Result<Vec<Trace>> {
        let ids: BTreeSet<&String> = tree.spans.iter().flat_map(|span| &span.linked_traces).collect();
        let mut linked = Vec::new();
        for id in ids.into_iter().take(MOST_LINKED) {
            linked.extend(self.trace(id).await?);
        }
        Ok(linked)
    }

    async fn ask(&self, path: &str) -> anyhow::Result<Vec<Trace>> {
        let answer: jaeger::Answer = match self.client.get(path).await {
            Answer::Done { body, .. } => body,
            Answer::Rejected(why) if why.starts_with("404") => return Ok(Vec::new()),
            answer @ (Answer::Rejected(_) | Answer::Unknown(_)) => answer
                .into_result()
                .with_context(|| format!("asking {} for traces; say --jaeger", self.client.base()))?,
        };
        if let Some(problem) = answer.errors.into_iter().flatten().next() {
            bail!("{} says: {}", self.client.base(), problem.msg);
        }
        Ok(answer.data.unwrap_or_default())
    }
}
