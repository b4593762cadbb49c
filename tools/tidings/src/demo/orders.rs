//! What the demo orders: carts that end in every way an order can.

use serde_json::{Value, json};

/// What is in stock: plenty of most things, three of the rare one.
pub(crate) const STOCK: [(&str, u64); 4] =
    [("TEAPOT", 1_000), ("CAKE STAND", 500), ("LANTERN", 60), ("RARE MUG", 3)];

/// The ends that the demo has to show.
pub(crate) const EVERY_END: [&str; 4] =
    ["confirmed", "cancelled: out_of_stock", "cancelled: payment_declined", "cancelled: customer_request"];

/// How an order is meant to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Everything works.
    Confirmed,
    /// The provider is late, flaky or loses its answer, and it works all the same.
    ConfirmedLate(&'static str),
    /// More of a SKU than there is.
    OutOfStock,
    /// The provider refuses.
    Declined(&'static str),
    /// The customer cancels while the provider thinks.
    Cancelled,
}

/// Three dozen orders, mixed.
pub(crate) fn plans() -> Vec<Plan> {
    let kinds = [
        Plan::Confirmed,
        Plan::OutOfStock,
        Plan::Confirmed,
        Plan::Declined("tok_declined"),
        Plan::Cancelled,
        Plan::Confirmed,
        Plan::ConfirmedLate("tok_flaky"),
        Plan::Declined("tok_fraud"),
        Plan::Confirmed,
        Plan::Declined("tok_capture_declined"),
        Plan::Confirmed,
        Plan::ConfirmedLate("tok_slow"),
    ];
    kinds.repeat(3)
}

/// What an order asks for: SKU, quantity, price of one in minor units.
fn lines(number: usize, plan: Plan) -> Vec<(&'static str, usize, u64)> {
    let mut lines = vec![("TEAPOT", 1 + number % 3, 2_450), ("CAKE STAND", 1, 1_895), ("LANTERN", 2, 495)];
    if plan == Plan::OutOfStock {
        lines.push(("RARE MUG", 4, 9_900));
    }
    lines
}

/// How many of a SKU one round of orders takes from the stock; those that run out of stock take nothing.
pub(crate) fn wanted(plans: &[Plan], sku: &str) -> usize {
    let taken = plans.iter().enumerate().filter(|(_, plan)| **plan != Plan::OutOfStock);
    taken
        .flat_map(|(number, plan)| lines(number, *plan))
        .filter(|(line, ..)| *line == sku)
        .map(|(_, quantity, _)| quantity)
        .sum()
}

/// The body of `POST /orders`.
pub(crate) fn request(number: usize, plan: Plan) -> Value {
    let payment_method = match plan {
        Plan::Confirmed | Plan::OutOfStock => "tok_visa",
        Plan::ConfirmedLate(token) | Plan::Declined(token) => token,
        Plan::Cancelled => "tok_slow",
    };
    let lines: Vec<Value> = lines(number, plan)
        .into_iter()
        .map(|(sku, quantity, price)| json!({ "sku": sku, "quantity": quantity, "unit_price_minor": price }))
        .collect();
    json!({
        "customer_id": format!("customer-{}", number % 7),
        "currency": "GBP",
        "lines": lines,
        "payment_method": payment_method,
        "recipient": {
            "name": format!("Customer {}", number % 7),
            "email": format!("customer-{}@example.com", number % 7),
            "address": { "street": "1 Example Street", "city": "Example", "postal_code": "EX1 1EX", "country": "GB" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_orders_a_few_dozen_that_end_in_every_way() {
        let plans = plans();
        assert_eq!(plans.len(), 36);
        for kind in [Plan::Confirmed, Plan::OutOfStock, Plan::Cancelled] {
            assert!(plans.contains(&kind));
        }
        assert!(plans.iter().any(|plan| matches!(plan, Plan::Declined(_))));
    }

    #[test]
    fn a_round_of_orders_takes_of_everything_but_the_rare() {
        let plans = [Plan::Confirmed, Plan::OutOfStock, Plan::Declined("tok_declined")];
        let wanted: Vec<_> = STOCK.iter().map(|(sku, _)| (*sku, wanted(&plans, sku))).collect();
        assert_eq!(wanted, [("TEAPOT", 1 + 3), ("CAKE STAND", 2), ("LANTERN", 4), ("RARE MUG", 0)]);
    }

    #[test]
    fn an_order_out_of_stock_asks_for_more_than_there_is() {
        let (_, rare) = STOCK[3];
        let request = request(1, Plan::OutOfStock);
        assert!(request["lines"][3]["quantity"].as_u64().unwrap() > rare);
    }
}
