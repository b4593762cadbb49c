//! A partition without a leader: it is named, what depends on it is not compared, and everything else is.

use anyhow::Context;
use contracts::{Topic, Topics};
use embedded::broker::EmbeddedBroker;
use messaging::partition_for_key;
use system::{ENDS_WITHIN, System};
use testkit::wait::eventually;
use tidings::services::ServiceName;
use tidings::verify::check::Check;
use tidings::verify::failures::Failures;
use tidings::verify::follow::{self, Options, Update};
use tidings::verify::report::{Report, Status, Verdict, Violation};
use tidings::verify::topics::Reader;
use tidings::verify::{self, Target};
use uuid::Uuid;

use crate::follow::{Updates, collector, repeat, until_done};

/// How many orders are placed in the hope of two partitions; one more is placed until there are two.
const ORDERS: usize = 4;

fn partition(order_id: Uuid) -> i32 {
    partition_for_key(order_id.to_string().as_bytes(), contracts::topics::PARTITIONS)
}

/// Takes the leader of a partition of payments away, or gives it back. None on a broker of its own.
struct Leader<'s> {
    broker: &'s EmbeddedBroker,
    topic: String,
    partition: i32,
}

impl<'s> Leader<'s> {
    fn of(system: &'s System, partition: i32) -> Option<Self> {
        let topic = Topics::new(system.stack().system().topics_prefix.clone()).name(Topic::Payments);
        Some(Self { broker: system.stack().broker()?, topic, partition })
    }

    fn set(&self, present: bool) -> anyhow::Result<()> {
        self.broker.set_leader(&self.topic, self.partition, present)
    }

    fn name(&self) -> String {
        format!("payments/{}", self.partition)
    }
}

/// Orders that have ended, in two partitions at least.
async fn orders(system: &System) -> anyhow::Result<Vec<Uuid>> {
    let mut orders: Vec<Uuid> = Vec::new();
    while orders.len() < ORDERS || orders.iter().all(|id| partition(*id) == partition(orders[0])) {
        orders.push(system.place("TEAPOT", 1, "tok_visa").await?);
    }
    for order_id in &orders {
        system.ended(*order_id).await;
    }
    Ok(orders)
}

async fn add_to_total(system: &System, order_id: Uuid, minor: i64) -> anyhow::Result<()> {
    let changed = sqlx::query("UPDATE order_views SET total_minor = total_minor + $2 WHERE order_id = $1")
        .bind(order_id)
        .bind(minor)
        .execute(&mut system.database(ServiceName::Order).await?)
        .await?;
    assert_eq!(changed.rows_affected(), 1, "{order_id}");
    Ok(())
}

fn names(report: &Report, text: &str) -> bool {
    report.verdicts.iter().flat_map(Verdict::violations).any(|(_, finding)| finding.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_a_leader_is_named_and_everything_else_is_compared() -> anyhow::Result<()> {
    let mut system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let orders = orders(&system).await?;
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    system.stop_services().await?;
    let (without, elsewhere) = (orders[0], orders.iter().find(|id| partition(**id) != partition(orders[0])));
    let elsewhere = *elsewhere.context("orders are in two partitions")?;
    let Some(leader) = Leader::of(&system, partition(without)) else { return system.stop().await };
    let target = Target::from(system.stack().system());
    let options = verify::Options { wait: None, failures: Failures::Unexpected };

    leader.set(false)?;
    let report = verify::run(&target, options).await?;
    assert!(!report.is_violated() && !report.holds(), "{report}");
    for verdict in &report.verdicts {
        assert_eq!(verdict.status, Status::Unverifiable, "{report}");
        assert!(verdict.not_compared().any(|(_, why)| why.contains(&leader.name())), "{report}");
    }
    for check in [Check::Payments, Check::OrderViews, Check::OutboxMessages, Check::Fates, Check::Positions] {
        let compared = report.outcome(check).map_or(0, |outcome| outcome.compared);
        assert!(compared > 0, "{check:?}: {report}");
    }
    add_to_total(&system, without, 1).await?;
    add_to_total(&system, elsewhere, 1).await?;
    let report = verify::run(&target, options).await?;
    assert!(names(&report, &elsewhere.to_string()), "{report}");
    assert!(!names(&report, &without.to_string()), "{report}");

    leader.set(true)?;
    let report = verify::run(&target, options).await?;
    assert!(names(&report, &without.to_string()), "{report}");
    add_to_total(&system, without, -1).await?;
    add_to_total(&system, elsewhere, -1).await?;
    let report = verify::run(&target, options).await?;
    assert!(report.holds(), "{report}");
    system.stop().await
}

async fn is_named(updates: &Updates, what: &str, name: &str) {
    let is_it = |update: &Update| matches!(update, Update::Unreadable { error } if error.contains(name));
    updates.seen(what, is_it).await;
}

/// Its clients fetch as those of Kafka 0.11 do: the embedded broker does not survive newer requests for a partition without a leader.
fn target(system: &System) -> Target {
    let mut target = Target::from(system.stack().system());
    let properties = [("api.version.request", "false"), ("broker.version.fallback", "0.11.0")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    target.kafka.properties.extend(properties);
    target
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_while_a_partition_has_no_leader() -> anyhow::Result<()> {
    let mut system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let target = target(&system);
    let (stop, mut output, updates) = collector();
    let following = follow::run(&target, Options { scrub_rate: 1_000 }, &stop, &mut output);
    let working = async {
        updates.seen("the first state", |update| matches!(update, Update::State(_))).await;
        let orders = orders(&system).await?;
        let all_ended =
            |update: &Update| matches!(update, Update::State(state) if state.ended == orders.len() as u64);
        updates.seen("that all orders have ended", all_ended).await;
        assert!(system.verify().await?.holds());
        system.stop_services().await?;
        let mut elsewhere = orders.iter().copied().filter(|id| partition(*id) != partition(orders[0]));
        let elsewhere = elsewhere.next().context("orders are in two partitions")?;
        let Some(leader) = Leader::of(&system, partition(orders[0])) else { return Ok(()) };
        leader.set(false)?;
        is_named(&updates, "the partition is named", &leader.name()).await;
        // The round reads a new record, the scrub what has changed in a database.
        repeat(&target, elsewhere, Some("x-unknown")).await?;
        updates.violation_of(elsewhere).await;
        let are_of =
            |order_id: Uuid| updates.found().iter().all(|found| found.contains(&order_id.to_string()));
        assert!(are_of(elsewhere), "{:#?}", updates.found());
        add_to_total(&system, orders[0], 1).await?;
        add_to_total(&system, elsewhere, 1).await?;
        updates.seen("the total is named", |update| is_total_of(update, elsewhere)).await;
        assert!(are_of(elsewhere), "{:#?}", updates.found());

        leader.set(true)?;
        updates.seen("it is read again", |update| matches!(update, Update::Readable)).await;
        updates.seen("the total is named", |update| is_total_of(update, orders[0])).await;
        repeat(&target, orders[0], Some("x-unknown")).await?;
        updates.seen("the record is named", |update| is_of(update, Check::Headers, orders[0])).await;
        let is_restarted = |update: &Update| matches!(update, Update::Restarted { .. });
        assert!(!updates.all().iter().any(is_restarted));
        anyhow::Ok(())
    };
    let (violations, worked) = tokio::join!(following, until_done(&stop, working));
    worked?;
    println!("{} violations", violations?);
    system.stop().await
}

fn is_of(update: &Update, check: Check, order_id: Uuid) -> bool {
    let is_it = |it: &Violation| it.check == check && it.finding.contains(&order_id.to_string());
    matches!(update, Update::Violation(violation) if is_it(violation))
}

fn is_total_of(update: &Update, order_id: Uuid) -> bool {
    is_of(update, Check::OrderViews, order_id)
}

/// One that begins while the partition has no leader reads everything once more when it has one.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_begins_without_a_partition_reads_it_later() -> anyhow::Result<()> {
    let mut system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let orders = orders(&system).await?;
    assert!(system.verify().await?.holds());
    system.stop_services().await?;
    let Some(leader) = Leader::of(&system, partition(orders[0])) else { return system.stop().await };
    let target = target(&system);
    leader.set(false)?;
    let (stop, mut output, updates) = collector();
    let following = follow::run(&target, Options { scrub_rate: 1_000 }, &stop, &mut output);
    let working = async {
        is_named(&updates, "the partition is named", &leader.name()).await;
        add_to_total(&system, orders[0], 1).await?;
        leader.set(true)?;
        updates.seen("it is read again", |update| matches!(update, Update::Readable)).await;
        updates.violation_of(orders[0]).await;
        assert!(
            updates.found().iter().all(|found| found.contains(&orders[0].to_string())),
            "{:#?}",
            updates.found()
        );
        anyhow::Ok(())
    };
    let (violations, worked) = tokio::join!(following, until_done(&stop, working));
    worked?;
    println!("{} violations", violations?);
    system.stop().await
}

/// A partition that loses its leader while it is read is one of those that can't be read.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_loses_its_leader_while_it_is_read_holds_up_no_other() -> anyhow::Result<()> {
    let mut system = System::start().await;
    system.replenish("TEAPOT", 100).await?;
    let orders = orders(&system).await?;
    system.verify().await?;
    system.stop_services().await?;
    let Some(leader) = Leader::of(&system, partition(orders[0])) else { return system.stop().await };
    let target = target(&system);
    let codec = verify::codec(&target).await?;
    let reader = Reader::new(&target.kafka, codec.topics())?;
    let ranges = reader.ranges(None).await?.ranges;
    leader.set(false)?;
    let mut pieces = reader.stream(&ranges);
    let (mut read, mut errors) = (0, Vec::new());
    while let Some(piece) = pieces.recv().await {
        match piece {
            Ok(records) => {
                read += records.iter().filter(|record| record.order_id() != Some(orders[0])).count();
            }
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    assert!(matches!(errors.as_slice(), [one] if one.contains(&leader.name())), "{errors:?}");
    assert!(read > 0, "no other partition was read");
    leader.set(true)?;
    let whole = eventually("everything is read", ENDS_WITHIN, async || {
        let records = reader.records(&codec, &ranges).await?;
        if records.is_empty() { Err(anyhow::anyhow!("no record")) } else { Ok(records) }
    })
    .await;
    assert!(whole.iter().any(|record| record.order_id() == Some(orders[0])));
    system.stop().await
}
