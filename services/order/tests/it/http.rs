//! The order API, request by request.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use service::config::HttpConfig;
use utoipa::OpenApi;

use crate::events::{payment_completed, payment_id, stock_reserved};
use crate::stack::{Settings, Stack, post_order, valid_order};

#[tokio::test]
async fn an_order_is_answered_after_the_commit_with_its_place_and_version() {
    let stack = Stack::start().await;
    let answered = stack.replica.post_order("first", &valid_order()).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED);
    let order_id = answered.order_id();
    let location = format!("/orders/{order_id}");
    assert_eq!(answered.header("location"), Some(location.as_str()));
    assert_eq!(answered.header("etag"), Some("\"2\""));
    assert_eq!(answered.header("idempotent-replayed"), None);
    let got = stack.replica.get(&location).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.header("etag"), Some("\"2\""));
    assert_eq!(got.json(), answered.json());
    let body = got.json();
    assert_eq!(body["status"], "placed");
    assert_eq!(body["total_minor"], 1_530);
    assert_eq!(body["lines"].as_array().unwrap().len(), 2);
    assert_eq!(body["recipient"]["address"]["city"], "London");
    assert_eq!(stack.published(order_id).await, [("tidings.order.OrderPlaced".to_owned(), 1)]);
    assert_eq!(stack.check_invariants().await, 1);
}

#[tokio::test]
async fn an_order_is_seen_again_only_after_it_has_changed() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    let path = format!("/orders/{order_id}");
    let get = async |etag: &str| {
        stack
            .replica
            .ask(Request::get(&path).header("if-none-match", etag).body(Body::empty()).unwrap())
            .await
    };
    let unchanged = get("\"2\"").await;
    assert_eq!((unchanged.status, unchanged.text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(unchanged.header("etag"), Some("\"2\""));
    stack.apply(vec![payment_completed(order_id)]).await;
    let changed = get("\"2\"").await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_eq!(changed.header("etag"), Some("\"3\""));
    assert_eq!(changed.json()["status"], "confirmed");
    assert_eq!(changed.json()["payment_id"], payment_id(order_id).to_string());
}

#[tokio::test]
async fn the_past_is_told_by_time_and_as_a_whole() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    stack.apply(vec![stock_reserved(order_id)]).await;
    stack.apply(vec![payment_completed(order_id)]).await;
    // Nobody's business: it changes no state that people see.
    stack.apply(vec![crate::events::stock_rejected(order_id)]).await;
    let history = stack.replica.get(&format!("/orders/{order_id}/history")).await.json();
    let states = history["states"].as_array().unwrap();
    let stages: Vec<_> = states.iter().map(|state| state["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, ["placed", "stock_reserved", "confirmed"]);
    assert!(!history.to_string().contains("Ada"), "no personal data in a history");
    for (state, total) in states.iter().zip([1_530; 3]) {
        let as_of = state["occurred_at"].as_str().unwrap();
        let path = format!("/orders/{order_id}?as_of={as_of}");
        let then = stack.replica.get(&path).await.json();
        assert_eq!((&then["stage"], &then["total_minor"]), (&state["stage"], &json!(total)));
    }
    let too_early = stack.replica.get(&format!("/orders/{order_id}?as_of=2020-01-01T00:00:00Z")).await;
    assert_eq!(too_early.status, StatusCode::NOT_FOUND);
    let no_time = stack.replica.get(&format!("/orders/{order_id}?as_of=yesterday")).await;
    assert_eq!(no_time.status, StatusCode::BAD_REQUEST);
    no_time.problem();
}

#[tokio::test]
async fn an_order_that_nobody_placed_is_not_found() {
    let stack = Stack::start().await;
    for id in ["0190a0b0-0000-7000-8000-000000000001", "nonsense", "..%2F", "%00"] {
        for path in [format!("/orders/{id}"), format!("/orders/{id}/history"), format!("/orders/{id}/events")]
        {
            let answered = stack.replica.get(&path).await;
            assert_eq!(answered.status, StatusCode::NOT_FOUND, "{path}");
            answered.problem();
        }
        let request = Request::post(format!("/orders/{id}/cancellation")).body(Body::empty()).unwrap();
        let answered = stack.replica.ask(request).await;
        assert_eq!(answered.status, StatusCode::NOT_FOUND, "{id}");
        answered.problem();
    }
}

#[tokio::test]
async fn a_cancellation_is_accepted_again_and_again_unless_the_order_was_confirmed() {
    let stack = Stack::start().await;
    let order_id = stack.place().await;
    for _ in 0..3 {
        let answered = stack.replica.cancel(order_id).await;
        assert_eq!(answered.status, StatusCode::ACCEPTED);
        assert_eq!(answered.json()["reason"], "customer_request");
        assert_eq!(answered.header("etag"), Some("\"3\""));
    }
    let confirmed = stack.place().await;
    stack.apply(vec![payment_completed(confirmed)]).await;
    let answered = stack.replica.cancel(confirmed).await;
    assert_eq!(answered.status, StatusCode::CONFLICT);
    assert_eq!(answered.problem(), "order-confirmed");
    assert_eq!(stack.check_invariants().await, 2);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let stack = Stack::start().await;
    let mut placed = stack.place_many(23).await;
    placed.reverse();
    let mut listed = Vec::new();
    let mut path = "/orders?customer_id=17850&limit=5".to_owned();
    let mut pages = 0;
    loop {
        let page = stack.replica.get(&path).await.json();
        for order in page["orders"].as_array().unwrap() {
            assert!(order.get("recipient").is_none() && order.get("lines").is_none());
            listed.push(order["order_id"].as_str().unwrap().to_owned());
        }
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/orders?customer_id=17850&limit=5&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(pages, 5);
    assert_eq!(listed, placed.iter().map(ToString::to_string).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_list_is_narrowed_by_customer_and_status() {
    let stack = Stack::start().await;
    let open = stack.place().await;
    let cancelled = stack.place().await;
    stack.replica.cancel(cancelled).await;
    let mut foreign = valid_order();
    foreign["customer_id"] = "somebody else".into();
    let foreign = stack.replica.post_order("k", &foreign).await.order_id();
    for (query, expected) in [
        ("", vec![foreign, cancelled, open]),
        ("customer_id=17850", vec![cancelled, open]),
        ("customer_id=somebody%20else", vec![foreign]),
        ("status=placed", vec![foreign, open]),
        ("customer_id=17850&status=cancelled", vec![cancelled]),
        ("status=confirmed", vec![]),
        ("customer_id=nobody", vec![]),
    ] {
        let page = stack.replica.get(&format!("/orders?{query}")).await.json();
        let orders = page["orders"].as_array().unwrap().iter();
        let listed: Vec<_> = orders.map(|order| order["order_id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(listed, expected.iter().map(ToString::to_string).collect::<Vec<_>>(), "{query}");
        assert_eq!(page["next_cursor"], Value::Null);
    }
    for query in ["limit=0", "limit=101", "limit=x", "status=open", "cursor=x", "customer_id=", "colour=red"]
    {
        let answered = stack.replica.get(&format!("/orders?{query}")).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{query}");
        answered.problem();
    }
}

#[tokio::test]
async fn faults_are_told_all_at_once_and_nothing_is_stored() {
    let stack = Stack::start().await;
    let mut order = valid_order();
    order["lines"][0]["quantity"] = 0.into();
    order["lines"][1]["sku"] = " ".into();
    order["coupon"] = "X".into();
    let answered = stack.replica.post_order("key", &order).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answered.problem(), "validation");
    let faults = answered.json();
    let mut pointers: Vec<_> =
        faults["errors"].as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    pointers.sort_unstable();
    assert_eq!(pointers, ["/coupon", "/lines/0/quantity", "/lines/1/sku"]);
    assert_eq!(stack.check_invariants().await, 0);
    let repaired = stack.replica.post_order("key", &valid_order()).await;
    assert_eq!(repaired.status, StatusCode::ACCEPTED, "the key is free for the repaired request");
}

#[tokio::test]
async fn a_request_that_is_no_order_is_refused_by_its_kind() {
    let stack = Stack::start().await;
    let body = || Body::from(valid_order().to_string());
    let json = |request: axum::http::request::Builder| request.header("content-type", "application/json");
    let post = || Request::post("/orders");
    let key = |request: axum::http::request::Builder| request.header("idempotency-key", "k");
    for (request, status, problem) in [
        (json(post()).body(body()), StatusCode::BAD_REQUEST, "idempotency-key-missing"),
        (
            json(post()).header("idempotency-key", "k".repeat(256)).body(body()),
            StatusCode::BAD_REQUEST,
            "idempotency-key-invalid",
        ),
        (key(json(post())).body(Body::from("{\"customer_id\":")), StatusCode::BAD_REQUEST, "malformed-json"),
        (key(json(post())).body(Body::empty()), StatusCode::BAD_REQUEST, "malformed-json"),
        (key(post()).body(body()), StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type"),
        (
            key(post()).header("content-type", "text/plain").body(body()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
        ),
        (key(json(post())).body(Body::from("[]")), StatusCode::UNPROCESSABLE_ENTITY, "validation"),
    ] {
        let answered = stack.replica.ask(request.unwrap()).await;
        assert_eq!((answered.status, answered.problem().as_str()), (status, problem), "{answered:?}");
    }
    assert_eq!(stack.check_invariants().await, 0);
}

#[tokio::test]
async fn a_body_may_have_1_mib_and_no_more() {
    let stack = Stack::start().await;
    let order = valid_order().to_string();
    for (size, status) in [(1_048_576, StatusCode::ACCEPTED), (1_048_577, StatusCode::PAYLOAD_TOO_LARGE)] {
        let body = format!("{order}{}", " ".repeat(size - order.len()));
        let request = Request::post("/orders")
            .header("content-type", "application/json")
            .header("idempotency-key", size.to_string());
        let answered = stack.replica.ask(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answered.status, status, "{size} bytes");
        if status != StatusCode::ACCEPTED {
            assert_eq!(answered.problem(), "body-too-large");
        }
    }
    assert_eq!(stack.check_invariants().await, 1);
}

#[tokio::test]
async fn another_path_or_method_is_a_problem_too() {
    let stack = Stack::start().await;
    let answered = stack.replica.get("/baskets").await;
    assert_eq!((answered.status, answered.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"));
    let answered = stack.replica.ask(Request::delete("/orders").body(Body::empty()).unwrap()).await;
    assert_eq!(answered.status, StatusCode::METHOD_NOT_ALLOWED);
    answered.problem();
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up_but_not_its_transaction() {
    let http = HttpConfig { request_timeout_ms: 200, ..HttpConfig::default() };
    let stack = Stack::start_with(&Settings { http, ..Settings::default() }).await;
    let mut held = stack.pool().begin().await.unwrap();
    sqlx::query("LOCK TABLE orders IN SHARE MODE").execute(&mut *held).await.unwrap();
    let answered = stack.replica.post_order("key", &valid_order()).await;
    assert_eq!((answered.status, answered.problem().as_str()), (StatusCode::GATEWAY_TIMEOUT, "timeout"));
    stack.database.until_somebody_waits().await;
    held.rollback().await.unwrap();
    // Unknown to the client, so it asks again; the transaction of the first request has gone on meanwhile.
    let again = stack.another_replica().post_order("key", &valid_order()).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(stack.check_invariants().await, 1);
}

#[tokio::test]
async fn an_order_whose_event_the_broker_would_not_take_is_refused_before_the_commit() {
    let stack = Stack::start_with(&Settings { max_message_bytes: 1_000, ..Settings::default() }).await;
    let answered = stack.replica.post_order("small", &valid_order()).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED);
    let mut order = valid_order();
    let line = order["lines"][0].clone();
    order["lines"] = vec![line; 100].into();
    let answered = stack.replica.post_order("large", &order).await;
    assert_eq!(answered.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answered.problem(), "order-too-large");
    assert_eq!(stack.check_invariants().await, 1);
}

#[tokio::test]
async fn the_largest_order_that_the_limits_allow_is_placed() {
    let stack = Stack::start().await;
    let mut order = valid_order();
    let line = json!({ "sku": "S".repeat(64), "quantity": 1_000_000, "unit_price_minor": 1_000_000_000 });
    order["lines"] = vec![line; 2_000].into();
    let answered = stack.replica.post_order("k", &order).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", &answered.text[..200.min(answered.text.len())]);
    assert_eq!(answered.json()["total_minor"], 2_000_000_000_000_000_000_i64);
    let got = stack.replica.get(answered.header("location").unwrap()).await;
    assert_eq!(got.json(), answered.json());
}

#[tokio::test]
async fn an_unreachable_database_is_an_honest_503() {
    let stack = Stack::start().await;
    stack.database().close();
    for answered in [
        stack.replica.ask(post_order("k", &valid_order(), &[])).await,
        stack.replica.get("/orders").await,
        stack.replica.get("/orders/0190a0b0-0000-7000-8000-000000000001").await,
    ] {
        assert_eq!(answered.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answered.problem(), "unavailable");
        assert_eq!(answered.header("retry-after"), Some("1"));
    }
}

#[test]
fn every_route_is_described() {
    let api = serde_json::to_value(order::adapters::http::OrderApi::openapi()).unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        described.extend(methods.as_object().unwrap().keys().map(|method| format!("{method} {path}")));
    }
    described.sort();
    assert_eq!(
        described,
        [
            "get /orders",
            "get /orders/{order_id}",
            "get /orders/{order_id}/events",
            "get /orders/{order_id}/history",
            "post /orders",
            "post /orders/{order_id}/cancellation",
        ]
    );
    let schemas = api["components"]["schemas"].as_object().unwrap();
    for schema in ["OrderBody", "PlaceOrderRequest", "LineRequest", "RecipientRequest", "Problem", "PageBody"]
    {
        assert!(schemas.contains_key(schema), "{schema} of {:?}", schemas.keys());
    }
}

#[tokio::test]
async fn the_description_of_a_request_is_as_strict_as_its_parser() {
    let stack = Stack::start().await;
    let api = stack.replica.get("/openapi.json").await.json();
    for request in ["PlaceOrderRequest", "LineRequest", "RecipientRequest", "AddressRequest"] {
        assert_eq!(api["components"]["schemas"][request]["additionalProperties"], false, "{request}: {api}");
    }
    // A later release may add fields to answers.
    assert!(api["components"]["schemas"]["OrderBody"]["additionalProperties"].is_null(), "{api}");
}
