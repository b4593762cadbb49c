//! The HTTP edge on real tables.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use inventory::adapters::http;
use inventory::config::Config;
use messaging::InMemoryBus;
use serde_json::{Value, json};
use service::Deps;
use tower::ServiceExt;

use crate::support::{Inventory, Row};

fn routes(inventory: &Inventory) -> Router {
    let bus = Arc::new(InMemoryBus::new());
    let (codec, outbox) = (inventory.codec.clone(), inventory.outbox.clone());
    http::routes(
        &Config::default(),
        &Deps::new("inventory", inventory.database().clone(), bus, codec, outbox),
    )
}

async fn send(inventory: &Inventory, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let response = routes(inventory).oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
    assert_eq!(headers[header::CONTENT_TYPE], expected);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, headers, serde_json::from_slice(&body).unwrap())
}

async fn get(inventory: &Inventory, path: &str) -> (StatusCode, Value) {
    let (status, _, body) = send(inventory, Request::get(path).body(Body::empty()).unwrap()).await;
    (status, body)
}

fn replenishment(path: &str, key: Option<&str>, body: &Value) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
    let request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
    request.body(Body::from(body.to_string())).unwrap()
}

#[tokio::test]
async fn a_replenishment_creates_the_sku_then_adds_and_its_repetition_is_marked() {
    let inventory = Inventory::start().await;
    let path = "/stock/BANK%20CHARGES/replenishments";
    let ask = |key, quantity| {
        replenishment(path, Some(key), &json!({"quantity": quantity, "reorder_threshold": 3}))
    };

    let (status, _, first) = send(&inventory, ask("k-1", 5)).await;
    assert_eq!(status, StatusCode::CREATED);
    let expected = json!({
        "sku": "BANK CHARGES", "replenished": 5, "available": 5, "reserved": 0, "committed": 0,
        "reorder_threshold": 3, "low": false,
    });
    assert_eq!(first, expected);
    let (status, headers, second) = send(&inventory, ask("k-2", 7)).await;
    assert_eq!((status, &second["available"]), (StatusCode::OK, &json!(12)));
    assert!(!headers.contains_key("idempotent-replayed"));

    let (status, headers, replayed) = send(&inventory, ask("k-1", 5)).await;
    assert_eq!((status, replayed), (StatusCode::CREATED, first));
    assert_eq!(headers["idempotent-replayed"], "true");
    let (status, _, problem) = send(&inventory, ask("k-1", 6)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["type"], "urn:tidings:problem:idempotency-key-reused");

    assert_eq!(get(&inventory, "/stock/BANK%20CHARGES").await.1["available"], 12);
    assert_eq!(inventory.stock("BANK CHARGES").await, Row { available: 12, reserved: 0, committed: 0 });
}

#[tokio::test]
async fn all_faults_of_a_replenishment_are_named_at_once() {
    let inventory = Inventory::start().await;
    let faulty = replenishment(
        "/stock/%20x/replenishments",
        Some("k"),
        &json!({"quantity": 0, "reorder_threshold": -1}),
    );
    let (status, _, problem) = send(&inventory, faulty).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/quantity", "/reorder_threshold", ""]);

    let mistyped = replenishment(
        "/stock/mug/replenishments",
        Some("k"),
        &json!({"quantity": "1", "reorder_threshold": 1.5, "colour": "red"}),
    );
    let (_, _, problem) = send(&inventory, mistyped).await;
    let pointers: Vec<&Value> =
        problem["errors"].as_array().unwrap().iter().map(|fault| &fault["pointer"]).collect();
    assert_eq!(pointers, ["/colour", "/quantity", "/reorder_threshold"]);

    for (key, body, status, kind) in [
        (None, json!({"quantity": 1}), StatusCode::BAD_REQUEST, "idempotency-key-missing"),
        (Some(""), json!({"quantity": 1}), StatusCode::BAD_REQUEST, "idempotency-key-invalid"),
        (Some("k"), json!({"quantity": 1, "colour": "red"}), StatusCode::UNPROCESSABLE_ENTITY, "validation"),
        (
            Some("k"),
            json!({"quantity": 1_000_000_000_001_i64}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "validation",
        ),
    ] {
        let (seen, _, problem) =
            send(&inventory, replenishment("/stock/mug/replenishments", key, &body)).await;
        assert_eq!(
            (seen, &problem["type"]),
            (status, &json!(format!("urn:tidings:problem:{kind}"))),
            "{body}"
        );
    }
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM stock").fetch_one(inventory.pool()).await.unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn pages_of_stock_follow_each_other_without_gap_or_overlap() {
    let inventory = Inventory::start().await;
    let skus = ["10001", "10001A", "10001a", "BANK CHARGES", "DOT", "é", "ß & co"];
    for sku in skus {
        inventory.replenish(sku, 1, sku).await;
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = get(&inventory, &format!("/stock?limit=3{cursor}")).await;
        assert_eq!(status, StatusCode::OK);
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["sku"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        let encoded: String = next.bytes().map(|byte| format!("%{byte:02X}")).collect();
        cursor = format!("&cursor={encoded}");
    }
    let mut expected = skus.to_vec();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn what_is_not_kept_or_can_not_be_asked_for_is_a_problem() {
    let inventory = Inventory::start().await;
    assert_eq!(get(&inventory, "/stock/nowhere").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&inventory, "/stock/%09").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&inventory, "/stock?limit=0").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(get(&inventory, "/stock?limit=1001").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(get(&inventory, "/stock?colour=red").await.0, StatusCode::BAD_REQUEST);
}

#[test]
fn the_api_describes_itself_as_openapi_3_1() {
    let description = serde_json::to_value(http::openapi()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().collect();
    assert_eq!(paths, ["/stock", "/stock/{sku}", "/stock/{sku}/replenishments"]);
}

#[tokio::test]
async fn a_query_that_the_database_could_not_store_is_refused() {
    let inventory = Inventory::start().await;
    for (path, status) in [
        ("/stock?cursor=%00", StatusCode::UNPROCESSABLE_ENTITY),
        ("/stock?cursor=a%00b", StatusCode::UNPROCESSABLE_ENTITY),
        (&*format!("/stock?cursor={}", "x".repeat(65)), StatusCode::UNPROCESSABLE_ENTITY),
        ("/stock?limit=0", StatusCode::UNPROCESSABLE_ENTITY),
        ("/stock?limit=1001", StatusCode::UNPROCESSABLE_ENTITY),
        ("/stock?limit=-1", StatusCode::BAD_REQUEST),
        ("/stock?cursor=a&cursor=b", StatusCode::BAD_REQUEST),
        ("/stock?cursor=", StatusCode::OK),
        ("/stock?cursor=%E0%B6%B8&limit=1", StatusCode::OK),
        ("/stock/%00", StatusCode::NOT_FOUND),
        (&*format!("/stock/{}", "x".repeat(65)), StatusCode::NOT_FOUND),
    ] {
        let (found, body) = get(&inventory, path).await;
        assert_eq!(found, status, "{path}: {body}");
    }
}

#[tokio::test]
async fn a_sku_that_no_address_can_name_or_nobody_can_see_is_refused_with_its_pointer() {
    let inventory = Inventory::start().await;
    for sku in ["%2E", "%2E%2E", "%E3%85%A4", "a%E2%80%8Db", "a%E2%80%AEb", "a%F3%A0%81%81", "a%00"] {
        let path = format!("/stock/{sku}/replenishments");
        let request = replenishment(&path, Some("k"), &json!({"quantity": 1}));
        let (status, _, problem) = send(&inventory, request).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{sku}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], "", "{problem}");
    }
}

#[tokio::test]
async fn an_array_is_no_replenishment() {
    let inventory = Inventory::start().await;
    for body in [json!([1]), json!([1, 2]), json!([1, 2, {}]), json!([])] {
        let request = replenishment("/stock/mug/replenishments", Some("k"), &body);
        let (status, _, problem) = send(&inventory, request).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], "", "{problem}");
    }
}
