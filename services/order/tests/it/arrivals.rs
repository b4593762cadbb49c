//! All orders of arrival of what can end an order, on a real database: as many orders as there are, a step a batch.

use contracts::AnyEvent;
use order::domain::OrderId;

use crate::events::{payment_completed, payment_declined, stock_rejected, stock_reserved};
use crate::stack::{Stack, expire};

/// What can happen to an open order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    StockReserved,
    StockRejected,
    PaymentCompleted,
    PaymentDeclined,
    Cancellation,
    Deadline,
}

impl Input {
    pub(crate) const ALL: [Self; 6] = [
        Self::StockReserved,
        Self::StockRejected,
        Self::PaymentCompleted,
        Self::PaymentDeclined,
        Self::Cancellation,
        Self::Deadline,
    ];

    /// The event that says it, if one does.
    pub(crate) fn event(self, order_id: OrderId) -> Option<AnyEvent> {
        match self {
            Self::StockReserved => Some(stock_reserved(order_id)),
            Self::StockRejected => Some(stock_rejected(order_id)),
            Self::PaymentCompleted => Some(payment_completed(order_id)),
            Self::PaymentDeclined => Some(payment_declined(order_id)),
            Self::Cancellation | Self::Deadline => None,
        }
    }

    /// Status and reason of the order that this input is the first to end.
    pub(crate) const fn end(self) -> Option<(&'static str, Option<&'static str>)> {
        match self {
            Self::StockReserved => None,
            Self::StockRejected => Some(("cancelled", Some("out_of_stock"))),
            Self::PaymentCompleted => Some(("confirmed", None)),
            Self::PaymentDeclined => Some(("cancelled", Some("payment_declined"))),
            Self::Cancellation => Some(("cancelled", Some("customer_request"))),
            Self::Deadline => Some(("cancelled", Some("timed_out"))),
        }
    }
}

/// Every permutation of `inputs`.
fn permutations(inputs: &[Input]) -> Vec<Vec<Input>> {
    let [_, ..] = inputs else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for (index, first) in inputs.iter().enumerate() {
        let rest: Vec<Input> = [&inputs[..index], &inputs[index + 1..]].concat();
        all.extend(permutations(&rest).into_iter().map(|rest| [vec![*first], rest].concat()));
    }
    all
}

/// Lets each order have its own input of this step; all events are one batch.
async fn step(stack: &Stack, inputs: &[(OrderId, Input)]) {
    let events = inputs.iter().filter_map(|(order_id, input)| input.event(*order_id)).collect();
    stack.apply(events).await;
    let having =
        |wanted| inputs.iter().filter(move |(_, input)| *input == wanted).map(|(order_id, _)| *order_id);
    for order_id in having(Input::Cancellation) {
        let answered = stack.replica.cancel(order_id).await;
        assert!([202, 409].contains(&answered.status.as_u16()), "{answered:?}");
    }
    let due: Vec<OrderId> = having(Input::Deadline).collect();
    stack.let_deadlines_pass(&due).await;
    expire(&stack.replica.store, &due, chrono::TimeDelta::zero()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_end_wins_in_every_order_of_arrival_and_everything_may_come_twice() {
    let stack = Stack::start().await;
    let arrivals: Vec<Vec<Input>> =
        permutations(&Input::ALL).into_iter().map(|once| [once.clone(), once].concat()).collect();
    let order_ids = stack.place_many(arrivals.len()).await;
    for n in 0..2 * Input::ALL.len() {
        let inputs: Vec<_> = order_ids.iter().zip(&arrivals).map(|(id, inputs)| (*id, inputs[n])).collect();
        step(&stack, &inputs).await;
    }
    for (order_id, inputs) in order_ids.iter().zip(&arrivals) {
        let (status, reason) = stack.end_of(*order_id).await;
        let first_end = inputs.iter().find_map(|input| input.end());
        assert_eq!(Some((status.as_str(), reason.as_deref())), first_end, "{inputs:?}");
    }
    assert_eq!(stack.check_invariants().await, 720);
    println!("{} orders of arrival on PostgreSQL, everything twice", arrivals.len());
}
