//! Rebuilds that can't be made: by an error of the data, by one of unknown kind, and on request.

use std::sync::Arc;

use analytics::adapters::http;
use analytics::adapters::postgres::rebuilds;
use analytics::adapters::rebuild::Rebuilder;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use contracts::clock::now;
use serde_json::Value;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::rebuilds::{Live, events_of};
use crate::support::{Seen, subscriptions};

async fn request(live: &Live, method: &str, path: &str) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let routes = http::routes(live.analytics.database().clone(), Arc::default());
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn rebuilder(live: &Live) -> Rebuilder {
    Rebuilder::new(&live.deps, subscriptions(), Arc::new(Notify::new()))
}

/// A consumer that has counted some orders, and a requested rebuild of them.
async fn requested() -> (Live, Seen) {
    let live = Live::start().await;
    live.publish(&events_of(9)).await;
    let before = live.quiet().await;
    let (status, _) = request(&live, "POST", "/analytics/rebuilds").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    (live, before)
}

/// From now on the database refuses what a rebuild counts, with this SQLSTATE.
async fn refuse_with(live: &Live, sqlstate: &str) {
    let function = format!(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE 'refused on purpose' USING ERRCODE = '{sqlstate}'; END $$;
         CREATE OR REPLACE TRIGGER refuse BEFORE INSERT ON rebuild_positions
         FOR EACH ROW EXECUTE FUNCTION refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(function)).execute(live.analytics.pool()).await.unwrap();
}

async fn refuse_nothing(live: &Live) {
    sqlx::raw_sql("DROP TRIGGER refuse ON rebuild_positions").execute(live.analytics.pool()).await.unwrap();
}

async fn expect_a_later_one_to_be_made(live: &Live, before: &Seen) {
    let (status, next) = request(live, "POST", "/analytics/rebuilds").await;
    assert_eq!((status, &next["generation"]), (StatusCode::ACCEPTED, &3.into()), "{next}");
    rebuilder(live).make_next().await.unwrap();
    let (_, next) = request(live, "GET", "/analytics/rebuilds/3").await;
    assert_eq!(next["state"], "live", "{next}");
    assert_eq!(live.analytics.seen().await, *before);
}

#[tokio::test]
async fn a_rebuild_that_meets_a_data_error_fails_with_its_message() {
    let (live, before) = requested().await;
    refuse_with(&live, "22003").await;
    rebuilder(&live).make_next().await.unwrap();
    let (_, failed) = request(&live, "GET", "/analytics/rebuilds/2").await;
    assert_eq!(failed["state"], "failed", "{failed}");
    let detail = failed["detail"].as_str().unwrap();
    assert!(detail.contains("22003") && detail.contains("refused on purpose"), "{failed}");
    refuse_nothing(&live).await;
    expect_a_later_one_to_be_made(&live, &before).await;
}

#[tokio::test]
async fn a_rebuild_shows_its_last_error_while_it_is_tried_again() {
    let (live, before) = requested().await;
    // Out of memory: it passes.
    refuse_with(&live, "53200").await;
    for _ in 0..20 {
        rebuilder(&live).make_next().await.unwrap_err();
    }
    let (_, waiting) = request(&live, "GET", "/analytics/rebuilds/2").await;
    assert_eq!(waiting["state"], "building", "{waiting}");
    assert!(waiting["last_error"].as_str().unwrap().contains("53200"), "{waiting}");
    refuse_nothing(&live).await;
    rebuilder(&live).make_next().await.unwrap();
    let (_, made) = request(&live, "GET", "/analytics/rebuilds/2").await;
    assert_eq!(made["state"], "live", "{made}");
    assert_eq!(live.analytics.seen().await, before);
}

#[tokio::test]
async fn a_rebuild_that_meets_an_unknown_error_again_and_again_fails() {
    let (live, before) = requested().await;
    refuse_with(&live, "P0001").await;
    let mut tries = 0;
    while rebuilder(&live).make_next().await.is_err() {
        tries += 1;
        assert!(tries < 20, "it is repeated for ever");
    }
    assert!(tries > 1, "an unknown error may pass");
    let (_, failed) = request(&live, "GET", "/analytics/rebuilds/2").await;
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("P0001"), "{failed}");
    refuse_nothing(&live).await;
    expect_a_later_one_to_be_made(&live, &before).await;
}

#[tokio::test]
async fn a_rebuild_is_given_up_on_request() {
    let (live, before) = requested().await;
    refuse_with(&live, "53200").await;
    rebuilder(&live).make_next().await.unwrap_err();
    refuse_nothing(&live).await;
    let (status, given_up) = request(&live, "DELETE", "/analytics/rebuilds/2").await;
    assert_eq!((status, &given_up["state"]), (StatusCode::OK, &"failed".into()), "{given_up}");
    let (status, _) = request(&live, "DELETE", "/analytics/rebuilds/2").await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, _) = request(&live, "DELETE", "/analytics/rebuilds/1").await;
    assert_eq!(status, StatusCode::CONFLICT, "the live generation is no rebuild any more");
    let (status, _) = request(&live, "DELETE", "/analytics/rebuilds/9").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    expect_a_later_one_to_be_made(&live, &before).await;
}

#[tokio::test]
async fn a_rebuild_that_is_given_up_before_its_swap_is_not_swapped_in() {
    let (live, before) = requested().await;
    let batch = live.batch_of_the_generation().await;
    let give_up = async {
        live.analytics.database.until_somebody_waits().await;
        let given_up = request(&live, "DELETE", "/analytics/rebuilds/2").await;
        batch.commit().await.unwrap();
        given_up
    };
    let rebuilder = rebuilder(&live);
    let (made, (status, given_up)) = tokio::join!(rebuilder.make_next(), give_up);
    assert_eq!((status, &given_up["state"]), (StatusCode::OK, &"failed".into()), "{given_up}");
    made.unwrap();
    let (_, live_one) = request(&live, "GET", "/analytics/rebuilds/1").await;
    assert_eq!(live_one["state"], "live");
    let (_, given_up) = request(&live, "GET", "/analytics/rebuilds/2").await;
    assert_eq!(given_up["state"], "failed", "{given_up}");
    expect_a_later_one_to_be_made(&live, &before).await;
    let (rows, positions) = rows_of(&live, 2).await;
    assert_eq!((rows, positions), (0, 0), "its rows are deleted");
}

/// The orders and positions of a generation, after the rebuilder had nothing to do.
async fn rows_of(live: &Live, generation: i32) -> (i64, i64) {
    assert_eq!(rebuilds::building(live.analytics.database()).await.unwrap(), None, "at {}", now());
    rebuilder(live).make_next().await.unwrap();
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM orders WHERE generation = $1),
                (SELECT count(*) FROM rebuild_positions WHERE generation = $1)",
    )
    .bind(generation)
    .fetch_one(live.analytics.pool())
    .await
    .unwrap()
}
