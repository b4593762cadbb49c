//! Rebuilds beside a live consumer, from real encoded records on a bus.

use std::sync::Arc;
use std::time::Duration;

use analytics::adapters::postgres::{Generation, rebuilds};
use analytics::adapters::rebuild::Rebuilder;
use contracts::clock::{new_id, now};
use contracts::envelope::CONTENT_TYPE;
use contracts::topics::PARTITIONS;
use contracts::{AnyEvent, Cause, Codec, Envelope, Topic, Topics, TraceContext};
use events::{AvroDecoder, Publisher, topics_of};
use inbox::{Consumer, ConsumerConfig, Parts};
use messaging::{Bus, InMemoryBus, Record, TopicSpec};
use service::Deps;
use sqlx::{Postgres, Transaction};
use testkit::broker::all_watermarks;
use testkit::wait::eventually;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::support::{
    Analytics, Seen, cancelled, confirmed, fell_low, paid, placed, replenished, reserved, subscriptions,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Analytics with its consumer running on a bus.
pub(crate) struct Live {
    pub(crate) analytics: Analytics,
    bus: InMemoryBus,
    pub(crate) deps: Deps,
    stop: CancellationToken,
    consumer: AbortOnDropHandle<()>,
}

impl Live {
    pub(crate) async fn start() -> Self {
        Self::start_with(Codec::offline(Topics::default())).await
    }

    pub(crate) async fn start_with(codec: Arc<Codec>) -> Self {
        let analytics = Analytics::start().await;
        let bus = InMemoryBus::new();
        let spec = |topic| TopicSpec {
            name: codec.topics().name(topic),
            partitions: PARTITIONS,
            replication_factor: 1,
        };
        bus.create_topics(&Topic::ALL.map(spec)).await.unwrap();
        let shared: Arc<dyn Bus> = Arc::new(bus.clone());
        let outbox = Publisher::new(codec.clone(), "analytics", 1_000_000);
        let deps = Deps::new("analytics", analytics.database().clone(), shared, codec, outbox);
        let subscriptions = subscriptions();
        let consumer = Consumer::new(Parts {
            database: deps.database.clone(),
            bus: Arc::clone(&deps.bus),
            topics: topics_of(&subscriptions, deps.codec.topics()),
            partitions: PARTITIONS,
            decoder: AvroDecoder::new(Arc::clone(&deps.codec)),
            subscriptions,
            deps: Generation::Live,
            group: "tidings.analytics".to_owned(),
            config: ConsumerConfig::default(),
            on_commit: Arc::new(|| {}),
        });
        let stop = CancellationToken::new();
        let token = stop.clone();
        let running = TaskTracker::new().spawn(async move {
            consumer.run(token).await.unwrap();
        });
        Self { analytics, bus, deps, stop, consumer: AbortOnDropHandle::new(running) }
    }

    /// Ends the live consumer: what is published from now on is not applied.
    pub(crate) async fn stop_consuming(&mut self) {
        self.stop.cancel();
        (&mut self.consumer).await.unwrap();
    }

    pub(crate) async fn publish(&self, events: &[AnyEvent]) {
        let producer = self.bus.producer().await.unwrap();
        for event in events {
            let cause = Cause {
                correlation_id: new_id(),
                causation_id: None,
                user_id: None,
                trace: TraceContext::default(),
            };
            let record = Record {
                topic: self.deps.codec.topics().name(event.topic()),
                key: Some(event.key().into_bytes()),
                value: Some(self.deps.codec.encode(event).unwrap()),
                headers: Envelope::of(event, "order", &cause).to_headers(CONTENT_TYPE),
            };
            producer.send(record).await.unwrap();
        }
    }

    /// Waits until the live consumer has read everything, and gives what readers see then.
    pub(crate) async fn quiet(&self) -> Seen {
        eventually("everything is read", WAIT_TIMEOUT, || async {
            let mut high = 0;
            for topic in Topic::ALL {
                let marks = all_watermarks(&self.bus, &self.deps.codec.topics().name(topic)).await.unwrap();
                high += marks.iter().map(|marks| marks.high).sum::<i64>();
            }
            let read: Option<i64> =
                sqlx::query_scalar("SELECT sum(next_offset)::bigint FROM inbox.consumer_positions")
                    .fetch_one(self.analytics.pool())
                    .await
                    .unwrap();
            if read == Some(high) { Ok(()) } else { Err(format!("{read:?} of {high}")) }
        })
        .await;
        self.analytics.seen().await
    }

    /// A batch that holds the live generation, as the consumer's do.
    pub(crate) async fn batch_of_the_generation(&self) -> Transaction<'static, Postgres> {
        let mut batch = self.analytics.pool().begin().await.unwrap();
        sqlx::query("SELECT FROM generations WHERE state = 'live' FOR KEY SHARE")
            .execute(&mut *batch)
            .await
            .unwrap();
        batch
    }

    /// Commits it as the first batch of a partition of orders, once the swap waits for it.
    pub(crate) async fn commit_at_the_swap(&self, mut batch: Transaction<'static, Postgres>, partition: i32) {
        self.analytics.database.until_somebody_waits().await;
        sqlx::query(
            "INSERT INTO inbox.consumer_positions (topic, partition, next_offset) VALUES ($1, $2, 1)",
        )
        .bind(self.deps.codec.topics().name(Topic::Orders))
        .bind(partition)
        .execute(&mut *batch)
        .await
        .unwrap();
        batch.commit().await.unwrap();
    }

    async fn rebuild(&self) -> rebuilds::Rebuild {
        let asked = rebuilds::begin(self.analytics.database(), now()).await.unwrap().unwrap();
        Rebuilder::new(&self.deps, subscriptions(), Arc::new(Notify::new())).make_next().await.unwrap();
        rebuilds::find(self.analytics.database(), asked.generation).await.unwrap().unwrap()
    }

    /// Asks for a rebuild that crashes at `crash`, then makes it anew. Tells whether it crashed.
    async fn rebuild_with(&self, crash: Crash) -> (bool, rebuilds::Rebuild) {
        let asked = rebuilds::begin(self.analytics.database(), now()).await.unwrap().unwrap();
        let (after, at_swap) = match crash {
            Crash::After(steps) => (Some(steps), false),
            Crash::AtTheSwap => (None, true),
        };
        sqlx::query("INSERT INTO crashes (after, at_swap) VALUES ($1, $2)")
            .bind(after)
            .bind(at_swap)
            .execute(self.analytics.pool())
            .await
            .unwrap();
        let rebuilder = || Rebuilder::new(&self.deps, subscriptions(), Arc::new(Notify::new()));
        let crashed = rebuilder().make_next().await.is_err();
        sqlx::query("DELETE FROM crashes").execute(self.analytics.pool()).await.unwrap();
        rebuilder().make_next().await.unwrap();
        let made = rebuilds::find(self.analytics.database(), asked.generation).await.unwrap().unwrap();
        (crashed, made)
    }

    async fn dead_lettered(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM inbox.dead_letters")
            .fetch_one(self.analytics.pool())
            .await
            .unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Where a rebuild's transaction is refused by the database, as a crash would undo it.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// When so many partitions have been begun.
    After(i64),
    /// When readers would see the new generation.
    AtTheSwap,
}

const CRASHES: &str = "
    CREATE TABLE crashes (after bigint, at_swap boolean NOT NULL);
    CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM crashes WHERE at_swap AND TG_TABLE_NAME = 'generations'
            OR after <= (SELECT count(*) FROM rebuild_positions WHERE generation = NEW.generation))
        THEN RAISE 'crashed on purpose'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER crash BEFORE INSERT ON rebuild_positions FOR EACH ROW EXECUTE FUNCTION crash();
    CREATE TRIGGER crash BEFORE UPDATE ON generations FOR EACH ROW WHEN (NEW.state = 'live') EXECUTE FUNCTION crash()";

/// Confirmed, cancelled and open orders, with some facts on the topics twice.
pub(crate) fn events_of(orders: usize) -> Vec<AnyEvent> {
    let mut events = vec![replenished("mug", 1, 30), fell_low("mug", 2, 9)];
    for number in 0..orders {
        let order = new_id();
        let placement = placed(order, "GBP", &[("mug", 2, 250), ("lamp", 1, 900)]);
        events.extend([placement.clone(), reserved(order), placement]);
        match number % 3 {
            0 => events.extend([paid(order), confirmed(order)]),
            1 => events.push(cancelled(order)),
            _ => {}
        }
    }
    events
}

#[tokio::test]
async fn a_rebuild_counts_the_same_and_then_goes_on_counting() {
    let live = Live::start().await;
    live.publish(&events_of(30)).await;
    let before = live.quiet().await;
    assert_eq!(before.revenue["GBP"].orders, 10);
    sqlx::query("UPDATE revenue_by_partition SET units = units + 1")
        .execute(live.analytics.pool())
        .await
        .unwrap();

    let rebuild = live.rebuild().await;
    assert_eq!((rebuild.generation, rebuild.state.as_str()), (2, "live"), "{rebuild:?}");
    assert_eq!(live.analytics.seen().await, before, "what was tampered with is counted anew");

    live.publish(&events_of(3)).await;
    let after = live.quiet().await;
    assert_eq!(after.revenue["GBP"].orders, 11);
    assert_eq!(live.dead_lettered().await, 0);
}

#[tokio::test]
async fn the_rows_of_a_retired_generation_are_deleted() {
    let live = Live::start().await;
    live.publish(&events_of(30)).await;
    let before = live.quiet().await;
    assert_eq!(live.rebuild().await.state, "live");
    // Without a generation to make, it deletes.
    Rebuilder::new(&live.deps, subscriptions(), Arc::new(Notify::new())).make_next().await.unwrap();
    let left: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT generation FROM orders UNION ALL SELECT generation FROM stock_alerts
             UNION ALL SELECT generation FROM funnel_by_partition
             UNION ALL SELECT generation FROM revenue_by_partition
             UNION ALL SELECT generation FROM best_sellers_by_partition
             UNION ALL SELECT generation FROM time_to_confirm_by_partition) AS rows WHERE generation = 1",
    )
    .fetch_one(live.analytics.pool())
    .await
    .unwrap();
    assert_eq!(left, 0);
    assert_eq!(live.analytics.seen().await, before);
}

#[tokio::test]
async fn a_rebuild_passes_the_markers_of_transactions() {
    let live = Live::start().await;
    let mark_every_partition = || {
        for topic in Topic::ALL {
            for partition in 0..PARTITIONS {
                let name = live.deps.codec.topics().name(topic);
                live.bus.append_control_record(&name, partition).unwrap();
            }
        }
    };
    mark_every_partition();
    live.publish(&events_of(30)).await;
    mark_every_partition();
    mark_every_partition();
    let before = live.quiet().await;
    assert_eq!(before.revenue["GBP"].orders, 10);
    let rebuild = live.rebuild().await;
    assert_eq!(rebuild.state, "live", "{rebuild:?}");
    assert_eq!(live.analytics.seen().await, before);
}

#[tokio::test]
async fn a_rebuild_while_events_keep_coming_loses_and_doubles_none() {
    let live = Live::start().await;
    live.publish(&events_of(30)).await;
    live.quiet().await;
    let events = events_of(90);
    let (rebuild, ()) = tokio::join!(live.rebuild(), live.publish(&events));
    assert_eq!(rebuild.state, "live", "{rebuild:?}");
    let seen = live.quiet().await;
    assert_eq!(seen.revenue["GBP"].orders, 40);
    assert_eq!(
        seen.funnel,
        [("cancelled_out_of_stock", 40), ("confirmed", 40), ("paid", 40), ("placed", 120), ("reserved", 120)]
            .into()
    );
}

#[tokio::test]
async fn what_was_applied_and_forgotten_is_counted_though_a_copy_could_not_be_decided() {
    let live = Live::start().await;
    let events = events_of(3);
    live.publish(&events).await;
    let before = live.quiet().await;
    sqlx::query("SELECT inbox.drop_table_partitions(now() + interval '2 weeks')")
        .execute(live.analytics.pool())
        .await
        .unwrap();
    live.publish(&events).await;
    assert_eq!(live.quiet().await, before, "copies of what is forgotten are dead letters");
    assert!(live.dead_lettered().await > 0);
    assert_eq!(live.rebuild().await.state, "live");
    assert_eq!(live.analytics.seen().await, before);
}

#[tokio::test]
async fn what_is_dead_lettered_is_left_out_of_a_rebuild_too() {
    let live = Live::start().await;
    let order = new_id();
    let events =
        [placed(order, "GBP", &[("mug", 2, 250)]), confirmed(order), cancelled(order), confirmed(order)];
    live.publish(&events).await;
    let before = live.quiet().await;
    assert_eq!(live.dead_lettered().await, 2, "the impossible cancellation, and what waits behind it");
    let rebuild = live.rebuild().await;
    assert_eq!(rebuild.state, "live", "{rebuild:?}");
    assert_eq!(live.analytics.seen().await, before);
}

#[tokio::test]
async fn a_topic_without_its_beginning_can_not_be_counted_again() {
    let live = Live::start().await;
    live.publish(&events_of(30)).await;
    let before = live.quiet().await;
    let orders = live.deps.codec.topics().name(Topic::Orders);
    let partition =
        (0..PARTITIONS).find(|partition| !live.bus.records(&orders, *partition).is_empty()).unwrap();
    live.bus.expire(&orders, partition, 1).unwrap();
    let rebuild = live.rebuild().await;
    assert_eq!(rebuild.state, "failed");
    assert!(rebuild.detail.unwrap().contains("beginning"));
    assert_eq!(live.analytics.seen().await, before, "readers still see the generation before");
}

#[tokio::test]
async fn a_rebuild_that_crashes_after_any_step_goes_on_and_counts_the_same() {
    let live = Live::start().await;
    live.publish(&events_of(30)).await;
    let before = live.quiet().await;
    sqlx::raw_sql(CRASHES).execute(live.analytics.pool()).await.unwrap();

    let (crashed, rebuild) = live.rebuild_with(Crash::AtTheSwap).await;
    assert!(crashed);
    assert_eq!(rebuild.state, "live", "{rebuild:?}");
    assert_eq!(live.analytics.seen().await, before, "a crash at the swap");
    let mut steps = 0;
    loop {
        let (crashed, rebuild) = live.rebuild_with(Crash::After(steps)).await;
        assert_eq!(rebuild.state, "live", "after {steps} steps: {rebuild:?}");
        assert_eq!(live.analytics.seen().await, before, "after {steps} steps");
        if !crashed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 12, "every partition that holds something is a step: {steps}");
}

#[tokio::test]
async fn a_partition_whose_first_batch_commits_at_the_swap_is_not_left_out() {
    let live = Live::start().await;
    live.publish(&events_of(3)).await;
    live.quiet().await;
    rebuilds::begin(live.analytics.database(), now()).await.unwrap().unwrap();

    let batch = live.batch_of_the_generation().await;
    let commit = live.commit_at_the_swap(batch, PARTITIONS);
    let rebuilder = Rebuilder::new(&live.deps, subscriptions(), Arc::new(Notify::new()));
    let (made, ()) = tokio::join!(rebuilder.make_next(), commit);
    let refused = format!("{:#}", made.unwrap_err());
    assert!(
        refused.contains("not assigned to the rebuild"),
        "what it can't read it does not leave out: {refused}"
    );
    let rebuild = rebuilds::building(live.analytics.database()).await.unwrap();
    assert!(rebuild.is_some(), "it is tried again, with that partition");
}
