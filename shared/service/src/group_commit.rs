//! Group commit: items that wait while a transaction is under way are committed by the next one together (docs/adr/0040).

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// The most members of a group.
const MAX_MEMBERS: usize = 64;

/// The most bytes of a group; an item of more is a group of its own.
const MAX_BYTES: usize = 1024 * 1024;

/// A group that takes longer no longer holds up the next one.
const NEXT_GROUP_TIMEOUT: Duration = Duration::from_millis(50);

/// How many groups are under way at once: while one waits for its commit, the other executes its statements.
const AT_ONCE: usize = 2;

/// A transaction that commits any number of items.
pub trait Commit: Send + Sync + 'static {
    /// What is committed.
    type Item: Send + Sync + 'static;
    /// What an item locks. Two items of one key are never in the same group.
    type Key: Eq + ?Sized;
    /// What became of an item.
    type Answer: Send + 'static;
    /// Why a transaction failed.
    type Error: Send + Sync + 'static;

    /// What this item locks.
    fn key(item: &Self::Item) -> &Self::Key;

    /// About how much memory this item takes.
    fn bytes(item: &Self::Item) -> usize;

    /// Commits all of them in one transaction; gives the answers in the order of the items. The locks of several items are taken
    /// in the order of their keys, and waited for only briefly: the other items wait as well.
    fn commit(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Answer>, Self::Error>> + Send;

    /// Whether one item may have brought about the failure, so that the others succeed without it.
    fn is_of_one(error: &Self::Error) -> bool;
}

/// Why an item has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure<E> {
    /// Its transaction failed, for all items of the group.
    #[error("the transaction failed")]
    Failed(#[source] Arc<E>),
    /// Its transaction panicked. What was committed is unknown.
    #[error("the transaction panicked")]
    Panicked,
}

/// Commits items in groups. Clones share them.
///
/// A group is committed by a task of its own, so that a caller that is dropped stops no transaction. Whoever ends the process
/// waits for the callers, and so for their groups.
pub struct GroupCommit<C: Commit>(Arc<Groups<C>>);

struct Groups<C: Commit> {
    work: C,
    queue: Mutex<Queue<C>>,
    next_group_timeout: Duration,
    tasks: TaskTracker,
}

struct Queue<C: Commit> {
    waiting: VecDeque<Member<C>>,
    under_way: usize,
}

struct Member<C: Commit> {
    item: C::Item,
    reply: oneshot::Sender<Reply<C>>,
}

enum Reply<C: Commit> {
    Answered(C::Answer),
    Failed(Arc<C::Error>),
    /// The group failed because of one of its members: each commits its item alone.
    Alone(C::Item),
}

impl<C: Commit> GroupCommit<C> {
    /// Commits by this work.
    pub fn new(work: C) -> Self {
        Self::with_timeout(work, NEXT_GROUP_TIMEOUT)
    }

    fn with_timeout(work: C, next_group_timeout: Duration) -> Self {
        let queue = Mutex::new(Queue { waiting: VecDeque::new(), under_way: 0 });
        Self(Arc::new(Groups { work, queue, next_group_timeout, tasks: TaskTracker::new() }))
    }

    /// Commits the item, at once or with others that wait, and gives its answer after the commit.
    ///
    /// # Errors
    /// When its transaction failed or panicked.
    pub async fn commit(&self, item: C::Item) -> Result<C::Answer, Failure<C::Error>> {
        let (reply, answer) = oneshot::channel();
        self.0.enqueue(Member { item, reply });
        match answer.await {
            Ok(Reply::Answered(answer)) => Ok(answer),
            Ok(Reply::Failed(error)) => Err(Failure::Failed(error)),
            Ok(Reply::Alone(item)) => {
                let committed = self.0.work.commit(std::slice::from_ref(&item)).await;
                let mut answers = committed.map_err(|error| Failure::Failed(Arc::new(error)))?;
                answers.pop().ok_or(Failure::Panicked)
            }
            Err(_) => Err(Failure::Panicked),
        }
    }
}

impl<C: Commit> Groups<C> {
    fn enqueue(self: &Arc<Self>, member: Member<C>) {
        let mut queue = self.lock();
        queue.waiting.push_back(member);
        if queue.under_way < AT_ONCE {
            queue.under_way += 1;
            drop(queue);
            self.tasks.spawn(Arc::clone(self).commit_groups());
        }
    }

    /// Commits groups one after the other until nobody waits.
    async fn commit_groups(self: Arc<Self>) {
        while let Some(group) = self.next() {
            let mut committing = Box::pin(Arc::clone(&self).commit_group(group));
            if timeout(self.next_group_timeout, &mut committing).await.is_err() {
                self.tasks.spawn(committing);
            }
        }
    }

    fn next(&self) -> Option<Vec<Member<C>>> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            queue.under_way -= 1;
            return None;
        }
        Some(take(&mut queue.waiting))
    }

    async fn commit_group(self: Arc<Self>, group: Vec<Member<C>>) {
        let (items, replies): (Vec<C::Item>, Vec<_>) =
            group.into_iter().map(|member| (member.item, member.reply)).unzip();
        let committed = AssertUnwindSafe(self.work.commit(&items)).catch_unwind().await;
        let outcomes: Vec<Reply<C>> = match committed {
            Ok(Ok(answers)) => answers.into_iter().map(Reply::Answered).collect(),
            Ok(Err(error)) if items.len() > 1 && C::is_of_one(&error) => {
                items.into_iter().map(Reply::Alone).collect()
            }
            Ok(Err(error)) => {
                let error = Arc::new(error);
                replies.iter().map(|_| Reply::Failed(Arc::clone(&error))).collect()
            }
            // The panic hook has written where and why; a reply that is dropped says so.
            Err(_) => Vec::new(),
        };
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            // Nobody waits any more for what a caller that is gone wanted.
            let _ = reply.send(outcome);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next group, in the order of arrival. Whoever does not fit stays, and is first in one of the next.
fn take<C: Commit>(waiting: &mut VecDeque<Member<C>>) -> Vec<Member<C>> {
    let mut group: Vec<Member<C>> = Vec::new();
    let mut left = VecDeque::new();
    let mut bytes = 0_usize;
    for member in waiting.drain(..) {
        let with_it = bytes.saturating_add(C::bytes(&member.item));
        let fits = group.is_empty() || group.len() < MAX_MEMBERS && with_it <= MAX_BYTES;
        if fits && group.iter().all(|other| C::key(&other.item) != C::key(&member.item)) {
            bytes = with_it;
            group.push(member);
        } else {
            left.push_back(member);
        }
    }
    *waiting = left;
    group
}

impl<C: Commit> Clone for GroupCommit<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Commit> fmt::Debug for GroupCommit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCommit").field("waiting", &self.0.lock().waiting.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
