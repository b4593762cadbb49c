//! The spans of one batch: its own, in a trace of its own, and one for each message, in the message's trace.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::ambient;
use messaging::{Batch, TopicPartition};
use telemetry::spans::{self, Place};
use tracing::Span;

use crate::dead_letters::NewDeadLetter;
use crate::decoding::Item;
use crate::unit_of_work::Received;

/// They last as long as the batch is worked on, retries included, and end when this is dropped.
#[derive(Debug)]
pub(crate) struct BatchSpans {
    batch: Span,
    messages: BTreeMap<i64, Span>,
}

impl BatchSpans {
    /// The spans of a batch with these items. From here on each event continues the trace of its own span, so that
    /// what follows from it does too. A batch without events has no span: it asks for no work.
    pub(crate) fn begin(group: &str, partition: &TopicPartition, batch: &Batch, items: &mut [Item]) -> Self {
        let events = items.iter().filter(|item| matches!(item, Item::Event(_))).count();
        if events == 0 {
            return Self { batch: Span::none(), messages: BTreeMap::new() };
        }
        let now = ambient::now();
        let of_batch = spans::batch(group, &partition.topic, partition.partition, events);
        let mut messages = BTreeMap::new();
        for (record, item) in batch.records.iter().zip(items) {
            let Item::Event(received) = item else { continue };
            let place =
                Place { topic: &partition.topic, partition: partition.partition, offset: record.offset };
            let sent_at = record.timestamp_ms.and_then(DateTime::<Utc>::from_timestamp_millis);
            let span = spans::process(group, place, &received.envelope, sent_at, now);
            received.envelope.trace = spans::continued(&span, &received.envelope.trace);
            spans::link(&of_batch, &span);
            messages.insert(record.offset, span);
        }
        Self { batch: of_batch, messages }
    }

    /// The batch's own span.
    pub(crate) const fn batch(&self) -> &Span {
        &self.batch
    }

    /// The span of one try at the batch's transaction; a child of the current span.
    pub(crate) fn transaction(&self) -> Span {
        if self.messages.is_empty() { Span::none() } else { spans::transaction("apply batch") }
    }

    /// Tells what has become of each message, now that it is committed.
    pub(crate) fn tell(&self, applied: &[Received], duplicates: &[i64], dead_letters: &[NewDeadLetter<'_>]) {
        for received in applied {
            self.outcome(received.offset, "applied");
        }
        for offset in duplicates {
            self.outcome(*offset, "duplicate");
        }
        for entry in dead_letters {
            if let Some(span) = self.outcome(entry.record.offset, "dead_lettered") {
                spans::failed(span);
                tracing::info!(parent: span, reason = entry.rejection.reason, "event dead-lettered");
            }
        }
    }

    fn outcome(&self, offset: i64, outcome: &'static str) -> Option<&Span> {
        let span = self.messages.get(&offset)?;
        spans::outcome(span, outcome);
        Some(span)
    }
}
