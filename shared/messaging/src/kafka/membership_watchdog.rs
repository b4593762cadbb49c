//! Watches group membership: librdkafka reports it, and has been seen not to return from an outage by itself.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::statistics::Statistics;

/// librdkafka's name for a member that is in its group and has its assigned partitions, which may be none.
const IN_GROUP: &str = "steady";

/// librdkafka reports once per second. After this time without a report a member does not count as one of the group.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// When a member was last seen in its group, and how long it may be absent.
pub(crate) struct MembershipWatchdog {
    seen: Mutex<Seen>,
    limit: Duration,
}

#[derive(Clone, Copy)]
struct Seen {
    last: Instant,
    /// Whether it was a member by librdkafka's last report.
    is_member: bool,
}

impl MembershipWatchdog {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { seen: Mutex::new(Seen { last: Instant::now(), is_member: false }), limit }
    }

    /// Takes librdkafka's report.
    pub(crate) fn note(&self, statistics: &Statistics) {
        let is_member = statistics.cgrp.as_ref().is_some_and(|group| group.join_state == IN_GROUP);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_member = is_member;
        if is_member {
            seen.last = Instant::now();
        }
    }

    /// Whether the member is in its group.
    pub(crate) fn is_member(&self) -> bool {
        let seen = self.seen();
        seen.is_member && seen.last.elapsed() < REPORT_TIMEOUT
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once the member has been absent for too long, and for how long. The cause, a poll that is not made or a librdkafka
    /// that is stuck, makes no difference. Cancel-safe.
    pub(crate) async fn lost(&self) -> Duration {
        loop {
            let absent = self.seen().last.elapsed();
            if absent >= self.limit {
                return absent;
            }
            tokio::time::sleep(self.limit - absent).await;
        }
    }
}
