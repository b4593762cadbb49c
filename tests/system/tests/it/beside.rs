//! A program beside the five services, started by `--with`: it has a life like theirs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use system::{ENDS_WITHIN, System, options, say, turn};
use testkit::wait::eventually;
use tidings::client::Client;
use tidings::up::databases::database_url;
use tidings::up::options::Options;
use tidings::up::stack::Stack;

/// The sixth service of `examples/loyalty`, which `make build-tests` keeps fresh.
fn loyalty() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a binary");
    own.ancestors().nth(2).expect("target/debug/deps/it").join("examples/loyalty")
}

async fn points(client: &Client) -> anyhow::Result<i64> {
    let totals: Value = client.get("/points").await.into_result()?;
    Ok(totals["points"].as_i64().unwrap_or_default())
}

async fn has_points(client: &Client, wanted: i64) {
    eventually(&format!("{wanted} points"), ENDS_WITHIN, async || match points(client).await {
        Ok(points) if points == wanted => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_service_consumes_in_a_database_of_its_own_and_comes_back_when_it_dies() -> anyhow::Result<()>
{
    let system = System::start_on(&Options { with: vec![loyalty()], ..options() }).await;
    let running = system.stack().system();
    let client = Client::try_new(running.service("loyalty").expect("it has an address"))?;
    system.replenish("TEAPOT", 2).await?;
    system.ended(system.place("TEAPOT", 1, "tok_visa").await?).await;
    has_points(&client, 10).await;

    let watch = system.stack().watch_named("loyalty").expect("it is watched");
    assert!(watch.kill());
    system.ended(system.place("TEAPOT", 1, "tok_visa").await?).await;
    has_points(&client, 20).await;
    assert!(watch.deaths() >= 1);

    let mut database = PgConnection::connect(&database_url(&running.postgres, "tidings_loyalty")).await?;
    let stored: i64 = sqlx::query_scalar("SELECT sum(points) FROM points").fetch_one(&mut database).await?;
    assert_eq!(stored, 20);
    database.close().await?;
    assert!(running.logs.join("loyalty.log").is_file());
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    system.stop().await
}

/// A script that is executable.
fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("made executable");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_always_ends_is_named_with_the_end_of_its_log() {
    let _turn = turn().await;
    let dir = tempfile::tempdir().expect("a directory");
    let said = r#"echo "broker $TIDINGS_KAFKA__BOOTSTRAP_SERVERS"; echo "no licence key" >&2; exit 3"#;
    let ends = script(dir.path(), "ends-at-once", &format!("#!/bin/sh\n{said}\n"));
    let parts = Options { with: vec![ends], ..options() };
    let started = tokio::time::timeout(Duration::from_secs(120), Stack::start(&parts, say())).await;
    let error = started.expect("a bounded start").err().expect("it does not start").to_string();
    for expected in ["ends-at-once keeps dying", "ends-at-once.log", "broker 127.0.0.1:", "no licence key"] {
        assert!(
            error.contains(expected) || (expected.contains("127.0.0.1") && parts.kafka.is_some()),
            "{expected}: {error}"
        );
    }
}

#[tokio::test]
async fn a_program_that_is_not_there_is_refused_before_anything_starts() {
    let parts = Options { with: vec!["/no/such/program".into()], ..options() };
    let error = Stack::start(&parts, say()).await.err().expect("it is refused").to_string();
    assert!(error.contains("/no/such/program") && error.contains("no such file"), "{error}");
}
