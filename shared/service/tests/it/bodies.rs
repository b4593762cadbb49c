//! Which bodies are JSON of the type that a route reads.

use crate::stack::{Stack, client};

#[tokio::test]
async fn a_body_in_another_coding_or_character_set_is_an_unsupported_media_type() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let echo = format!("{}/echo", service.url);
    let body = r#"{"text":"hello"}"#;
    for (header, value, expected) in [
        ("content-encoding", "gzip", 415),
        ("content-encoding", "br", 415),
        ("content-encoding", "identity, gzip", 415),
        ("content-encoding", "Identity", 200),
        ("content-type", "application/json; charset=utf-16", 415),
        ("content-type", "application/json;charset=\"ISO-8859-1\"", 415),
        ("content-type", "application/json; version=1; CHARSET=latin1", 415),
        ("content-type", "application/json; charset=\"UTF-8\"", 200),
        ("content-type", "application/problem+json", 200),
        ("content-type", "application/jsonp", 415),
    ] {
        let mut request = client().post(&echo).header(header, value).body(body);
        if header != "content-type" {
            request = request.header("content-type", "application/json");
        }
        let (found, answer) = service.send(request).await;
        assert_eq!(found, expected, "{header}: {value}: {answer}");
        if expected == 415 {
            assert_eq!(answer["type"], "urn:tidings:problem:unsupported-media-type", "{answer}");
        }
    }
    let compressed = client().post(&echo).header("content-type", "application/json");
    let refused = compressed.header("content-encoding", "gzip").body(body).send().await.unwrap();
    assert_eq!(refused.headers()["accept-encoding"], "identity");
    let twice = client()
        .post(&echo)
        .header("content-type", "application/json")
        .header("content-type", "application/json")
        .body(body);
    assert_eq!(service.send(twice).await.0, 415);
}

#[tokio::test]
async fn an_array_is_not_taken_for_an_object() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    for (body, pointer) in
        [(r#"["hello"]"#, ""), (r#"{"text":"","more":["hello"]}"#, "/more"), ("[]", ""), (r#""hello""#, "")]
    {
        let (status, answer) = service.post("/nested", body).await;
        assert_eq!(status, 422, "{body}: {answer}");
        assert_eq!(answer["errors"][0]["pointer"], pointer, "{body}: {answer}");
    }
    for body in [r#"{"text":""}"#, r#"{"text":"","more":{"text":"hello"}}"#] {
        let (status, answer) = service.post("/nested", body).await;
        assert_eq!(status, 200, "{body}: {answer}");
    }
}
