//! What is known of every order so far, shared by those who send and those who watch.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::client::OrderView;

/// How many errors are kept word by word.
const KEPT_ERRORS: usize = 20;

/// The import's books.
#[derive(Debug, Default)]
pub struct Progress {
    books: Mutex<Books>,
}

/// The figures of one moment.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Accepted orders that are not known to have ended.
    pub open: HashSet<Uuid>,
    /// The largest number of open orders seen.
    pub max_open: usize,
    /// SKUs replenished.
    pub replenished: u64,
    /// Orders answered 2xx.
    pub accepted: u64,
    /// Those of them that an earlier run had placed.
    pub replayed: u64,
    /// Orders answered 4xx.
    pub rejected: u64,
    /// Orders whose outcome stayed unknown.
    pub unknown: u64,
    /// Orders that were not sent, because nothing was answered any more.
    pub unsent: u64,
    /// Requests repeated because their outcome was unknown.
    pub repeated: u64,
    /// What the service said to the first rejected or unknown ones.
    pub errors: Vec<String>,
    /// How many orders came to which end.
    pub ends: BTreeMap<String, u64>,
    /// From placed to ended, by the service's clock.
    pub times_to_end: Vec<Duration>,
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything known now.
    pub fn snapshot(&self) -> Books {
        self.lock().clone()
    }

    /// Something of everything known now, without copying all of it.
    pub fn read<T>(&self, read: impl FnOnce(&Books) -> T) -> T {
        read(&self.lock())
    }

    /// One more SKU has its stock.
    pub fn replenished(&self) {
        self.lock().replenished += 1;
    }

    /// One more request had to be repeated.
    pub fn repeated(&self) {
        self.lock().repeated += 1;
    }

    /// The service took the order, now or in an earlier run.
    pub fn accepted(&self, order: &OrderView, replayed: bool) {
        let mut books = self.lock();
        books.accepted += 1;
        books.replayed += u64::from(replayed);
        books.open.insert(order.order_id);
    }

    /// The service rejected an order permanently.
    pub fn rejected(&self, invoice: &str, why: &str) {
        let mut books = self.lock();
        books.rejected += 1;
        books.complain(invoice, why);
    }

    /// Nobody knows what became of the order.
    pub fn unknown(&self, invoice: &str, why: &str) {
        let mut books = self.lock();
        books.unknown += 1;
        books.complain(invoice, why);
    }

    /// Nothing was answered for so long that the order was not sent.
    pub fn not_sent(&self) {
        self.lock().unsent += 1;
    }

    /// Of the orders known to be open, `still_open` were so a moment ago.
    pub fn saw_open(&self, still_open: usize) {
        let mut books = self.lock();
        books.max_open = books.max_open.max(still_open);
    }

    /// The order has ended, if it shows an end.
    pub fn ended(&self, order: &OrderView) {
        let (Some(end), Some(ended_at)) = (order.end(), order.ended_at) else { return };
        let mut books = self.lock();
        if books.open.remove(&order.order_id) {
            *books.ends.entry(end).or_default() += 1;
            books.times_to_end.push((ended_at - order.placed_at).to_std().unwrap_or_default());
        }
    }
}

impl Books {
    fn complain(&mut self, invoice: &str, why: &str) {
        if self.errors.len() < KEPT_ERRORS {
            self.errors.push(format!("invoice {invoice}: {why}"));
        }
    }

    /// Orders that have ended.
    pub fn ended(&self) -> u64 {
        self.ends.values().sum()
    }
}
