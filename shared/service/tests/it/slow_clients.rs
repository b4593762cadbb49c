//! Clients that hold connections without reading or writing.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::json;
use testkit::wait::eventually;

use crate::lifecycle::until_measured;
use crate::raw::Raw;
use crate::stack::{Process, Stack, WAIT_TIMEOUT, client};

/// Another peer than the tests' own clients.
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connections that never complete the head of a request.
async fn half_heads(service: &Process, number: usize) -> Vec<Raw> {
    let mut connections = Vec::new();
    for _ in 0..number {
        let mut connection = Raw::connect_from(STRANGER, service).await;
        connection.send(b"GET /page?limit=1 HTTP/1.1\r\nhost: localhost\r\n").await;
        connections.push(connection);
    }
    connections
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_connection() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let mut connection = Raw::connect(&service).await;
    // More than the buffers of both ends hold.
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n";
    connection.send(request.repeat(40).as_bytes()).await;
    eventually("the connection is reset", WAIT_TIMEOUT, async || {
        connection.0.take_error().unwrap().ok_or("it is open")
    })
    .await;
}

#[tokio::test]
async fn health_and_metrics_answer_while_strangers_hold_all_connections() {
    let stack = Stack::start().await;
    let settings = [("TIDINGS_HTTP__MAX_CONNECTIONS", "8"), ("TIDINGS_HTTP__HEADER_TIMEOUT_MS", "120000")];
    let service = stack.service(&settings).await;
    // As many more as are held in reserve, twice.
    let _held = half_heads(&service, 8 + 128).await;
    for route in ["/health/live", "/health/ready", "/metrics"] {
        let mut connection = Raw::connect_from(STRANGER, &service).await;
        connection.request(&format!("GET {route}"), "").await;
        assert_eq!(connection.status().await, 200, "{route}");
    }
    let mut connection = Raw::connect_from(STRANGER, &service).await;
    connection.request("GET /page?limit=1", "").await;
    assert_eq!(connection.status().await, 503);
}

#[tokio::test]
async fn one_peer_cannot_take_all_connections() {
    let stack = Stack::start().await;
    let settings = [("TIDINGS_HTTP__MAX_CONNECTIONS", "16"), ("TIDINGS_HTTP__HEADER_TIMEOUT_MS", "120000")];
    let service = stack.service(&settings).await;
    let _held = half_heads(&service, 40).await;
    let mut connection = Raw::connect(&service).await;
    connection.request("GET /page?limit=1", "").await;
    assert_eq!(connection.status().await, 200);
}

#[tokio::test]
async fn a_head_without_an_end_is_refused_before_it_is_large() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let mut connection = Raw::connect(&service).await;
    let head = format!("GET /page?limit=1 HTTP/1.1\r\nhost: localhost\r\na: {}", "x".repeat(40_000));
    connection.send(head.as_bytes()).await;
    assert_eq!(connection.status().await, 431);
}

#[tokio::test]
async fn bodies_that_have_not_arrived_take_no_place() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_HTTP__MAX_IN_FLIGHT", "2")]).await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut connection = Raw::connect(&service).await;
        connection.request("POST /echo", "content-type: application/json\r\ncontent-length: 20\r\n").await;
        connection.send(b"{").await;
        slow.push(connection);
    }
    // With the question itself.
    until_measured(&service, "http_requests_in_flight", |requests| requests >= 3.0).await;
    let (status, body) = service.get("/page?limit=1").await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_body_that_stays_away_is_answered_408_whatever_its_client_prefers() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let mut connection = Raw::connect(&service).await;
    let headers = "content-type: application/json\r\ncontent-length: 20\r\nprefer: wait=30\r\n";
    connection.request("POST /echo", headers).await;
    connection.send(b"{").await;
    assert_eq!(connection.status().await, 408);
}

#[tokio::test]
async fn a_preference_prolongs_nothing_where_the_route_does_not_honour_it() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_HTTP__REQUEST_TIMEOUT_MS", "300")]).await;
    let started = std::time::Instant::now();
    let request = client().get(format!("{}/forever", service.url)).header("prefer", "wait=30");
    let (status, problem) = service.send(request).await;
    assert_eq!((status, &problem["type"]), (504, &json!("urn:tidings:problem:timeout")));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
