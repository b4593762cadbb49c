//! The loop on stores in memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;

const SETTINGS: Settings = Settings {
    concurrency: 4,
    call_timeout: Duration::from_secs(1),
    poll_interval: Duration::from_millis(1),
    record_timeout: Duration::from_secs(1),
    cool_down: Duration::from_millis(20),
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Work that is always due, at a system that answers on request.
#[derive(Debug, Default)]
struct Endless {
    answers: AtomicBool,
    is_done: AtomicBool,
    asked: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

struct Shared(Arc<Endless>);

#[async_trait]
impl LeasedWork for Shared {
    type Item = ();
    type Outcome = ();

    fn name(&self) -> &'static str {
        "endless"
    }

    fn table(&self) -> &'static str {
        "items"
    }

    async fn lease(&self, limit: usize) -> anyhow::Result<Vec<()>> {
        let items = if self.0.is_done.load(Ordering::SeqCst) { 0 } else { limit };
        let under_way = self.0.under_way.fetch_add(items, Ordering::SeqCst) + items;
        self.0.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        Ok(vec![(); items])
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        Ok((!self.0.is_done.load(Ordering::SeqCst)).then_some(Duration::ZERO))
    }

    async fn perform(self: Arc<Self>, (): ()) -> (Contact, ()) {
        let answers = self.0.answers.load(Ordering::SeqCst);
        (if answers { Contact::Answered } else { Contact::NoAnswer }, ())
    }

    async fn record(&self, outcomes: &[()], _: bool) -> anyhow::Result<Vec<()>> {
        self.0.under_way.fetch_sub(outcomes.len(), Ordering::SeqCst);
        Ok(Vec::new())
    }
}

/// One item, due after a while.
#[derive(Debug, Default)]
struct Scheduled {
    due_at: Mutex<Option<Instant>>,
    looks: AtomicUsize,
    done_at: Mutex<Option<Instant>>,
}

struct OnTime(Arc<Scheduled>);

#[async_trait]
impl LeasedWork for OnTime {
    type Item = ();
    type Outcome = ();

    fn name(&self) -> &'static str {
        "scheduled"
    }

    fn table(&self) -> &'static str {
        "items"
    }

    async fn lease(&self, _: usize) -> anyhow::Result<Vec<()>> {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        let due = self.0.due_at.lock().unwrap().take_if(|due_at| *due_at <= Instant::now());
        Ok(due.map(|_| ()).into_iter().collect())
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        let due_at = *self.0.due_at.lock().unwrap();
        Ok(due_at.map(|due_at| due_at.saturating_duration_since(Instant::now())))
    }

    async fn perform(self: Arc<Self>, (): ()) -> (Contact, ()) {
        *self.0.done_at.lock().unwrap() = Some(Instant::now());
        (Contact::Answered, ())
    }

    async fn record(&self, _: &[()], _: bool) -> anyhow::Result<Vec<()>> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn what_becomes_due_is_done_at_its_time_and_not_looked_for_before() {
    let (work, began) = (Arc::new(Scheduled::default()), Instant::now());
    let due_at = began + Duration::from_millis(700);
    *work.due_at.lock().unwrap() = Some(due_at);
    // Twice as long as the test waits.
    let settings = Settings { poll_interval: WAIT_TIMEOUT * 2, ..SETTINGS };
    let mut worker = LeaseWorker::new(OnTime(Arc::clone(&work)), Arc::default(), settings);
    let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
    let stop = shutdown.clone();
    running.spawn(async move { worker.run(Progress::new("scheduled"), stop).await.unwrap() });
    until("it is done", || work.done_at.lock().unwrap().is_some()).await;
    let done_at = work.done_at.lock().unwrap().unwrap();
    assert!(done_at >= due_at, "{work:?}");
    assert!(work.looks.load(Ordering::SeqCst) <= 4, "{work:?}");
    shutdown.cancel();
    running.join_all().await;
}

/// Whether nothing was reported since `began`.
fn is_stalled_since(progress: &Progress, began: Instant) -> bool {
    progress.look(WAIT_TIMEOUT, began + WAIT_TIMEOUT);
    progress.shown().stalled.is_some()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    testkit::wait::eventually(what, WAIT_TIMEOUT, async || if holds() { Ok(()) } else { Err(()) }).await;
}

#[tokio::test]
async fn a_worker_whose_calls_have_no_answer_is_paused_until_one_has_and_is_stalled_while_work_waits() {
    let work = Arc::new(Endless::default());
    let progress = Progress::new("endless");
    let began = Instant::now();
    let mut worker = LeaseWorker::new(Shared(Arc::clone(&work)), Arc::default(), SETTINGS);
    let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
    let (theirs, stop) = (progress.clone(), shutdown.clone());
    running.spawn(async move { worker.run(theirs, stop).await.unwrap() });

    until("it is paused", || progress.shown().paused.is_some()).await;
    work.most_under_way.store(0, Ordering::SeqCst);
    let asked = work.asked.load(Ordering::SeqCst);
    until("it looks whether work waits", || work.asked.load(Ordering::SeqCst) > asked + 20).await;
    assert!(work.most_under_way.load(Ordering::SeqCst) <= 1, "{work:?}");
    assert!(is_stalled_since(&progress, began), "{progress:?}");

    // Others have done it all.
    work.is_done.store(true, Ordering::SeqCst);
    until("it is idle", || !is_stalled_since(&progress, began)).await;
    assert!(progress.shown().paused.is_some(), "{progress:?}");

    work.is_done.store(false, Ordering::SeqCst);
    work.answers.store(true, Ordering::SeqCst);
    until("it goes on", || progress.shown().paused.is_none()).await;
    until("it takes all that it may", || work.most_under_way.load(Ordering::SeqCst) == SETTINGS.concurrency)
        .await;
    shutdown.cancel();
    running.join_all().await;
}

/// Items that only reservations bring.
#[derive(Debug, Default)]
struct Handed {
    performed: AtomicUsize,
    recorded: AtomicUsize,
}

struct OnlyHanded(Arc<Handed>);

#[async_trait]
impl LeasedWork for OnlyHanded {
    type Item = ();
    type Outcome = ();

    fn name(&self) -> &'static str {
        "handed"
    }

    fn table(&self) -> &'static str {
        "items"
    }

    async fn lease(&self, _: usize) -> anyhow::Result<Vec<()>> {
        Ok(Vec::new())
    }

    async fn next_due_in(&self) -> anyhow::Result<Option<Duration>> {
        Ok(None)
    }

    async fn perform(self: Arc<Self>, (): ()) -> (Contact, ()) {
        self.0.performed.fetch_add(1, Ordering::SeqCst);
        (Contact::Answered, ())
    }

    async fn record(&self, outcomes: &[()], _: bool) -> anyhow::Result<Vec<()>> {
        self.0.recorded.fetch_add(outcomes.len(), Ordering::SeqCst);
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn a_worker_that_stops_performs_what_is_handed_over_in_a_place_reserved_before() {
    let work = Arc::new(Handed::default());
    let settings = Settings { poll_interval: WAIT_TIMEOUT * 2, ..SETTINGS };
    let mut worker = LeaseWorker::new(OnlyHanded(Arc::clone(&work)), Arc::default(), settings);
    let reservations = worker.reservations();
    assert!(reservations.reserve(&[]).is_none(), "the worker does not run yet");
    let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
    let stop = shutdown.clone();
    running.spawn(async move { worker.run(Progress::new("handed"), stop).await.unwrap() });
    until("places can be reserved", || reservations.reserve(&[]).is_some()).await;
    let [handed, late, rolled_back] = [(); 3].map(|()| reservations.reserve(&[]).unwrap());
    handed.hand_over(());
    until("it is recorded", || work.recorded.load(Ordering::SeqCst) == 1).await;
    // The commits of two transactions come after the worker was told to stop.
    shutdown.cancel();
    until("nothing more is reserved", || reservations.reserve(&[]).is_none()).await;
    assert!(running.try_join_next().is_none(), "it waits for the reservations");
    late.hand_over(());
    drop(rolled_back);
    let ended = tokio::time::timeout(WAIT_TIMEOUT, running.join_next()).await;
    ended.unwrap().unwrap().unwrap();
    assert_eq!((work.performed.load(Ordering::SeqCst), work.recorded.load(Ordering::SeqCst)), (2, 2));
}

#[tokio::test]
async fn nothing_is_reserved_while_older_items_wait_or_nobody_answers() {
    // Work without an end: more is always due.
    let work = Arc::new(Endless::default());
    let mut worker = LeaseWorker::new(Shared(Arc::clone(&work)), Arc::default(), SETTINGS);
    let (reservations, progress) = (worker.reservations(), Progress::new("endless"));
    let (shutdown, mut running) = (CancellationToken::new(), JoinSet::new());
    let (theirs, stop) = (progress.clone(), shutdown.clone());
    running.spawn(async move { worker.run(theirs, stop).await.unwrap() });
    until("it is paused", || progress.shown().paused.is_some()).await;
    assert!(reservations.reserve(&[]).is_none());
    work.answers.store(true, Ordering::SeqCst);
    work.most_under_way.store(0, Ordering::SeqCst);
    until("it takes all that it may", || work.most_under_way.load(Ordering::SeqCst) == SETTINGS.concurrency)
        .await;
    let reserved = (0..100).filter(|_| reservations.reserve(&[]).is_some()).count();
    assert_eq!(reserved, 0, "older items wait");
    // Others have done it all.
    work.is_done.store(true, Ordering::SeqCst);
    until("places can be reserved", || reservations.reserve(&[]).is_some()).await;
    shutdown.cancel();
    running.join_all().await;
}
