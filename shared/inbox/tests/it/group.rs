//! Members of one group on one database, whose ways to it and to the leaders can be cut.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::clock::new_id;
use contracts::topics::PARTITIONS;
use database::{Bounds, Database};
use inbox::internal::HandOverTimes;
use inbox::{ConsumerStatus, PartitionState};
use messaging::{TopicPartition, partition_for_key};
use sqlx::postgres::PgSslMode;
use testkit::exposition::Recorded;
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reach::Reach;
use crate::stack::{Stack, confirmed};

const GROUP: &str = "tidings.ledger";
const LONG: Duration = Duration::from_secs(60);
/// Short for conversations that get no answer.
const BOUNDS: Bounds = Bounds { work: Duration::from_secs(2), request: Duration::from_secs(1) };

/// Members of one group on one database.
pub(crate) struct Group {
    pub(crate) stack: Stack,
    pub(crate) times: HandOverTimes,
    recorded: Recorded,
    published: AtomicI64,
    /// A partition without a leader acknowledges nothing: events go to the others.
    without_leader: AtomicI32,
}

pub(crate) struct Replica {
    pub(crate) status: ConsumerStatus,
    pub(crate) reach: Arc<Reach>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

/// As in production, in the time that a test has.
pub(crate) const TIMES: HandOverTimes = HandOverTimes {
    look_every: Duration::from_millis(100),
    check_timeout: Duration::from_secs(1),
    between_readings: Duration::from_millis(500),
    fresh_for: Duration::from_secs(3),
    longest_wait: Duration::from_millis(200),
    between_leaves: Duration::from_secs(60),
    first_cool_down: Duration::from_secs(2),
    longest_cool_down: Duration::from_secs(2),
    calm_after: Duration::from_secs(60),
};

impl Group {
    pub(crate) async fn start() -> Self {
        let mut stack = Stack::start().await;
        stack.stalled_after_ms = 1_000;
        Self {
            stack,
            times: TIMES,
            recorded: Recorded::start(),
            published: AtomicI64::new(0),
            without_leader: AtomicI32::new(-1),
        }
    }

    /// A member whose way to the database can be cut.
    pub(crate) async fn join_through_a_proxy(&self) -> (Proxy, Replica) {
        let server = self.stack.database.database().options();
        let proxy = Proxy::start(format!("{}:{}", server.get_host(), server.get_port())).await.unwrap();
        let options =
            server.clone().host("127.0.0.1").port(proxy.address().port()).ssl_mode(PgSslMode::Disable);
        (proxy, self.join(Database::new(options, 10, BOUNDS)))
    }

    pub(crate) fn join_directly(&self) -> Replica {
        self.join(self.stack.database.another())
    }

    pub(crate) fn join(&self, database: Database) -> Replica {
        let reach = Reach::all_of(&self.stack.bus);
        let consumer = self.stack.consumer_on(Arc::clone(&reach) as _, database, GROUP);
        let consumer = consumer.with_times(self.times);
        let (status, shutdown, mut tasks) = (consumer.status(), CancellationToken::new(), JoinSet::new());
        let stop = shutdown.clone();
        tasks.spawn(async move { consumer.run(stop).await.unwrap() });
        Replica { status, reach, shutdown, tasks }
    }

    pub(crate) async fn publish(&self) {
        let without = self.without_leader.load(Ordering::SeqCst);
        let partition = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS);
        let order = std::iter::repeat_with(new_id).find(|order| partition(order) != without).unwrap();
        self.stack.publish(&confirmed(order, 1)).await;
    }

    pub(crate) fn set_leader(&self, id: &TopicPartition, present: bool) {
        self.without_leader.store(if present { -1 } else { id.partition }, Ordering::SeqCst);
        self.stack.bus.set_leader(&id.topic, id.partition, present);
    }

    /// Waits until it is so, while events come.
    pub(crate) async fn until<T, E: Debug>(&self, what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
        eventually(what, LONG, || {
            let seen = probe();
            async move {
                self.publish().await;
                self.published.fetch_add(1, Ordering::SeqCst);
                seen
            }
        })
        .await
    }

    pub(crate) async fn until_shared_by(&self, replicas: &[&Replica]) {
        let counts = || replicas.iter().map(|replica| replica.running()).collect::<Vec<_>>();
        let share = PARTITIONS as usize / replicas.len();
        self.until("the members share the partitions", || {
            if counts().iter().all(|count| *count == share) { Ok(()) } else { Err(counts()) }
        })
        .await;
    }

    pub(crate) async fn until_left(&self, replica: &Replica) {
        self.until("the member leaves its group", || {
            let reason = replica.out_of_group();
            if reason.contains("left the group") && replica.partitions().is_empty() {
                Ok(())
            } else {
                Err((reason, replica.status.partitions()))
            }
        })
        .await;
    }

    pub(crate) async fn until_stalled(&self, replica: &Replica) {
        self.until("a partition stalls", || {
            let partitions = replica.status.partitions();
            let stalled = partitions.values().any(|state| matches!(state, PartitionState::Stalled { .. }));
            if stalled { Ok(()) } else { Err(partitions) }
        })
        .await;
    }

    /// Waits until so many members have reported again what they reach, some looks later; each looked for evidence as often.
    pub(crate) async fn until_told_by(&self, members: i64) {
        let from: DateTime<Utc> =
            sqlx::query_scalar("SELECT now()").fetch_one(self.stack.database.pool()).await.unwrap();
        eventually("the members report what they reach", LONG, async || {
            let reports: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM inbox.members WHERE seen_at > $1 + interval '2 seconds'",
            )
            .bind(from)
            .fetch_one(self.stack.database.pool())
            .await
            .unwrap();
            if reports >= members { Ok(()) } else { Err(reports) }
        })
        .await;
    }

    /// So many memberships were given up.
    pub(crate) fn given_up(&self, cause: &str) -> u64 {
        let found = self.recorded.read().sum("inbox_memberships_given_up_total", &[("cause", cause)]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        found.map_or(0, |count| count as u64)
    }

    /// Every event so far has its effect, once.
    pub(crate) async fn until_all_is_applied(&self) {
        self.stack.caught_up().await;
        let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger WHERE sequences = '{1}'")
            .fetch_one(self.stack.database.pool())
            .await
            .unwrap();
        assert_eq!(applied, self.published.load(Ordering::SeqCst));
    }
}

impl Replica {
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.status.partitions().into_keys().collect()
    }

    pub(crate) fn running(&self) -> usize {
        let partitions = self.status.partitions();
        partitions.values().filter(|state| matches!(state, PartitionState::Running { .. })).count()
    }

    pub(crate) fn out_of_group(&self) -> String {
        self.status.out_of_group().map_or_else(String::new, |out| out.to_string())
    }

    pub(crate) fn is_in_group(&self) -> bool {
        self.status.out_of_group().is_none()
    }

    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
