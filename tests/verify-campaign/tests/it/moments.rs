//! Each database is read at a moment of its own, before the topics. Whatever the moments are, `tidings verify` raises no alarm:
//! snapshots that were taken all along while orders ended are put together in many ways.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection;
use system::System;
use tidings::services::ServiceName;
use tidings::verify::case::Case;
use tidings::verify::checks::{self, Failures};
use tidings::verify::databases::Snapshot;
use tidings::verify::topics::Reader;
use tidings::verify::{self, Target, topics};

/// The pause between two snapshots of a database.
const BETWEEN: Duration = Duration::from_millis(10);

/// Snapshots of one service until it is told to stop.
async fn take(system: &System, service: ServiceName, stop: &AtomicBool) -> anyhow::Result<Vec<Snapshot>> {
    let mut database = system.database(service).await?;
    let mut taken = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut transaction = database.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut snapshot = Snapshot::default();
        snapshot.read(service, &mut transaction).await?;
        transaction.rollback().await?;
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
        ServiceName::ALL.map(|service| take(&system, service, &stop));
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
        let report = checks::check(&Case::new(codec.topics(), &history, &snapshot), Failures::Unexpected);
        assert!(!report.is_violated(), "snapshots {at:?}: {report}");
        combinations += 1;
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
        }
    }
    println!("{combinations} combinations of {last:?} snapshots");
    system.stop().await
}
