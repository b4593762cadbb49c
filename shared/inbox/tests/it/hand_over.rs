//! A member that can't work gives its partitions to one that can (docs/adr/0024), and to nobody else.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use contracts::ambient::new_id;
use contracts::topics::PARTITIONS;
use database::{Bounds, Database};
use inbox::hand_over::Times;
use inbox::{ConsumerStatus, PartitionState};
use messaging::{TopicPartition, partition_for_key};
use sqlx::postgres::PgSslMode;
use testkit::exposition::Recorded;
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::reach::Reach;
use crate::stack::{Stack, confirmed};

const GROUP: &str = "tidings.ledger";
const LONG: Duration = Duration::from_secs(60);
/// Short for conversations that get no answer.
const BOUNDS: Bounds = Bounds { work: Duration::from_secs(2), request: Duration::from_secs(1) };

/// Members of one group on one database.
struct Group {
    stack: Stack,
    times: Times,
    recorded: Recorded,
    published: AtomicI64,
    /// A partition without a leader acknowledges nothing: events go to the others.
    without_leader: AtomicI32,
}

struct Replica {
    status: ConsumerStatus,
    reach: Arc<Reach>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

/// As in production, in the time that a test has.
const TIMES: Times = Times {
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
    async fn start() -> Self {
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
    async fn join_through_a_proxy(&self) -> (Proxy, Replica) {
        let server = self.stack.database.database().options();
        let proxy = Proxy::start(format!("{}:{}", server.get_host(), server.get_port())).await.unwrap();
        let options =
            server.clone().host("127.0.0.1").port(proxy.address().port()).ssl_mode(PgSslMode::Disable);
        (proxy, self.join(Database::new(options, 10, BOUNDS)))
    }

    fn join_directly(&self) -> Replica {
        self.join(self.stack.database.another())
    }

    fn join(&self, database: Database) -> Replica {
        let reach = Reach::all_of(&self.stack.bus);
        let consumer = self.stack.consumer_on(Arc::clone(&reach) as _, database, GROUP);
        let consumer = consumer.with_times(self.times);
        let (status, shutdown, mut tasks) = (consumer.status(), CancellationToken::new(), JoinSet::new());
        let stop = shutdown.clone();
        tasks.spawn(async move { consumer.run(stop).await.unwrap() });
        Replica { status, reach, shutdown, tasks }
    }

    async fn publish(&self) {
        let without = self.without_leader.load(Ordering::SeqCst);
        let partition = |order: &Uuid| partition_for_key(order.to_string().as_bytes(), PARTITIONS);
        let order = std::iter::repeat_with(new_id).find(|order| partition(order) != without).unwrap();
        self.stack.publish(&confirmed(order, 1)).await;
    }

    fn set_leader(&self, id: &TopicPartition, present: bool) {
        self.without_leader.store(if present { -1 } else { id.partition }, Ordering::SeqCst);
        self.stack.bus.set_leader(&id.topic, id.partition, present);
    }

    /// Waits until it is so, while events come.
    async fn until<T, E: Debug>(&self, what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
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

    async fn until_shared_by(&self, replicas: &[&Replica]) {
        let counts = || replicas.iter().map(|replica| replica.running()).collect::<Vec<_>>();
        let share = PARTITIONS as usize / replicas.len();
        self.until("the members share the partitions", || {
            if counts().iter().all(|count| *count == share) { Ok(()) } else { Err(counts()) }
        })
        .await;
    }

    async fn until_left(&self, replica: &Replica) {
        self.until("the member leaves its group", || {
            let said = replica.out_of_group();
            if said.contains("left the group") && replica.partitions().is_empty() {
                Ok(())
            } else {
                Err((said, replica.status.partitions()))
            }
        })
        .await;
    }

    async fn until_stalled(&self, replica: &Replica) {
        self.until("a partition stalls", || {
            let partitions = replica.status.partitions();
            let stalled = partitions.values().any(|state| matches!(state, PartitionState::Stalled { .. }));
            if stalled { Ok(()) } else { Err(partitions) }
        })
        .await;
    }

    /// Waits until both have told several times what they reach; each also looked for evidence as often.
    async fn until_told_by(&self, members: i64) {
        let from: DateTime<Utc> =
            sqlx::query_scalar("SELECT now()").fetch_one(self.stack.database.pool()).await.unwrap();
        eventually("the members tell what they reach", LONG, async || {
            let told: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM inbox.members WHERE seen_at > $1 + interval '2 seconds'",
            )
            .bind(from)
            .fetch_one(self.stack.database.pool())
            .await
            .unwrap();
            if told >= members { Ok(()) } else { Err(told) }
        })
        .await;
    }

    /// So many memberships were given up.
    fn given_up(&self, cause: &str) -> u64 {
        let found = self.recorded.read().sum("inbox_memberships_given_up_total", &[("cause", cause)]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        found.map_or(0, |count| count as u64)
    }

    /// Every event so far has its effect, once.
    async fn until_all_is_applied(&self) {
        self.stack.caught_up().await;
        let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM ledger WHERE sequences = '{1}'")
            .fetch_one(self.stack.database.pool())
            .await
            .unwrap();
        assert_eq!(applied, self.published.load(Ordering::SeqCst));
    }
}

impl Replica {
    fn partitions(&self) -> Vec<TopicPartition> {
        self.status.partitions().into_keys().collect()
    }

    fn running(&self) -> usize {
        let partitions = self.status.partitions();
        partitions.values().filter(|state| matches!(state, PartitionState::Running { .. })).count()
    }

    fn out_of_group(&self) -> String {
        self.status.out_of_group().map_or_else(String::new, |out| out.to_string())
    }

    fn is_in_group(&self) -> bool {
        self.status.out_of_group().is_none()
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test]
async fn a_member_without_its_database_gives_its_partitions_to_one_that_has_it() {
    let group = Group::start().await;
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    let other = group.join_directly();
    group.until_shared_by(&[&cut_off, &other]).await;
    proxy.silence_all();
    group.until_left(&cut_off).await;
    group.until_shared_by(&[&other]).await;
    group.until_all_is_applied().await;
    assert!(cut_off.out_of_group().contains("the database does not answer"), "{}", cut_off.out_of_group());
    assert_eq!((group.given_up("database"), group.given_up("broker")), (1, 0));
    proxy.serve();
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn with_all_members_cut_off_nobody_leaves() {
    let group = Group::start().await;
    let (first_proxy, first) = group.join_through_a_proxy().await;
    let (second_proxy, second) = group.join_through_a_proxy().await;
    group.until_shared_by(&[&first, &second]).await;
    first_proxy.silence_all();
    second_proxy.silence_all();
    group.until_stalled(&first).await;
    group.until_stalled(&second).await;
    // Twice before anything is given up.
    let asked = [&first, &second].map(|replica| replica.reach.asked());
    group
        .until("both look for evidence several times", || {
            let now = [&first, &second].map(|replica| replica.reach.asked());
            if now.iter().zip(asked).all(|(now, before)| now - before >= 6) { Ok(()) } else { Err(now) }
        })
        .await;
    assert!(first.is_in_group() && second.is_in_group());
    assert_eq!(group.given_up("database"), 0);
    // Once one of them works, it is the evidence that the other lacked.
    second_proxy.serve();
    group.until_left(&first).await;
    group.until_all_is_applied().await;
    assert_eq!((group.given_up("database"), group.given_up("broker")), (1, 0));
    first_proxy.serve();
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn two_members_cut_off_together_both_leave_to_a_third() {
    let group = Group::start().await;
    let (first_proxy, first) = group.join_through_a_proxy().await;
    let (second_proxy, second) = group.join_through_a_proxy().await;
    let third = group.join_directly();
    group.until_shared_by(&[&first, &second, &third]).await;
    first_proxy.silence_all();
    second_proxy.silence_all();
    group.until_left(&first).await;
    group.until_left(&second).await;
    group.until_shared_by(&[&third]).await;
    group.until_all_is_applied().await;
    assert_eq!((group.given_up("database"), group.given_up("broker")), (2, 0));
    first_proxy.serve();
    second_proxy.serve();
    for replica in [first, second, third] {
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_member_that_a_leader_does_not_answer_gives_its_partitions_to_one_that_it_answers() {
    let group = Group::start().await;
    let (cut_off, other) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&cut_off, &other]).await;
    cut_off.reach.cut_off(&cut_off.partitions()[..1]);
    group.until_left(&cut_off).await;
    group.until_shared_by(&[&other]).await;
    group.until_all_is_applied().await;
    assert!(cut_off.out_of_group().contains("leader"), "{}", cut_off.out_of_group());
    assert_eq!((group.given_up("database"), group.given_up("broker")), (0, 1));
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_partition_without_a_leader_empties_no_group() {
    let group = Group::start().await;
    let (owner, other) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&owner, &other]).await;
    let without = owner.partitions().swap_remove(0);
    group.set_leader(&without, false);
    group.until_stalled(&owner).await;
    group.until_told_by(2).await;
    assert!(owner.is_in_group() && other.is_in_group());
    assert_eq!(group.given_up("broker"), 0);
    // A leader that answers another member is the evidence that was missing.
    owner.reach.cut_off(&[without.clone()]);
    group.set_leader(&without, true);
    group.until_left(&owner).await;
    owner.stop().await;
    group.until_all_is_applied().await;
    other.stop().await;
}

#[tokio::test]
async fn a_member_that_reaches_less_is_no_evidence() {
    let group = Group::start().await;
    let (first, second) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&first, &second]).await;
    // Each lacks what the other reaches, and one of them has work there.
    let [lacks, works] = [&first, &second].map(|replica| replica.partitions().swap_remove(0));
    second.reach.cut_off(&[first.partitions().swap_remove(1)]);
    first.reach.cut_off(&[lacks]);
    group.until_stalled(&first).await;
    group.until_told_by(2).await;
    assert!(first.is_in_group() && second.is_in_group());
    assert_eq!(group.given_up("broker"), 0);
    assert!(second.partitions().contains(&works));
    // One that reaches as much, and the partition besides, is evidence.
    second.reach.cut_off(&[]);
    group.until_left(&first).await;
    group.until_all_is_applied().await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_member_that_gave_up_joins_again_after_its_own_check() {
    let group = Group::start().await;
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    let other = group.join_directly();
    group.until_shared_by(&[&cut_off, &other]).await;
    proxy.silence_all();
    group.until_left(&cut_off).await;
    group.until_shared_by(&[&other]).await;
    assert!(!cut_off.is_in_group());
    let served_since = Instant::now();
    proxy.serve();
    group.until("the member is in its group", || if cut_off.is_in_group() { Ok(()) } else { Err(()) }).await;
    assert!(served_since.elapsed() >= TIMES.first_cool_down, "{:?}", served_since.elapsed());
    group.until_shared_by(&[&cut_off, &other]).await;
    group.until_all_is_applied().await;
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_member_joins_at_once_when_the_group_is_empty() {
    let mut group = Group::start().await;
    group.times.first_cool_down = Duration::from_secs(3_600);
    group.times.longest_cool_down = Duration::from_secs(3_600);
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    let other = group.join_directly();
    group.until_shared_by(&[&cut_off, &other]).await;
    proxy.silence_all();
    group.until_left(&cut_off).await;
    proxy.serve();
    other.stop().await;
    group.until_shared_by(&[&cut_off]).await;
    group.until_all_is_applied().await;
    cut_off.stop().await;
}

#[tokio::test]
async fn a_group_is_never_left_by_its_last_member() {
    let mut group = Group::start().await;
    group.times.first_cool_down = Duration::from_secs(3_600);
    group.times.longest_cool_down = Duration::from_secs(3_600);
    let (first, last) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&first, &last]).await;
    first.reach.cut_off(&first.partitions()[..1]);
    group.until_left(&first).await;
    group.until_shared_by(&[&last]).await;
    // Outside, it reaches everything.
    first.reach.cut_off(&[]);
    last.reach.cut_off(&last.partitions()[..1]);
    group.until_stalled(&last).await;
    group.until_told_by(2).await;
    assert!(last.is_in_group(), "{}", last.out_of_group());
    assert_eq!(group.given_up("broker"), 1);
    last.reach.cut_off(&[]);
    group.until_all_is_applied().await;
    first.stop().await;
    last.stop().await;
}

#[tokio::test]
async fn a_worker_of_a_revoked_partition_ends_also_while_the_database_does_not_answer() {
    let group = Group::start().await;
    let (proxy, cut_off) = group.join_through_a_proxy().await;
    group.until_shared_by(&[&cut_off]).await;
    proxy.silence_all();
    group.until_stalled(&cut_off).await;
    let other = group.join_directly();
    group
        .until("the revoked partitions are no longer its own", || {
            let (theirs, mine) = (other.partitions(), cut_off.partitions());
            let both: BTreeSet<_> = theirs.iter().filter(|partition| mine.contains(partition)).collect();
            if !theirs.is_empty() && both.is_empty() { Ok(()) } else { Err((theirs, mine)) }
        })
        .await;
    proxy.serve();
    cut_off.stop().await;
    other.stop().await;
}
