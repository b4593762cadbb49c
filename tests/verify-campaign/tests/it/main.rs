//! `tidings verify` against every corruption of a small system that holds every kind of end.

mod failures;
mod false_alarms;
mod follow;
mod leaders;
mod many;
mod moments;
mod scenario;
mod streams;

use contracts::Codec;
use contracts::codec::RegistryConfig;
use contracts::topics::Topics;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use tidings::verify::case::Case;
use tidings::verify::check::Check;
use tidings::verify::checks;
use tidings::verify::databases::{self, Snapshot};
use tidings::verify::failures::Failures;
use tidings::verify::history::History;
use tidings::verify::report::Report;
use tidings::verify::topics::Reader;
use tidings::verify::{self, Target, topics};
use verify_campaign::exempt::Exempt;
use verify_campaign::table::{Outcome, Table};
use verify_campaign::{records, rows};

/// The most columns, in percent, that may be no promise.
const NOT_PROMISED: usize = 10;

/// Checks that no corruption of a healthy system can reach: it has no blocked keys, and its tables refuse units that don't add
/// up.
const NEVER_FOUND: [Check; 2] = [Check::BlockedKeys, Check::Units];

struct Whole {
    topics: Topics,
    history: History,
    snapshot: Snapshot,
}

impl Whole {
    fn verify(&self, history: &History, snapshot: &Snapshot) -> Report {
        checks::check(&Case::new(&self.topics, history, snapshot), Failures::Listed)
    }
}

async fn read(system: &System, codec: &Codec) -> anyhow::Result<Whole> {
    let target = Target::from(system.stack().system());
    let before = Reader::new(&target.kafka, codec.topics())?.ranges(None).await?;
    let snapshot = databases::read(&target.postgres).await?;
    let history = topics::read(&target, codec, &before).await?;
    Ok(Whole { topics: codec.topics().clone(), history, snapshot })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_corruption_is_seen() -> anyhow::Result<()> {
    let installed = tempfile::tempdir()?;
    let (system, _smtp) = scenario::start(installed.path()).await?;
    scenario::play(&system).await?;
    let running = system.stack().system();
    let registry = RegistryConfig { url: running.registry.clone(), auto_register_schemas: false };
    let types = topics::all_types();
    let codec = Codec::connect(&registry, Topics::new(running.topics_prefix.clone()), &types, &[]).await?;
    let whole = eventually("the system is quiet, and holds", ENDS_WITHIN, async || {
        let whole = read(&system, &codec).await?;
        let report = whole.verify(&whole.history, &whole.snapshot);
        let is_quiet = Case::new(&whole.topics, &whole.history, &whole.snapshot).is_quiet();
        if is_quiet && report.holds() { Ok(whole) } else { Err(anyhow::anyhow!("{report}")) }
    })
    .await;

    let mut table = Table::default();
    let exempt = Exempt::list();
    let (columns, not_promised) = corrupt_rows(&system, &whole, &exempt, &mut table).await?;
    corrupt_records(&whole, &codec, &exempt, &mut table);
    Box::pin(through_its_own_connections(&system, &exempt)).await?;
    println!("{table}\n{not_promised} of {columns} columns are no promise");
    assert!(table.missed.is_empty(), "{}", table.missed.join("\n"));
    let idle: Vec<Check> = Check::ALL.iter().filter(|check| !table.found.contains(check)).copied().collect();
    assert_eq!(idle, NEVER_FOUND, "checks that have found nothing");
    assert!(
        not_promised * 100 <= columns * NOT_PROMISED,
        "{not_promised} of {columns} columns are no promise"
    );
    system.stop().await
}

/// Corrupts each row in a transaction that is rolled back; gives the number of columns and of those that are no promise,
/// without tables of hints.
async fn corrupt_rows(
    system: &System,
    whole: &Whole,
    exempt: &Exempt,
    table: &mut Table,
) -> anyhow::Result<(usize, usize)> {
    let (mut columns, mut not_promised) = (0, 0);
    for service in ServiceName::ALL {
        let mut database = system.database(service).await?;
        let tables = promised(service, &mut database, exempt).await?;
        for found in &tables {
            let of = |name: &str| format!("{service}.{}.{name}", found.name);
            columns += found.columns.len();
            let is_exempt = |column: &&rows::Column| {
                let any_service = format!("*.{}.{}", found.name, column.name);
                exempt.columns().any(|pattern| pattern == of(&column.name) || pattern == any_service)
            };
            not_promised += found.columns.iter().filter(is_exempt).count();
        }
        for corruption in tables.iter().flat_map(rows::Table::corruptions) {
            let what = format!("{service}.{}", corruption.what);
            let mut transaction = database.begin().await?;
            let done: Result<Vec<(Value, String)>, _> =
                sqlx::query_as(AssertSqlSafe(corruption.sql.clone())).fetch_all(&mut *transaction).await;
            let outcome = match done {
                Err(sqlx::Error::Database(_)) => Outcome::Refused,
                Err(error) => return Err(error.into()),
                Ok(rows) if rows.is_empty() => Outcome::Refused,
                Ok(rows) => {
                    let mut snapshot = whole.snapshot.clone();
                    snapshot.read(service, &mut transaction).await?;
                    let report = whole.verify(&whole.history, &snapshot);
                    table.judge(&report, &corruption.names(&rows[0].0))
                }
            };
            transaction.rollback().await?;
            let is_missed = [Outcome::Unseen, Outcome::Unnamed].contains(&outcome);
            let outcome = if is_missed && exempt.of(&what, &corruption.row).is_some() {
                Outcome::NotPromised
            } else {
                outcome
            };
            table.add(&what, corruption.how, outcome, || format!("{}; {}", corruption.sql, corruption.row));
        }
    }
    Ok((columns, not_promised))
}

/// Corrupts each kind of record, as if no outbox remembered what it had published.
fn corrupt_records(whole: &Whole, codec: &Codec, exempt: &Exempt, table: &mut Table) {
    let mut snapshot = whole.snapshot.clone();
    for delivery in snapshot.delivery.values_mut() {
        delivery.messages.clear();
        delivery.table_partitions = vec![(i64::MAX - 1, i64::MAX, false)];
        delivery.tables = vec![i64::MAX - 1];
    }
    let report = whole.verify(&whole.history, &snapshot);
    assert!(report.holds(), "{report}");
    for at in records::kinds(&whole.history) {
        let record = &whole.history.records[at];
        let Ok(event) = &record.event else { continue };
        let names = [event.key(), event.event_id().to_string(), record.place.to_string()];
        for corruption in records::corruptions(&whole.history, at, codec) {
            let mut history = whole.history.clone();
            history.records.splice(corruption.at..=corruption.at, corruption.replaced);
            let outcome = table.judge(&whole.verify(&history, &snapshot), &names);
            let is_missed = [Outcome::Unseen, Outcome::Unnamed].contains(&outcome);
            let outcome = if is_missed && exempt.of(&corruption.what, &Value::Null).is_some() {
                Outcome::NotPromised
            } else {
                outcome
            };
            table.add(&corruption.what, corruption.how, outcome, || names.join(" "));
        }
    }
}

/// The tables without those of hints, which their owners write again all the time.
async fn promised(
    service: ServiceName,
    database: &mut PgConnection,
    exempt: &Exempt,
) -> anyhow::Result<Vec<rows::Table>> {
    let mut tables = rows::tables(database).await?;
    tables.retain(|table| !exempt.is_table(&format!("{service}.{}", table.name)));
    Ok(tables)
}

/// A committed corruption of each table is found by `tidings verify` as it is run, on connections of its own; then it is undone.
async fn through_its_own_connections(system: &System, exempt: &Exempt) -> anyhow::Result<()> {
    let target = Target::from(system.stack().system());
    let options = verify::Options { wait: None, failures: Failures::Listed };
    let mut seen = Vec::new();
    for service in ServiceName::ALL {
        let mut database = system.database(service).await?;
        for table in promised(service, &mut database, exempt).await? {
            let changes = table.corruptions().into_iter().filter(|it| it.undo().is_some());
            for corruption in changes {
                let done: Result<Vec<(Value, String)>, _> =
                    sqlx::query_as(AssertSqlSafe(corruption.sql.clone())).fetch_all(&mut database).await;
                let Ok(rows) = done else { continue };
                let [(_, at)] = rows.as_slice() else { continue };
                let corruption = corruption.moved(at.clone());
                let report = verify::run(&target, options).await?;
                let Some(undo) = corruption.undo() else { continue };
                let at: String = sqlx::query_scalar(AssertSqlSafe(undo)).fetch_one(&mut database).await?;
                if !report.holds() {
                    seen.push((service, corruption.moved(at)));
                    break;
                }
            }
        }
    }
    let report = verify::run(&target, options).await?;
    assert!(report.holds(), "{report}");
    println!("{} tables corrupted, seen and put right", seen.len());
    Box::pin(follow::a_scrub_names(system, seen)).await
}
