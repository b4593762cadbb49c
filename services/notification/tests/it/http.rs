//! `GET /notifications?order_id=` on a real database.

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use contracts::clock::new_id;
use notification::adapters::http::{openapi, routes};
use serde_json::Value;
use tower::ServiceExt;

use crate::stack::{Stack, confirmed, placed};

async fn get(stack: &Stack, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = routes(stack.database().clone()).oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_orders_notifications_are_listed_without_personal_data() {
    let stack = Stack::start().await;
    let order_id = new_id();
    // What happened earlier comes first, though both notifications become due when it is known whom they are for.
    stack.apply(&[confirmed(order_id), placed(order_id)]).await;
    let (status, body) = get(&stack, &format!("/notifications?order_id={order_id}")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["recipient_status"], "present");
    assert_eq!(body["notifications"][0]["kind"], "order_received");
    assert_eq!(body["notifications"][1]["kind"], "order_confirmed");
    assert_eq!(body["notifications"][1]["state"], "pending");
    let shown = body.to_string();
    assert!(!shown.contains("eve@") && !shown.contains("Müller") && !shown.contains("York"), "{shown}");
}

#[tokio::test]
async fn an_order_never_heard_of_is_a_problem_and_so_is_no_order_id() {
    let stack = Stack::start().await;
    let (status, body) = get(&stack, &format!("/notifications?order_id={}", new_id())).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(body["type"], "urn:tidings:problem:not-found");
    let (status, _) = get(&stack, "/notifications?order_id=something").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, body) = get(&stack, "/notifications").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["type"], "urn:tidings:problem:invalid-query");
}

#[test]
fn the_description_names_the_route_and_its_answers() {
    let api = serde_json::to_value(openapi()).expect("a description");
    let answers = &api["paths"]["/notifications"]["get"]["responses"];
    assert!(answers["200"].is_object() && answers["404"].is_object(), "{api:#}");
}
