//! The span of publishing a message: its name and attributes follow OpenTelemetry's semantic conventions 1.37 for messaging
//! and Kafka. No attribute carries a body.

use chrono::{DateTime, Utc};
use cloudevents::Envelope;
use cloudevents::propagation::{self, Waited};
use messaging::{Acknowledged, DeliveryError};
use tracing::{Span, field};

/// Publishing one message: a child of what recorded it, long ended by now. `recorded_at` is when it was appended.
pub(crate) fn publish(
    topic: &str,
    envelope: &Envelope,
    recorded_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Span {
    let span = tracing::info_span!(
        "publish",
        otel.name = format!("publish {topic}"),
        otel.kind = "producer",
        otel.status_code = field::Empty,
        messaging.system = "kafka",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
        messaging.destination.partition.id = field::Empty,
        messaging.kafka.offset = field::Empty,
        messaging.kafka.message.key = envelope.subject,
        messaging.message.id = %envelope.event_id,
        messaging.message.conversation_id = %envelope.correlation_id,
        cloudevents.event_type = envelope.event_type,
    );
    let waited = (now - recorded_at).to_std().unwrap_or_default();
    propagation::about(&span, envelope, Some(Waited::InOutbox(waited)));
    span
}

/// Ends the span with the broker's answer.
pub(crate) fn answered(
    span: &Span,
    answer: Result<Acknowledged, DeliveryError>,
) -> Result<Acknowledged, DeliveryError> {
    match &answer {
        Ok(Acknowledged { partition, offset }) => {
            span.record("messaging.destination.partition.id", partition);
            span.record("messaging.kafka.offset", offset);
        }
        Err(error) => {
            propagation::failed(span);
            tracing::info!(parent: span, %error, "not published");
        }
    }
    answer
}
