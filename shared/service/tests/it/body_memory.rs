//! What the bodies of requests cost in memory.

use std::time::Duration;

use testkit::wait::eventually;
use tokio::task::JoinSet;

use crate::raw::Raw;
use crate::stack::{Process, Stack, WAIT_TIMEOUT};

const MIB: usize = 1 << 20;

/// The most that one body of a mebibyte may add to the memory of its service, in kB: `bounds.rs` counts with it.
const MOST_KB: u64 = 4 * 1_024;

/// The largest body, with so many repetitions of `item` between `head` and `tail` as fit.
fn full_of(head: &str, item: &str, tail: &str) -> String {
    let repetitions = (MIB - head.len() - tail.len() - 1) / (item.len() + 1);
    format!("{head}{}{tail}", vec![item; repetitions].join(","))
}

/// Distinct names, as many as fit.
fn full_of_names(head: &str, tail: &str) -> String {
    let mut body = head.to_owned();
    for number in 0.. {
        let name = format!("{}\"{number:x}\":0", if number == 0 { "" } else { "," });
        if body.len() + name.len() + tail.len() > MIB {
            break;
        }
        body.push_str(&name);
    }
    body + tail
}

#[tokio::test]
async fn a_body_costs_a_few_times_its_size() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    // What the first request of all costs is not of interest.
    service.post("/items", r#"{"items":[{"name":"a","quantity":1}]}"#).await;
    for body in [
        full_of(r#"{"items":["#, r#"{"":0}"#, "]}"),
        full_of(r#"{"items":["#, "0", "]}"),
        full_of(r#"{"items":["#, "{}", "]}"),
        full_of(r#"{"items":["#, "[[[[]]]]", "]}"),
        full_of(r#"{"items":0,"x":["#, "0", "]}"),
        full_of(r#"{"items":[{"name":["#, "0", "]}]}"),
        full_of_names("{", "}"),
        full_of_names(r#"{"items":[{"#, "}]}"),
        format!("{{\"items\":[],\"{}\":0}}", "x".repeat(MIB - 20)),
        full_of(r#"{"items":["#, r#"{"name":"a","quantity":0}"#, "]}"),
    ] {
        let before = service.memory_kb("VmRSS");
        service.forget_peak();
        let (status, answer) = service.post("/items", &body).await;
        let added = service.memory_kb("VmHWM").saturating_sub(before);
        let shown = format!("{}…: {added} kB", body.chars().take(30).collect::<String>());
        println!("{shown}");
        assert_eq!(status, 422, "{shown}: {answer}");
        assert!(added <= MOST_KB, "{shown}");
        assert!(answer.to_string().len() < 64 * 1_024, "{shown}: an answer of {}", answer.to_string().len());
    }
}

/// A connection on which a whole body of the largest size was sent.
async fn full_body(service: &Process) -> Raw {
    let mut connection = Raw::connect(service).await;
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(MIB - r#"{"text":""}"#.len()));
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    connection.request("POST /hold", &headers).await;
    connection.send(body.as_bytes()).await;
    connection
}

#[tokio::test]
async fn bodies_are_admitted_by_their_bytes() {
    let stack = Stack::start().await;
    let service = stack.service(&[("TIDINGS_HTTP__REQUEST_TIMEOUT_MS", "60000")]).await;
    let mut answers = JoinSet::new();
    for _ in 0..40 {
        let mut connection = full_body(&service).await;
        answers.spawn(async move { connection.status().await });
    }
    // Requests without a body need none of the bytes.
    assert_eq!(service.get("/page?limit=1").await.0, 200);
    let rejected = tokio::time::timeout(WAIT_TIMEOUT, async {
        let mut rejected = 0;
        while let Some(status) = answers.join_next().await {
            rejected += usize::from(status.unwrap() == 503);
        }
        rejected
    });
    let rejected = rejected.await.unwrap();
    // At most 16 MiB are held; bodies that arrive together reject one another.
    assert!((40 - 16..40).contains(&rejected), "{rejected} of 40 are rejected");
    eventually("bodies are admitted again", Duration::from_secs(60), async || {
        let (status, answer) = service.post("/echo", r#"{"text":""}"#).await;
        if status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
}
