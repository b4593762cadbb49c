//! Another program's transactions on our topics. The markers behind them hold up no deadline and no
//! verdict. Only a real Kafka writes markers.

use contracts::topics::{PARTITIONS, Topic, Topics};
use messaging::TopicPartition;
use sqlx::Connection;
use system::{ENDS_WITHIN, System, options};
use testkit::broker::write_transaction;
use testkit::wait::eventually;
use tidings::services::ServiceName;

/// Writes and aborts a transaction on every partition.
fn abort_transactions(brokers: &str, prefix: &str) -> anyhow::Result<()> {
    let topics = Topics::new(prefix.to_owned());
    for topic in Topic::ALL {
        for partition in 0..PARTITIONS {
            let id = TopicPartition { topic: topics.name(topic), partition };
            write_transaction(brokers, &id, b"another program's", false)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_markers_of_transactions_hold_up_neither_deadlines_nor_the_verdict() -> anyhow::Result<()> {
    let Some(kafka) = options().kafka else {
        println!("the embedded broker writes no markers; make test-kafka runs this");
        return Ok(());
    };
    let system = System::start().await;
    system.replenish("TEAPOT", 10).await?;
    let confirmed = system.place("TEAPOT", 1, "tok_visa").await?;
    assert_eq!(system.ended(confirmed).await.end().as_deref(), Some("confirmed"));

    let (brokers, prefix) = (kafka.bootstrap_servers, system.stack().system().topics_prefix.clone());
    tokio::task::spawn_blocking(move || abort_transactions(&brokers, &prefix)).await??;
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");

    // Payment can apply nothing, so that this order ends by its deadline only.
    let mut payment = system.database(ServiceName::Payment).await?;
    let mut held = payment.begin().await?;
    sqlx::query("LOCK TABLE inbox.consumer_positions IN EXCLUSIVE MODE").execute(&mut *held).await?;
    let hung = system.place("TEAPOT", 1, "tok_visa").await?;
    let mut database = system.database(ServiceName::Order).await?;
    sqlx::query("UPDATE orders SET due_at = now() WHERE order_id = $1")
        .bind(hung)
        .execute(&mut database)
        .await?;
    // A deadline runs from publication too.
    eventually("the order is published", ENDS_WITHIN, async || {
        let published = sqlx::query(
            "UPDATE outbox.messages SET finished_at = now() - interval '1 day'
             WHERE subject = $1 AND finished_at IS NOT NULL",
        )
        .bind(hung.to_string())
        .execute(&mut system.database(ServiceName::Order).await?)
        .await?
        .rows_affected();
        if published == 1 { Ok(()) } else { Err(anyhow::anyhow!("{published} messages")) }
    })
    .await;
    sqlx::query("UPDATE deadlines SET deadline_at = now(), look_at = now() WHERE order_id = $1")
        .bind(hung)
        .execute(&mut database)
        .await?;
    let end = system.ended(hung).await.end();
    assert_eq!(end.as_deref(), Some("cancelled: timed_out"));
    held.rollback().await?;
    system.stop().await
}
