//! Groups: who is in one, and what becomes of its members.

use std::pin::Pin;
use std::task::Poll;

use futures::future::join_all;
use futures::poll;
use tokio::sync::Semaphore;

use super::*;

/// So long a test waits for what has to come.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Commit,
    /// Its transaction fails because of it.
    Fail,
    /// Nobody's fault.
    Break,
    Panic,
    /// Its transaction does not end.
    Hang,
}

#[derive(Clone, Debug)]
struct Item {
    key: usize,
    bytes: usize,
    does: Does,
}

#[derive(Debug, PartialEq, Eq)]
enum Fault {
    OfOne,
    OfAll,
}

/// Commits what the test lets pass.
struct Work {
    groups: Arc<Mutex<Vec<Vec<usize>>>>,
    gate: Arc<Semaphore>,
}

impl Commit for Work {
    type Item = Item;
    type Key = usize;
    type Answer = usize;
    type Error = Fault;

    fn key(item: &Item) -> &usize {
        &item.key
    }

    fn bytes(item: &Item) -> usize {
        item.bytes
    }

    async fn commit(&self, items: &[Item]) -> Result<Vec<usize>, Fault> {
        self.groups.lock().unwrap().push(items.iter().map(|item| item.key).collect());
        let has = |does| items.iter().any(|item| item.does == does);
        if has(Does::Hang) {
            std::future::pending::<()>().await;
        }
        self.gate.acquire().await.unwrap().forget();
        assert!(!has(Does::Panic), "as it was told");
        match (has(Does::Fail), has(Does::Break)) {
            (true, _) => Err(Fault::OfOne),
            (_, true) => Err(Fault::OfAll),
            (false, false) => Ok(items.iter().map(|item| item.key * 10).collect()),
        }
    }

    fn is_of_one(error: &Fault) -> bool {
        *error == Fault::OfOne
    }
}

/// What a caller waits for.
type Waiting<'a> = Pin<Box<dyn Future<Output = Result<usize, Failure<Fault>>> + Send + 'a>>;

struct Bench {
    commits: GroupCommit<Work>,
    groups: Arc<Mutex<Vec<Vec<usize>>>>,
    gate: Arc<Semaphore>,
}

impl Bench {
    /// A bench whose gate lets nothing pass.
    fn new(next_group_timeout: Duration) -> Self {
        let (groups, gate) = (Arc::default(), Arc::new(Semaphore::new(0)));
        let work = Work { groups: Arc::clone(&groups), gate: Arc::clone(&gate) };
        Self { commits: GroupCommit::with_timeout(work, next_group_timeout), groups, gate }
    }

    /// As many groups as may be under way stand at the gate; all further items wait for them.
    async fn busy() -> (Self, Vec<Waiting<'static>>) {
        let bench = Self::new(WAIT_TIMEOUT);
        let mut first = Vec::new();
        for key in 1..=AT_ONCE {
            first.push(bench.submit(key, 1, Does::Commit).await);
            bench.until_groups(key).await;
        }
        (bench, first)
    }

    /// An item that is in the queue.
    async fn submit(&self, key: usize, bytes: usize, does: Does) -> Waiting<'static> {
        let commits = self.commits.clone();
        let mut waiting: Waiting<'static> =
            Box::pin(async move { commits.commit(Item { key, bytes, does }).await });
        assert!(matches!(poll!(&mut waiting), Poll::Pending), "nothing has passed the gate");
        waiting
    }

    async fn until_groups(&self, count: usize) {
        bounded(async {
            while self.groups.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    fn open(&self) {
        self.gate.add_permits(1_000);
    }

    /// The groups after those that were under way first.
    fn later(&self) -> Vec<Vec<usize>> {
        self.groups.lock().unwrap()[AT_ONCE..].to_vec()
    }
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    timeout(WAIT_TIMEOUT, work).await.expect("it does not come")
}

async fn answers(waiting: Vec<Waiting<'static>>) -> Vec<Result<usize, String>> {
    let outcomes = bounded(join_all(waiting)).await;
    outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(answer) => Ok(answer),
            Err(Failure::Failed(error)) => Err(format!("{error:?}")),
            Err(Failure::Panicked) => Err("panicked".to_owned()),
        })
        .collect()
}

#[tokio::test]
async fn an_item_that_comes_alone_is_committed_at_once() {
    let bench = Bench::new(WAIT_TIMEOUT);
    bench.open();
    assert_eq!(
        bounded(bench.commits.commit(Item { key: 7, bytes: 1, does: Does::Commit })).await.unwrap(),
        70
    );
    assert_eq!(*bench.groups.lock().unwrap(), [[7]]);
}

#[tokio::test]
async fn items_that_wait_are_committed_together_and_answered_after_the_commit() {
    let (bench, first) = Bench::busy().await;
    let mut waiting = Vec::new();
    for key in 11..15 {
        waiting.push(bench.submit(key, 1, Does::Commit).await);
    }
    bench.gate.add_permits(1);
    bench.until_groups(AT_ONCE + 1).await;
    for one in &mut waiting {
        assert!(matches!(poll!(one), Poll::Pending), "answered before the commit");
    }
    bench.open();
    assert_eq!(answers(waiting).await, [Ok(110), Ok(120), Ok(130), Ok(140)]);
    assert!(answers(first).await.iter().all(Result::is_ok));
    assert_eq!(bench.later(), [[11, 12, 13, 14]]);
}

#[tokio::test]
async fn no_key_is_twice_in_a_group() {
    let (bench, first) = Bench::busy().await;
    let mut waiting = first;
    for key in [11, 12, 11, 13, 11] {
        waiting.push(bench.submit(key, 1, Does::Commit).await);
    }
    bench.open();
    assert!(answers(waiting).await.iter().all(Result::is_ok));
    let later = bench.later();
    assert_eq!(later.iter().map(Vec::len).sum::<usize>(), 5);
    for group in later {
        assert_eq!(group.iter().filter(|key| **key == 11).count(), 1, "{group:?}");
    }
}

#[tokio::test]
async fn a_group_has_a_bound_on_its_members_and_on_their_bytes() {
    let (bench, mut waiting) = Bench::busy().await;
    for key in 0..2 * MAX_MEMBERS {
        waiting.push(bench.submit(100 + key, 1, Does::Commit).await);
    }
    for (key, bytes) in [(1_001, MAX_BYTES), (1_002, 2 * MAX_BYTES), (1_003, MAX_BYTES / 2)] {
        waiting.push(bench.submit(key, bytes, Does::Commit).await);
    }
    bench.open();
    assert!(answers(waiting).await.iter().all(Result::is_ok), "also what is larger than a group may be");
    let later = bench.later();
    assert!(later.iter().all(|group| group.len() <= MAX_MEMBERS), "{later:?}");
    for large in [1_001, 1_002] {
        let group = later.iter().find(|group| group.contains(&large)).unwrap();
        assert_eq!(group.len(), 1, "{large} leaves no room: {group:?}");
    }
}

#[tokio::test]
async fn a_failure_of_one_item_harms_no_other_of_its_group() {
    let (bench, first) = Bench::busy().await;
    let mut waiting = Vec::new();
    for (key, does) in [(11, Does::Commit), (12, Does::Fail), (13, Does::Commit)] {
        waiting.push(bench.submit(key, 1, does).await);
    }
    bench.open();
    assert_eq!(answers(waiting).await, [Ok(110), Err("OfOne".to_owned()), Ok(130)]);
    assert!(answers(first).await.iter().all(Result::is_ok));
    assert_eq!(bench.later(), [vec![11, 12, 13], vec![11], vec![12], vec![13]]);
}

#[tokio::test]
async fn a_failure_that_no_item_brought_about_is_told_to_all_and_not_repeated() {
    let (bench, first) = Bench::busy().await;
    let mut waiting = Vec::new();
    for (key, does) in [(11, Does::Commit), (12, Does::Break)] {
        waiting.push(bench.submit(key, 1, does).await);
    }
    bench.open();
    let failed = Err("OfAll".to_owned());
    assert_eq!(answers(waiting).await, [failed.clone(), failed]);
    assert!(answers(first).await.iter().all(Result::is_ok));
    assert_eq!(bench.later(), [[11, 12]]);
}

#[tokio::test]
async fn a_panic_is_told_to_its_group_and_the_next_group_is_committed() {
    let (bench, first) = Bench::busy().await;
    let mut waiting = Vec::new();
    for (key, does) in [(11, Does::Commit), (12, Does::Panic), (11, Does::Commit)] {
        waiting.push(bench.submit(key, 1, does).await);
    }
    bench.open();
    let panicked = Err("panicked".to_owned());
    assert_eq!(answers(waiting).await, [panicked.clone(), panicked, Ok(110)]);
    assert!(answers(first).await.iter().all(Result::is_ok));
    assert_eq!(answers(vec![bench_submit(&bench, 14)]).await, [Ok(140)]);
}

/// An item that may be answered at its first poll.
fn bench_submit(bench: &Bench, key: usize) -> Waiting<'static> {
    let commits = bench.commits.clone();
    Box::pin(async move { commits.commit(Item { key, bytes: 1, does: Does::Commit }).await })
}

#[tokio::test]
async fn groups_that_do_not_end_hold_up_no_other() {
    let bench = Bench::new(Duration::from_millis(10));
    bench.open();
    let mut hanging = Vec::new();
    for key in 0..3 * AT_ONCE {
        hanging.push(bench.submit(key, 1, Does::Hang).await);
        bench.until_groups(key + 1).await;
    }
    assert_eq!(answers(vec![bench_submit(&bench, 50)]).await, [Ok(500)]);
    for one in &mut hanging {
        assert!(matches!(poll!(one), Poll::Pending));
    }
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nothing_from_its_group() {
    let (bench, first) = Bench::busy().await;
    let mut waiting = Vec::new();
    for key in [11, 12, 13] {
        waiting.push(bench.submit(key, 1, Does::Commit).await);
    }
    drop(waiting.remove(1));
    // Also one whose group is under way.
    drop(first);
    bench.open();
    assert_eq!(answers(waiting).await, [Ok(110), Ok(130)]);
    assert_eq!(bench.later(), [[11, 12, 13]]);
}
