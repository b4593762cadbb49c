//! Whether a member is in its group. librdkafka tells, and has been seen not to come back from an outage by itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::statistics::Statistics;

/// What librdkafka calls a member that is in its group and has the partitions that it was given, none perhaps.
const IN_GROUP: &str = "steady";

/// librdkafka tells once a second. A member of which nothing was heard for so long is not taken for one of the group.
const SILENCE: Duration = Duration::from_secs(5);

/// When a member was last seen in its group, and how long it may stay away.
pub(crate) struct Presence {
    seen: Mutex<Seen>,
    limit: Duration,
}

#[derive(Clone, Copy)]
struct Seen {
    last: Instant,
    /// Whether it was there when librdkafka last told.
    is_here: bool,
}

impl Presence {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { seen: Mutex::new(Seen { last: Instant::now(), is_here: false }), limit }
    }

    /// Takes librdkafka's word for it.
    pub(crate) fn note(&self, statistics: &Statistics) {
        let is_here = statistics.cgrp.as_ref().is_some_and(|group| group.join_state == IN_GROUP);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_here = is_here;
        if is_here {
            seen.last = Instant::now();
        }
    }

    /// Whether the member is in its group.
    pub(crate) fn is_here(&self) -> bool {
        let seen = self.seen();
        seen.is_here && seen.last.elapsed() < SILENCE
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes back when the member has stayed away for too long, and tells how long. Whether nobody polls or librdkafka
    /// is stuck makes no difference. Cancel-safe.
    pub(crate) async fn lost(&self) -> Duration {
        loop {
            let away = self.seen().last.elapsed();
            if away >= self.limit {
                return away;
            }
            tokio::time::sleep(self.limit - away).await;
        }
    }
}
