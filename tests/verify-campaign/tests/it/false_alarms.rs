//! A system at work: orders come, services are killed, a dead letter is redriven, and `tidings verify` looks all the time. It may
//! say that something is not compared yet; a violation would be a false alarm.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use system::{ENDS_WITHIN, System, request};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use tidings::verify::failures::Failures;
use tidings::verify::follow::{self, TimedUpdate, Update};
use tidings::verify::{self, Options, Target};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::scenario::REFUSED;

/// How long the system works, unless `TIDINGS_TEST_SECONDS` says otherwise.
const FOR: Duration = Duration::from_secs(100);

#[expect(clippy::disallowed_methods, reason = "a longer run is asked for by the environment")]
fn how_long() -> Duration {
    let asked = std::env::var("TIDINGS_TEST_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    asked.map_or(FOR, Duration::from_secs)
}
/// The pause between two orders.
const BETWEEN_ORDERS: Duration = Duration::from_millis(150);
/// The pause between two looks at everything, beside the one that follows.
const BETWEEN_LOOKS: Duration = Duration::from_secs(4);
/// How many orders a second the follower's scrub compares: a cycle takes a few seconds.
const SCRUB_RATE: u32 = 100;

/// Places orders of every kind until it is stopped; each ends by itself, or is cancelled.
async fn place(system: &System, stop: &CancellationToken) -> anyhow::Result<usize> {
    let methods = [
        "tok_visa",
        "tok_declined",
        "tok_visa",
        "tok_fraud",
        "tok_slow",
        "tok_capture_declined",
        "tok_flaky",
    ];
    let mut placed = 0;
    while !stop.is_cancelled() {
        let (sku, method) = (["TEAPOT", "LAMP", "CLOCK"][placed % 3], methods[placed % methods.len()]);
        let quantity = if placed % 11 == 10 { 100_000 } else { 1 + placed as u64 % 3 };
        // An order that was not answered may be there all the same; it is not asked for again.
        if let Ok(order_id) = system.place(sku, quantity, method).await
            && placed % 5 == 4
        {
            let _ = system.cancel(order_id).await;
        }
        if placed % 40 == 20 {
            let _ = system.replenish(sku, 50).await;
        }
        placed += 1;
        sleep(BETWEEN_ORDERS).await;
    }
    Ok(placed)
}

/// Kills each service in turn, and lets a dead letter be made and redriven.
async fn trouble(system: &System, until: Instant) -> anyhow::Result<()> {
    let mut notification = system.database(ServiceName::Notification).await?;
    let refuse =
        "ALTER TABLE mails ADD CONSTRAINT refused CHECK (recipient_email <> 'refused@example.com') NOT VALID";
    for (round, service) in ServiceName::ALL.into_iter().cycle().enumerate() {
        if Instant::now() >= until {
            break;
        }
        sleep(Duration::from_secs(7)).await;
        println!("kill -9 {service}");
        assert!(system.stack().watch(service).kill(), "{service} does not run");
        if round % 3 == 1 {
            sqlx::raw_sql(refuse).execute(&mut notification).await?;
            let mut body = request("TEAPOT", 1, "tok_visa");
            body["recipient"]["email"] = json!(REFUSED);
            let key = contracts::clock::new_id().to_string();
            let client = system.client(ServiceName::Order)?;
            eventually("order takes an order", ENDS_WITHIN, async || {
                client.place_order(&key, &body).await.into_result().map(drop)
            })
            .await;
            sleep(Duration::from_secs(2)).await;
            sqlx::raw_sql("ALTER TABLE mails DROP CONSTRAINT refused").execute(&mut notification).await?;
            redrive_all(system).await?;
        }
    }
    redrive_all(system).await
}

async fn redrive_all(system: &System) -> anyhow::Result<()> {
    let client = system.client(ServiceName::Notification)?;
    eventually("dead letters are redriven", ENDS_WITHIN, async || {
        let listed: Value = client.get("/dead-letters").await.into_result()?;
        let letters = listed["dead_letters"].as_array().cloned().unwrap_or_default();
        for letter in &letters {
            let path = format!("/dead-letters/{}/redrive", letter["id"]);
            client.post::<Value>(&path, "", &Value::Null).await.into_result()?;
        }
        if letters.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{listed}")) }
    })
    .await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_at_work_is_never_called_violated() -> anyhow::Result<()> {
    let system = System::start().await;
    for sku in ["TEAPOT", "LAMP", "CLOCK"] {
        system.replenish(sku, 200).await?;
    }
    let (stop, until) = (CancellationToken::new(), Instant::now() + how_long());
    let target = Target::from(system.stack().system());
    let looking = async {
        let mut looks = 0;
        while !stop.is_cancelled() {
            let report = verify::run(&target, Options { wait: None, failures: Failures::Listed }).await?;
            assert!(!report.is_violated(), "{report}");
            looks += 1;
            sleep(BETWEEN_LOOKS).await;
        }
        Ok::<_, anyhow::Error>(looks)
    };
    let working = async {
        let done = trouble(&system, until).await;
        stop.cancel();
        done
    };
    let mut last = None;
    let output = |line: TimedUpdate| {
        assert!(!matches!(line.update, Update::Violation(_) | Update::Restarted { .. }), "{line:?}");
        if let Update::State(state) = line.update {
            println!("{state}");
            last = Some(state);
        }
    };
    let following = follow::run(&target, follow::Options { scrub_rate: SCRUB_RATE }, &stop, output);
    let (placed, looks, followed, worked) = tokio::join!(place(&system, &stop), looking, following, working);
    worked?;
    println!("{} orders, {} looks", placed?, looks?);
    assert_eq!(followed?, 0);
    let last = last.context("the follower has reported nothing")?;
    assert!(last.ended > 0 && last.scrub.completed > 0, "{last}");
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    system.stop().await
}
