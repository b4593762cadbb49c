//! The calls that a worker has under way, and whose they are.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};

use super::room::{Holder, Room};
use super::{Contact, LeasedWork};

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Ended<O> {
    pub(super) contact: Contact,
    pub(super) holders: Vec<Holder>,
    /// None of a call that panicked.
    pub(super) outcome: Option<O>,
}

pub(super) struct Calls<W: LeasedWork> {
    work: Arc<W>,
    set: JoinSet<(Contact, W::Outcome)>,
    holders: HashMap<Id, Vec<Holder>>,
}

impl<W: LeasedWork> Calls<W> {
    pub(super) fn new(work: Arc<W>) -> Self {
        Self { work, set: JoinSet::new(), holders: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.set.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The free places, and who holds the others.
    pub(super) fn room(&self, free: usize, concurrency: usize) -> Room {
        Room::shared(free, concurrency, self.holders.values().flatten())
    }

    pub(super) fn start(&mut self, items: Vec<W::Item>) {
        for item in items {
            let holders = self.work.holders(&item);
            let task = self.set.spawn(Arc::clone(&self.work).perform(item));
            self.holders.insert(task.id(), holders);
        }
    }

    /// Waits for a call to end and takes all that have ended by then. `None` when none is under way.
    pub(super) async fn next(&mut self) -> Option<Vec<Ended<W::Outcome>>> {
        let first = self.set.join_next_with_id().await?;
        let mut ended = vec![self.end(first)];
        while let Some(next) = self.set.try_join_next_with_id() {
            ended.push(self.end(next));
        }
        Some(ended)
    }

    fn end(&mut self, ended: Result<(Id, (Contact, W::Outcome)), JoinError>) -> Ended<W::Outcome> {
        let (id, contact, outcome) = match ended {
            Ok((id, (contact, outcome))) => (id, contact, Some(outcome)),
            Err(error) => {
                tracing::error!(worker = self.work.name(), %error, "a call panicked; its item is retried when its lease expires");
                (error.id(), Contact::NoAnswer, None)
            }
        };
        Ended { contact, holders: self.holders.remove(&id).unwrap_or_default(), outcome }
    }
}
