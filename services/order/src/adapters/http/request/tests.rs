//! Limits and faults of the request to place an order.

use serde::Deserialize as _;
use serde_json::{Value, json};
use service::http::{Fault, Field};

use crate::domain::Placement;

fn parse(body: &Value) -> Result<Placement, Vec<Fault>> {
    super::parse(Field::deserialize(body).unwrap())
}

fn valid() -> Value {
    json!({
        "customer_id": "17850",
        "currency": "GBP",
        "lines": [{ "sku": "85123A", "quantity": 6, "unit_price_minor": 255 }],
        "payment_method": "tok_visa",
        "recipient": {
            "name": "Ada Lovelace",
            "email": "ada@example.org",
            "address": { "street": "12 St James's Square", "city": "London", "postal_code": "SW1Y 4JH", "country": "United Kingdom" },
        },
    })
}

/// `valid()` with `value` at `pointer`.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = valid();
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

/// `valid()` without the field at `pointer`.
fn without(pointer: &str) -> Value {
    let mut body = valid();
    let (object, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    body
}

fn pointers(body: &Value) -> Vec<String> {
    parse(body).unwrap_err().into_iter().map(|fault| fault.pointer).collect()
}

#[test]
fn a_valid_order_is_understood() {
    let placement = parse(&valid()).unwrap();
    assert_eq!(placement.total_minor, 1_530);
    assert_eq!(placement.recipient.unwrap().address.city.as_str(), "London");
    assert!(parse(&with("/recipient", Value::Null)).unwrap().recipient.is_none());
    assert!(parse(&without("/recipient")).unwrap().recipient.is_none());
}

#[test]
fn a_sku_may_stand_on_several_lines() {
    let line = json!({ "sku": "A", "quantity": 1, "unit_price_minor": 1 });
    assert_eq!(parse(&with("/lines", json!([line, line]))).unwrap().lines.len(), 2);
}

#[test]
fn all_faults_are_told_at_once_each_with_its_place() {
    let body = json!({
        "customer_id": "",
        "currency": "gbp",
        "lines": [
            { "sku": "A", "quantity": 1, "unit_price_minor": 1 },
            { "sku": " A", "quantity": 0, "unit_price_minor": -1, "colour": "red" },
            7,
        ],
        "recipient": { "name": 1, "email": "nobody", "address": { "street": "", "a/b~c": 1 } },
        "coupon": "X",
    });
    let mut found = pointers(&body);
    found.sort_unstable();
    let expected = [
        "/coupon",
        "/currency",
        "/customer_id",
        "/lines/1/colour",
        "/lines/1/quantity",
        "/lines/1/sku",
        "/lines/1/unit_price_minor",
        "/lines/2",
        "/payment_method",
        "/recipient/address/a~1b~0c",
        "/recipient/address/city",
        "/recipient/address/country",
        "/recipient/address/postal_code",
        "/recipient/address/street",
        "/recipient/email",
        "/recipient/name",
    ];
    assert_eq!(found, expected);
}

#[test]
fn every_required_field_is_required_and_every_string_bounded() {
    for (pointer, longest) in [
        ("/customer_id", 100),
        ("/payment_method", 100),
        ("/lines/0/sku", 64),
        ("/recipient/name", 200),
        ("/recipient/address/street", 200),
        ("/recipient/address/city", 100),
        ("/recipient/address/postal_code", 20),
        ("/recipient/address/country", 100),
    ] {
        assert_eq!(pointers(&without(pointer)), [pointer]);
        assert!(parse(&with(pointer, json!("é".repeat(longest)))).is_ok(), "{pointer}");
        for wrong in [json!("é".repeat(longest + 1)), json!(""), json!("a\u{0}b"), json!(1), Value::Null] {
            assert_eq!(pointers(&with(pointer, wrong)), [pointer]);
        }
    }
    for pointer in
        ["/lines/0/quantity", "/lines/0/unit_price_minor", "/recipient/email", "/recipient/address"]
    {
        assert_eq!(pointers(&without(pointer)), [pointer]);
    }
}

#[test]
fn numbers_keep_their_limits() {
    for (pointer, allowed, refused) in [
        ("/lines/0/quantity", [1, 1_000_000], [0, 1_000_001]),
        ("/lines/0/unit_price_minor", [0, 1_000_000_000], [-1, 1_000_000_001]),
    ] {
        for value in allowed {
            assert!(parse(&with(pointer, json!(value))).is_ok(), "{pointer} {value}");
        }
        for value in refused {
            assert_eq!(pointers(&with(pointer, json!(value))), [pointer]);
        }
        for value in
            [json!(1.0), json!(1e3), json!("1"), json!(u64::MAX), json!(i64::MIN), json!(1e300), json!(true)]
        {
            assert_eq!(pointers(&with(pointer, value)), [pointer]);
        }
    }
}

#[test]
fn an_order_has_1_to_2000_lines() {
    let line = json!({ "sku": "A", "quantity": 1_000_000, "unit_price_minor": 1_000_000_000 });
    let largest = parse(&with("/lines", json!(vec![line.clone(); 2_000]))).unwrap();
    assert_eq!(largest.total_minor, 2_000_000_000_000_000_000);
    for items in [json!([]), json!(vec![line; 2_001]), json!({}), Value::Null] {
        assert_eq!(pointers(&with("/lines", items)), ["/lines"]);
    }
    assert_eq!(pointers(&without("/lines")), ["/lines"]);
}

#[test]
fn a_body_that_is_no_object_has_one_fault() {
    for body in [json!([]), json!("order"), Value::Null] {
        assert_eq!(pointers(&body), [""]);
    }
}

#[test]
fn an_array_is_no_object_at_any_depth() {
    for pointer in ["", "/lines/0", "/recipient", "/recipient/address"] {
        let body = with(pointer, json!(["85123A", 6, 255, "x", "y"]));
        assert_eq!(pointers(&body), [pointer]);
    }
}

#[test]
fn a_sku_that_no_address_can_name_is_refused_where_it_stands() {
    for sku in [".", ".."] {
        assert_eq!(pointers(&with("/lines/0/sku", json!(sku))), ["/lines/0/sku"]);
    }
    for sku in ["...", ".5", "a.b", "a/b", "%2E"] {
        assert!(parse(&with("/lines/0/sku", json!(sku))).is_ok(), "{sku}");
    }
}

#[test]
fn names_and_places_are_text_of_any_script_without_what_is_not_seen() {
    let places = ["name", "address/street", "address/city", "address/country"];
    for field in places.map(|field| format!("/recipient/{field}")) {
        for good in ["می\u{200c}خواهم", "ශ්\u{200d}රී ලංකා", "ന്\u{200d}"] {
            assert!(parse(&with(&field, json!(good))).is_ok(), "{field}: {good}");
        }
        for bad in ["a\u{200d}b", "a\u{202e}b", "\u{3164}", "a\u{e0041}", "a\u{0}"] {
            assert_eq!(pointers(&with(&field, json!(bad))), [field.as_str()], "{bad:?}");
        }
    }
}

#[test]
fn an_address_that_no_mail_reaches_is_refused_with_its_pointer() {
    let of = |local: usize, domain: usize| {
        let labels = "a.".repeat((domain - 3) / 2);
        format!("{}@{}{labels}org", "x".repeat(local), "a".repeat((domain - 3) % 2))
    };
    for good in [
        "ada@example.org",
        "a.b+c@mail.example.co.uk",
        "o'neil!#$%&*-/=?^_`{|}~@example.org",
        "ada@müller.example",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([of(64, 189)])
    {
        assert!(parse(&with("/recipient/email", json!(good))).is_ok(), "{good}");
    }
    for bad in [
        ".ada@example.org",
        "ada.@example.org",
        "a..da@example.org",
        "ada\\@example.org",
        "\"ada\"@example.org",
        "ada@example.org:25",
        "ada@[192.0.2.1]",
        "ada@[IPv6:2001:db8::1]",
        "ada@192.0.2.1",
        "ada@localhost",
        "ada@example.org.",
        "ada@-example.org",
        "ada@exa_mple.org",
        "jörg@example.org",
        "ada@example.org\r\nRCPT TO:<eve@example.org>",
        "Ada <ada@example.org>",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([of(65, 100), of(64, 190), of(1, 254), format!("ada@{}.org", "a".repeat(64))])
    {
        assert_eq!(pointers(&with("/recipient/email", json!(bad))), ["/recipient/email"], "{bad}");
    }
}
