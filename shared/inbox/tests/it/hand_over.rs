//! A member that can't work gives its partitions to one that can (docs/adr/0024), and to nobody else.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use contracts::ambient::new_id;
use contracts::topics::PARTITIONS;
use database::{Bounds, Database};
use inbox::{Consumer, ConsumerStatus, PartitionState};
use messaging::TopicPartition;
use sqlx::postgres::PgSslMode;
use testkit::exposition::Recorded;
use testkit::proxy::Proxy;
use testkit::wait::eventually;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::reach::Reach;
use crate::stack::{Stack, confirmed};

const GROUP: &str = "tidings.ledger";
const LONG: Duration = Duration::from_secs(60);
/// Short for conversations that get no answer.
const BOUNDS: Bounds = Bounds { work: Duration::from_secs(2), request: Duration::from_secs(1) };

/// Members of one group on one database.
struct Group {
    stack: Stack,
    recorded: Recorded,
    published: AtomicI64,
}

struct Replica {
    status: ConsumerStatus,
    reach: Arc<Reach>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

fn with_short_times(consumer: Consumer) -> Consumer {
    consumer
}

impl Group {
    async fn start() -> Self {
        let mut stack = Stack::start().await;
        stack.stalled_after_ms = 1_000;
        Self { stack, recorded: Recorded::start(), published: AtomicI64::new(0) }
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
        let consumer = with_short_times(consumer);
        let (status, shutdown, mut tasks) = (consumer.status(), CancellationToken::new(), JoinSet::new());
        let stop = shutdown.clone();
        tasks.spawn(async move { consumer.run(stop).await.unwrap() });
        Replica { status, reach, shutdown, tasks }
    }

    /// Waits until it is so, while events come.
    async fn until<T, E: Debug>(&self, what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
        eventually(what, LONG, || {
            let seen = probe();
            async move {
                self.stack.publish(&confirmed(new_id(), 1)).await;
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
    group.stack.bus.set_leader(&without.topic, without.partition, false);
    group.until_stalled(&owner).await;
    assert!(owner.is_in_group() && other.is_in_group());
    assert_eq!(group.given_up("broker"), 0);
    // A leader that answers another member is the evidence that was missing.
    owner.reach.cut_off(&[without.clone()]);
    group.stack.bus.set_leader(&without.topic, without.partition, true);
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
    proxy.serve();
    group.until_shared_by(&[&cut_off, &other]).await;
    assert!(cut_off.is_in_group());
    group.until_all_is_applied().await;
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_member_joins_at_once_when_the_group_is_empty() {
    let group = Group::start().await;
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
    let group = Group::start().await;
    let (first, last) = (group.join_directly(), group.join_directly());
    group.until_shared_by(&[&first, &last]).await;
    first.reach.cut_off(&first.partitions()[..1]);
    group.until_left(&first).await;
    group.until_shared_by(&[&last]).await;
    // Outside, it reaches everything.
    first.reach.cut_off(&[]);
    last.reach.cut_off(&last.partitions()[..1]);
    group.until_stalled(&last).await;
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
