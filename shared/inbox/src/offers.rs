//! What the partitions of a member offer to its joint task (docs/adr/0015).
//!
//! An offer is withdrawn or taken, never both: both happen under one lock. A partition has one offer at most, so that two
//! of its parts are never in one transaction.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use database::Verdict;
use messaging::TopicPartition;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::batch::Outcome;
use crate::decoded::Part;
use crate::error_policy::HandlerError;

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The outcome of its first records.
    Of(Part, Outcome),
    /// The transaction failed, and no other partition was in it.
    FailedAlone(HandlerError),
    /// The transaction failed, by whichever partition's fault. Nothing was applied.
    Failed(Verdict),
}

/// The first records of an offer, and whom to answer.
pub(crate) type Taken = (Part, oneshot::Sender<Answer>);

struct Offer {
    number: u64,
    part: Part,
    answer: oneshot::Sender<Answer>,
}

/// What is offered and not taken yet.
#[derive(Default)]
pub(crate) struct Offers {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    offered: u64,
    offers: BTreeMap<TopicPartition, Offer>,
}

impl Offers {
    /// Offers a part, and waits for what becomes of it; none if it was withdrawn, because `stop` came before it was taken.
    pub(crate) async fn offer(&self, part: Part, stop: &CancellationToken) -> Option<Answer> {
        let id = part.partition().clone();
        let (number, mut answer) = self.insert(part);
        self.arrived.notify_one();
        tokio::select! {
            biased;
            answer = &mut answer => return Some(answer.unwrap_or(Answer::Failed(Verdict::Transient))),
            () = stop.cancelled() => {}
        }
        if self.withdraw(&id, number) {
            return None;
        }
        // Taken: the transaction has a bound.
        Some(answer.await.unwrap_or(Answer::Failed(Verdict::Transient)))
    }

    fn insert(&self, part: Part) -> (u64, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.offered += 1;
        let number = waiting.offered;
        // That of a former worker of the partition is withdrawn with it.
        waiting.offers.insert(part.partition().clone(), Offer { number, part, answer });
        (number, answered)
    }

    fn withdraw(&self, id: &TopicPartition, number: u64) -> bool {
        let mut waiting = self.lock();
        let is_ours = waiting.offers.get(id).is_some_and(|offer| offer.number == number);
        is_ours && waiting.offers.remove(id).is_some()
    }

    /// Waits for an offer.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes the first records of each offer, so that all together are at most so many records, and about so many bytes; of more
    /// offers than records the oldest. What an offer does not need of its share is the others'.
    pub(crate) fn take(&self, max_records: usize, max_bytes: usize) -> Vec<Taken> {
        let mut offers = self.take_oldest(max_records.max(1));
        offers.sort_by_key(|offer| offer.part.records().len());
        let (mut records, mut bytes, mut shares) = (max_records, max_bytes, offers.len());
        let mut taken = Vec::with_capacity(offers.len());
        for Offer { part, answer, .. } in offers {
            let (fitting, size) = part.fitting(records / shares, bytes / shares);
            records = records.saturating_sub(fitting);
            bytes = bytes.saturating_sub(size);
            shares -= 1;
            taken.push((part.first(fitting), answer));
        }
        taken.sort_by(|(one, _), (other, _)| one.partition().cmp(other.partition()));
        taken
    }

    fn take_oldest(&self, limit: usize) -> Vec<Offer> {
        let mut waiting = self.lock();
        let mut offers: Vec<Offer> = std::mem::take(&mut waiting.offers).into_values().collect();
        offers.sort_by_key(|offer| offer.number);
        let left_out = offers.split_off(offers.len().min(limit));
        if !left_out.is_empty() {
            waiting.offers.extend(left_out.into_iter().map(|offer| (offer.part.partition().clone(), offer)));
            self.arrived.notify_one();
        }
        offers
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::decoded::tests::decoded;

    /// A part of a partition, of so many records of ten bytes.
    fn part(partition: i32, records: i64) -> Part {
        let records: Vec<(i64, usize)> = (0..records).map(|offset| (offset, 10)).collect();
        let len = records.len();
        Part::new(decoded(partition, 0, i64::try_from(len).unwrap(), &records), 0..len, None)
    }

    /// The partitions that are taken, and how many records of each.
    fn taken(taken: &[Taken]) -> Vec<(i32, usize)> {
        taken.iter().map(|(part, _)| (part.partition().partition, part.records().len())).collect()
    }

    fn offered(parts: Vec<Part>) -> Offers {
        let offers = Offers::default();
        for part in parts {
            offers.insert(part);
        }
        offers
    }

    #[tokio::test]
    async fn an_offer_is_withdrawn_or_taken_and_never_both() {
        let (offers, stop) = (Offers::default(), CancellationToken::new());
        let mut first = Box::pin(offers.offer(part(0, 1), &stop));
        assert!(first.as_mut().now_or_never().is_none());
        stop.cancel();
        assert!(first.await.is_none());
        assert_eq!(taken(&offers.take(9, 900)), []);

        let stop = CancellationToken::new();
        let mut second = Box::pin(offers.offer(part(0, 1), &stop));
        assert!(second.as_mut().now_or_never().is_none());
        let mut transaction = offers.take(9, 900);
        stop.cancel();
        assert!(second.as_mut().now_or_never().is_none(), "it waits for what was taken");
        let (part, answer) = transaction.pop().unwrap();
        answer.send(Answer::Of(part, Outcome::Locked)).unwrap();
        assert!(matches!(second.await, Some(Answer::Of(_, Outcome::Locked))));
    }

    #[tokio::test]
    async fn a_worker_whose_transaction_is_lost_is_told() {
        let (offers, stop) = (Offers::default(), CancellationToken::new());
        let mut offer = Box::pin(offers.offer(part(0, 1), &stop));
        assert!(offer.as_mut().now_or_never().is_none());
        drop(offers.take(9, 900));
        assert!(matches!(offer.await, Some(Answer::Failed(_))));
    }

    #[test]
    fn a_partition_that_comes_back_is_offered_once() {
        let offers = Offers::default();
        let (former, _former_answer) = offers.insert(part(0, 1));
        let (newer, _newer_answer) = offers.insert(part(0, 2));
        let id = part(0, 1).partition().clone();
        assert!(!offers.withdraw(&id, former), "the former worker's is gone");
        assert_eq!(taken(&offers.take(9, 900)), [(0, 2)]);
        assert!(!offers.withdraw(&id, newer), "it is taken");
        assert_eq!(taken(&offers.take(9, 900)), []);
    }

    #[test]
    fn what_is_taken_is_bounded_and_no_share_stays_unused() {
        let parts = || vec![part(2, 50), part(0, 1), part(1, 3), part(3, 50)];
        assert_eq!(taken(&offered(parts()).take(500, 90_000)), [(0, 1), (1, 3), (2, 50), (3, 50)]);
        assert_eq!(taken(&offered(parts()).take(40, 90_000)), [(0, 1), (1, 3), (2, 18), (3, 18)]);
        assert_eq!(taken(&offered(parts()).take(500, 400)), [(0, 1), (1, 3), (2, 18), (3, 18)]);
        assert_eq!(taken(&offered(vec![part(0, 50)]).take(500, 5)), [(0, 1)]);
    }

    #[tokio::test]
    async fn of_more_offers_than_records_the_oldest_are_taken_and_the_others_next() {
        let offers = offered(vec![part(4, 5), part(2, 5), part(3, 5)]);
        assert_eq!(taken(&offers.take(2, 900)), [(2, 1), (4, 1)]);
        offers.arrived().await;
        assert_eq!(taken(&offers.take(2, 900)), [(3, 2)]);
    }
}
