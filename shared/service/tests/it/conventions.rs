//! The attributes that OpenTelemetry's semantic conventions require of spans, as a collector receives them.

use contracts::clock::new_id;
use testkit::otlp::{OtlpReceiver, ReceivedSpan};
use testkit::wait::eventually;

use crate::stack::{Stack, WAIT_TIMEOUT, client};

/// Longer than any route's path.
const LONG: usize = 4_000;

fn has(span: &ReceivedSpan, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        assert_eq!(span.attributes.get(*name).map(String::as_str), Some(*value), "{name}: {span:#?}");
    }
}

async fn received(receiver: &OtlpReceiver, name: &str) -> ReceivedSpan {
    eventually("the span is exported", WAIT_TIMEOUT, async || {
        receiver.spans().into_iter().find(|span| span.name == name).ok_or_else(|| name.to_owned())
    })
    .await
}

#[tokio::test]
async fn spans_of_requests_and_transactions_have_the_attributes_of_the_conventions() {
    let stack = Stack::start().await;
    let receiver = OtlpReceiver::start().await.unwrap();
    let service = stack.service(&[("TIDINGS_TELEMETRY__OTLP_ENDPOINT", &receiver.url())]).await;
    let port = service.url.rsplit(':').next().unwrap();
    service.get("/panic").await;
    service.get("/things/7").await;
    service.get(&format!("/nowhere/{}", "x".repeat(LONG))).await;
    let confirmed = format!("/confirm/{}", new_id());
    client().post(format!("{}{confirmed}", service.url)).send().await.unwrap();

    let here = [("url.scheme", "http"), ("server.address", "127.0.0.1"), ("server.port", port)];
    let failed = received(&receiver, "GET /panic").await;
    has(&failed, &here);
    has(&failed, &[("url.path", "/panic"), ("error.type", "500")]);
    let rejected = received(&receiver, "GET /things/{id}").await;
    has(&rejected, &here);
    has(&rejected, &[("url.path", "/things/7"), ("http.response.status_code", "400")]);
    assert!(!rejected.attributes.contains_key("error.type"), "a client's mistake: {rejected:#?}");
    let bounded = received(&receiver, "GET unmatched").await;
    assert!(bounded.attributes["url.path"].len() < LONG, "{bounded:#?}");
    let database = stack.database.url().rsplit('/').next().unwrap().to_owned();
    has(
        &received(&receiver, "transaction: apply batch").await,
        &[("db.system.name", "postgresql"), ("db.namespace", &database)],
    );
}

#[tokio::test]
async fn what_a_client_does_wrong_is_no_error_in_the_log() {
    let stack = Stack::start().await;
    let service = stack.service(&[]).await;
    let echo = format!("{}/echo", service.url);
    let json =
        |body: &'static str| client().post(&echo).header("content-type", "application/json").body(body);
    for (request, status) in [
        (json("{"), 400),
        (json(r#"{"text":7}"#), 422),
        (client().post(&echo).body("text"), 415),
        (client().delete(&echo), 405),
        (client().get(format!("{}/nowhere", service.url)), 404),
        (client().get(format!("{}/things/7", service.url)), 400),
        (client().get(format!("{}/page?limit=%00", service.url)), 400),
    ] {
        assert_eq!(service.send(request).await.0, status);
    }
    let log = service.log();
    assert!(log.contains("INFO"), "levels are shown: {log}");
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}
