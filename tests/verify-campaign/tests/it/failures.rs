//! What `tidings verify` says when it can't look: each failure has a name, and none is a success.

use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::{Connection, PgConnection};
use system::System;
use testkit::proxy::Proxy;
use tidings::services::ServiceName;
use tidings::up::databases::database_url;
use tidings::verify::case::Case;
use tidings::verify::check::Check;
use tidings::verify::checks;
use tidings::verify::failures::Failures;
use tidings::verify::report::Status;
use tidings::verify::topics::Reader;
use tidings::verify::{self, Options, Target, databases, topics};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_is_named_and_no_success() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 10).await?;
    let order_id = system.place("TEAPOT", 1, "tok_visa").await?;
    system.ended(order_id).await;
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");

    let target = Target::from(system.stack().system());
    let unused = "127.0.0.1:9";
    let nobody = Target { postgres: format!("postgres://nobody:hunter2@{unused}"), ..target.clone() };
    let no_registry = Target { registry: format!("http://{unused}"), ..target.clone() };
    let other_topics = Target { topics_prefix: "elsewhere".to_owned(), ..target.clone() };
    for (target, expected) in [
        (nobody, "connecting to postgres://"),
        (no_registry, "without their schemas"),
        (other_topics, "elsewhere."),
    ] {
        let options = Options { wait: None, failures: Failures::Unexpected };
        let error = verify::run(&target, options).await.err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_default();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{expected}: {error}");
    }

    let codec = verify::codec(&target).await?;
    let before = Reader::new(&target.kafka, codec.topics())?.ranges(None).await?;
    let snapshot = databases::read(&target.postgres).await?;
    let whole = topics::read(&target, &codec, &before).await?;
    let mut truncated = whole.clone();
    if let Some(range) = truncated.ranges.values_mut().find(|range| range.high > 0) {
        range.low = 1;
    }
    let report = checks::check(&Case::new(codec.topics(), &truncated, &snapshot), Failures::Unexpected);
    assert!(report.verdicts.iter().all(|verdict| verdict.status != Status::Holds), "{report}");
    assert!(report.to_string().contains("begins at offset 1"), "{report}");

    let mut unknown = whole.clone();
    unknown.schemas.clear();
    let report = checks::check(&Case::new(codec.topics(), &unknown, &snapshot), Failures::Unexpected);
    let schemas = report.outcome(Check::Schemas).map(|outcome| outcome.violations.count);
    assert_eq!(schemas, Some(whole.records.len()), "{report}");
    who_only_reads(&system, &target).await?;
    who_falls_silent(&target).await?;
    system.stop().await
}

/// A way to the databases that falls silent in the middle is an error within its bound.
async fn who_falls_silent(target: &Target) -> anyhow::Result<()> {
    let (user, server) = target.postgres.rsplit_once('@').context("the URL names a user")?;
    let (address, path) = server.split_once('/').unwrap_or((server, ""));
    let proxy = Proxy::start(address.to_owned()).await?;
    let postgres = format!("{user}@{}/{path}", proxy.address());
    let target = Target { postgres, silence: Duration::from_secs(2), ..target.clone() };
    let options = Options { wait: None, failures: Failures::Unexpected };
    assert!(verify::run(&target, options).await?.holds());
    let bytes = proxy.forwarded();
    for part in 1..4 {
        proxy.silence_after(bytes * part / 4);
        let began = Instant::now();
        let error = verify::run(&target, options).await.err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_default();
        assert!(error.contains("said nothing"), "{part}: {error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{part}: {:?}", began.elapsed());
        proxy.serve();
    }
    Ok(())
}

/// A role that can write nothing is enough for all that is compared.
async fn who_only_reads(system: &System, target: &Target) -> anyhow::Result<()> {
    let create = "CREATE ROLE reader LOGIN PASSWORD 'reader' IN ROLE pg_read_all_data";
    sqlx::raw_sql(create).execute(&mut system.database(ServiceName::Order).await?).await?;
    let (_, server) = target.postgres.split_once('@').context("the URL names a user")?;
    let reader = Target { postgres: format!("postgres://reader:reader@{server}"), ..target.clone() };
    let options = Options { wait: None, failures: Failures::Unexpected };
    let report = verify::run(&reader, options).await?;
    assert!(report.holds(), "{report}");
    let url = database_url(&reader.postgres, &ServiceName::Order.database());
    let mut conn = PgConnection::connect(&url).await?;
    for sql in [
        "UPDATE orders SET version = version",
        "DELETE FROM inbox.events",
        "INSERT INTO outbox.blocked_keys (message_id, topic, reason, detail) VALUES (1, 't', 'gap', '')",
        "SELECT nextval('outbox.message_ids')",
        "CREATE TABLE mine (a integer)",
    ] {
        let refused = sqlx::raw_sql(sql).execute(&mut conn).await.err().context(sql)?;
        let code = refused.as_database_error().and_then(sqlx::error::DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {refused}");
    }
    Ok(())
}
