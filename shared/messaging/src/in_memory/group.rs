//! Consumer groups: who reads which partition. Sticky: a rebalance moves no more partitions than balance needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use regex_lite::Regex;

use crate::bus::{BusError, Subscription, TopicPartition};

/// Decides which topics a member reads.
pub(crate) enum Matcher {
    Topics(BTreeSet<String>),
    Pattern(Regex),
}

impl Matcher {
    pub(crate) fn try_new(subscription: &Subscription) -> Result<Self, BusError> {
        subscription.check()?;
        match subscription {
            Subscription::Topics(topics) => Ok(Self::Topics(topics.iter().cloned().collect())),
            Subscription::Pattern(pattern) => Regex::new(pattern)
                .map(Self::Pattern)
                .map_err(|error| BusError::Configuration(format!("pattern {pattern}: {error}"))),
        }
    }

    fn matches(&self, topic: &str) -> bool {
        match self {
            Self::Topics(topics) => topics.contains(topic),
            Self::Pattern(pattern) => pattern.is_match(topic),
        }
    }
}

/// One assignment of a partition to a member; ends when it is revoked.
#[derive(Clone, Default)]
pub(crate) struct Assignment(Arc<AtomicBool>);

impl Assignment {
    fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Member {
    matcher: Matcher,
    owned: BTreeMap<TopicPartition, Assignment>,
    assigned: BTreeSet<TopicPartition>,
    revoked: BTreeSet<TopicPartition>,
}

/// A change that a member has not taken yet.
pub(crate) enum Change {
    Assigned(Vec<(TopicPartition, Assignment)>),
    Revoked(Vec<TopicPartition>),
}

/// The members of a group, and the offsets that they committed.
#[derive(Default)]
pub(crate) struct Group {
    members: BTreeMap<u64, Member>,
    pub(crate) committed: BTreeMap<TopicPartition, i64>,
}

impl Group {
    pub(crate) fn join(&mut self, id: u64, matcher: Matcher) {
        let member =
            Member { matcher, owned: BTreeMap::new(), assigned: BTreeSet::new(), revoked: BTreeSet::new() };
        self.members.insert(id, member);
    }

    pub(crate) fn leave(&mut self, id: u64) {
        if let Some(member) = self.members.remove(&id) {
            member.owned.values().for_each(Assignment::end);
        }
    }

    /// Revocations first, so that no member holds a partition twice.
    pub(crate) fn next_change(&mut self, id: u64) -> Option<Change> {
        let member = self.members.get_mut(&id)?;
        if !member.revoked.is_empty() {
            return Some(Change::Revoked(std::mem::take(&mut member.revoked).into_iter().collect()));
        }
        if member.assigned.is_empty() {
            return None;
        }
        let taken = std::mem::take(&mut member.assigned);
        let assignments = taken.into_iter().filter_map(|id| {
            let assignment = member.owned.get(&id)?.clone();
            Some((id, assignment))
        });
        Some(Change::Assigned(assignments.collect()))
    }

    /// Gives every partition to one member that wants it, and evens the shares out.
    pub(crate) fn rebalance(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if self.owner(partition).is_none()
                && let Some(member) = self.least_loaded(partition)
            {
                self.give(member, partition);
            }
        }
        for _ in 0..partitions.len() {
            let Some((from, to, partition)) = self.find_move() else { break };
            self.take(from, &partition);
            self.give(to, &partition);
        }
    }

    fn owner(&self, partition: &TopicPartition) -> Option<u64> {
        self.members.iter().find(|(_, member)| member.owned.contains_key(partition)).map(|(id, _)| *id)
    }

    fn least_loaded(&self, partition: &TopicPartition) -> Option<u64> {
        let wanting = self.members.iter().filter(|(_, member)| member.matcher.matches(&partition.topic));
        wanting.min_by_key(|(_, member)| member.owned.len()).map(|(id, _)| *id)
    }

    /// A partition whose move narrows the gap between two members' shares.
    fn find_move(&self) -> Option<(u64, u64, TopicPartition)> {
        for (from, richer) in &self.members {
            for partition in richer.owned.keys().rev() {
                let Some(to) = self.least_loaded(partition) else { continue };
                if richer.owned.len() > self.members.get(&to)?.owned.len() + 1 {
                    return Some((*from, to, partition.clone()));
                }
            }
        }
        None
    }

    fn give(&mut self, id: u64, partition: &TopicPartition) {
        if let Some(member) = self.members.get_mut(&id) {
            member.owned.insert(partition.clone(), Assignment::default());
            member.assigned.insert(partition.clone());
        }
    }

    fn take(&mut self, id: u64, partition: &TopicPartition) {
        if let Some(member) = self.members.get_mut(&id) {
            if let Some(assignment) = member.owned.remove(partition) {
                assignment.end();
            }
            if !member.assigned.remove(partition) {
                member.revoked.insert(partition.clone());
            }
        }
    }
}
