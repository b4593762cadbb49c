//! Partitions that can't be read, and what depends on them: it is left out, and everything else is compared.
//!
//! An order's events have one key, so they are in partitions of the same number in the topics of orders, reservations and payments.
//! Without one of them, none of these partitions is read, and no order is compared whose key belongs there.

use std::collections::BTreeMap;

use contracts::Topic;
use messaging::partition_for_key;
use uuid::Uuid;

use super::check::Check;

/// The topics whose keys are orders.
const OF_ORDERS: [Topic; 3] = [Topic::Orders, Topic::Reservations, Topic::Payments];

/// Partitions that can't be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Why, by partition.
    reasons: BTreeMap<(Topic, i32), String>,
    /// How many partitions each topic has.
    counts: BTreeMap<Topic, i32>,
}

impl Unread {
    /// A partition that is there.
    pub(super) fn count(&mut self, topic: Topic) {
        *self.counts.entry(topic).or_default() += 1;
    }

    /// A partition that can't be read, because of `reason`.
    pub(super) fn add(&mut self, at: (Topic, i32), reason: String) {
        self.reasons.entry(at).or_insert(reason);
    }

    /// Those that could not be read before.
    pub(super) fn add_all(&mut self, others: Self) {
        for (at, reason) in others.reasons {
            self.add(at, reason);
        }
    }

    /// Whether every partition can be read.
    pub fn is_empty(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether the same partitions can't be read, for whatever reason.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.reasons.keys().eq(other.reasons.keys())
    }

    /// How many partitions a topic has, where that is known.
    pub(super) fn partitions(&self, topic: Topic) -> Option<i32> {
        self.counts.get(&topic).copied()
    }

    /// Whether a partition is left out.
    pub(super) fn has(&self, (topic, partition): (Topic, i32)) -> bool {
        if topic == Topic::Stock {
            return self.reasons.contains_key(&(topic, partition));
        }
        // Where the topics have different numbers of partitions, a key's are not known by number.
        let is_one = |count: Option<i32>| count == self.partitions(Topic::Orders);
        let are_alike = OF_ORDERS.into_iter().all(|topic| is_one(self.partitions(topic)));
        let is_left_out = |(topic, number): &(Topic, i32)| {
            OF_ORDERS.contains(topic) && (!are_alike || *number == partition)
        };
        self.reasons.keys().any(is_left_out)
    }

    /// Whether a key's partition is left out.
    pub(super) fn has_key(&self, topic: Topic, key: &[u8]) -> bool {
        let partition = |count| partition_for_key(key, count);
        !self.is_empty() && self.partitions(topic).is_some_and(|count| self.has((topic, partition(count))))
    }

    /// Whether an order is left out.
    pub(super) fn has_order(&self, order_id: Uuid) -> bool {
        !self.is_empty() && self.has_key(Topic::Orders, order_id.to_string().as_bytes())
    }

    /// Whether orders are left out, and what they add up to with them.
    pub(super) fn has_orders(&self) -> bool {
        self.reasons.keys().any(|(topic, _)| OF_ORDERS.contains(topic))
    }

    /// Each partition with its reason.
    pub(super) fn reasons(&self) -> impl Iterator<Item = String> {
        self.reasons
            .iter()
            .map(|((topic, partition), why)| format!("{topic}/{partition} can't be read: {why}"))
    }
}

/// Whether a check compares nothing with a topic.
pub(super) const fn is_independent(check: Check) -> bool {
    matches!(
        check,
        Check::OutboxLinks
            | Check::OutboxPartitions
            | Check::BlockedKeys
            | Check::Generations
            | Check::Units
            | Check::DeadLetterKeys
            | Check::Deduplication
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(counts: [i32; 4], at: (Topic, i32)) -> Unread {
        let mut unread = Unread::default();
        for (topic, count) in Topic::ALL.into_iter().zip(counts) {
            (0..count).for_each(|_| unread.count(topic));
        }
        unread.add(at, "it has no leader".to_owned());
        unread
    }

    #[test]
    fn the_partitions_of_the_same_orders_are_left_out_and_no_others() {
        let unread = unread([6; 4], (Topic::Payments, 4));
        for topic in OF_ORDERS {
            assert!(unread.has((topic, 4)) && !unread.has((topic, 3)), "{topic}");
        }
        assert!(!unread.has((Topic::Stock, 4)) && unread.has_orders());
        let ids = (0..1_000).map(Uuid::from_u128);
        let left_out = ids.filter(|id| unread.has_order(*id)).count();
        assert!((100..250).contains(&left_out), "{left_out} of 1000");
    }

    #[test]
    fn a_partition_of_stock_leaves_no_order_out() {
        let unread = unread([6; 4], (Topic::Stock, 4));
        assert!(unread.has((Topic::Stock, 4)) && !unread.has((Topic::Orders, 4)));
        assert!(!unread.has_orders() && !(0..1_000).map(Uuid::from_u128).any(|id| unread.has_order(id)));
    }

    #[test]
    fn all_orders_are_left_out_where_their_partitions_are_not_known_by_number() {
        let unread = unread([6, 12, 6, 6], (Topic::Payments, 4));
        assert!(OF_ORDERS.into_iter().all(|topic| unread.has((topic, 0))));
        assert!((0..100).map(Uuid::from_u128).all(|id| unread.has_order(id)));
    }
}
