//! `GET /notifications` and `POST /notifications/{id}/retry` on a real database.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{Request, StatusCode};
use contracts::clock::new_id;
use notification::adapters::http::{Http, openapi, routes};
use serde_json::Value;
use testkit::smtp::{Misbehaviour, SmtpServer};
use tower::ServiceExt;

use crate::stack::{Stack, confirmed, placed};

async fn get(stack: &Stack, path: &str) -> (StatusCode, Value) {
    answer(stack, Request::get(path)).await
}

async fn post(stack: &Stack, path: &str) -> (StatusCode, Value) {
    answer(stack, Request::post(path)).await
}

async fn answer(stack: &Stack, request: Builder) -> (StatusCode, Value) {
    let request = request.body(Body::empty()).expect("a request");
    let http = Http { database: stack.database().clone(), wake: Arc::clone(&stack.wake) };
    let response = routes(http).oneshot(request).await.expect("an answer");
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

#[tokio::test]
async fn a_failed_mail_is_listed_and_retried() {
    let stack = Stack::start().await;
    let server =
        SmtpServer::start(&[Misbehaviour::RefusesForEver, Misbehaviour::RefusesForEver]).await.unwrap();
    let orders = [new_id(), new_id()];
    stack.apply(&orders.map(placed)).await;
    let worker = stack.worker(&server.url());
    stack.rest().await;
    let (status, body) = get(&stack, "/notifications?status=failed").await;
    assert_eq!(status, StatusCode::OK);
    let ids = orders.map(|order_id| format!("{order_id}.order_received"));
    let listed = body["notifications"].as_array().expect("notifications");
    assert_eq!(listed.iter().map(|mail| mail["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!((&listed[0]["last_error"], &body["next_cursor"]), (&Value::from("smtp 550"), &Value::Null));

    let (status, body) = post(&stack, &format!("/notifications/{}/retry", ids[0])).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&body["state"], &body["attempts"]), (&Value::from("pending"), &Value::from(0)));
    stack.rest().await;
    worker.stop().await;
    let row = stack.mails(orders[0]).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("sent", 1), "{row:?}");
    assert_eq!(stack.mails(orders[1]).await[0].state, "failed");
    assert_eq!(server.taken().len(), 1);

    let (status, body) = post(&stack, &format!("/notifications/{}/retry", ids[0])).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(body["type"], "urn:tidings:problem:notification-not-failed");
}

#[tokio::test]
async fn a_retried_mail_has_all_its_attempts_before_it() {
    let stack = Stack::start().await;
    let server = SmtpServer::start(&[Misbehaviour::RefusesForNow; 4 + 3]).await.unwrap();
    let order_id = new_id();
    stack.apply(&[placed(order_id)]).await;
    let worker = stack.worker(&server.url());
    stack.rest().await;
    assert_eq!(stack.mails(order_id).await[0].state, "failed");
    let (status, _) = post(&stack, &format!("/notifications/{order_id}.order_received/retry")).await;
    assert_eq!(status, StatusCode::OK);
    stack.rest().await;
    worker.stop().await;
    let row = stack.mails(order_id).await.remove(0);
    assert_eq!((row.state.as_str(), row.attempts), ("sent", 4), "{row:?}");
}

#[tokio::test]
async fn failed_mails_come_in_pages() {
    let stack = Stack::start().await;
    let orders: Vec<_> = (0..60).map(|_| new_id()).collect();
    let facts: Vec<_> = orders.iter().flat_map(|id| [placed(*id), confirmed(*id)]).collect();
    stack.apply(&facts).await;
    sqlx::query(
        "UPDATE mails SET state = 'failed', due_at = NULL, completed_at = now(), last_error = 'smtp 550'",
    )
    .execute(stack.pool())
    .await
    .expect("failing the mails");
    let (_, first) = get(&stack, "/notifications?status=failed").await;
    let cursor = first["next_cursor"].as_str().expect("another page");
    let (_, second) = get(&stack, &format!("/notifications?status=failed&cursor={cursor}")).await;
    let ids = |page: &Value| -> Vec<String> {
        let notifications = page["notifications"].as_array().expect("notifications");
        notifications.iter().map(|mail| mail["id"].as_str().unwrap().to_owned()).collect()
    };
    let listed = [ids(&first), ids(&second)].concat();
    let mut expected: Vec<String> = orders
        .iter()
        .flat_map(|id| ["order_received", "order_confirmed"].map(|kind| format!("{id}.{kind}")))
        .collect();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn what_names_no_failed_mail_is_a_problem() {
    let stack = Stack::start().await;
    let order_id = new_id();
    for (path, expected) in [
        (format!("/notifications/{order_id}.order_received/retry"), StatusCode::NOT_FOUND),
        (format!("/notifications/{order_id}/retry"), StatusCode::BAD_REQUEST),
        (format!("/notifications/{order_id}.order%00/retry"), StatusCode::BAD_REQUEST),
        ("/notifications/something.order_received/retry".to_owned(), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(post(&stack, &path).await.0, expected, "{path}");
    }
    for query in [
        format!("order_id={order_id}&status=failed"),
        format!("order_id={order_id}&cursor={order_id}.order_received"),
        "status=sent".to_owned(),
        "status=failed&cursor=%00".to_owned(),
        "cursor=x".to_owned(),
    ] {
        assert_eq!(
            get(&stack, &format!("/notifications?{query}")).await.0,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
}
