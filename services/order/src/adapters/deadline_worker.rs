//! Cancels orders by their deadlines: after everything that was on the topics when a deadline passed was consumed, so that
//! an outage doesn't cancel what was paid; and not before the other services had time to consume the order. An order waits
//! for the partitions of its own key only.

mod catch_up;

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use contracts::{Topic, Topics, clock};
use database::Operation;
use messaging::{Bus, BusError, ends};
use service::{Progress, corrupt_rows};
use tokio_util::sync::CancellationToken;

use super::metrics::ORDERS;
use super::postgres::{OrderStore, StoreError};
use crate::application::expire_orders::expire_orders;
use crate::config::Config;
use crate::domain::OrderId;

pub use catch_up::CatchUpBarrier;

const NAME: &str = "deadlines";

/// Cancels orders whose deadline has passed. Every replica runs one; the locked heads decide.
#[derive(Debug)]
pub struct DeadlineWorker {
    store: OrderStore,
    bus: Arc<dyn Bus>,
    topics: Vec<String>,
    poll: Duration,
    batch: u32,
    grace: TimeDelta,
    progress: Progress,
}

impl DeadlineWorker {
    /// Watches the deadlines of `store`'s orders.
    pub fn new(store: OrderStore, bus: Arc<dyn Bus>, topics: &Topics, config: &Config) -> Self {
        Self {
            store,
            bus,
            topics: [Topic::Reservations, Topic::Payments].map(|topic| topics.name(topic)).to_vec(),
            poll: Duration::from_millis(u64::from(config.deadline_poll_interval_ms.max(1))),
            batch: config.deadline_batch_size.max(1),
            grace: TimeDelta::milliseconds(config.deadline_grace_ms.unwrap_or(config.deadline_ms).into()),
            progress: Progress::new(NAME),
        }
    }

    /// Reads the ends of partitions that have to be waited for, and cancels the orders for which everything was consumed.
    /// Says how many expired deadlines were answered.
    ///
    /// # Errors
    /// When the database does not answer, or the broker does not answer about a topic.
    pub async fn poll_once(&self, barrier: &mut CatchUpBarrier) -> anyhow::Result<usize> {
        let now = clock::now();
        if self.store.newest_due(now).await?.is_none() {
            self.progress.idle();
            return Ok(0);
        }
        let limit = i64::from(self.batch);
        while self.store.postpone(now, self.grace, limit).await? == u64::from(self.batch) {
            self.progress.moved();
        }
        let Some(newest) = self.store.newest_due(now).await? else {
            self.progress.idle();
            return Ok(0);
        };
        self.read_ends(barrier, newest).await.context("reading the end offsets")?;
        barrier.advance(&self.store.positions(&self.topics).await?);
        self.expire(barrier, now).await
    }

    async fn read_ends(&self, barrier: &mut CatchUpBarrier, newest: DateTime<Utc>) -> Result<(), BusError> {
        let mut wanted = Vec::new();
        for topic in &self.topics {
            let partitions = ends::partitions(&*self.bus, topic).await?;
            barrier.note_partition_count(topic, partitions.len());
            wanted.extend(partitions.into_iter().filter(|partition| barrier.needs_end(partition, newest)));
        }
        // The time first, the offsets after it.
        let read_at = clock::now();
        for (partition, answer) in ends::watermarks(&*self.bus, wanted).await {
            match answer {
                Ok(marks) => barrier.await_end(partition, read_at, marks),
                Err(error) => {
                    tracing::debug!(?partition, %error, "could not read the end offset of a partition; deadlines of its orders wait");
                }
            }
        }
        Ok(())
    }

    /// One pass over the deadlines that had passed. Those that wait for a partition are left as they are.
    async fn expire(&self, barrier: &CatchUpBarrier, now: DateTime<Utc>) -> anyhow::Result<usize> {
        let (mut answered, mut last) = (0, None);
        loop {
            let due = self.store.due(now, last.as_ref(), i64::from(self.batch)).await?;
            let passed = due.iter().filter(|due| barrier.is_passed_for(due)).map(|due| OrderId(due.order_id));
            let passed: Vec<OrderId> = passed.collect();
            answered += self.expire_page(&passed, now).await?;
            if due.len() < usize::try_from(self.batch)? {
                return Ok(answered);
            }
            last = due.last().copied();
        }
    }

    /// Answers the deadlines of a page together; where a row of one order fails the page, each by itself.
    async fn expire_page(&self, passed: &[OrderId], now: DateTime<Utc>) -> Result<usize, StoreError> {
        match self.expire_together(passed, now).await {
            Err(error) if error.is_of_rows() => {}
            answered => return answered,
        }
        let mut answered = 0;
        for order_id in passed {
            match self.expire_together(slice::from_ref(order_id), now).await {
                Ok(expired) => answered += expired,
                Err(error) if error.is_of_rows() => {
                    corrupt_rows::report(ORDERS, order_id, &error);
                    self.store.set_aside(*order_id, clock::now() + corrupt_rows::SET_ASIDE).await?;
                    self.progress.moved();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answered)
    }

    async fn expire_together(&self, passed: &[OrderId], now: DateTime<Utc>) -> Result<usize, StoreError> {
        if passed.is_empty() {
            return Ok(0);
        }
        let use_case = |transaction| expire_orders(transaction, passed, now, self.grace);
        let expired = self.store.transaction(Operation::Worker, use_case).await?;
        if expired > 0 {
            self.progress.moved();
        }
        Ok(expired)
    }
}

#[async_trait]
impl service::Worker for DeadlineWorker {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run(&mut self, progress: Progress, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.progress = progress;
        let mut barrier = CatchUpBarrier::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.poll) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
            let answered = self.poll_once(&mut barrier).await?;
            if answered > 0 {
                tracing::info!(answered, "deadlines passed");
            }
        }
    }
}
