//! Given what is known of an order, when a fact arrives, then these notifications follow.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn money(amount_minor: i64) -> Money {
    Money { amount_minor, currency: "GBP".to_owned() }
}

fn somebody() -> RecipientStatus {
    RecipientStatus::Present { total: money(100) }
}

fn unknown() -> Order {
    Order {
        order_id: OrderId(Uuid::from_u128(1)),
        recipient_status: RecipientStatus::Unknown,
        end: None,
        refund: None,
    }
}

#[test]
fn a_customer_hears_of_the_order_its_end_and_the_refund() {
    let mut order = unknown();
    let cancelled = End::Cancelled(Reason::TimedOut);
    assert_eq!(order.placed(somebody()), Ok(vec![Notification::OrderReceived]));
    assert_eq!(order.ended(cancelled), Ok(vec![Notification::OrderCancelled(Reason::TimedOut)]));
    assert_eq!(order.refunded(money(100)), vec![Notification::PaymentRefunded(money(100))]);
}

#[test]
fn an_order_without_a_recipient_is_remembered_and_never_written_about() {
    let mut order = unknown();
    assert_eq!(order.placed(RecipientStatus::Absent { total: money(1) }), Ok(vec![]));
    assert_eq!(order.ended(End::Confirmed), Ok(vec![]));
    assert_eq!(order.notifications(), vec![]);
}

#[test]
fn what_is_known_before_the_order_waits_for_it() {
    let mut order = unknown();
    assert_eq!(order.refunded(money(7)), vec![]);
    assert_eq!(order.ended(End::Cancelled(Reason::CustomerRequest)), Ok(vec![]));
    let all = vec![
        Notification::OrderReceived,
        Notification::OrderCancelled(Reason::CustomerRequest),
        Notification::PaymentRefunded(money(7)),
    ];
    assert_eq!(order.placed(somebody()), Ok(all));
}

#[test]
fn a_second_end_and_another_order_under_the_same_id_are_refused() {
    let mut order = unknown();
    order.placed(somebody()).expect("the first order");
    order.ended(End::Confirmed).expect("the first end");
    let before = order.clone();
    let second = End::Cancelled(Reason::TimedOut);
    let refused = Refusal::ContradictingEnd { order_id: order.order_id, first: End::Confirmed, second };
    assert_eq!(order.ended(second), Err(refused));
    let refused = Refusal::ContradictingOrder { order_id: order.order_id };
    assert_eq!(order.placed(RecipientStatus::Present { total: money(101) }), Err(refused));
    assert_eq!(order, before);
}

proptest! {
    /// Facts in any order, any number of times: each notification once, and the same set in the end.
    #[test]
    fn any_order_of_doubled_facts_gives_each_notification_once(facts in prop::collection::vec(0..3_u8, 0..12)) {
        let mut order = unknown();
        let mut notifications = Vec::new();
        for fact in &facts {
            notifications.extend(match fact {
                0 => order.placed(somebody()).expect("one order"),
                1 => order.ended(End::Confirmed).expect("one end"),
                _ => order.refunded(money(5)),
            });
        }
        let mut expected = Vec::new();
        if facts.contains(&0) {
            expected.push("order_received");
            expected.extend(facts.contains(&1).then_some("order_confirmed"));
            expected.extend(facts.contains(&2).then_some("payment_refunded"));
        }
        let mut kinds: Vec<_> = notifications.iter().map(Notification::kind).collect();
        kinds.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(kinds, expected);
    }
}
