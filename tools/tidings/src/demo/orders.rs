//! What the demo orders: carts that end in every way an order can.

use serde_json::{Value, json};

/// What is in stock: plenty of most things, three of the rare one.
pub(super) const STOCK: [(&str, u64); 4] =
    [("TEAPOT", 1_000), ("CAKE STAND", 500), ("LANTERN", 60), ("RARE MUG", 3)];

/// The ends that the demo has to show.
pub(super) const EVERY_END: [&str; 4] =
    ["confirmed", "cancelled: out_of_stock", "cancelled: payment_declined", "cancelled: customer_request"];

/// How an order is meant to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
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
pub(super) fn plans() -> Vec<Plan> {
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

/// The body of `POST /orders`.
pub(super) fn request(number: usize, plan: Plan) -> Value {
    let payment_method = match plan {
        Plan::Confirmed | Plan::OutOfStock => "tok_visa",
        Plan::ConfirmedLate(token) | Plan::Declined(token) => token,
        Plan::Cancelled => "tok_slow",
    };
    let mut items = vec![
        json!({ "sku": "TEAPOT", "quantity": 1 + number % 3, "unit_price_minor": 2_450 }),
        json!({ "sku": "CAKE STAND", "quantity": 1, "unit_price_minor": 1_895 }),
        json!({ "sku": "LANTERN", "quantity": 2, "unit_price_minor": 495 }),
    ];
    if plan == Plan::OutOfStock {
        items.push(json!({ "sku": "RARE MUG", "quantity": 4, "unit_price_minor": 9_900 }));
    }
    json!({
        "customer_id": format!("customer-{}", number % 7),
        "currency": "GBP",
        "items": items,
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
    fn an_order_out_of_stock_asks_for_more_than_there_is() {
        let (_, rare) = STOCK[3];
        let request = request(1, Plan::OutOfStock);
        assert!(request["items"][3]["quantity"].as_u64().unwrap() > rare);
    }
}
