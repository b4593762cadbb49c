//! One moment of the system, as the checks see it: the topics' history and the databases' rows side by side.
//!
//! Each database is read before the topics and says itself how far it had read them: what it should hold follows from the
//! events that it had applied at that moment. So nothing has to rest for a comparison, and an order whose event is a dead
//! letter of one service is compared in all of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use contracts::topics::{Topic, Topics};
use contracts::{AnyEvent, Event};
use uuid::Uuid;

use super::check::Check;
use super::databases::Snapshot;
use super::delivery::{Delivery, MessageRow};
use super::fates::{self, Fate};
use super::history::{History, Record, Seen};
use super::report::Comparisons;
use super::subscriptions;
use crate::services::ServiceName;

/// How far clocks may differ where a time is only compared within bounds.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(10);

/// The first occurrence of a valid event.
#[derive(Clone, Copy, Debug)]
pub struct Occurrence<'a> {
    /// The record.
    pub record: &'a Record,
    /// What it says.
    pub event: &'a AnyEvent,
}

/// An event of an aggregate: on its topic, or still in the outbox.
#[derive(Clone, Copy, Debug)]
pub struct Published<'a> {
    /// What it says.
    pub event: &'a AnyEvent,
    /// Its record, unless it waits.
    pub record: Option<&'a Record>,
    /// Its message, unless that was dropped.
    pub message: Option<&'a MessageRow>,
}

/// The first occurrences of one order's events, each in the order of its topic.
#[derive(Clone, Debug, Default)]
pub struct OrderEvents<'a> {
    /// Of order.
    pub orders: Vec<Occurrence<'a>>,
    /// Of inventory.
    pub reservations: Vec<Occurrence<'a>>,
    /// Of payment.
    pub payments: Vec<Occurrence<'a>>,
}

/// What is compared.
#[derive(Debug)]
pub struct Case<'a> {
    /// The deployment's topic names.
    pub topics: &'a Topics,
    /// The topics, read after the databases.
    pub history: &'a History,
    /// The databases.
    pub snapshot: &'a Snapshot,
    /// What is under way; empty when the system is quiet.
    pub busy: Vec<String>,
    /// Every order that any event names.
    pub orders: BTreeMap<Uuid, OrderEvents<'a>>,
    /// Every SKU that an event of its own names.
    pub skus: BTreeMap<&'a str, Vec<Occurrence<'a>>>,
    /// First occurrences by event.
    pub events: HashMap<Uuid, Occurrence<'a>>,
    /// Outbox messages by topic and key, in the order of their ids.
    messages: HashMap<(ServiceName, Topic, &'a str), Vec<&'a MessageRow>>,
    fates: HashMap<(ServiceName, Uuid), Fate>,
    pending: HashMap<ServiceName, i64>,
    /// Orders with a record whose causes are not all read.
    incomplete: HashSet<Uuid>,
}

/// The first event of this type, with its record.
pub fn first<'a, E: Event>(occurrences: &[Occurrence<'a>]) -> Option<(&'a E, &'a Record)> {
    occurrences.iter().find_map(|it| Some((E::from_any(it.event)?, it.record)))
}

/// The first published event of this type.
pub fn first_of<'a, E: Event>(published: &[Published<'a>]) -> Option<&'a E> {
    published.iter().find_map(|it| E::from_any(it.event))
}

impl<'a> Case<'a> {
    /// Puts both sides together.
    pub fn new(topics: &'a Topics, history: &'a History, snapshot: &'a Snapshot) -> Self {
        let mut case = Self {
            topics,
            history,
            snapshot,
            busy: Vec::new(),
            orders: BTreeMap::new(),
            skus: BTreeMap::new(),
            events: HashMap::with_capacity(history.records.len()),
            messages: HashMap::new(),
            fates: fates::of(topics, history, snapshot),
            pending: HashMap::new(),
            incomplete: HashSet::new(),
        };
        for record in &history.records {
            if let Ok(event) = &record.event
                && !history.is_complete(record)
                && let Ok(order_id) = Uuid::parse_str(&event.key())
            {
                case.incomplete.insert(order_id);
            }
            if let Ok(event) = &record.event
                && record.seen_by(&[event.event_type()]) == Seen::Event(event)
            {
                case.add(Occurrence { record, event });
            }
        }
        for record in &history.causes {
            if let Ok(event) = &record.event {
                case.events.entry(event.event_id()).or_insert(Occurrence { record, event });
            }
        }
        for (service, delivery) in &snapshot.delivery {
            for row in &delivery.messages {
                if let (Some(topic), Some(key)) = (topics.parse(&row.topic), row.subject.as_deref()) {
                    case.messages.entry((*service, topic, key)).or_default().push(row);
                }
            }
            let behind = records_behind(topics, history, *service, delivery);
            case.pending.insert(*service, behind);
        }
        case.busy = case.what_is_pending();
        case
    }

    fn add(&mut self, occurrence: Occurrence<'a>) {
        let event = occurrence.event;
        if self.events.contains_key(&event.event_id()) {
            return;
        }
        self.events.insert(event.event_id(), occurrence);
        match event {
            AnyEvent::OrderPlaced(_) | AnyEvent::OrderConfirmed(_) | AnyEvent::OrderCancelled(_) => {
                self.order(event).orders.push(occurrence);
            }
            AnyEvent::StockReserved(_) | AnyEvent::StockReleased(_) | AnyEvent::StockRejected(_) => {
                self.order(event).reservations.push(occurrence);
            }
            AnyEvent::PaymentCompleted(_) | AnyEvent::PaymentDeclined(_) | AnyEvent::PaymentRefunded(_) => {
                self.order(event).payments.push(occurrence);
            }
            AnyEvent::StockReplenished(e) => self.skus.entry(&e.sku).or_default().push(occurrence),
            AnyEvent::StockLevelLow(e) => self.skus.entry(&e.sku).or_default().push(occurrence),
            AnyEvent::StockLevelRestored(e) => self.skus.entry(&e.sku).or_default().push(occurrence),
        }
    }

    fn order(&mut self, event: &AnyEvent) -> &mut OrderEvents<'a> {
        self.orders.entry(Uuid::parse_str(&event.key()).unwrap_or_default()).or_default()
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.busy.is_empty() && self.history.unread.is_empty()
    }

    /// Whether everything that led to an order's records is read.
    pub fn is_complete(&self, order_id: Uuid) -> bool {
        !self.incomplete.contains(&order_id)
    }

    /// Whether nothing more comes of an order: it has ended, every service has applied all of its events, and all that followed
    /// is on the topics.
    pub fn is_done(&self, order_id: Uuid) -> bool {
        let Some(OrderEvents { orders, reservations, payments }) = self.orders.get(&order_id) else {
            return false;
        };
        let is_end = |it: &Occurrence<'_>| {
            matches!(it.event, AnyEvent::OrderConfirmed(_) | AnyEvent::OrderCancelled(_))
        };
        let is_applied = |it: &Occurrence<'_>| {
            let subscribes =
                |service: &ServiceName| subscriptions::of(*service).contains(&it.event.event_type());
            let mut services = ServiceName::ALL.into_iter().filter(subscribes);
            services.all(|service| self.fate(service, it.event.event_id()) == Some(Fate::Applied))
        };
        let published = [orders, reservations, payments].map(|events| events.len() as i64);
        let publishers = [
            (ServiceName::Order, Topic::Orders),
            (ServiceName::Inventory, Topic::Reservations),
            (ServiceName::Payment, Topic::Payments),
        ];
        let key = order_id.to_string();
        let is_sent =
            |(service, topic)| self.messages_of(service, topic, &key).iter().all(|row| row.is_published);
        orders.iter().any(is_end)
            && publishers.into_iter().all(is_sent)
            && orders.iter().chain(reservations).chain(payments).all(is_applied)
            && self.snapshot.has_published(order_id, published)
    }

    /// What became of an event in a service that subscribes to it.
    pub fn fate(&self, service: ServiceName, event_id: Uuid) -> Option<Fate> {
        self.fates.get(&(service, event_id)).copied()
    }

    /// How many records of its topics a service had not read.
    pub fn records_behind(&self, service: ServiceName) -> i64 {
        self.pending.get(&service).copied().unwrap_or_default()
    }

    /// The events of an order that a service had applied, topic by topic.
    pub fn applied(&self, service: ServiceName, order_id: Uuid) -> Vec<Occurrence<'a>> {
        let Some(order) = self.orders.get(&order_id) else { return Vec::new() };
        let all = order.orders.iter().chain(&order.reservations).chain(&order.payments);
        all.filter(|it| self.fate(service, it.event.event_id()) == Some(Fate::Applied)).copied().collect()
    }

    /// The events under a key that its service had published or written down to be published, `last_sequence` of them.
    pub fn published(
        &self,
        service: ServiceName,
        topic: Topic,
        key: &str,
        last_sequence: i64,
    ) -> Vec<Published<'a>> {
        let messages = self.messages_of(service, topic, key);
        let message = |id: Uuid| messages.iter().find(|row| row.event_id == Some(id)).copied();
        let mut published: Vec<Published<'a>> = self
            .of_key(topic, key)
            .iter()
            .filter(|it| it.event.sequence() <= last_sequence)
            .map(|it| Published {
                event: it.event,
                record: Some(it.record),
                message: message(it.event.event_id()),
            })
            .collect();
        for row in messages.iter().filter(|row| !row.is_published) {
            if let Some(event) = &row.event
                && !self.events.contains_key(&event.event_id())
            {
                published.push(Published { event, record: None, message: Some(row) });
            }
        }
        published.sort_by_key(|it| it.event.sequence());
        published
    }

    /// The first occurrences under a key of a topic.
    pub fn of_key(&self, topic: Topic, key: &str) -> &[Occurrence<'a>] {
        let order = || Uuid::parse_str(key).ok().and_then(|id| self.orders.get(&id));
        let found = match topic {
            Topic::Orders => order().map(|it| &it.orders),
            Topic::Reservations => order().map(|it| &it.reservations),
            Topic::Payments => order().map(|it| &it.payments),
            Topic::Stock => self.skus.get(key),
        };
        found.map_or(&[][..], Vec::as_slice)
    }

    fn messages_of<'s>(&'s self, service: ServiceName, topic: Topic, key: &'s str) -> &'s [&'a MessageRow] {
        let messages: &HashMap<(ServiceName, Topic, &'s str), Vec<&'a MessageRow>> = &self.messages;
        messages.get(&(service, topic, key)).map_or(&[][..], Vec::as_slice)
    }

    /// Compares what an aggregate's row says that it has published with its key's events; gives those.
    pub fn aggregate(
        &self,
        out: &mut Comparisons,
        service: ServiceName,
        topic: Topic,
        key: &str,
        (last_sequence, last_message_id): (i64, Option<i64>),
    ) -> Vec<Published<'a>> {
        let published = self.published(service, topic, key, last_sequence);
        let sequences: Vec<i64> = published.iter().map(|it| it.event.sequence()).collect();
        out.holds(Check::Aggregates, sequences.iter().copied().eq(1..=last_sequence), || {
            format!(
                "{topic} {key}: {service} says that it published {last_sequence} events, {sequences:?} are on the topic \
                 and in the outbox"
            )
        });
        let earlier = self.of_key(topic, key).iter().filter(|it| self.history.was_before(it.record));
        let on_topic = earlier.map(|it| it.event.sequence()).max().unwrap_or(0);
        out.holds(Check::Aggregates, on_topic <= last_sequence, || {
            format!("{topic} {key}: {service} says that it published {last_sequence} events, the topic had {on_topic}")
        });
        let newest = self.messages_of(service, topic, key).last().map(|row| row.id);
        match newest {
            Some(_) => out.same(
                Check::Aggregates,
                &format!("{topic} {key}"),
                &format!("{service}'s last_message_id"),
                &last_message_id,
                &newest,
            ),
            // Its messages were dropped with their table partition.
            None => {
                let delivery = self.snapshot.delivery.get(&service);
                let oldest =
                    delivery.and_then(|delivery| delivery.tables.first().copied()).unwrap_or_default();
                out.holds(Check::Aggregates, last_message_id.is_none_or(|id| id < oldest), || {
                    format!(
                        "{topic} {key}: {service}'s last message {last_message_id:?} is not in its outbox"
                    )
                });
            }
        }
        published
    }

    /// A time that nothing else tells exactly: not before what it follows, and not in the future.
    pub fn plausible(
        &self,
        out: &mut Comparisons,
        check: Check,
        subject: &dyn std::fmt::Display,
        column: &str,
        at: DateTime<Utc>,
        (not_before, taken_at): (DateTime<Utc>, DateTime<Utc>),
    ) {
        let holds = at >= not_before - CLOCK_TOLERANCE && at <= taken_at + CLOCK_TOLERANCE;
        out.holds(check, holds, || {
            format!("{subject}: {column} is {at}, which is not between {not_before} and {taken_at}")
        });
    }

    /// When a service's database was read.
    pub fn taken_at(&self, service: ServiceName) -> DateTime<Utc> {
        self.snapshot.delivery.get(&service).map(|delivery| delivery.taken_at).unwrap_or_default()
    }

    /// The orders with open dead letters in a service.
    pub fn orders_with_letters(&self, service: ServiceName) -> HashSet<Uuid> {
        let letters =
            self.snapshot.delivery.get(&service).map_or(&[][..], |delivery| delivery.letters.as_slice());
        letters
            .iter()
            .filter_map(|row| Uuid::parse_str(std::str::from_utf8(row.key.as_deref()?).ok()?).ok())
            .collect()
    }

    fn what_is_pending(&self) -> Vec<String> {
        let mut pending = Vec::new();
        for (service, delivery) in &self.snapshot.delivery {
            let waiting = delivery.waiting;
            if waiting > 0 {
                pending.push(format!("{waiting} messages of {service}'s outbox are unpublished"));
            }
            let behind = self.records_behind(*service);
            if behind > 0 {
                pending.push(format!("{service} is {behind} records behind"));
            }
        }
        for (what, count) in &self.snapshot.unfinished {
            if *count > 0 {
                pending.push(format!("{count} {what}"));
            }
        }
        pending
    }
}

fn records_behind(topics: &Topics, history: &History, service: ServiceName, delivery: &Delivery) -> i64 {
    history
        .ranges
        .iter()
        .filter(|((topic, _), _)| subscriptions::topics(service).contains(topic))
        .map(|((topic, partition), range)| {
            let position = delivery.next_offset(&topics.name(*topic), *partition);
            (range.high - position.unwrap_or(range.low)).max(0)
        })
        .sum()
}
