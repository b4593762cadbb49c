//! Whether a member is in its group. librdkafka tells, and has been seen not to come back from an outage by itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::statistics::Statistics;

/// What librdkafka calls a member that is in its group and has the partitions that it was given, none perhaps.
const IN_GROUP: &str = "steady";

/// When a member was last seen in its group, and how long it may stay away.
pub(crate) struct Presence {
    seen: Mutex<Instant>,
    limit: Duration,
}

impl Presence {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { seen: Mutex::new(Instant::now()), limit }
    }

    /// Takes librdkafka's word for it.
    pub(crate) fn note(&self, statistics: &Statistics) {
        if statistics.cgrp.as_ref().is_some_and(|group| group.join_state == IN_GROUP) {
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Comes back when the member has stayed away for too long, and tells how long. Whether nobody polls or librdkafka
    /// is stuck makes no difference. Cancel-safe.
    pub(crate) async fn lost(&self) -> Duration {
        loop {
            let away = self.seen.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            if away >= self.limit {
                return away;
            }
            tokio::time::sleep(self.limit - away).await;
        }
    }
}
