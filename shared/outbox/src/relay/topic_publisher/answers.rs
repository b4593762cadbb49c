//! What a publisher makes of the broker's answers.

use chrono::{DateTime, Utc};
use cloudevents::clock;
use messaging::{DeliveryError, Refusal};
use tokio::time::Instant;

use super::in_flight::Answer;
use super::verdict::Consequence;
use super::{End, Outcome, TopicPublisher};
use crate::relay::row::QueueKey;

/// Answers reported to the relay at once.
const REPORT: usize = 1_000;

impl TopicPublisher {
    /// Settles this answer and those that are there already. `Ok(Some(_))` when the producer has to be replaced.
    pub(super) async fn settle_ready(&mut self, first: Answer) -> Result<Option<End>, End> {
        let (now, time) = (Instant::now(), clock::now());
        let mut acknowledged = Vec::new();
        let (mut failed, mut ended, mut refused) = (false, false, false);
        let mut next = Some(first);
        while let Some((partition, key, answer)) = next {
            let flow = self.flow(partition);
            match answer {
                Ok(_) => {
                    if let Some(row) = flow.acknowledged(&key, now) {
                        self.latency.record(seconds_between(row.created_at, time));
                        acknowledged.push(row.id);
                    }
                }
                Err(error @ (DeliveryError::Unacknowledged(_) | DeliveryError::ProducerEnded(_))) => {
                    flow.unacknowledged(&key, now);
                    self.verdict.unanswered(now);
                    ended |= matches!(error, DeliveryError::ProducerEnded(_));
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(topic = self.topic, partition, %key, %error, "outbox: sending again");
                    }
                }
                Err(DeliveryError::Refused { refusal, detail }) => {
                    refused = true;
                    self.take_refusal(partition, key, refusal, detail, now).await?;
                }
            }
            next = if acknowledged.len() < REPORT { self.sent.ready() } else { None };
        }
        if failed || refused {
            self.failures.increment(1);
        }
        let end = (ended || failed && self.is_given_up(now)).then_some(End::Unacknowledged);
        if !acknowledged.is_empty() {
            (self.acknowledged_at, self.failed) = (Some(now), false);
            if self.verdict.acknowledged() {
                tracing::info!(topic = self.topic, "outbox: topic accepts records again");
                self.refused.set(0.0);
                self.report(Outcome::Takes { topic: self.topic.clone() }).await?;
            }
            self.backoff.reset();
            self.published.increment(acknowledged.len() as u64);
            self.report(Outcome::Acknowledged(acknowledged)).await?;
        }
        self.tell_stalled();
        Ok(end)
    }

    async fn take_refusal(
        &mut self,
        partition: i32,
        key: QueueKey,
        refusal: Refusal,
        detail: String,
        now: Instant,
    ) -> Result<(), End> {
        let (is_isolated, is_retry) = {
            let flow = self.flow(partition);
            (flow.is_isolated(&key), flow.is_retry(&key))
        };
        // The fault may be another record of the batch.
        let consequence = is_isolated.then(|| self.verdict.refused(refusal, is_retry, now));
        if consequence == Some(Consequence::KeepRowAndAlarm) {
            self.refused.set(1.0);
            tracing::error!(topic = self.topic, %refusal, detail, "outbox: topic refuses every record; trying one at a time");
        }
        let block = consequence == Some(Consequence::BlockKey);
        match self.flow(partition).refused(&key, block, now) {
            Some(blocked) => {
                let topic = self.topic.clone();
                self.report(Outcome::Blocked { topic, key, blocked, refusal, detail }).await
            }
            None => Ok(()),
        }
    }

    /// After a failure: whether the producer is to be replaced. A partition that fails while others are served leaves them
    /// their producer.
    fn is_given_up(&mut self, now: Instant) -> bool {
        let served = self.acknowledged_at.is_some_and(|at| now < at + self.config.delivery_timeout());
        std::mem::replace(&mut self.failed, true) && !served
    }
}

/// The clocks of database and relay may differ; a negative latency is none.
fn seconds_between(created_at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - created_at).to_std().unwrap_or_default().as_secs_f64()
}
