//! What a member reads now: shared between the polling thread and the partitions' readers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::bus::{Delivered, TopicPartition};

/// One assignment of a partition to this member. A partition that comes back gets a new one, so that a handle of an
/// earlier assignment can't disturb it.
pub(crate) struct Tenure {
    pub(crate) id: TopicPartition,
    state: Mutex<TenureState>,
    /// Wakes the reader; keeps one permit, so that no wake-up is lost.
    pub(crate) changed: Notify,
    work: Arc<AtomicBool>,
}

/// Invariant: `buffer` holds the records from `position - buffer.len()` on, of the last seek that was applied.
#[derive(Default)]
pub(crate) struct TenureState {
    pub(crate) ended: bool,
    /// A seek that the polling thread has not applied yet. Records that arrive meanwhile belong to the past.
    pub(crate) wanted_seek: Option<i64>,
    /// The polling thread should make this partition be fetched again.
    pub(crate) wanted_resume: bool,
    /// An offset that should be committed.
    pub(crate) wanted_commit: Option<i64>,
    /// Behind the last record in the buffer; `None` before the first seek.
    pub(crate) fetched: Option<i64>,
    /// Behind the last record that the reader took.
    pub(crate) taken: i64,
    pub(crate) buffer: VecDeque<Delivered>,
    pub(crate) buffer_bytes: usize,
    pub(crate) paused: bool,
    /// The broker may have said that the position is outside its range: the reader has to find out.
    pub(crate) suspect: bool,
}

impl TenureState {
    /// Where fetching should go on, if the reader wants anything.
    pub(crate) fn target(&mut self) -> Option<i64> {
        let resume = std::mem::take(&mut self.wanted_resume);
        self.wanted_seek.or(if resume { self.fetched } else { None })
    }

    /// Fetching goes on at `offset`, unless the reader has changed its mind meanwhile.
    pub(crate) fn arrived(&mut self, offset: i64) {
        self.paused = false;
        if self.wanted_seek == Some(offset) {
            self.wanted_seek = None;
            self.fetched = Some(offset);
        }
    }
}

impl Tenure {
    fn new(id: TopicPartition, work: Arc<AtomicBool>) -> Self {
        let state = TenureState { paused: true, ..TenureState::default() };
        Self { id, state: Mutex::new(state), changed: Notify::new(), work }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, TenureState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the polling thread look at what is wanted.
    pub(crate) fn request(&self, want: impl FnOnce(&mut TenureState)) {
        want(&mut self.lock());
        self.work.store(true, Ordering::Release);
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.buffer = VecDeque::new();
        state.buffer_bytes = 0;
        drop(state);
        self.changed.notify_one();
    }
}

/// What the member has not been told yet. Bounded by the partitions: news of a partition replace older news of it.
#[derive(Default)]
struct News {
    revoked: BTreeSet<TopicPartition>,
    assigned: BTreeMap<TopicPartition, Arc<Tenure>>,
    failed: Option<String>,
    closed: bool,
}

/// Told to the member, in this order.
pub(crate) enum Change {
    Revoked(Vec<TopicPartition>),
    Assigned(Vec<Arc<Tenure>>),
    Failed(String),
    Closed,
}

/// All assignments of one member.
#[derive(Default)]
pub(crate) struct Assignment {
    tenures: Mutex<BTreeMap<String, BTreeMap<i32, Arc<Tenure>>>>,
    news: Mutex<News>,
    told: Notify,
    work: Arc<AtomicBool>,
}

impl Assignment {
    /// Whether a reader wants something since the last call.
    pub(crate) fn take_work(&self) -> bool {
        self.work.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn find(&self, topic: &str, partition: i32) -> Option<Arc<Tenure>> {
        lock(&self.tenures).get(topic)?.get(&partition).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Tenure>> {
        lock(&self.tenures).values().flat_map(BTreeMap::values).cloned().collect()
    }

    pub(crate) fn assign(&self, ids: Vec<TopicPartition>) {
        let mut tenures = lock(&self.tenures);
        let mut news = lock(&self.news);
        for id in ids {
            let tenure = Arc::new(Tenure::new(id.clone(), Arc::clone(&self.work)));
            tenures.entry(id.topic.clone()).or_default().insert(id.partition, Arc::clone(&tenure));
            news.assigned.insert(id, tenure);
        }
        drop((tenures, news));
        self.told.notify_one();
    }

    pub(crate) fn revoke(&self, ids: Vec<TopicPartition>) {
        let mut tenures = lock(&self.tenures);
        let mut news = lock(&self.news);
        for id in ids {
            let tenure = tenures.get_mut(&id.topic).and_then(|topic| topic.remove(&id.partition));
            let Some(tenure) = tenure else { continue };
            tenure.end();
            if news.assigned.remove(&id).is_none() {
                news.revoked.insert(id);
            }
        }
        drop((tenures, news));
        self.told.notify_one();
    }

    /// Ends every handle; the member hears why, if there is a reason.
    pub(crate) fn close(&self, failure: Option<String>) {
        for topic in std::mem::take(&mut *lock(&self.tenures)).into_values() {
            topic.into_values().for_each(|tenure| tenure.end());
        }
        let mut news = lock(&self.news);
        news.assigned.clear();
        news.closed = true;
        if news.failed.is_none() {
            news.failed = failure;
        }
        drop(news);
        self.told.notify_one();
    }

    fn try_change(&self) -> Option<Change> {
        let mut news = lock(&self.news);
        if !news.revoked.is_empty() {
            return Some(Change::Revoked(std::mem::take(&mut news.revoked).into_iter().collect()));
        }
        if !news.assigned.is_empty() {
            return Some(Change::Assigned(std::mem::take(&mut news.assigned).into_values().collect()));
        }
        if let Some(failure) = news.failed.take() {
            return Some(Change::Failed(failure));
        }
        news.closed.then_some(Change::Closed)
    }

    /// The next change; one caller at a time. Cancel-safe: what is taken is returned at once.
    pub(crate) async fn next_change(&self) -> Change {
        loop {
            if let Some(change) = self.try_change() {
                return change;
            }
            self.told.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
