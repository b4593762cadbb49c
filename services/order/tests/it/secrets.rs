//! What prints an order prints neither its payment token nor who gets it.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use contracts::{Cause, TraceContext};
use order::adapters::contract::publication;
use order::adapters::stored;
use order::application::place_order::prepare;
use order::application::{Answer, CustomerKey, Placing, Recorded};
use order::domain::{
    Address, Command, CurrencyCode, CustomerId, Email, Line, OrderEvent, OrderId, PaymentMethod, Placement,
    Quantity, Recipient, Sku, Text, UnitPrice,
};
use uuid::Uuid;

/// Nobody may read these in a log.
const SECRETS: [&str; 4] = ["tok_secret", "Zoe", "zoe@example.org", "High Street"];

fn placement() -> Placement {
    let address = Address {
        street: Text::try_new("1 High Street").unwrap(),
        city: Text::try_new("Leeds").unwrap(),
        postal_code: Text::try_new("LS1").unwrap(),
        country: Text::try_new("GB").unwrap(),
    };
    let email = Email::try_new("zoe@example.org").unwrap();
    let line = Line {
        sku: Sku::try_new("22423").unwrap(),
        quantity: Quantity::try_new(1).unwrap(),
        unit_price_minor: UnitPrice::try_new(1).unwrap(),
    };
    Placement::try_new(
        CustomerId::try_new("12345").unwrap(),
        CurrencyCode::try_new("GBP").unwrap(),
        vec![line],
        PaymentMethod::try_new("tok_secret").unwrap(),
        Some(Recipient { name: Text::try_new("Zoe").unwrap(), email, address }),
    )
    .unwrap()
}

#[test]
fn nothing_that_holds_an_order_prints_its_token_or_its_recipient() {
    let (order_id, now) = (OrderId(Uuid::nil()), DateTime::<Utc>::UNIX_EPOCH);
    let cause = Cause {
        correlation_id: Uuid::nil(),
        causation_id: None,
        user_id: None,
        trace: TraceContext::default(),
    };
    let event = OrderEvent::OrderPlaced(Box::new(placement()));
    let recorded =
        Recorded { order_id, version: 1, occurred_at: now, event: event.clone(), cause: cause.clone() };
    let body = serde_json::to_string(&placement()).unwrap();
    let answer = Answer { status_code: 202, etag: "\"1\"".to_owned(), body };
    let key = CustomerKey { customer_id: placement().customer_id, key: "key".to_owned() };
    let prepared = prepare(order_id, placement(), TimeDelta::zero(), &cause, now).unwrap();
    let placing = Placing { key, order_id, request: Arc::new(placement()), answer, prepared };
    let printed = [
        format!("{:?}", placement()),
        format!("{:?}", Command::Place { placement: Box::new(placement()), due_at: now }),
        format!("{:?}", publication(&recorded, Uuid::nil(), 1).unwrap()),
        format!("{recorded:?}"),
        format!("{:?}", stored::store(&event).unwrap()),
        format!("{placing:?}"),
    ];
    for printed in printed {
        let found = SECRETS.iter().find(|secret| printed.contains(**secret));
        assert_eq!(found, None, "{printed}");
    }
}
