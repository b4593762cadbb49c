//! Taking a release back: the previous release's binaries run on the databases and beside the events that this one and
//! another after it have left. Migrations and schemas only expand, so nothing is lost by going back.
//!
//! `make test-upgrade` builds the previous release's binaries and names their folder in `TIDINGS_TEST_PREVIOUS`. Without
//! it, today's binaries stand in for them, and only what comes after them is newer.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use system::{System, request};
use testkit::wait::eventually;
use tidings::client::Answer;
use tidings::services::ServiceName;
use tidings::up::options::Options;
use uuid::Uuid;

/// What the next release's migrations are called; no release will ever have had this one.
const NEXT: i64 = 99_990_101_000_000;

/// Every table gets a column, as an expanding migration would add it: with a default, so that rows of the previous
/// release are complete.
const EXPAND: &str = "DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('public', 'outbox', 'inbox') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relname NOT LIKE '%migrations'
            AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'of_next_release')
    LOOP
        EXECUTE format('ALTER TABLE %s ADD COLUMN of_next_release text NOT NULL DEFAULT ''new''', one.name);
    END LOOP;
END $$";

/// Applies the next release's migrations of outbox, inbox and the service, recorded as that release would record them.
/// One that loses a deadlock against the running service is tried again, as at a service's start.
async fn expand(database: &mut PgConnection) -> anyhow::Result<()> {
    for table in ["_sqlx_migrations", "outbox._migrations", "inbox._migrations"] {
        let sql = sqlx::SqlSafeStr::into_sql_str(EXPAND);
        let migration = Migration::new(NEXT, "of the next release".into(), MigrationType::Simple, sql, false);
        let mut migrator = Migrator::with_migrations(vec![migration]);
        migrator.dangerous_set_table_name(table);
        migrator.set_ignore_missing(true);
        let mut attempts_left = 10;
        loop {
            match migrator.run_direct(None, &mut *database, false).await {
                Err(error) if attempts_left > 0 && is_deadlock(&error) => attempts_left -= 1,
                outcome => break outcome?,
            }
        }
    }
    Ok(())
}

fn is_deadlock(error: &MigrateError) -> bool {
    matches!(error, MigrateError::ExecuteMigration(sqlx::Error::Database(cause), _) if cause.code().as_deref() == Some("40P01"))
}

/// Registers OrderPlaced with one more field, and returns the schema's id.
async fn register_next_order_placed(system: &System) -> anyhow::Result<i64> {
    let current = include_str!("../../../../avro/order/OrderPlaced.v2.avsc");
    let mut schema: Value = serde_json::from_str(current)?;
    let fields = schema["fields"].as_array_mut().context("OrderPlaced has fields")?;
    fields.push(
        json!({ "name": "channel", "type": "string", "default": "web", "doc": "Where the order came from." }),
    );
    let parts = system.stack().system();
    let subject = format!("{}.orders-tidings.order.OrderPlaced", parts.topics_prefix);
    let url = format!("{}/subjects/{subject}/versions", parts.registry);
    let answer = contracts::http::client()
        .build()?
        .post(url)
        .json(&json!({ "schema": schema.to_string() }))
        .send()
        .await?;
    let answer: Value = answer.error_for_status()?.json().await?;
    answer["id"].as_i64().with_context(|| format!("no id in {answer}"))
}

/// Whatever appends an OrderPlaced, the row is the next release's: its schema's id, and one more text at the end.
async fn write_as_the_next_release(order: &mut PgConnection, schema_id: i64) -> anyhow::Result<()> {
    let statement = format!(
        "CREATE FUNCTION outbox.as_the_next_release() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.value := overlay(NEW.value PLACING decode(lpad(to_hex({schema_id}), 8, '0'), 'hex') FROM 2 FOR 4)
                || '\\x06'::bytea || 'app'::bytea;
            RETURN NEW;
        END $$;
        CREATE TRIGGER as_the_next_release BEFORE INSERT ON outbox.messages FOR EACH ROW
            WHEN (NEW.event_type = 'tidings.order.OrderPlaced') EXECUTE FUNCTION outbox.as_the_next_release()"
    );
    order.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

/// Places an order under a key; says which it is, and whether the key had placed it before.
async fn place_under(system: &System, key: &str) -> (Uuid, bool) {
    eventually("order takes orders", Duration::from_secs(60), async || {
        match system.client(ServiceName::Order)?.place_order(key, &request("TEAPOT", 1, "tok_visa")).await {
            Answer::Done { body, replayed } => Ok((body.order_id, replayed)),
            Answer::Rejected(why) | Answer::Unknown(why) => Err(anyhow!(why)),
        }
    })
    .await
}

/// Replenishes under a key; says whether the key had done so before.
async fn replenish(system: &System, key: &str) -> bool {
    eventually("inventory takes replenishments", Duration::from_secs(60), async || {
        match system.client(ServiceName::Inventory)?.replenish("TEAPOT", key, 100).await {
            Answer::Done { replayed, .. } => Ok(replayed),
            Answer::Rejected(why) | Answer::Unknown(why) => Err(anyhow!(why)),
        }
    })
    .await
}

async fn place(system: &System, quantity: u64, payment_method: &str) -> Uuid {
    eventually("order takes orders", Duration::from_secs(60), async || {
        system.place("TEAPOT", quantity, payment_method).await
    })
    .await
}

/// The folders of today's binaries and of the previous release's.
fn releases() -> anyhow::Result<(PathBuf, PathBuf)> {
    let test = std::env::current_exe()?;
    let today = test.ancestors().nth(2).context("a test binary lies in deps/")?.to_owned();
    let previous = std::env::var_os("TIDINGS_TEST_PREVIOUS").map_or_else(|| today.clone(), PathBuf::from);
    Ok((today, previous))
}

/// Lets the name under which `service` is started mean another release's binary.
fn install(service: ServiceName, release: &Path, installed: &Path) -> anyhow::Result<()> {
    let next = installed.join("next");
    symlink(release.join(service.as_str()), &next)?;
    Ok(std::fs::rename(next, installed.join(service.as_str()))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_release_runs_on_the_next_ones_databases_and_reads_its_events() -> anyhow::Result<()> {
    let (today, previous) = releases()?;
    let installed = tempfile::tempdir()?;
    for service in ServiceName::ALL {
        install(service, &today, installed.path())?;
    }
    let options = Options { binaries: Some(installed.path().to_owned()), ..system::options() };
    let system = System::start_on(&options).await;
    assert!(!replenish(&system, "of-today").await);
    let (before, _) = place_under(&system, "of-today").await;
    assert_eq!(system.ended(before).await.end().as_deref(), Some("confirmed"));

    // The next release was here: it migrated, registered its schema, and wrote events with it.
    let schema_id = register_next_order_placed(&system).await?;
    for service in ServiceName::ALL {
        expand(&mut system.database(service).await?).await.with_context(|| service.to_string())?;
    }
    let mut order = system.database(ServiceName::Order).await?;
    write_as_the_next_release(&mut order, schema_id).await?;

    // It is taken back, a service after the other; meanwhile both releases run, on each other's events.
    for service in ServiceName::ALL {
        install(service, &previous, installed.path())?;
        assert!(system.stack().watch(service).kill());
        let order_id = place(&system, 1, "tok_visa").await;
        assert_eq!(
            system.ended(order_id).await.end().as_deref(),
            Some("confirmed"),
            "with the older {service}"
        );
    }
    // Keys of today's release replay on the older one.
    assert_eq!(place_under(&system, "of-today").await, (before, true));
    assert!(replenish(&system, "of-today").await);
    // And the other way round, see below.
    let (of_before, _) = place_under(&system, "of-before").await;
    assert!(!replenish(&system, "of-before").await);
    let mut placed = Vec::new();
    for (quantity, method, end) in [
        (1, "tok_visa", "confirmed"),
        (1_000, "tok_visa", "cancelled: out_of_stock"),
        (1, "tok_declined", "cancelled: payment_declined"),
    ] {
        placed.push((place(&system, quantity, method).await, end));
    }
    for (order_id, end) in placed {
        assert_eq!(system.ended(order_id).await.end().as_deref(), Some(end), "order {order_id}");
    }
    let newer: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM outbox.messages WHERE event_type = 'tidings.order.OrderPlaced'
            AND finished_at IS NOT NULL AND convert_from(substring(value FROM length(value) - 2), 'UTF8') = 'app'",
    )
    .fetch_one(&mut order)
    .await?;
    assert_eq!(newer, 9, "orders published with the next release's schema");
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");

    // The update is made again: keys of the older release, and those of before it, replay on today's.
    let updated = [ServiceName::Order, ServiceName::Inventory];
    for service in updated {
        install(service, &today, installed.path())?;
        assert!(system.stack().watch(service).kill());
    }
    for (key, order_id) in [("of-today", before), ("of-before", of_before)] {
        assert_eq!(place_under(&system, key).await, (order_id, true), "{key}");
        assert!(replenish(&system, key).await, "{key}");
    }
    for service in ServiceName::ALL {
        let killed = 1 + u32::from(updated.contains(&service));
        assert_eq!(system.stack().watch(service).deaths(), killed, "{service} died of it");
    }
    system.stop().await
}
