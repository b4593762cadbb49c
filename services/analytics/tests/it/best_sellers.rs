//! Best sellers of SKUs that are sold in several currencies.

use axum::http::StatusCode;
use contracts::clock::new_id;
use serde_json::json;

use crate::http::get;
use crate::support::{Analytics, confirmed, placed};

/// Mugs in pounds and yen, a lamp in pounds.
async fn in_two_currencies() -> Analytics {
    let analytics = Analytics::start().await;
    let [pounds, yen] = [new_id(), new_id()];
    analytics
        .apply(&[
            placed(pounds, "GBP", &[("mug", 3, 250), ("lamp", 4, 12_499)]),
            placed(yen, "JPY", &[("mug", 2, 25_000)]),
            confirmed(pounds),
            confirmed(yen),
        ])
        .await
        .unwrap();
    analytics
}

#[tokio::test]
async fn a_sku_stands_once_among_the_best_sellers_by_units() {
    let analytics = in_two_currencies().await;
    let (_, all) = get(&analytics, "/analytics/best-sellers?by=units").await;
    assert_eq!(all, json!([{"sku": "mug", "units": 5}, {"sku": "lamp", "units": 4}]));
    let (_, first) = get(&analytics, "/analytics/best-sellers?limit=1").await;
    assert_eq!(first, json!([{"sku": "mug", "units": 5}]));
    let (_, pounds) = get(&analytics, "/analytics/best-sellers?currency=GBP").await;
    assert_eq!(
        pounds,
        json!([
            {"sku": "lamp", "currency": "GBP", "units": 4, "revenue_minor": 49_996},
            {"sku": "mug", "currency": "GBP", "units": 3, "revenue_minor": 750},
        ])
    );
}

#[tokio::test]
async fn best_sellers_by_revenue_are_those_of_one_currency() {
    let analytics = in_two_currencies().await;
    let (status, problem) = get(&analytics, "/analytics/best-sellers?by=revenue").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["type"], "urn:tidings:problem:validation");
    assert!(problem["detail"].as_str().unwrap().contains("currency"), "{problem}");
    let (_, yen) = get(&analytics, "/analytics/best-sellers?by=revenue&currency=JPY").await;
    assert_eq!(yen, json!([{"sku": "mug", "currency": "JPY", "units": 2, "revenue_minor": 50_000}]));
}
