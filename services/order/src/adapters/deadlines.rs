//! Deadlines: an expired deadline acts only after everything on the topics by then was heard, so that an outage doesn't
//! cancel what was already paid.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use contracts::{Topic, Topics, ambient};
use messaging::{Bus, BusError};
use tokio_util::sync::CancellationToken;

use super::postgres::{OrderStore, Position};
use crate::config::Config;

/// The end offsets of the topics that order listens to, read after some deadlines had expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Deadlines that had passed by then had done so before the offsets were read.
    pub expired_by: DateTime<Utc>,
    ends: Vec<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    topic: String,
    partition: i32,
    low: i64,
    high: i64,
}

impl Fence {
    /// Reads the fence: the time first, the offsets after it.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn read(bus: &dyn Bus, topics: &[String]) -> Result<Self, BusError> {
        let expired_by = ambient::now();
        let mut ends = Vec::new();
        for topic in topics {
            ends.extend(bus.watermarks(topic).await?.into_iter().map(|watermarks| End {
                topic: topic.clone(),
                partition: watermarks.partition,
                low: watermarks.low,
                high: watermarks.high,
            }));
        }
        Ok(Self { expired_by, ends })
    }

    /// Whether the consumers have applied everything that was on the topics when the fence was read. A partition
    /// without a position is passed only if it holds nothing.
    #[must_use]
    pub fn is_passed(&self, positions: &[Position]) -> bool {
        let applied: HashMap<(&str, i32), i64> = positions
            .iter()
            .map(|position| ((position.topic.as_str(), position.partition), position.next_offset))
            .collect();
        self.ends.iter().all(|end| match applied.get(&(end.topic.as_str(), end.partition)) {
            Some(next_offset) => *next_offset >= end.high,
            None => end.low == end.high,
        })
    }
}

/// Cancels orders whose deadline has passed. Every replica runs one; the locked heads decide.
#[derive(Debug)]
pub struct DeadlineWorker {
    store: OrderStore,
    bus: Arc<dyn Bus>,
    topics: Vec<String>,
    poll: Duration,
    batch: u32,
}

impl DeadlineWorker {
    /// Watches the deadlines of `store`'s orders.
    #[must_use]
    pub fn new(store: OrderStore, bus: Arc<dyn Bus>, topics: &Topics, config: &Config) -> Self {
        Self {
            store,
            bus,
            topics: [Topic::Reservations, Topic::Payments].map(|topic| topics.name(topic)).to_vec(),
            poll: Duration::from_millis(u64::from(config.deadline_poll_interval_ms.max(1))),
            batch: config.deadline_batch_size.max(1),
        }
    }

    /// One look: reads a fence if a deadline has passed and none is held, and acts if the fence is passed. Says how
    /// many expired deadlines were answered.
    ///
    /// # Errors
    /// When database or broker do not answer.
    pub async fn look(&self, held: &mut Option<Fence>) -> anyhow::Result<usize> {
        let fence = match held.take() {
            Some(fence) => fence,
            None if self.store.any_due(ambient::now()).await? => {
                let fence = Fence::read(self.bus.as_ref(), &self.topics).await;
                fence.context("reading the end offsets")?
            }
            None => return Ok(0),
        };
        let passed = match self.store.positions(&self.topics).await {
            Ok(positions) => fence.is_passed(&positions),
            Err(error) => {
                *held = Some(fence);
                return Err(error.into());
            }
        };
        if !passed {
            // Held until it is passed: a new one would lie further ahead, out of reach of consumers that lag.
            *held = Some(fence);
            return Ok(0);
        }
        let mut answered = 0;
        loop {
            let batch = self.store.expire(fence.expired_by, i64::from(self.batch)).await?;
            answered += batch;
            if batch < usize::try_from(self.batch)? {
                return Ok(answered);
            }
        }
    }
}

#[async_trait]
impl service::Worker for DeadlineWorker {
    fn name(&self) -> &'static str {
        "deadlines"
    }

    async fn run(&mut self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut held = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.poll) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let answered = self.look(&mut held).await?;
            if answered > 0 {
                tracing::info!(answered, "deadlines passed");
            }
        }
    }
}
