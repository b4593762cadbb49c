//! One moment of the system, as the checks see it: the topics' history and the databases' rows side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contracts::topics::Topics;
use uuid::Uuid;

use super::history::History;
use super::model::Model;
use super::report::Findings;
use super::snapshot::{Delivery, Snapshot};
use super::subscriptions;
use crate::services::ServiceName;

/// What is compared.
#[derive(Debug)]
pub struct Case<'a> {
    /// The deployment's topic names.
    pub topics: &'a Topics,
    /// The topics, read after the databases.
    pub history: &'a History,
    /// What the topics imply.
    pub model: Model<'a>,
    /// The databases.
    pub snapshot: &'a Snapshot,
    /// Why the effects can't be compared now; empty when the system is quiet.
    pub busy: Findings,
    /// Orders with dead letters: compared by nobody.
    pub excluded: BTreeSet<Uuid>,
}

impl<'a> Case<'a> {
    /// Puts both sides together. `low_end_offsets` are the ends of the topics before the databases were read.
    #[must_use]
    pub fn new(topics: &'a Topics, history: &'a History, snapshot: &'a Snapshot) -> Self {
        let excluded =
            snapshot.dead_letters().filter_map(|(_, row)| Uuid::parse_str(&row.key).ok()).collect();
        let busy = what_is_pending(topics, history, snapshot);
        Self { topics, history, model: Model::of(history), snapshot, busy, excluded }
    }

    /// Whether nothing is under way: both sides can be compared in full.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.busy.is_empty()
    }

    /// Orders that have no dead letters, with their stories.
    pub fn orders(&self) -> impl Iterator<Item = (Uuid, &super::model::Story<'a>)> {
        self.model
            .orders
            .iter()
            .filter(|(order_id, _)| !self.excluded.contains(order_id))
            .map(|(order_id, story)| (*order_id, story))
    }

    /// SKUs that orders with dead letters name: their levels can't be compared.
    #[must_use]
    pub fn excluded_skus(&self) -> BTreeSet<&str> {
        let stories = self.excluded.iter().filter_map(|order_id| self.model.orders.get(order_id));
        stories.flat_map(|story| story.ordered().into_keys()).collect()
    }

    /// The provider's movements of money, by order.
    #[must_use]
    pub fn ledger_by_order(&self) -> BTreeMap<Uuid, Vec<&'a super::snapshot::LedgerRow>> {
        let orders: HashMap<Uuid, Uuid> =
            self.snapshot.payments.iter().map(|row| (row.payment_id, row.order_id)).collect();
        let mut ledger: BTreeMap<Uuid, Vec<_>> = BTreeMap::new();
        for row in &self.snapshot.ledger {
            let owner = orders.get(&row.payment_id).copied().unwrap_or(row.payment_id);
            ledger.entry(owner).or_default().push(row);
        }
        ledger
    }
}

/// What is under way, service by service; nothing when the system is quiet.
fn what_is_pending(topics: &Topics, history: &History, snapshot: &Snapshot) -> Findings {
    let mut pending = Findings::default();
    for service in ServiceName::ALL {
        let Some(delivery) = snapshot.delivery.get(&service) else { continue };
        let waiting = delivery.outbox.iter().filter(|row| !row.is_published).count();
        if waiting > 0 {
            pending.add(format!("{waiting} messages of {service}'s outbox are unpublished"));
        }
        let behind = records_behind(topics, history, service, delivery);
        if behind > 0 {
            pending.add(format!("{service} is {behind} records behind"));
        }
    }
    for (what, count) in &snapshot.unfinished {
        if *count > 0 {
            pending.add(format!("{count} {what}"));
        }
    }
    pending
}

/// How many records of its topics the service had not read.
#[must_use]
fn records_behind(topics: &Topics, history: &History, service: ServiceName, delivery: &Delivery) -> i64 {
    history
        .ranges
        .iter()
        .filter(|((topic, _), _)| subscriptions::topics(service).contains(topic))
        .map(|((topic, partition), range)| {
            let position = delivery.positions.get(&(topics.name(*topic), *partition));
            (range.high - position.copied().unwrap_or(range.low)).max(0)
        })
        .sum()
}
