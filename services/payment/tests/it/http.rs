//! `GET /payments/{order_id}` over a real socket-free router and a real database.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use contracts::clock::new_id;
use payment::adapters::http::{Http, openapi, routes};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::stack::{AMOUNT_MINOR, Stack, cancelled, placed, reserved};

async fn get(stack: &Stack, path: &str) -> (StatusCode, Value) {
    let http = Http { database: stack.database().clone(), provider: stack.provider() };
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = routes(http).oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_refunded_payment_shows_its_ledger_and_not_its_means_of_payment() {
    let stack = Stack::start().await;
    let order_id = new_id();
    let worker = stack.worker();
    stack.apply(&[placed(order_id, "tok_visa"), reserved(order_id)]).await;
    stack.rest().await;
    stack.apply(&[cancelled(order_id)]).await;
    stack.rest().await;
    worker.stop().await;
    let (status, body) = get(&stack, &format!("/payments/{order_id}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["state"], "refunded");
    assert_eq!(body["amount_minor"], AMOUNT_MINOR);
    let steps: Vec<&Value> =
        body["ledger"].as_array().expect("a list").iter().map(|line| &line["step"]).collect();
    assert_eq!(json!(steps), json!(["authorize", "check_fraud", "capture", "refund"]));
    assert!(!body.to_string().contains("tok_visa"));
}

#[tokio::test]
async fn an_order_never_heard_of_is_a_problem_and_so_is_no_order_id() {
    let stack = Stack::start().await;
    let (status, body) = get(&stack, &format!("/payments/{}", Uuid::nil())).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["type"], "urn:tidings:problem:not-found");
    let (status, body) = get(&stack, "/payments/something").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["type"], "urn:tidings:problem:invalid-path");
}

#[test]
fn the_description_names_the_route_and_its_answers() {
    let api = serde_json::to_value(openapi()).expect("a description");
    let answers = &api["paths"]["/payments/{order_id}"]["get"]["responses"];
    assert!(answers["200"].is_object() && answers["404"].is_object(), "{api:#}");
}
