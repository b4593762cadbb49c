//! Every answer of the HTTP edge that a client may have to understand.

use std::time::Duration;

use serde_json::json;
use testkit::wait::eventually;
use tokio::task::JoinSet;

use crate::stack::{Process, Stack, WAIT_TIMEOUT, client};

#[tokio::test]
async fn every_error_is_a_problem_document() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let echo = format!("{}/echo", service.url);
    let json =
        |body: &str| client().post(&echo).header("content-type", "application/json").body(body.to_owned());
    let of_bytes = |bytes: usize| format!("{{\"text\":\"{}\"}}", "x".repeat(bytes - r#"{"text":""}"#.len()));
    let largest = of_bytes(1 << 20);
    let too_large = of_bytes((1 << 20) + 1);
    // Of unknown length, and larger than what the connection takes before the client reads.
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(
        (0..10).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])),
    ));
    for (request, status, kind) in [
        (json(r#"{"text":"hello"}"#), 200, ""),
        (
            client()
                .post(&echo)
                .header("content-type", "application/json; charset=utf-8")
                .body(r#"{"text":""}"#),
            200,
            "",
        ),
        (client().post(&echo).body("text=hello"), 415, "unsupported-media-type"),
        (json(r#"{"text":"#), 400, "malformed-json"),
        (json(r#"{"text":7}"#), 422, "validation"),
        (json(r#"{"text":"","more":1}"#), 422, "validation"),
        (json(&largest), 200, ""),
        (json(&too_large), 413, "body-too-large"),
        (client().post(&echo).body(too_large.clone()), 413, "body-too-large"),
        (
            client().post(&echo).header("content-type", "application/json").body(chunked),
            413,
            "body-too-large",
        ),
        (client().get(&echo), 405, "method-not-allowed"),
        (client().get(format!("{}/nowhere", service.url)), 404, "not-found"),
        (client().get(format!("{}/page?limit=x", service.url)), 400, "invalid-query"),
        (client().get(format!("{}/things/7", service.url)), 400, "invalid-path"),
        (client().get(format!("{}/panic", service.url)), 500, "internal"),
    ] {
        let shown = format!("{request:?}");
        let (found, body) = service.send(request).await;
        assert_eq!(found, status, "{shown}: {body}");
        if status >= 400 {
            assert_eq!(body["type"], format!("urn:tidings:problem:{kind}"), "{shown}: {body}");
            assert_eq!(body["status"], status, "{shown}");
        }
    }
    let (_, body) = service.send(json(r#"{"text":"","more":1}"#)).await;
    assert_eq!(body["errors"][0]["pointer"], "/more");
    let allowed = client().get(&echo).send().await.unwrap();
    assert_eq!(allowed.headers()["allow"], "POST");
}

/// Sends a request that is never answered; it comes again when it is rejected.
fn hang(service: &Process, path: &str, requests: &mut JoinSet<()>) {
    let url = format!("{}{path}", service.url);
    requests.spawn(async move {
        while client().get(&url).send().await.is_ok_and(|answer| answer.status() == 503) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[tokio::test]
async fn requests_beyond_the_bound_are_rejected_while_health_still_answers() {
    let stack = Stack::start().await;
    let service = stack
        .service(&[("TIDINGS_HTTP__MAX_IN_FLIGHT", "2"), ("TIDINGS_HTTP__REQUEST_TIMEOUT_MS", "60000")])
        .await;
    let mut requests = JoinSet::new();
    // One that waits politely takes no place, two others take all.
    for path in ["/polite", "/forever", "/forever"] {
        hang(&service, path, &mut requests);
    }
    let rejected = eventually("a request is rejected", WAIT_TIMEOUT, async || {
        let answer = client().get(format!("{}/page?limit=1", service.url)).send().await.unwrap();
        if answer.status() == 503 { Ok(answer) } else { Err(answer.status()) }
    })
    .await;
    assert_eq!(rejected.headers()["retry-after"], "1");
    let problem: serde_json::Value = rejected.json().await.unwrap();
    assert_eq!(problem["type"], "urn:tidings:problem:overloaded");
    // Rejected, it would be a problem document, which `get` does not take from health.
    eventually("health answers", WAIT_TIMEOUT, async || {
        let (status, report) = service.get("/health/ready").await;
        if status == 200 { Ok(()) } else { Err(report) }
    })
    .await;
    assert_eq!(service.get("/metrics").await.0, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_answered_504_unless_it_prefers_to_wait() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_HTTP__REQUEST_TIMEOUT_MS", "300")]).await;
    let (status, problem) = service.get("/forever").await;
    assert_eq!((status, &problem["type"]), (504, &json!("urn:tidings:problem:timeout")));
    let started = std::time::Instant::now();
    let patient = client().get(format!("{}/patient", service.url)).header("prefer", "wait=1");
    assert_eq!(service.send(patient).await.0, 504);
    assert!(started.elapsed() >= Duration::from_millis(1_300), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_api_is_described_and_browsable() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let (status, openapi) = service.get("/openapi.json").await;
    assert_eq!(status, 200);
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"), "{openapi}");
    assert!(openapi["paths"]["/health/ready"].is_object(), "{openapi}");
    let (status, page) = service.get("/docs/").await;
    assert!(status == 200 && page.as_str().unwrap().contains("swagger"), "{page}");
}

#[tokio::test]
async fn the_root_links_to_what_a_service_serves_beside_its_api() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let (status, index) = service.get("/").await;
    assert_eq!(status, 200);
    let links = index["links"].as_object().unwrap();
    assert!(links.len() >= 5, "{index}");
    let browser = client().get(format!("{}/", service.url)).header("accept", "text/html,*/*;q=0.8");
    let page = browser.send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let page = page.text().await.unwrap();
    for address in links.values().map(|address| address.as_str().unwrap()) {
        assert_eq!(service.get(address).await.0, 200, "{address}");
        assert!(page.contains(&format!("href=\"{address}\"")), "{address}: {page}");
    }
}
