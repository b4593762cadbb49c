//! Workers, as the runtime shows them: one that has work and does not move is stalled.

use std::path::Path;

use testkit::exposition::Exposition;
use testkit::wait::eventually;

use crate::stack::{Process, Stack, WAIT_TIMEOUT};

/// Waits until the metric of the worker has this value, and gives its component of `/health/ready`.
async fn until_stalled(service: &Process, stalled: f64) -> serde_json::Value {
    eventually("worker_stalled", WAIT_TIMEOUT, async || {
        let (_, exposed) = service.get("/metrics").await;
        let exposed = Exposition::parse(exposed.as_str().unwrap()).unwrap();
        match exposed.sum("worker_stalled", &[("worker", "idle")]) {
            Some(value) if (value - stalled).abs() < f64::EPSILON => Ok(()),
            value => Err(value),
        }
    })
    .await;
    service.get("/health/ready").await.1["components"]["worker idle"].clone()
}

async fn service(stack: &Stack, file: &Path) -> Process {
    let file = file.to_str().unwrap();
    let settings =
        [("TIDINGS_CONSUMER__STALLED_AFTER_MS", "1000"), ("TIDINGS_PROBE__WORKER_STANDS_STILL", file)];
    stack.service(&settings).await
}

#[tokio::test]
async fn a_worker_with_due_work_that_does_not_move_is_stalled() {
    let stack = Stack::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stands-still");
    let service = service(&stack, &file).await;
    let component = until_stalled(&service, 0.0).await;
    assert_eq!(component["state"], "up", "{component}");
    std::fs::write(&file, "").unwrap();
    let component = until_stalled(&service, 1.0).await;
    let detail = component["detail"].as_str().unwrap_or_default();
    assert!(component["state"] == "retrying" && detail.contains("stalled since 20"), "{component}");
    assert!(service.log().contains("worker stalled"), "{}", service.log());
    // A restart would not help.
    assert_eq!(service.get("/health/live").await.0, 200);
    std::fs::remove_file(&file).unwrap();
    let component = until_stalled(&service, 0.0).await;
    assert_eq!(component["state"], "up", "{component}");
    assert!(service.log().contains("worker moves again"), "{}", service.log());
}

async fn exposed(service: &Process) -> Exposition {
    let (_, exposed) = service.get("/metrics").await;
    Exposition::parse(exposed.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_worker_that_panics_is_started_again() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_PROBE__WORKER_PANICS", "2")]).await;
    eventually("the worker works after two failures", WAIT_TIMEOUT, async || {
        let failures = exposed(&service).await.sum("worker_failures_total", &[("worker", "idle")]);
        let component = service.get("/health/ready").await.1["components"]["worker idle"].clone();
        if failures == Some(2.0) && component["state"] == "up" { Ok(()) } else { Err((failures, component)) }
    })
    .await;
    assert!(service.log().contains("the worker panicked"), "{}", service.log());
}

#[tokio::test]
async fn a_sampler_that_panics_is_asked_again() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_PROBE__SAMPLER_PANICS", "1")]).await;
    eventually("the gauges are read after a failure", WAIT_TIMEOUT, async || {
        let exposed = exposed(&service).await;
        let failures = exposed.sum("worker_failures_total", &[("worker", "sampling")]);
        let read = exposed.sum("metrics_sampled_timestamp_seconds", &[]);
        if failures >= Some(1.0) && read > Some(0.0) { Ok(()) } else { Err((failures, read)) }
    })
    .await;
}
