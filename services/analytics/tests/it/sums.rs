//! Sums that outgrow 64 bits, beside a replica of the previous release.

use std::sync::Arc;

use analytics::adapters::http;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use contracts::clock::new_id;
use tower::ServiceExt;

use crate::support::{Analytics, confirmed, placed};

/// Three times the largest number of 64 bits.
const THRICE: &str = "27670116110564327421";

async fn text(analytics: &Analytics, path: &str) -> String {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = http::routes(analytics.database().clone(), Arc::default()).oneshot(request).await.unwrap();
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

/// A confirmed order of the largest price, and one of the most units.
async fn sell_the_most(analytics: &Analytics) {
    let [dear, many] = [new_id(), new_id()];
    let events = [
        placed(dear, "GBP", &[("crown", 1, i64::MAX)]),
        placed(many, "JPY", &[("dust", i64::MAX, 1)]),
        confirmed(dear),
        confirmed(many),
    ];
    analytics.apply(&events).await.unwrap();
}

#[tokio::test]
async fn sums_beyond_64_bits_are_counted() {
    let analytics = Analytics::start().await;
    for _ in 0..3 {
        sell_the_most(&analytics).await;
    }
    let revenue = text(&analytics, "/analytics/revenue?currency=GBP").await;
    assert!(revenue.contains(&format!("\"revenue_minor\":{THRICE}")), "{revenue}");
    let revenue = text(&analytics, "/analytics/revenue?currency=JPY").await;
    assert!(revenue.contains(&format!("\"units\":{THRICE}")), "{revenue}");
    let sellers = text(&analytics, "/analytics/best-sellers?currency=JPY").await;
    assert!(sellers.contains(&format!("\"units\":{THRICE}")), "{sellers}");
}

#[tokio::test]
async fn sums_of_one_batch_beyond_64_bits_are_counted() {
    let analytics = Analytics::start().await;
    let orders = [new_id(), new_id(), new_id()];
    let events: Vec<_> = orders
        .iter()
        .flat_map(|order| [placed(*order, "GBP", &[("crown", 1, i64::MAX)]), confirmed(*order)])
        .collect();
    analytics.apply(&events).await.unwrap();
    let revenue = text(&analytics, "/analytics/revenue?currency=GBP").await;
    assert!(revenue.contains(&format!("\"revenue_minor\":{THRICE}")), "{revenue}");
}

#[tokio::test]
async fn what_a_replica_of_the_previous_release_adds_is_part_of_the_sums() {
    let analytics = Analytics::start().await;
    for _ in 0..3 {
        sell_the_most(&analytics).await;
    }
    // As that release counts.
    for statement in [
        "INSERT INTO revenue (generation, currency, orders, units, revenue_minor) VALUES (1, 'GBP', 1, 1, 5)
         ON CONFLICT (generation, currency) DO UPDATE
         SET orders = revenue.orders + excluded.orders, units = revenue.units + excluded.units,
             revenue_minor = revenue.revenue_minor + excluded.revenue_minor",
        "INSERT INTO best_sellers (generation, currency, sku, units, revenue_minor) VALUES (1, 'JPY', 'dust', 5, 5)
         ON CONFLICT (generation, currency, sku) DO UPDATE
         SET units = best_sellers.units + excluded.units,
             revenue_minor = best_sellers.revenue_minor + excluded.revenue_minor",
    ] {
        sqlx::query(statement).execute(analytics.pool()).await.unwrap();
    }
    // As that release reads.
    let _read: Vec<(i64, i64, i64)> = sqlx::query_as("SELECT orders, units, revenue_minor FROM revenue")
        .fetch_all(analytics.pool())
        .await
        .unwrap();
    let revenue = text(&analytics, "/analytics/revenue?currency=GBP").await;
    assert!(revenue.contains("\"revenue_minor\":27670116110564327426"), "{revenue}");
    let sellers = text(&analytics, "/analytics/best-sellers?currency=JPY").await;
    assert!(sellers.contains("\"units\":27670116110564327426"), "{sellers}");
}
