//! A small system that holds every kind of end.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use contracts::{Topic, Topics, clock};
use messaging::{Bus as _, KafkaBus, KafkaConfig, Record};
use serde_json::{Value, json};
use sqlx::{Connection, PgPool};
use system::{ENDS_WITHIN, System};
use testkit::smtp::{Misbehaviour, SmtpServer};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use tidings::up::databases::database_url;
use tidings::up::options::Options;
use uuid::Uuid;

/// When order gives an open order up: longer than the others take on a busy machine.
const DEADLINE_MS: u32 = 30_000;

/// An address whose mails the database refuses for a while.
pub(crate) const REFUSED: &str = "refused@example.com";

/// Addresses that do not exist, and that are busy twice.
const NOBODY: &str = "nobody@example.com";
const BUSY: &str = "busy@example.com";

/// Starts the system with a short deadline and an SMTP server: the names of two binaries mean scripts that set these.
pub(crate) async fn start(installed: &Path) -> anyhow::Result<(System, SmtpServer)> {
    let smtp = SmtpServer::start(&[]).await?;
    smtp.misbehaves_to(NOBODY, &[Misbehaviour::RefusesForEver; 2]);
    smtp.misbehaves_to(BUSY, &[Misbehaviour::RefusesForNow; 2]);
    let test = std::env::current_exe()?;
    let binaries = test.ancestors().nth(2).context("a test binary lies in deps/")?;
    for service in ServiceName::ALL {
        let (name, own) = (service.as_str(), installed.join(service.as_str()));
        let binary = binaries.join(name);
        let settings = match service {
            ServiceName::Order => format!("TIDINGS_ORDER__DEADLINE_MS={DEADLINE_MS}"),
            ServiceName::Notification => format!("TIDINGS_NOTIFICATION__SMTP_URL={}", smtp.url()),
            _ => {
                std::os::unix::fs::symlink(binary, own)?;
                continue;
            }
        };
        std::fs::write(&own, format!("#!/bin/sh\n{settings} exec {} \"$@\"\n", binary.display()))?;
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755))?;
    }
    let options = Options { binaries: Some(installed.to_owned()), ..system::options() };
    Ok((System::start_on(&options).await, smtp))
}

/// Connections to one service's database.
async fn pool(system: &System, service: ServiceName) -> anyhow::Result<PgPool> {
    Ok(PgPool::connect(&database_url(&system.stack().system().postgres, &service.database())).await?)
}

async fn replenish(system: &System, sku: &str, quantity: u64, threshold: u64) -> anyhow::Result<()> {
    let body = json!({ "quantity": quantity, "reorder_threshold": threshold });
    let key = clock::new_id().to_string();
    let path = format!("/stock/{sku}/replenishments");
    system.client(ServiceName::Inventory)?.post::<Value>(&path, &key, &body).await.into_result().map(drop)
}

pub(crate) async fn place(system: &System, body: &Value) -> anyhow::Result<Uuid> {
    let key = clock::new_id().to_string();
    Ok(system.client(ServiceName::Order)?.place_order(&key, body).await.into_result()?.order_id)
}

async fn ends(system: &System, order_id: Uuid, expected: &str) {
    assert_eq!(system.ended(order_id).await.end().as_deref(), Some(expected), "order {order_id}");
}

/// Places orders until each kind of end is there.
pub(crate) async fn play(system: &System) -> anyhow::Result<()> {
    replenish(system, "TEAPOT", 100, 5).await?;
    replenish(system, "LAMP", 10, 8).await?;
    replenish(system, "CLOCK", 10, 8).await?;
    let mut expected = Vec::new();
    for (sku, quantity, method, end) in [
        ("TEAPOT", 2, "tok_visa", "confirmed"),
        ("TEAPOT", 1, "tok_flaky", "confirmed"),
        ("TEAPOT", 1_000, "tok_visa", "cancelled: out_of_stock"),
        ("TEAPOT", 1, "tok_declined", "cancelled: payment_declined"),
        ("TEAPOT", 1, "tok_fraud", "cancelled: payment_declined"),
        ("TEAPOT", 1, "tok_capture_declined", "cancelled: payment_declined"),
        // Low, and replenished below; low for good.
        ("LAMP", 4, "tok_visa", "confirmed"),
        ("CLOCK", 4, "tok_visa", "confirmed"),
    ] {
        expected.push((system.place(sku, quantity, method).await?, end));
    }
    // An imported order: no recipient, repeated SKUs, another currency.
    let line = |quantity: u32| json!({ "sku": "TEAPOT", "quantity": quantity, "unit_price_minor": 500 });
    let imported = json!({
        "customer_id": "customer-2",
        "currency": "GBP",
        "lines": [line(1), line(2)],
        "payment_method": "tok_visa",
    });
    expected.push((place(system, &imported).await?, "confirmed"));
    // Mails that fail, and that are tried again.
    for address in [NOBODY, BUSY] {
        let mut body = system::request("TEAPOT", 1, "tok_visa");
        body["recipient"]["email"] = json!(address);
        expected.push((place(system, &body).await?, "confirmed"));
    }
    for (order_id, end) in expected {
        ends(system, order_id, end).await;
    }
    replenish(system, "LAMP", 10, 8).await?;
    cancelled_before_and_after_the_money_was_taken(system).await?;
    timed_out(system).await?;
    dead_letters(system).await?;
    event_of_a_newer_release(system).await
}

/// One order is cancelled before anything is reserved, another one after its money was taken. What holds each back is a row's
/// lock: of its SKU, and of its head with the cancellation first in the queue for it.
async fn cancelled_before_and_after_the_money_was_taken(system: &System) -> anyhow::Result<()> {
    let mut inventory = system.database(ServiceName::Inventory).await?;
    let mut order = system.database(ServiceName::Order).await?;
    let (orders, payments) =
        (pool(system, ServiceName::Order).await?, pool(system, ServiceName::Payment).await?);
    let becomes = async |order_id: Uuid, state: &'static str| {
        eventually(&format!("the payment is {state}"), ENDS_WITHIN, async || {
            sqlx::query_scalar::<_, Uuid>("SELECT order_id FROM payments WHERE order_id = $1 AND state = $2")
                .bind(order_id)
                .bind(state)
                .fetch_one(&payments)
                .await
        })
        .await
    };
    let mut stock = inventory.begin().await?;
    sqlx::query("SELECT FROM stock WHERE sku = 'TEAPOT' FOR UPDATE").execute(&mut *stock).await?;
    let early = system.place("TEAPOT", 3, "tok_visa").await?;
    system.cancel(early).await?;
    ends(system, early, "cancelled: customer_request").await;

    let late = system.place("TEAPOT", 3, "tok_visa").await?;
    let mut head = order.begin().await?;
    sqlx::query("SELECT FROM orders WHERE order_id = $1 FOR UPDATE").bind(late).execute(&mut *head).await?;
    let paid = async {
        eventually("the cancellation waits", ENDS_WITHIN, async || {
            sqlx::query_scalar::<_, i32>(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&orders)
            .await
        })
        .await;
        stock.rollback().await?;
        becomes(late, "completed").await;
        head.rollback().await
    };
    let (cancelled, paid) = tokio::join!(system.cancel(late), paid);
    cancelled?;
    paid?;
    ends(system, late, "cancelled: customer_request").await;
    becomes(late, "refunded").await;
    Ok(())
}

/// Its SKU's row is locked until the deadline has passed.
async fn timed_out(system: &System) -> anyhow::Result<()> {
    let mut inventory = system.database(ServiceName::Inventory).await?;
    let mut stock = inventory.begin().await?;
    sqlx::query("SELECT FROM stock WHERE sku = 'CLOCK' FOR UPDATE").execute(&mut *stock).await?;
    let late = system.place("CLOCK", 1, "tok_visa").await?;
    ends(system, late, "cancelled: timed_out").await;
    stock.rollback().await?;
    Ok(())
}

/// notification can't store a mail: one order's events are redriven once it can, another one's stay dead letters.
async fn dead_letters(system: &System) -> anyhow::Result<()> {
    let notification = pool(system, ServiceName::Notification).await?;
    let refuse =
        "ALTER TABLE mails ADD CONSTRAINT refused CHECK (recipient_email <> 'refused@example.com') NOT VALID";
    sqlx::raw_sql(refuse).execute(&notification).await?;
    for is_redriven in [true, false] {
        let mut body = system::request("TEAPOT", 1, "tok_visa");
        body["recipient"]["email"] = json!(REFUSED);
        let order_id = place(system, &body).await?;
        ends(system, order_id, "confirmed").await;
        let letters = eventually("both events are dead letters", ENDS_WITHIN, async || {
            let letters: Vec<i64> = sqlx::query_scalar(
                "SELECT id FROM inbox.dead_letters WHERE key = convert_to($1, 'UTF8') ORDER BY id",
            )
            .bind(order_id.to_string())
            .fetch_all(&notification)
            .await?;
            if letters.len() == 2 { Ok(letters) } else { Err(anyhow::anyhow!("{letters:?}")) }
        })
        .await;
        redrive(system, letters[0], 2).await?;
        if is_redriven {
            sqlx::raw_sql("ALTER TABLE mails DROP CONSTRAINT refused").execute(&notification).await?;
            redrive(system, letters[0], 0).await?;
            sqlx::raw_sql(refuse).execute(&notification).await?;
        }
    }
    sqlx::raw_sql("ALTER TABLE mails DROP CONSTRAINT refused").execute(&notification).await?;
    Ok(())
}

/// Of a type that no service knows: it waits in each that reads the topic.
async fn event_of_a_newer_release(system: &System) -> anyhow::Result<()> {
    const READERS: [ServiceName; 4] =
        [ServiceName::Inventory, ServiceName::Payment, ServiceName::Notification, ServiceName::Analytics];
    let running = system.stack().system();
    let key = clock::new_id().to_string();
    let bus = KafkaBus::try_new(KafkaConfig::new(running.kafka.clone()))?;
    let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let record = Record {
        topic: Topics::new(running.topics_prefix.clone()).name(Topic::Orders),
        key: Some(key.clone().into_bytes()),
        value: Some(vec![0, 0x7f, 0xff, 0xff, 0xf0, 1]),
        headers: vec![header("ce_specversion", "1.0"), header("ce_type", "tidings.order.OrderMoved")],
    };
    bus.producer().await?.send(record).await?;
    for service in READERS {
        let pool = pool(system, service).await?;
        eventually("it is a dead letter", ENDS_WITHIN, async || {
            let found: Vec<(String, Option<String>)> = sqlx::query_as(
                "SELECT reason, event_type FROM inbox.dead_letters WHERE key = convert_to($1, 'UTF8')",
            )
            .bind(&key)
            .fetch_all(&pool)
            .await?;
            let expected = ("unknown_event_type".to_owned(), Some("tidings.order.OrderMoved".to_owned()));
            if found == [expected] { Ok(()) } else { Err(anyhow::anyhow!("{service}: {found:?}")) }
        })
        .await;
    }
    Ok(())
}

async fn redrive(system: &System, letter: i64, remaining: i64) -> anyhow::Result<()> {
    let path = format!("/dead-letters/{letter}/redrive");
    let answer: Value =
        system.client(ServiceName::Notification)?.post(&path, "", &Value::Null).await.into_result()?;
    assert_eq!(answer["remaining"], remaining, "{answer}");
    Ok(())
}
