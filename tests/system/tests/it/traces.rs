//! One order, one trace: the exact tree of each end, from the spans that a real OTLP receiver got.

mod trees;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use sqlx::Connection as _;
use system::System;
use testkit::otlp::{OtlpReceiver, ReceivedSpan};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use uuid::Uuid;

use trees::{CANCELLED, CONFIRMED, DECLINED, REJECTED, is_tree, tree};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The advisory lock of the relay that leads (outbox/src/relay/poll/table.rs).
const LEADER_LOCK: i64 = 0x6f75_7462_6f78;

async fn trace_id(system: &System, order_id: Uuid) -> anyhow::Result<String> {
    let client = system.client(ServiceName::Order)?;
    let order: Value = client.get(&format!("/orders/{order_id}")).await.into_result()?;
    Ok(order["trace_id"].as_str().context("the order has no trace")?.to_owned())
}

fn receiver(system: &System) -> &OtlpReceiver {
    system.stack().traces().expect("the stack receives traces")
}

/// Waits until the order's trace has this tree, or the one in which payment consumed the order last.
async fn expect_tree(system: &System, order_id: Uuid, expected: &str) -> anyhow::Result<()> {
    let trace_id = trace_id(system, order_id).await?;
    eventually(&format!("the trace of order {order_id} has its tree"), WAIT_TIMEOUT, async || {
        let found = tree(&receiver(system).trace(&trace_id));
        if is_tree(&found, expected) { Ok(()) } else { Err(format!("\n{found}")) }
    })
    .await;
    Ok(())
}

/// Cancels an order while the provider authorizes its payment, which it takes half a second for. Tells whether the
/// cancellation came in time: if not, payment has gone on to the next step, which is as right.
async fn cancelled_while_it_is_authorized(system: &System) -> anyhow::Result<bool> {
    let order_id = system.place("TEAPOT", 1, "tok_slow").await?;
    eventually("the provider is asked", WAIT_TIMEOUT, async || {
        let mut payment = system.database(ServiceName::Payment).await?;
        let leased = sqlx::query_scalar("SELECT lease_id IS NOT NULL FROM payments WHERE order_id = $1");
        match leased.bind(order_id).fetch_optional(&mut payment).await? {
            Some(true) => Ok(()),
            other => Err(anyhow::anyhow!("{other:?}")),
        }
    })
    .await;
    system.cancel(order_id).await?;
    let trace_id = trace_id(system, order_id).await?;
    Ok(eventually(&format!("the trace of order {order_id} has its tree"), WAIT_TIMEOUT, async || {
        let found = tree(&receiver(system).trace(&trace_id));
        match (is_tree(&found, CANCELLED), found.contains("payment: check_fraud")) {
            (false, false) => Err(format!("\n{found}")),
            (in_time, _) => Ok(in_time),
        }
    })
    .await)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_its_tree_alone_and_in_batches_and_nobody_is_named_in_it() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 1_000).await?;
    let cases = [
        ("TEAPOT", "tok_visa", CONFIRMED),
        ("NO SUCH THING", "tok_visa", REJECTED),
        ("TEAPOT", "tok_declined", DECLINED),
    ];
    for (sku, token, expected) in cases {
        let order_id = system.place(sku, 1, token).await?;
        expect_tree(&system, order_id, expected).await?;
    }
    let mut attempts = 1;
    while !cancelled_while_it_is_authorized(&system).await? {
        attempts += 1;
        assert!(
            attempts <= 10,
            "each cancellation took longer to reach payment than the provider takes to answer"
        );
    }

    for order_id in fifty_orders_in_batches(&system).await? {
        expect_tree(&system, order_id, CONFIRMED).await?;
    }
    batches_and_messages_know_each_other(&receiver(&system).spans());
    nobody_is_named(&receiver(&system).spans());
    nobody_is_named_in_the_logs(&system)?;
    system.stop().await
}

/// Places fifty orders while inventory waits for a lock, so that the events behind the first of each partition are read
/// as batches.
async fn fifty_orders_in_batches(system: &System) -> anyhow::Result<Vec<Uuid>> {
    let mut inventory = system.database(ServiceName::Inventory).await?;
    let mut locked = inventory.begin().await?;
    sqlx::query("SELECT 1 FROM stock WHERE sku = 'TEAPOT' FOR UPDATE").execute(&mut *locked).await?;
    let mut orders = Vec::new();
    for _ in 0..50 {
        orders.push(system.place("TEAPOT", 1, "tok_visa").await?);
    }
    eventually("the orders are published", WAIT_TIMEOUT, async || {
        let mut order = system.database(ServiceName::Order).await?;
        let waiting = sqlx::query_scalar("SELECT count(*) FROM outbox.unpublished()");
        match waiting.fetch_one(&mut order).await? {
            0_i64 => Ok(()),
            waiting => Err(anyhow::anyhow!("{waiting} wait")),
        }
    })
    .await;
    locked.rollback().await?;
    Ok(orders)
}

fn batches_and_messages_know_each_other(spans: &[ReceivedSpan]) {
    let by_id: HashMap<&str, &ReceivedSpan> =
        spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let mut largest = 0;
    for span in spans.iter().filter(|span| span.name.starts_with("process batch ")) {
        assert_eq!(span.parent_span_id, None, "a batch is a trace of its own: {span:?}");
        largest = largest.max(span.links.len());
        assert_eq!(span.attributes["messaging.batch.message_count"], span.links.len().to_string());
        for link in &span.links {
            let message = by_id[link.span_id.as_str()];
            assert_eq!(message.attributes["messaging.operation.type"], "process");
            assert!(message.links.iter().any(|back| back.span_id == span.span_id), "{message:?}");
        }
        let transactions = spans.iter().filter(|other| other.parent_span_id.as_ref() == Some(&span.span_id));
        assert!(transactions.count() >= 1, "a batch has its transaction: {span:?}");
    }
    assert!(largest > 1, "events that waited for a lock make batches");
}

/// What the recipient of `system::request` is made of.
const PERSONAL: [&str; 5] =
    ["Customer One", "customer-1@example.com", "1 Example Street", "EX1", "example.com"];

fn nobody_is_named(spans: &[ReceivedSpan]) {
    for span in spans {
        let events = span.events.iter().flat_map(|event| event.attributes.values());
        for value in span.attributes.values().chain(events).chain(span.resource.values()) {
            assert!(!PERSONAL.iter().any(|person| value.contains(person)), "{value}: {span:?}");
            assert!(value.len() <= 300, "a body? {span:?}");
        }
    }
}

/// Nobody, and no secret.
fn nobody_is_named_in_the_logs(system: &System) -> anyhow::Result<()> {
    let postgres = &system.stack().system().postgres;
    let (_, password) =
        postgres.split_once('@').and_then(|(user, _)| user.rsplit_once(':')).context("a password")?;
    let password = password.to_owned();
    for service in ServiceName::ALL {
        let log = std::fs::read_to_string(system.stack().system().logs.join(format!("{service}.log")))?;
        assert!(!log.is_empty(), "{service} has logged nothing");
        for line in log.lines() {
            assert!(!PERSONAL.iter().any(|person| line.contains(person)), "{service}: {line}");
            assert!(!line.contains(&password), "{service} prints the database's password: {line}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_commit_and_publish_leaves_the_trace_whole() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 1_000).await?;
    // Whoever holds the leader's lock keeps the relay from publishing.
    let mut database = system.database(ServiceName::Order).await?;
    let watch = system.stack().watch(ServiceName::Order);
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LEADER_LOCK);
    let (locked, ()) = tokio::join!(lock.execute(&mut database), async {
        eventually("a session waits for the lock", WAIT_TIMEOUT, async || {
            let mut other = system.database(ServiceName::Order).await?;
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
            )
            .fetch_one(&mut other)
            .await?;
            if waiting > 0 { Ok(()) } else { Err(anyhow::anyhow!("none does")) }
        })
        .await;
        assert!(watch.kill());
    });
    locked?;

    let order_id = eventually("order takes orders again", WAIT_TIMEOUT, async || {
        system.place("TEAPOT", 1, "tok_visa").await
    })
    .await;
    let trace_id = trace_id(&system, order_id).await?;
    eventually("the request's spans are out", WAIT_TIMEOUT, async || {
        let spans = receiver(&system).trace(&trace_id).len();
        if spans == 2 { Ok(()) } else { Err(spans) }
    })
    .await;
    assert!(watch.kill());
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(LEADER_LOCK).execute(&mut database).await?;
    assert_eq!(system.ended(order_id).await.end().as_deref(), Some("confirmed"));
    expect_tree(&system, order_id, CONFIRMED).await?;
    system.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redriven_event_continues_its_old_trace_and_the_order_ends_as_if_it_had_never_waited()
-> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 1_000).await?;
    let mut inventory = system.database(ServiceName::Inventory).await?;
    let refuse = "ALTER TABLE reservations ADD CONSTRAINT refuse_all CHECK (false) NOT VALID";
    sqlx::query(refuse).execute(&mut inventory).await?;
    let order_id = system.place("TEAPOT", 1, "tok_visa").await?;
    let client = system.client(ServiceName::Inventory)?;
    let letter = eventually("inventory dead-letters the order", WAIT_TIMEOUT, async || {
        let page: Value = client.get("/dead-letters").await.into_result()?;
        page["dead_letters"].get(0).cloned().context("there are no dead letters")
    })
    .await;
    assert_eq!((&letter["key"], &letter["reason"]), (&order_id.to_string().into(), &"data_error".into()));

    sqlx::query("ALTER TABLE reservations DROP CONSTRAINT refuse_all").execute(&mut inventory).await?;
    let path = format!("/dead-letters/{}/redrive", letter["id"]);
    let redriven: Value = client.post(&path, "", &Value::Null).await.into_result()?;
    assert_eq!((&redriven["applied"], &redriven["remaining"]), (&1.into(), &0.into()), "{redriven}");
    assert_eq!(system.ended(order_id).await.end().as_deref(), Some("confirmed"));
    assert!(system.verify().await?.holds());

    // The same tree, but for inventory's first look at the order.
    let first_look = "      inventory: process orders OrderPlaced\n";
    let expected = CONFIRMED.replacen(first_look, &format!("{first_look}{first_look}"), 1);
    expect_tree(&system, order_id, &expected).await?;
    let spans = receiver(&system).trace(&trace_id(&system, order_id).await?);
    let looks = spans.iter().filter(|span| {
        span.resource["service.name"] == "inventory"
            && span
                .attributes
                .get("cloudevents.event_type")
                .is_some_and(|it| it == "tidings.order.OrderPlaced")
            && span.name.starts_with("process")
    });
    let mut outcomes: Vec<(String, Vec<String>)> = looks
        .map(|span| {
            let events = span.events.iter().map(|event| event.name.clone()).collect();
            (span.attributes["tidings.outcome"].clone(), events)
        })
        .collect();
    outcomes.sort();
    assert_eq!(outcomes[0].0, "applied");
    assert!(outcomes[0].1.iter().any(|event| event == "event redriven"), "{outcomes:?}");
    assert_eq!(outcomes[1].0, "dead_lettered");
    assert!(outcomes[1].1.iter().any(|event| event == "event dead-lettered"), "{outcomes:?}");
    system.stop().await
}
