//! What a member reads now, and what it has not been told of it yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::tenure::Tenure;
use crate::bus::TopicPartition;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_comes_back_is_another_one() {
        let assignment = Assignment::default();
        let id = TopicPartition { topic: "t".into(), partition: 0 };
        assignment.assign(vec![id.clone()]);
        let before = assignment.find("t", 0).unwrap();
        assignment.revoke(vec![id.clone()]);
        assignment.assign(vec![id]);
        let after = assignment.find("t", 0).unwrap();
        assert!(before.lock().ended && !after.lock().ended);
        // Nobody was told of the first one, so that its end is no news.
        assert!(matches!(assignment.try_change(), Some(Change::Assigned(tenures)) if tenures.len() == 1));
        assert!(assignment.try_change().is_none());
    }
}
