//! Each database is read at a moment of its own, before the topics, and each partition's end is asked for at a moment of its own.
//! Whatever the moments are, `tidings verify` raises no alarm: snapshots that were taken all along while orders ended are put
//! together in many ways, with what the topics held then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::Codec;
use sqlx::Connection;
use system::System;
use tidings::services::ServiceName;
use tidings::verify::case::Case;
use tidings::verify::checks;
use tidings::verify::databases::Snapshot;
use tidings::verify::failures::Failures;
use tidings::verify::history::History;
use tidings::verify::topics::Reader;
use tidings::verify::{self, Target, topics};

/// How long the broker may take for one partition's end.
const PACES_MS: [i64; 3] = [1, 8, 30];

/// The pause between two snapshots of a database.
const BETWEEN: Duration = Duration::from_millis(20);

/// Snapshots of one service until it is stopped.
async fn take(
    system: &System,
    codec: &Codec,
    service: ServiceName,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Snapshot>> {
    let mut database = system.database(service).await?;
    let mut taken = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut transaction = database.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut snapshot = Snapshot::default();
        snapshot.read(service, &mut transaction).await?;
        transaction.rollback().await?;
        snapshot.decode_waiting(codec).await?;
        taken.push(snapshot);
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(taken)
}

/// One service's part of `one`, in `all`.
fn put(all: &mut Snapshot, service: ServiceName, one: &Snapshot) {
    all.delivery.extend(one.delivery.clone());
    all.unfinished.extend(one.unfinished.clone());
    match service {
        ServiceName::Order => all.order = one.order.clone(),
        ServiceName::Inventory => all.inventory = one.inventory.clone(),
        ServiceName::Payment => all.payment = one.payment.clone(),
        ServiceName::Notification => all.notification = one.notification.clone(),
        ServiceName::Analytics => all.analytics = one.analytics.clone(),
    }
}

/// What the topics held when their ends were asked for before the first database was read and twice after the last one, one
/// partition after the other at this pace.
fn read_from(whole: &History, (first, last): (DateTime<Utc>, DateTime<Utc>), pace: TimeDelta) -> History {
    let mut history = History { records: Vec::new(), ..whole.clone() };
    let partitions = i32::try_from(whole.ranges.len()).unwrap_or(i32::MAX);
    for (number, (at, range)) in (0..).zip(&mut history.ranges) {
        let records = || whole.records.iter().filter(|it| (it.place.topic, it.place.partition) == *at);
        let end = |asked: DateTime<Utc>| {
            let later = records().find(|record| record.timestamp_ms >= Some(asked.timestamp_millis()));
            later.map_or(range.high, |record| record.place.offset)
        };
        // In whole milliseconds: the topics tell no more.
        let last = last + TimeDelta::milliseconds(1);
        range.before = end(first);
        (range.complete, range.high) = (end(last + pace * number), end(last + pace * (partitions + number)));
        history.records.extend(records().filter(|record| record.place.offset < range.high).cloned());
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_read_at_any_moments_before_the_topics_are_no_alarm() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 10).await?;
    let target = Target::from(system.stack().system());
    let codec = verify::codec(&target).await?;
    let before = Reader::new(&target.kafka, codec.topics())?.ranges(None).await?;
    let stop = AtomicBool::new(false);
    let work = async {
        for (quantity, method) in
            [(1, "tok_visa"), (100, "tok_visa"), (1, "tok_fraud"), (1, "tok_flaky"), (2, "tok_slow")]
        {
            let order_id = system.place("TEAPOT", quantity, method).await?;
            if method == "tok_slow" {
                // Too early, too late or in between: all are fine.
                tokio::time::sleep(Duration::from_millis(700)).await;
                let _ = system.cancel(order_id).await;
            }
            system.ended(order_id).await;
        }
        let report = system.verify().await;
        stop.store(true, Ordering::Relaxed);
        report
    };
    let [order, inventory, payment, notification, analytics] =
        ServiceName::ALL.map(|service| take(&system, &codec, service, &stop));
    let (report, order, inventory, payment, notification, analytics) =
        tokio::join!(work, order, inventory, payment, notification, analytics);
    let report = report?;
    assert!(report.holds(), "{report}");
    let taken = [order?, inventory?, payment?, notification?, analytics?];

    let history = topics::read(&target, &codec, &before).await?;
    let mut combinations = 0_usize;
    let mut look = |at: [usize; 5]| {
        let mut snapshot = Snapshot::default();
        for (number, service) in ServiceName::ALL.into_iter().enumerate() {
            put(&mut snapshot, service, &taken[number][at[number]]);
        }
        let pace = TimeDelta::milliseconds(PACES_MS[combinations % PACES_MS.len()]);
        let mut against = |history: &History| {
            let report = checks::check(&Case::new(codec.topics(), history, &snapshot), Failures::Unexpected);
            assert!(!report.is_violated(), "snapshots {at:?}: {report}");
            combinations += 1;
        };
        against(&history);
        let taken_at = || snapshot.delivery.values().map(|delivery| delivery.taken_at);
        let databases = (taken_at().min().unwrap_or_default(), taken_at().max().unwrap_or_default());
        against(&read_from(&history, databases, pace));
    };
    let last = taken.each_ref().map(|snapshots| snapshots.len() - 1);
    for (number, snapshots) in taken.iter().enumerate() {
        for early in 0..snapshots.len() {
            // This one early and the others late; this one late and the others as early.
            let mut at = last;
            at[number] = early;
            look(at);
            let mut at = last.map(|last| last * early / snapshots.len());
            at[number] = last[number];
            look(at);
            // All at about the same time.
            look(last.map(|last| last * early / snapshots.len()));
        }
    }
    println!("{combinations} combinations of {last:?} snapshots");
    system.stop().await
}
