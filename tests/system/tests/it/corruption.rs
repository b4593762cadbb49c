//! One row, one event, one ledger entry corrupted in a real system: `verify` names it.

use contracts::ambient;
use contracts::codec::RegistryConfig;
use contracts::order::OrderCancelled;
use contracts::topics::Topics;
use contracts::{AnyEvent, Cause, Codec, Envelope, Event};
use messaging::{Bus, KafkaBus, KafkaConfig, Producer, Record};
use system::System;
use tidings::services::ServiceName;
use tidings::verify::checks::DeadLetters;
use tidings::verify::report::{Guarantee, Report, Status};
use tidings::verify::{self, Target};
use uuid::Uuid;

async fn look(system: &System) -> anyhow::Result<Report> {
    let options = verify::Options { wait: None, dead_letters: DeadLetters::Listed };
    verify::run(&Target::from(system.stack().system()), options).await
}

#[track_caller]
fn is_named(report: &Report, guarantee: Guarantee, id: &str) {
    let verdict = report.verdict(guarantee).expect("all guarantees are judged");
    assert_eq!(verdict.status, Status::Violated, "{report}");
    assert!(
        verdict.violations.first.iter().any(|finding| finding.contains(id)),
        "{id} is not named: {report}"
    );
    assert!(!report.holds());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_what_was_corrupted() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 10).await?;
    let order_id = system.place("TEAPOT", 2, "tok_visa").await?;
    assert_eq!(system.ended(order_id).await.end().as_deref(), Some("confirmed"));
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    let named = order_id.to_string();

    let mut order = system.database(ServiceName::Order).await?;
    sqlx::query("UPDATE orders SET total_minor = total_minor + 1 WHERE order_id = $1")
        .bind(order_id)
        .execute(&mut order)
        .await?;
    is_named(&look(&system).await?, Guarantee::G1, &named);
    sqlx::query("UPDATE orders SET total_minor = total_minor - 1 WHERE order_id = $1")
        .bind(order_id)
        .execute(&mut order)
        .await?;

    let mut inventory = system.database(ServiceName::Inventory).await?;
    sqlx::query("UPDATE stock SET committed = committed + 1, available = available - 1 WHERE sku = 'TEAPOT'")
        .execute(&mut inventory)
        .await?;
    is_named(&look(&system).await?, Guarantee::G3, "TEAPOT");
    sqlx::query("UPDATE stock SET committed = committed - 1, available = available + 1 WHERE sku = 'TEAPOT'")
        .execute(&mut inventory)
        .await?;

    let mut payment = system.database(ServiceName::Payment).await?;
    sqlx::query(
        "INSERT INTO provider.ledger (payment_id, step, approved, transaction_id, amount_minor, currency, recorded_at)
         SELECT payment_id, 'refund', true, 'forged', 2500, 'EUR', now() FROM payments WHERE order_id = $1",
    )
    .bind(order_id)
    .execute(&mut payment)
    .await?;
    let report = look(&system).await?;
    is_named(&report, Guarantee::G4, "EUR");
    is_named(&report, Guarantee::G3, &named);
    sqlx::query("DELETE FROM provider.ledger WHERE transaction_id = 'forged'").execute(&mut payment).await?;

    let mut notification = system.database(ServiceName::Notification).await?;
    let forgotten: Uuid =
        sqlx::query_scalar("DELETE FROM inbox.events WHERE event_id = (SELECT min(event_id::text)::uuid FROM inbox.events) RETURNING event_id")
            .fetch_one(&mut notification)
            .await?;
    is_named(&look(&system).await?, Guarantee::G5, &forgotten.to_string());
    sqlx::query(
        r#"INSERT INTO inbox.events (event_id, topic, partition, "offset", log, outcome)
           VALUES ($1, 'restored', 0, 0, 1, 'applied')"#,
    )
    .bind(forgotten)
    .execute(&mut notification)
    .await?;
    let report = look(&system).await?;
    assert!(report.holds(), "{report}");

    let forged = publish_a_forged_end(&system, order_id).await?;
    let report = look(&system).await?;
    is_named(&report, Guarantee::G2, &forged.to_string());
    is_named(&report, Guarantee::G4, &named);
    system.stop().await
}

/// A second end of an order, with a number out of turn, that no outbox ever held.
async fn publish_a_forged_end(system: &System, order_id: Uuid) -> anyhow::Result<Uuid> {
    let running = system.stack().system();
    let registry = RegistryConfig { url: running.registry.clone(), auto_register_schemas: true };
    let topics = Topics::new(running.topics_prefix.clone());
    let codec = Codec::connect(&registry, topics.clone(), &[OrderCancelled::TYPE], &[]).await?;
    let forged = OrderCancelled {
        event_id: ambient::new_id(),
        occurred_at: ambient::now(),
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
        headers: Envelope::of(&event, "nobody", &cause).to_headers(),
    };
    let bus = KafkaBus::try_new(KafkaConfig::new(running.kafka.clone()))?;
    let producer: Box<dyn Producer> = bus.producer().await?;
    producer.send(record).await?;
    Ok(event_id)
}
