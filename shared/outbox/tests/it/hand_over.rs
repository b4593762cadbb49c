//! A leader whose way to the broker is cut gives its lock to a relay whose way is open, and to no other (docs/adr/0024).

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::Database;
use outbox::internal::HandOverTimes;
use outbox::{Relay, RelayState, RelayStatus};
use testkit::exposition::Recorded;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::relays::Poll;
use crate::stage::{Stage, TIMEOUT};
use crate::way::{Events, Through, Way, keys_of};

const GIVEN_UP: &str = "outbox_leads_given_up_total";

/// Short times, but for the age of a report: a busy machine may well take a while.
pub(crate) fn soon() -> HandOverTimes {
    HandOverTimes {
        report_interval: Duration::from_millis(50),
        stalled_after: Duration::from_millis(500),
        look_interval: Duration::from_millis(50),
        cool_down: Duration::from_millis(100),
        ..HandOverTimes::default()
    }
}

/// A replica's relay, with a way to the broker of its own.
pub(crate) struct Replica {
    way: Arc<Way>,
    pub(crate) status: RelayStatus,
    shutdown: CancellationToken,
    task: JoinSet<()>,
}

impl Replica {
    /// Starts a relay on this way and waits until it leads, or stands by.
    pub(crate) async fn start(
        stage: &Stage,
        way: &Arc<Way>,
        times: HandOverTimes,
        state: RelayState,
    ) -> Self {
        let replica = Self::start_in(stage.database.another(), stage, way, times);
        replica.becomes(state).await;
        replica
    }

    pub(crate) fn start_in(database: Database, stage: &Stage, way: &Arc<Way>, times: HandOverTimes) -> Self {
        let bus = Arc::new(Through(Arc::clone(way)));
        let relay = Relay::try_new(database, &stage.outbox, bus, Poll::default().0).unwrap();
        let relay = relay.with_topics(vec![stage.orders.clone()]).with_hand_over_times(times);
        let (status, shutdown) = (relay.status(), CancellationToken::new());
        let mut task = JoinSet::new();
        let stop = shutdown.clone();
        task.spawn(async move { relay.run(stop).await.unwrap() });
        Self { way: Arc::clone(way), status, shutdown, task }
    }

    pub(crate) async fn becomes(&self, wanted: RelayState) {
        self.until("the relay's state changes", |state| *state == wanted).await;
    }

    /// Waits until its state shows that it keeps off the lead, and why.
    pub(crate) async fn keeps_off(&self, why: &str) {
        self.until("it keeps off the lead", |state| match state {
            RelayState::Retrying { error } => error.contains(why),
            _ => false,
        })
        .await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&RelayState) -> bool) {
        eventually(what, TIMEOUT, async || match self.status.state() {
            state if holds(&state) => Ok(()),
            state => Err(state),
        })
        .await;
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(TIMEOUT, self.task.join_next()).await;
        ended.expect("it ends in time").expect("it runs").expect("it does not panic");
    }
}

/// Two replicas, of which the first leads, and what is known of both.
struct Pair {
    stage: Stage,
    bus: messaging::InMemoryBus,
    recorded: Recorded,
    events: Events,
    a: Replica,
    b: Replica,
}

impl Pair {
    async fn start(times: HandOverTimes) -> Self {
        Self::start_cut(times, |_| {}).await
    }

    /// The first one's way is like this from the beginning.
    async fn start_cut(times: HandOverTimes, cut: impl FnOnce(&Way)) -> Self {
        let recorded = Recorded::start();
        let (stage, bus) = Stage::in_memory().await;
        let events = Events::default();
        let [first, second] = ["a", "b"].map(|name| Way::new(name, Arc::clone(&stage.bus), &events));
        cut(&first);
        let a = Replica::start(&stage, &first, times, RelayState::Leading).await;
        let b = Replica::start(&stage, &second, times, RelayState::StandingBy).await;
        Self { stage, bus, recorded, events, a, b }
    }

    async fn commit(&self, keys: &[String]) {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.stage.commit(&self.stage.orders, &keys).await;
    }

    async fn until_seen(&self, keys: &[String], last: i64) {
        for key in keys {
            self.stage.watcher.until_seen(&self.stage.orders, key, last).await;
        }
    }

    /// Waits until both relays have reported that they do not reach so many partitions.
    async fn until_reported(&self, unreached: i32) {
        eventually("both relays have reported what they reach", TIMEOUT, async || {
            let reported: Vec<i32> = sqlx::query_scalar("SELECT cardinality(unreached) FROM outbox.relays")
                .fetch_all(self.stage.pool())
                .await
                .unwrap();
            if reported == [unreached; 2] { Ok(()) } else { Err(reported) }
        })
        .await;
    }

    fn given_up(&self) -> f64 {
        self.recorded.sum(GIVEN_UP, &[])
    }

    /// Waits until the leader had many occasions to give up, and sees that it has not.
    async fn the_lead_stays(&self) {
        let (began, a, b) = (Instant::now(), self.a.way.rounds(), self.b.way.rounds());
        eventually("both relays have asked what they reach", TIMEOUT, async || {
            let asked = (self.a.way.rounds() - a, self.b.way.rounds() - b, began.elapsed());
            if asked.0 >= 20 && asked.1 >= 20 && asked.2 > soon().stalled_after * 4 {
                Ok(())
            } else {
                Err(asked)
            }
        })
        .await;
        assert_eq!(self.a.status.state(), RelayState::Leading);
        self.b.becomes(RelayState::StandingBy).await;
        assert_eq!(self.recorded.read().sum(GIVEN_UP, &[]), Some(0.0));
    }

    /// Waits until the second one leads, and has published what waited for it.
    async fn the_lead_passes_on(&self) {
        self.b.becomes(RelayState::Leading).await;
        assert!((self.given_up() - 1.0).abs() < f64::EPSILON, "{}", self.given_up());
    }

    async fn stop(self) {
        self.stage.watcher.assert_in_sequence();
        self.a.stop().await;
        self.b.stop().await;
    }
}

pub(crate) async fn a_leader_without_its_broker_gives_the_lock_to_a_standby_that_has_it() {
    let pair = Pair::start(soon()).await;
    let keys = keys_of(&[0, 1, 2, 3]);
    pair.commit(&keys).await;
    pair.until_seen(&keys, 1).await;

    pair.a.way.cut_everything();
    pair.commit(&keys).await;
    pair.the_lead_passes_on().await;
    pair.a.keeps_off("reaches").await;
    pair.until_seen(&keys, 2).await;
    // Nothing of the old leader's can be sent when the new one begins.
    let events = pair.events.lock().unwrap().clone();
    let first_of_b = events.iter().position(|event| *event == ("b", true)).unwrap();
    let a_before = events[..first_of_b].iter().filter(|(name, _)| *name == "a");
    let open = a_before.map(|(_, opened)| if *opened { 1 } else { -1 }).sum::<i32>();
    assert_eq!(open, 0, "{events:?}");

    // What the network buffer back of it comes after what followed it, and is a repetition.
    assert!(pair.a.way.lingering() >= keys.len());
    pair.commit(&keys).await;
    pair.until_seen(&keys, 3).await;
    pair.a.way.land().await;
    pair.commit(&keys).await;
    pair.until_seen(&keys, 4).await;

    pair.a.way.open();
    pair.a.becomes(RelayState::StandingBy).await;
    pair.stop().await;
}

pub(crate) async fn a_standby_that_reaches_less_is_no_evidence() {
    let pair = Pair::start(soon()).await;
    pair.a.way.cut(&[0]);
    pair.b.way.cut(&[1]);
    pair.until_reported(1).await;
    let (dead, others) = (keys_of(&[0]), keys_of(&[1, 2, 3, 4, 5]));
    pair.commit(&dead).await;
    pair.commit(&others).await;
    pair.until_seen(&others, 1).await;
    pair.the_lead_stays().await;

    pair.b.way.open();
    pair.the_lead_passes_on().await;
    pair.until_seen(&dead, 1).await;
    pair.stop().await;
}

pub(crate) async fn with_all_relays_cut_off_nobody_gives_up() {
    let pair = Pair::start(soon()).await;
    let keys = keys_of(&[0, 1]);
    pair.commit(&keys).await;
    pair.until_seen(&keys, 1).await;
    // Partition by partition: the partitions are still listed.
    for partitions in [&[0, 1, 2, 3, 4, 5][..], &[0, 1]] {
        pair.b.way.cut(partitions);
        pair.a.way.cut(partitions);
        pair.until_reported(i32::try_from(partitions.len()).unwrap()).await;
        pair.commit(&keys).await;
        pair.the_lead_stays().await;
    }
    pair.b.way.cut_everything();
    pair.a.way.cut_everything();
    let (a, b) = (pair.a.way.rounds(), pair.b.way.rounds());
    eventually("both relays have asked in vain", TIMEOUT, async || {
        let asked = (pair.a.way.rounds() - a, pair.b.way.rounds() - b);
        if asked.0 >= 20 && asked.1 >= 20 { Ok(()) } else { Err(asked) }
    })
    .await;
    assert_eq!(pair.a.status.state(), RelayState::Leading);
    assert!(pair.given_up().abs() < f64::EPSILON);

    pair.b.way.open();
    pair.the_lead_passes_on().await;
    pair.until_seen(&keys, 3).await;
    pair.stop().await;
}

pub(crate) async fn a_partition_without_a_leader_leaves_the_lock_where_it_is() {
    let pair = Pair::start(soon()).await;
    pair.bus.set_leader(&pair.stage.orders, 0, false);
    pair.until_reported(1).await;
    let (dead, others) = (keys_of(&[0]), keys_of(&[1, 2, 3]));
    let cut = vec![others[1].clone()];
    pair.commit(&dead).await;
    pair.commit(&others).await;
    pair.until_seen(&others, 1).await;
    pair.the_lead_stays().await;
    eventually("the leader is stalled", TIMEOUT, async || match pair.a.status.stalled() {
        1 => Ok(()),
        stalled => Err(stalled),
    })
    .await;

    // Nor does it keep a leader in that is cut off from another partition.
    pair.a.way.cut(&[2]);
    pair.commit(&cut).await;
    pair.the_lead_passes_on().await;
    pair.until_seen(&cut, 2).await;
    pair.bus.set_leader(&pair.stage.orders, 0, true);
    pair.until_seen(&dead, 1).await;
    pair.stop().await;
}

pub(crate) async fn a_leader_without_a_producer_gives_up_too() {
    let pair = Pair::start_cut(soon(), |way| {
        way.refuse_producers();
        way.cut(&[0, 1, 2, 3, 4, 5]);
    })
    .await;
    let keys = keys_of(&[0, 1]);
    pair.commit(&keys).await;
    pair.the_lead_passes_on().await;
    pair.until_seen(&keys, 1).await;
    assert!(!pair.events.lock().unwrap().contains(&("a", true)));
    pair.stop().await;
}

pub(crate) async fn a_leader_that_never_learned_its_partitions_gives_up_too() {
    let pair = Pair::start_cut(soon(), Way::cut_everything).await;
    let keys = keys_of(&[0, 1]);
    pair.commit(&keys).await;
    pair.the_lead_passes_on().await;
    pair.until_seen(&keys, 1).await;
    pair.stop().await;
}

pub(crate) async fn who_gave_up_leads_again_when_nobody_else_does() {
    let times = HandOverTimes {
        cool_down: Duration::from_secs(600),
        report_max_age: Duration::from_secs(3),
        ..soon()
    };
    let pair = Pair::start(times).await;
    let keys = keys_of(&[0, 1]);
    pair.a.way.cut_everything();
    pair.commit(&keys).await;
    pair.the_lead_passes_on().await;
    pair.until_seen(&keys, 1).await;
    pair.a.way.open();
    pair.a.keeps_off("gave the lead up").await;

    let Pair { stage, a, b, .. } = pair;
    b.stop().await;
    a.becomes(RelayState::Leading).await;
    let both: Vec<&str> = keys.iter().map(String::as_str).collect();
    stage.commit(&stage.orders, &both).await;
    stage.until_published().await;
    stage.watcher.assert_in_sequence();
    a.stop().await;
}

pub(crate) async fn a_relay_that_reaches_less_leaves_the_lead_to_one_that_lost_its_session() {
    let pair = Pair::start(soon()).await;
    pair.b.way.cut_everything();
    pair.b.keeps_off("reaches").await;
    let leads = || pair.events.lock().unwrap().iter().filter(|event| **event == ("a", true)).count();
    for lead in 2..=4 {
        let ended: bool = sqlx::query_scalar(
            "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_one(pair.stage.pool())
        .await
        .unwrap();
        assert!(ended);
        eventually("it leads again", TIMEOUT, async || match leads() {
            leads if leads >= lead => Ok(()),
            leads => Err(leads),
        })
        .await;
    }
    assert!(!pair.events.lock().unwrap().contains(&("b", true)));
    pair.stop().await;
}
