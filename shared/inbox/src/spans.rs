//! The spans of one batch: its own, in a trace of its own, and one for each message, in the message's trace. Names and
//! attributes follow OpenTelemetry's semantic conventions 1.37 for messaging, Kafka and databases. No attribute carries a body.
//!
//! A batch and its transaction concern many messages, so the batch's span and those of its messages link to each other.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cloudevents::clock;
use cloudevents::propagation::{self, Waited};
use messaging::{Batch, TopicPartition};
use tracing::{Span, field};

use crate::dead_letters::NewDeadLetter;
use crate::decoding::Item;
use crate::effect::Erased;
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
        let now = clock::now();
        let of_batch = of_batch(group, partition, events);
        let mut messages = BTreeMap::new();
        for (record, item) in batch.records.iter().zip(items) {
            let Item::Event(received) = item else { continue };
            let sent_at = record.timestamp_ms.and_then(DateTime::<Utc>::from_timestamp_millis);
            let waited = sent_at.map(|sent_at| (now - sent_at).to_std().unwrap_or_default());
            let span = process(group, received, waited.map(Waited::OnTopic));
            propagation::link(&of_batch, &span);
            messages.insert(record.offset, span);
        }
        Self { batch: of_batch, messages }
    }

    pub(crate) const fn batch(&self) -> &Span {
        &self.batch
    }

    /// The span of one try at a transaction with records of the batch, on the database of this name.
    pub(crate) fn transaction(&self, database: &str) -> Span {
        if self.messages.is_empty() {
            return Span::none();
        }
        tracing::info_span!(
            parent: &self.batch,
            "transaction",
            otel.name = "transaction: apply batch",
            otel.kind = "client",
            otel.status_code = field::Empty,
            db.system.name = "postgresql",
            db.namespace = database,
            db.operation.name = "transaction",
        )
    }

    /// Records the outcome of each message, now that it is committed.
    pub(crate) fn record(
        &self,
        applied: &[Received<Erased>],
        duplicates: &[i64],
        dead_letters: &[NewDeadLetter<'_>],
    ) {
        for received in applied {
            self.outcome(received.offset, "applied");
        }
        for offset in duplicates {
            self.outcome(*offset, "duplicate");
        }
        for entry in dead_letters {
            if let Some(span) = self.outcome(entry.record.offset, "dead_lettered") {
                propagation::failed(span);
                tracing::info!(parent: span, reason = entry.rejection.reason, "event dead-lettered");
            }
        }
    }

    fn outcome(&self, offset: i64, outcome: &'static str) -> Option<&Span> {
        let span = self.messages.get(&offset)?;
        propagation::outcome(span, outcome);
        Some(span)
    }
}

/// A batch of one partition, with so many messages that have a handler: the root of a trace of its own.
fn of_batch(group: &str, partition: &TopicPartition, messages: usize) -> Span {
    tracing::info_span!(
        parent: None,
        "batch",
        otel.name = format!("process batch {}", partition.topic),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group,
        messaging.destination.name = partition.topic,
        messaging.destination.partition.id = partition.partition,
        messaging.batch.message_count = messages,
    )
}

/// Processing one message in `group`: a child of its publish span, which what follows from the message continues.
pub(crate) fn process(group: &str, received: &mut Received<Erased>, waited: Option<Waited>) -> Span {
    let Received { topic, partition, offset, envelope, .. } = received;
    let span = tracing::info_span!(
        "process",
        otel.name = format!("process {topic}"),
        otel.kind = "consumer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.consumer.group.name = group,
        messaging.destination.name = topic,
        messaging.destination.partition.id = partition,
        messaging.kafka.offset = offset,
        messaging.kafka.message.key = envelope.subject,
        messaging.message.id = %envelope.event_id,
        messaging.message.conversation_id = %envelope.correlation_id,
        cloudevents.event_type = envelope.event_type,
    );
    propagation::about(&span, envelope, waited);
    envelope.trace = propagation::continued(&span, &envelope.trace);
    span
}
