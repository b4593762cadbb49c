//! What answers, metrics and logs repeat of a request is bounded.

use crate::raw::Raw;
use crate::stack::Stack;

/// Fits into the head of a request.
const LONG: usize = 10_000;

#[tokio::test]
async fn an_unknown_method_is_answered_501_and_named_other() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let long = "M".repeat(LONG);
    for (method, path, status) in [
        ("BREW", "/page?limit=1", 501),
        ("get", "/page?limit=1", 501),
        (long.as_str(), "/page?limit=1", 501),
        (long.as_str(), "/health/live", 501),
        (long.as_str(), "/nowhere", 501),
        ("TRACE", "/page?limit=1", 405),
        ("PATCH", "/page?limit=1", 405),
    ] {
        let mut connection = Raw::connect(&service).await;
        connection.request(&format!("{method} {path}"), "").await;
        let answer = connection.answer().await;
        let shown = &method[..method.len().min(10)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown} {path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{shown} {path}: {answer}");
        assert!(answer.len() < 2_000, "{shown} {path}: {} bytes", answer.len());
    }
    let (_, metrics) = service.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("method=\"_OTHER\""), "{metrics}");
    assert!(!metrics.contains("BREW") && !metrics.contains("MMMM"), "{metrics}");
    assert!(!service.log().contains(&long), "the log repeats the method");
}

#[tokio::test]
async fn answers_repeat_a_bounded_part_of_their_request() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let long = "x".repeat(LONG);
    let body = format!("{{\"text\":\"\",\"{}\":1}}", "x".repeat(100_000));
    for (line, body) in [
        (format!("GET /{long}"), ""),
        (format!("DELETE /things/{long}"), ""),
        (format!("GET /things/{long}"), ""),
        (format!("GET /page?limit={long}"), ""),
        (format!("GET /page?{long}=1"), ""),
        (format!("GET /strict?{long}=1"), ""),
        ("POST /echo".to_owned(), body.as_str()),
        ("POST /items".to_owned(), body.as_str()),
    ] {
        let mut connection = Raw::connect(&service).await;
        let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        connection.request(&line, &headers).await;
        connection.send(body.as_bytes()).await;
        let answer = connection.answer().await;
        let shown = &line[..line.len().min(20)];
        assert!(answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
        assert!(answer.len() < 4_000, "{shown}: {} bytes", answer.len());
    }
    assert!(!service.log().contains(&long), "the log repeats the path");
}
