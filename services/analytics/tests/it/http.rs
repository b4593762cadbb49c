//! The HTTP edge on real tables.

use std::sync::Arc;

use analytics::adapters::http;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use contracts::clock::new_id;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Analytics, cancelled, confirmed, fell_low, placed, replenished};

pub(crate) async fn get(analytics: &Analytics, path: &str) -> (StatusCode, Value) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = http::routes(analytics.database().clone(), Arc::default()).oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let expected = if status.is_success() { "application/json" } else { "application/problem+json" };
    assert_eq!(kind, expected, "{path}");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

async fn with_orders() -> Analytics {
    let analytics = Analytics::start().await;
    let [one, two, lost] = [new_id(), new_id(), new_id()];
    analytics
        .apply(&[
            placed(one, "GBP", &[("mug", 2, 250), ("lamp", 1, 1500)]),
            placed(two, "GBP", &[("mug", 1, 250)]),
            placed(lost, "GBP", &[("mug", 9, 250)]),
            confirmed(one),
            confirmed(two),
            cancelled(lost),
        ])
        .await
        .unwrap();
    analytics
}

#[tokio::test]
async fn revenue_of_one_currency_is_an_object_and_of_all_a_list() {
    let analytics = with_orders().await;
    let gbp = json!({"currency": "GBP", "orders": 2, "units": 4, "revenue_minor": 2250});
    assert_eq!(get(&analytics, "/analytics/revenue?currency=GBP").await, (StatusCode::OK, gbp.clone()));
    assert_eq!(get(&analytics, "/analytics/revenue").await, (StatusCode::OK, json!([gbp])));
    let none = json!({"currency": "USD", "orders": 0, "units": 0, "revenue_minor": 0});
    assert_eq!(get(&analytics, "/analytics/revenue?currency=USD").await, (StatusCode::OK, none));
}

#[tokio::test]
async fn best_sellers_are_ranked_by_what_was_asked_for() {
    let analytics = with_orders().await;
    let mug = json!({"sku": "mug", "currency": "GBP", "units": 3, "revenue_minor": 750});
    let lamp = json!({"sku": "lamp", "currency": "GBP", "units": 1, "revenue_minor": 1500});
    let (_, by_units) = get(&analytics, "/analytics/best-sellers?currency=GBP").await;
    assert_eq!(by_units, json!([mug, lamp]));
    let (_, by_revenue) = get(&analytics, "/analytics/best-sellers?by=revenue&currency=GBP&limit=1").await;
    assert_eq!(by_revenue, json!([lamp]));
}

#[tokio::test]
async fn the_funnel_says_where_orders_are() {
    let (_, funnel) = get(&with_orders().await, "/analytics/funnel").await;
    assert_eq!((&funnel["placed"], &funnel["confirmed"], &funnel["open"]), (&json!(3), &json!(2), &json!(0)));
    assert_eq!((&funnel["cancelled"]["total"], &funnel["cancelled"]["out_of_stock"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn times_are_percentiles_of_confirmed_orders() {
    let (_, times) = get(&with_orders().await, "/analytics/time-to-confirm").await;
    assert_eq!(
        (&times["count"], &times["p50_ms"], &times["max_ms"]),
        (&json!(2), &json!(2015), &json!(2015))
    );
    let (_, none) = get(&Analytics::start().await, "/analytics/time-to-confirm").await;
    assert_eq!((&none["count"], &none["p50_ms"]), (&json!(0), &Value::Null));
}

#[tokio::test]
async fn standing_alerts_are_listed() {
    let analytics = Analytics::start().await;
    let events = [replenished("tea tin", 1, 30), replenished("mug", 1, 30), fell_low("tea tin", 2, 9)];
    analytics.apply(&events).await.unwrap();
    let (_, alerts) = get(&analytics, "/analytics/stock-alerts").await;
    assert_eq!(alerts.as_array().map(Vec::len), Some(1));
    assert_eq!((&alerts[0]["sku"], &alerts[0]["available"]), (&json!("tea tin"), &json!(9)));
}

#[tokio::test]
async fn queries_out_of_range_are_problems() {
    let analytics = Analytics::start().await;
    for path in [
        "/analytics/revenue?currency=gbp",
        "/analytics/revenue?currency=",
        "/analytics/best-sellers?limit=0",
        "/analytics/best-sellers?limit=1001",
        "/analytics/best-sellers?currency=POUNDS",
        "/analytics/best-sellers?by=revenue",
        "/analytics/stock-alerts?limit=0",
    ] {
        let (status, problem) = get(&analytics, path).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert_eq!(problem["type"], "urn:tidings:problem:validation", "{path}");
    }
}
