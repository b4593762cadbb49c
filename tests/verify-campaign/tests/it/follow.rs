//! `tidings verify --follow`: what goes wrong with an order is reported within seconds of its record, what goes wrong later by the
//! scrub, and what can't be read is tried again.

use std::time::Duration;

use anyhow::Context;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use tidings::verify::follow::{self, Options, TimedUpdate, Update};
use tidings::verify::history::Record;
use tidings::verify::topics::{self, Reader};
use tidings::verify::{self, Target};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verify_campaign::rows::Corruption;

/// Everything that was reported.
pub(crate) struct Updates(watch::Receiver<Vec<Update>>);

impl Updates {
    /// Waits for an update.
    pub(crate) async fn seen(&self, what: &str, is_it: impl Fn(&Update) -> bool) {
        eventually(what, ENDS_WITHIN, async || {
            let all = self.0.borrow().clone();
            if all.iter().any(&is_it) { Ok(()) } else { Err(anyhow::anyhow!("{all:#?}")) }
        })
        .await;
    }

    pub(crate) async fn violation_of(&self, order_id: Uuid) {
        let names = |update: &Update| matches!(update, Update::Violation(violation) if violation.finding.contains(&order_id.to_string()));
        self.seen("the violated order is named", names).await;
    }

    pub(crate) fn violations(&self) -> usize {
        self.found().len()
    }

    pub(crate) fn found(&self) -> Vec<String> {
        let finding = |update: &Update| match update {
            Update::Violation(violation) => Some(violation.finding.clone()),
            _ => None,
        };
        self.0.borrow().iter().filter_map(finding).collect()
    }

    pub(crate) fn all(&self) -> Vec<Update> {
        self.0.borrow().clone()
    }

    /// How many cycles of the scrub were completed.
    fn cycles(&self) -> u64 {
        let completed = |update: &Update| match update {
            Update::State(state) => Some(state.scrub.completed),
            _ => None,
        };
        self.0.borrow().iter().rev().find_map(completed).unwrap_or_default()
    }

    /// Waits until more cycles than so many are completed.
    async fn cycle_after(&self, cycles: u64) {
        eventually("another cycle is complete", ENDS_WITHIN, async || {
            let completed = self.cycles();
            if completed > cycles { Ok(()) } else { Err(anyhow::anyhow!("{completed} cycles")) }
        })
        .await;
    }
}

/// Writes an order's first record a second time, perhaps with a header more.
pub(crate) async fn repeat(target: &Target, order_id: Uuid, header: Option<&str>) -> anyhow::Result<()> {
    let codec = verify::codec(target).await?;
    let before = Reader::new(&target.kafka, codec.topics())?.ranges(None).await?;
    let history = topics::read(target, &codec, &before).await?;
    let of_order = |record: &&Record| record.order_id() == Some(order_id);
    let record = history.records.iter().find(of_order).context("the order has a record")?;
    let mut headers = OwnedHeaders::new();
    for (name, value) in &record.headers {
        headers = headers.insert(Header { key: name, value: Some(value) });
    }
    if let Some(name) = header {
        headers = headers.insert(Header { key: name, value: Some("1") });
    }
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", &target.kafka.bootstrap_servers).create()?;
    let name = codec.topics().name(record.place.topic);
    let message = BaseRecord::to(&name).partition(record.place.partition).headers(headers);
    let (key, value) = (record.key.clone().unwrap_or_default(), record.value.clone().unwrap_or_default());
    producer.send(message.key(&key).payload(&value)).map_err(|(error, _)| error)?;
    Ok(producer.flush(Duration::from_secs(30))?)
}

/// Corrupts the view of each order over three teapots when it has ended.
const CORRUPT: &str = "
    CREATE FUNCTION corrupt() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.status = 'confirmed' AND NEW.placement->'lines'->0->>'quantity' = '3' THEN
            NEW.total_minor := NEW.total_minor + 1;
        END IF;
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER corrupt BEFORE INSERT OR UPDATE ON order_views FOR EACH ROW EXECUTE FUNCTION corrupt()";

/// What stops a follower, takes its updates, and remembers them.
pub(crate) fn collector() -> (CancellationToken, impl FnMut(TimedUpdate), Updates) {
    let (sent, updates) = watch::channel(Vec::new());
    let output = move |line: TimedUpdate| {
        println!("{} {}", line.at, line.update);
        sent.send_modify(|all| all.push(line.update));
    };
    (CancellationToken::new(), output, Updates(updates))
}

/// Stops the follower when the work is done, or has failed.
pub(crate) async fn until_done(
    stop: &CancellationToken,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let done = work.await;
    stop.cancel();
    done
}

/// Each of these corruptions is named by the scrub or the sums of a running follower, and undone then. All are made at once
/// first; one that another one hides is made alone.
pub(crate) async fn a_scrub_names(
    system: &System,
    mut corruptions: Vec<(ServiceName, Corruption)>,
) -> anyhow::Result<()> {
    let target = Target::from(system.stack().system());
    let (stop, mut output, updates) = collector();
    let following = follow::run(&target, Options { scrub_rate: 1_000 }, &stop, &mut output);
    let count = corruptions.len();
    let working = async {
        updates.cycle_after(0).await;
        assert_eq!(updates.violations(), 0, "of a system that holds");
        let hidden = not_named(system, &updates, &mut corruptions).await?;
        println!("{count} tables corrupted while a follower ran, {} of them once more", hidden.len());
        for corruption in hidden {
            let what = format!("{}.{}", corruption.0, corruption.1.what);
            let left = not_named(system, &updates, &mut [corruption]).await?;
            assert!(left.is_empty(), "{what} is not named");
        }
        anyhow::Ok(())
    };
    let (violations, worked) = tokio::join!(following, until_done(&stop, working));
    worked?;
    println!("{} violations", violations?);
    Ok(())
}

/// Makes these corruptions, waits until a cycle that began later is complete, and undoes them; gives those that no finding named.
async fn not_named(
    system: &System,
    updates: &Updates,
    corruptions: &mut [(ServiceName, Corruption)],
) -> anyhow::Result<Vec<(ServiceName, Corruption)>> {
    let mut names = Vec::new();
    for (service, corruption) in corruptions.iter_mut() {
        let sql = AssertSqlSafe(corruption.sql.clone());
        let (row, at): (Value, String) = sqlx::query_as(sql)
            .fetch_one(&mut system.database(*service).await?)
            .await
            .with_context(|| format!("{service}.{}: {}", corruption.what, corruption.sql))?;
        names.push(corruption.names(&row));
        *corruption = corruption.clone().moved(at);
    }
    updates.cycle_after(updates.cycles() + 1).await;
    let found = updates.found();
    for (service, corruption) in corruptions.iter_mut().rev() {
        let undo = corruption.undo().context("only changes are made here")?;
        let at: String =
            sqlx::query_scalar(AssertSqlSafe(undo)).fetch_one(&mut system.database(*service).await?).await?;
        *corruption = corruption.clone().moved(at);
    }
    let is_named =
        |names: &Vec<String>| found.iter().any(|found| names.iter().any(|name| found.contains(name)));
    let unnamed = corruptions.iter().zip(&names).filter(|(_, names)| !is_named(names));
    Ok(unnamed.map(|(corruption, _)| corruption.clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_is_reported_within_seconds() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let before = system.place("TEAPOT", 1, "tok_visa").await?;
    system.ended(before).await;
    let mut order = system.database(ServiceName::Order).await?;
    sqlx::raw_sql(CORRUPT).execute(&mut order).await?;

    let target = Target::from(system.stack().system());
    let (stop, mut output, updates) = collector();
    let following = follow::run(&target, Options { scrub_rate: 1_000 }, &stop, &mut output);
    let working = async {
        updates
            .seen("the first state", |update| matches!(update, Update::State(state) if state.ended == 1))
            .await;
        let right = system.place("TEAPOT", 1, "tok_visa").await?;
        system.ended(right).await;
        let wrong = system.place("TEAPOT", 3, "tok_visa").await?;
        system.ended(wrong).await;
        let ended = Instant::now();
        updates.violation_of(wrong).await;
        println!("reported {:?} after the order had ended", ended.elapsed());
        assert_eq!(updates.violations(), 1);

        // One that ended before it began, and is not looked at but by the scrub.
        sqlx::query("UPDATE order_views SET total_minor = total_minor + 1 WHERE order_id = $1")
            .bind(before)
            .execute(&mut order)
            .await?;
        updates.violation_of(before).await;
        assert_eq!(updates.violations(), 2);

        // A record of an order that was done: the same once more is none, another header is one.
        repeat(&target, right, None).await?;
        repeat(&target, right, Some("x-unknown")).await?;
        updates.violation_of(right).await;
        assert_eq!(updates.violations(), 3);

        // Its connections are cut, and it goes on with what is new.
        sqlx::raw_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidings verify'",
        )
        .execute(&mut order)
        .await?;
        updates.seen("what can't be read", |update| matches!(update, Update::Unreadable { .. })).await;
        updates.seen("it is read again", |update| matches!(update, Update::Readable)).await;
        let wrong = system.place("TEAPOT", 3, "tok_visa").await?;
        updates.violation_of(wrong).await;
        let all_ended =
            |update: &Update| matches!(update, Update::State(state) if (state.ended, state.open) == (4, 0));
        updates.seen("that all orders have ended", all_ended).await;
        assert_eq!(updates.violations(), 4, "{:#?}", updates.found());
        anyhow::Ok(())
    };
    let (violations, worked) = tokio::join!(following, until_done(&stop, working));
    worked?;
    assert_eq!(violations?, 4);
    system.stop().await
}
