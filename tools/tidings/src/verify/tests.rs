//! One corruption of a consistent system after the other: each must be named by its guarantee.

mod system;

use std::fmt::Display;

use contracts::order::CancellationReason;
use contracts::{AnyEvent, Topic};
use uuid::Uuid;

use super::case::Case;
use super::checks::{DeadLetters, check};
use super::history::{Place, Unreadable};
use super::report::{Guarantee, Status};
use super::snapshot::{DeadLetterRow, OrderRow};
use crate::services::ServiceName;
use system::{CONFIRMED, DECLINED, PRICE_MINOR, REFUNDED, System, lines, payment_id};

fn is_of(event: &AnyEvent, topic: Topic, order_id: Uuid, sequence: i64) -> bool {
    event.topic() == topic && event.key() == order_id.to_string() && event.sequence() == sequence
}

/// The corruption is a violation of `guarantee`, and its finding names `id`.
#[track_caller]
fn is_named(guarantee: Guarantee, id: impl Display, corrupt: impl FnOnce(&mut System)) {
    let id = id.to_string();
    let mut system = System::new();
    corrupt(&mut system);
    let report = system.verify();
    let verdict = report.verdict(guarantee).unwrap();
    assert_eq!(verdict.status, Status::Violated, "{report}");
    assert!(verdict.violations.first.iter().any(|finding| finding.contains(&id)), "{report}");
    assert!(!report.holds());
}

#[test]
fn a_consistent_system_holds_every_guarantee() {
    let report = System::new().verify();
    assert!(report.holds(), "{report}");
}

#[test]
fn g1_names_an_order_that_is_not_on_the_topic_or_differs_from_it() {
    is_named(Guarantee::G1, CONFIRMED, |s| s.lose(|event| is_of(event, Topic::Orders, CONFIRMED, 1)));
    is_named(Guarantee::G1, CONFIRMED, |s| s.lose(|event| is_of(event, Topic::Orders, CONFIRMED, 2)));
    is_named(Guarantee::G1, CONFIRMED, |s| s.snapshot.orders[0].total_minor += 1);
    is_named(Guarantee::G1, REFUNDED, |s| s.snapshot.orders[3].reason = Some("timed_out".into()));
    is_named(Guarantee::G1, DECLINED, |s| s.snapshot.orders.retain(|row| row.order_id != DECLINED));
    // Nothing but its row tells of it: an outbox forgets what was finished long ago.
    let forgotten = Uuid::from_u128(0xab);
    is_named(Guarantee::G1, forgotten, |s| {
        let row = OrderRow { order_id: forgotten, ..s.snapshot.orders[0].clone() };
        s.snapshot.orders.push(row);
    });
}

#[test]
fn g1_names_an_event_that_a_relay_finished_without_publishing_it() {
    let lost = System::new().delivery(ServiceName::Inventory).outbox[1].event_id;
    is_named(Guarantee::G1, lost, |s| s.lose(|event| event.event_id() == lost));
    is_named(Guarantee::G1, "tidings.stock TEAPOT", |s| {
        s.delivery(ServiceName::Inventory)
            .blocked_keys
            .push("tidings.stock TEAPOT (rejected): too large".into());
    });
}

#[test]
fn g2_names_gaps_inversions_and_repetitions_that_differ() {
    is_named(Guarantee::G2, CONFIRMED, |s| s.lose(|event| is_of(event, Topic::Orders, CONFIRMED, 1)));
    is_named(Guarantee::G2, REFUNDED, |s| {
        let indexes: Vec<usize> = (0..s.history.seen.len())
            .filter(|&i| {
                let event = &s.history.seen[i].event;
                is_of(event, Topic::Payments, REFUNDED, 1) || is_of(event, Topic::Payments, REFUNDED, 2)
            })
            .collect();
        s.history.seen.swap(indexes[0], indexes[1]);
    });
    is_named(Guarantee::G2, CONFIRMED, |s| {
        let mut twin = s
            .history
            .seen
            .iter()
            .find(|seen| is_of(&seen.event, Topic::Orders, CONFIRMED, 1))
            .unwrap()
            .clone();
        twin.place.partition = 3;
        if let AnyEvent::OrderPlaced(event) = &mut twin.event {
            event.event_id = Uuid::from_u128(0x9999);
        }
        s.history.seen.push(twin);
    });
    let changed = System::new().history.seen[1].event.event_id();
    is_named(Guarantee::G2, changed, |s| {
        let mut again = s.history.seen[1].clone();
        if let AnyEvent::OrderPlaced(event) = &mut again.event {
            event.total_minor += 1;
        }
        s.history.seen.push(again);
    });
}

#[test]
fn a_repeated_delivery_violates_nothing() {
    let mut system = System::new();
    let again = system.history.seen.clone();
    system.history.seen.extend(again);
    let report = system.verify();
    assert!(report.holds(), "{report}");
}

#[test]
fn g3_names_stored_effects_that_the_topics_do_not_imply() {
    is_named(Guarantee::G3, "TEAPOT", |s| {
        s.snapshot.stock[0].committed += 1;
        s.snapshot.stock[0].available -= 1;
    });
    is_named(Guarantee::G3, REFUNDED, |s| s.snapshot.reservations[3].1 = "reserved".into());
    is_named(Guarantee::G3, DECLINED, |s| s.snapshot.payments[2].state = "completed".into());
    is_named(Guarantee::G3, CONFIRMED, |s| s.moved(CONFIRMED, "refund", 2 * PRICE_MINOR));
    is_named(Guarantee::G3, payment_id(CONFIRMED), |s| s.moved(CONFIRMED, "capture", 2 * PRICE_MINOR));
    is_named(Guarantee::G3, CONFIRMED, |s| s.snapshot.mails.push((CONFIRMED, "order_confirmed".into())));
    is_named(Guarantee::G3, "GBP", |s| s.snapshot.analytics.revenue.get_mut("GBP").unwrap().2 += 1);
    is_named(Guarantee::G3, "TEAPOT", |s| s.snapshot.analytics.sales.get_mut("GBP TEAPOT").unwrap().0 *= 2);
    is_named(Guarantee::G3, "TEAPOT", |s| {
        s.snapshot.analytics.alerts.insert("TEAPOT".into(), 1);
    });
    is_named(Guarantee::G3, "placed", |s| *s.snapshot.analytics.funnel.get_mut("placed").unwrap() += 1);
}

#[test]
fn g3_names_published_effects_that_contradict_each_other() {
    is_named(Guarantee::G3, CONFIRMED, |s| s.reserved(CONFIRMED, 2));
    is_named(Guarantee::G3, CONFIRMED, |s| s.released(CONFIRMED, 2));
    is_named(Guarantee::G3, REFUNDED, |s| s.lose(|event| is_of(event, Topic::Payments, REFUNDED, 2)));
    is_named(Guarantee::G3, REFUNDED, |s| s.lose(|event| is_of(event, Topic::Reservations, REFUNDED, 2)));
    is_named(Guarantee::G3, CONFIRMED, |s| {
        if let AnyEvent::PaymentCompleted(event) =
            s.event_mut(|event| is_of(event, Topic::Payments, CONFIRMED, 1))
        {
            event.amount_minor += 1;
        }
    });
    is_named(Guarantee::G3, CONFIRMED, |s| {
        if let AnyEvent::StockReserved(event) =
            s.event_mut(|event| is_of(event, Topic::Reservations, CONFIRMED, 1))
        {
            event.lines = lines(1);
        }
    });
}

#[test]
fn g4_names_orders_with_two_ends_and_books_that_do_not_balance() {
    is_named(Guarantee::G4, CONFIRMED, |s| s.cancelled(CONFIRMED, CancellationReason::CustomerRequest));
    is_named(Guarantee::G4, "TEAPOT", |s| s.snapshot.stock[0].available += 1);
    is_named(Guarantee::G4, "GBP", |s| s.moved(CONFIRMED, "refund", 2 * PRICE_MINOR));
    is_named(Guarantee::G4, "GBP", |s| s.snapshot.ledger.retain(|row| row.step != "capture"));
}

#[test]
fn g5_names_events_that_a_service_passed_without_a_trace() {
    let event_id = System::new().history.seen[1].event.event_id();
    for service in
        [ServiceName::Inventory, ServiceName::Payment, ServiceName::Notification, ServiceName::Analytics]
    {
        is_named(Guarantee::G5, event_id, |s| assert!(s.delivery(service).inbox.remove(&event_id)));
    }
    is_named(Guarantee::G5, "orders/0@7", |s| {
        let range = s.history.ranges.get_mut(&(Topic::Orders, 0)).unwrap();
        let place = Place { topic: Topic::Orders, partition: 0, offset: range.high - 1 };
        s.history.unreadable.push(Unreadable { place, claimed_type: None, reason: "no value".into() });
    });
}

#[test]
fn g5_names_dead_letters_where_none_are_expected_and_lists_them_apart_where_some_are() {
    let dead_letter = |s: &mut System| {
        let row = DeadLetterRow {
            topic: "tidings.orders".into(),
            partition: 0,
            offset: 1,
            key: CONFIRMED.to_string(),
            event_id: uuid::Uuid::from_u128(7),
            reason: "malformed".into(),
        };
        s.delivery(ServiceName::Payment).dead_letters.push(row);
    };
    is_named(Guarantee::G5, CONFIRMED, dead_letter);
    let mut system = System::new();
    dead_letter(&mut system);
    let report = check(&Case::new(&system.topics, &system.history, &system.snapshot), DeadLetters::Listed);
    assert!(report.holds(), "{report}");
    assert!(report.excluded.first[0].contains(&CONFIRMED.to_string()));
}

#[test]
fn what_cannot_be_checked_is_no_success() {
    let mut truncated = System::new();
    truncated.history.ranges.get_mut(&(Topic::Orders, 0)).unwrap().low = 1;
    let mut behind = System::new();
    behind.delivery(ServiceName::Analytics).positions.insert(("tidings.orders".into(), 0), 3);
    let mut waiting = System::new();
    waiting.delivery(ServiceName::Order).outbox[0].is_published = false;
    let mut due = System::new();
    due.snapshot.unfinished.push(("payments have a step to do", 1));
    for system in [truncated, behind, waiting, due] {
        let report = system.verify();
        assert!(!report.holds(), "{report}");
        assert!(report.verdicts.iter().all(|verdict| verdict.status != Status::Violated), "{report}");
    }
}
