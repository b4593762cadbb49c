//! A foreign producer writes into a real system: `verify` names what it did. Corrupted rows are `tests/verify-campaign`'s.

use contracts::clock;
use contracts::codec::RegistryConfig;
use contracts::envelope::CONTENT_TYPE;
use contracts::order::OrderCancelled;
use contracts::topics::Topics;
use contracts::{AnyEvent, Cause, Codec, Envelope, Event};
use messaging::{Bus, KafkaBus, KafkaConfig, Producer, Record};
use system::System;
use tidings::verify::check::{Check, Guarantee};
use tidings::verify::failures::Failures;
use tidings::verify::report::{Report, Status};
use tidings::verify::{self, Target};
use uuid::Uuid;

#[track_caller]
fn is_named(report: &Report, guarantee: Guarantee, id: &str) {
    let verdict = report.verdict(guarantee).expect("all guarantees are judged");
    assert_eq!(verdict.status, Status::Violated, "{report}");
    assert!(verdict.violations().any(|(_, finding)| finding.contains(id)), "{id} is not named: {report}");
    assert!(!report.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_an_event_that_no_service_has_published() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 10).await?;
    let order_id = system.place("TEAPOT", 2, "tok_visa").await?;
    assert_eq!(system.ended(order_id).await.end().as_deref(), Some("confirmed"));
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    let named = order_id.to_string();

    let forged = publish_a_forged_end(&system, order_id).await?;
    let options = verify::Options { wait: None, failures: Failures::Listed };
    let report = verify::run(&Target::from(system.stack().system()), options).await?;
    is_named(&report, Guarantee::G2, &forged.to_string());
    is_named(&report, Guarantee::G4, &named);
    let ends = report.outcome(Check::Ends).expect("all checks are made");
    assert!(ends.violations.first.iter().any(|finding| finding.contains(&named)), "{report}");
    system.stop().await
}

/// A second end of an order, with a number out of turn, that no outbox ever held.
async fn publish_a_forged_end(system: &System, order_id: Uuid) -> anyhow::Result<Uuid> {
    let running = system.stack().system();
    let registry = RegistryConfig { url: running.registry.clone(), auto_register_schemas: true };
    let topics = Topics::new(running.topics_prefix.clone());
    let codec = Codec::connect(&registry, topics.clone(), &[OrderCancelled::TYPE], &[]).await?;
    let forged = OrderCancelled {
        event_id: clock::new_id(),
        occurred_at: clock::now(),
        order_id,
        sequence: 9,
        reason: contracts::order::CancellationReason::CustomerRequest,
        detail: None,
    };
    let event_id = forged.event_id;
    let event = AnyEvent::OrderCancelled(forged);
    let cause = Cause {
        correlation_id: event_id,
        causation_id: None,
        user_id: None,
        trace: contracts::TraceContext::default(),
    };
    let record = Record {
        topic: topics.name(event.topic()),
        key: Some(event.key().into_bytes()),
        value: Some(codec.encode(&event)?),
        headers: Envelope::of(&event, "nobody", &cause).to_headers(CONTENT_TYPE),
    };
    let bus = KafkaBus::try_new(KafkaConfig::new(running.kafka.clone()))?;
    let producer: Box<dyn Producer> = bus.producer().await?;
    producer.send(record).await?;
    Ok(event_id)
}
