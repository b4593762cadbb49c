//! The OTLP receiver, fed by the exporter that services use, over both protocols.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanKind, Status, TraceContextExt, Tracer, TracerProvider as _,
};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use testkit::otlp::jaeger::{Answer, Trace};
use testkit::otlp::{OtlpReceiver, ReceivedSpan, SpanLink, SpanStatus};
use testkit::ports::ReservedPort;
use testkit::wait::eventually;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

fn client() -> reqwest::Client {
    client_with(WAIT_TIMEOUT)
}

fn client_with(timeout: Duration) -> reqwest::Client {
    contracts::http::client().timeout(timeout).build().unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http,
    Grpc,
}

/// Spans that have ended, for the test to export when it likes.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A service that makes spans and exports them.
struct Sender {
    provider: SdkTracerProvider,
    ended: Ended,
    exporter: OtlpExporter,
}

impl Sender {
    fn new(service: &'static str, receiver: &OtlpReceiver, protocol: Protocol, timeout: Duration) -> Self {
        let ended = Ended::default();
        let resource = Resource::builder().with_service_name(service).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(ended.clone())
            .build();
        let builder = OtlpExporter::builder();
        let mut exporter = match protocol {
            Protocol::Http => {
                let endpoint = format!("{}/v1/traces", receiver.url());
                let builder = builder.with_http().with_http_client(client_with(timeout));
                builder.with_endpoint(endpoint).with_timeout(timeout).build().unwrap()
            }
            Protocol::Grpc => {
                let endpoint = receiver.grpc_url();
                builder.with_tonic().with_endpoint(endpoint).with_timeout(timeout).build().unwrap()
            }
        };
        exporter.set_resource(&resource);
        Self { provider, ended, exporter }
    }

    fn tracer(&self) -> SdkTracer {
        self.provider.tracer("test")
    }

    async fn export(&self) -> OTelSdkResult {
        let batch = std::mem::take(&mut *self.ended.0.lock().unwrap());
        self.exporter.export(batch).await
    }

    /// A trace of one span; its id.
    fn trace_of_one(&self, name: &'static str) -> String {
        let context = Context::current_with_span(self.tracer().start(name));
        context.span().end();
        context.span().span_context().trace_id().to_string()
    }
}

/// A parent, and a child that has everything a span can have. The child's context.
fn family(sender: &Sender, elsewhere: &SpanContext) -> SpanContext {
    let tracer = sender.tracer();
    let root = tracer.span_builder("POST /orders").with_kind(SpanKind::Server).start(&tracer);
    let root = Context::new().with_span(root);
    let child = tracer
        .span_builder("process tidings.orders")
        .with_kind(SpanKind::Consumer)
        .with_links(vec![Link::with_context(elsewhere.clone())])
        .with_attributes([
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.kafka.offset", 42),
            KeyValue::new("share", 0.5),
            KeyValue::new("redelivered", true),
            KeyValue::new("ids", Value::Array(Array::String(vec![StringValue::from("a"), "b".into()]))),
        ])
        .start_with_context(&tracer, &root);
    let child = root.with_span(child);
    child.span().add_event("event dead-lettered", vec![KeyValue::new("reason", "unreadable")]);
    child.span().set_status(Status::error("no such order"));
    child.span().end();
    root.span().end();
    child.span().span_context().clone()
}

fn named<'a>(spans: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    spans.iter().find(|span| span.name == name).unwrap()
}

async fn a_span_arrives_whole(protocol: Protocol) {
    let receiver = OtlpReceiver::start().await.unwrap();
    let sender = Sender::new("inventory", &receiver, protocol, WAIT_TIMEOUT);
    let elsewhere = family(&sender, &SpanContext::NONE);
    let child = family(&sender, &elsewhere);
    sender.export().await.unwrap();

    let spans = receiver.trace(&child.trace_id().to_string());
    assert_eq!(spans.len(), 2, "{spans:#?}");
    assert_eq!(receiver.count(), 4, "and two in the other trace");
    let root = named(&spans, "POST /orders");
    assert_eq!((root.service.as_str(), root.kind, &root.parent_span_id), ("inventory", "server", &None));
    assert_eq!(root.status, SpanStatus::Unset);
    let span = named(&spans, "process tidings.orders");
    assert_eq!(span.kind, "consumer");
    assert_eq!(span.span_id, child.span_id().to_string());
    assert_eq!(span.parent_span_id.as_deref(), Some(root.span_id.as_str()));
    assert!(root.start <= span.start && span.start <= span.end && span.end <= root.end, "{spans:#?}");
    let attributes: Vec<_> =
        span.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        attributes,
        [
            ("ids", r#"["a","b"]"#),
            ("messaging.kafka.offset", "42"),
            ("messaging.system", "kafka"),
            ("redelivered", "true"),
            ("share", "0.5"),
        ]
    );
    assert_eq!(span.events[0].name, "event dead-lettered");
    assert_eq!(span.events[0].attributes["reason"], "unreadable");
    let link =
        SpanLink { trace_id: elsewhere.trace_id().to_string(), span_id: elsewhere.span_id().to_string() };
    assert_eq!(span.links, [link]);
    assert_eq!(span.status, SpanStatus::Error("no such order".to_owned()));
}

#[tokio::test]
async fn a_span_sent_over_http_arrives_whole() {
    a_span_arrives_whole(Protocol::Http).await;
}

#[tokio::test]
async fn a_span_sent_over_grpc_arrives_whole() {
    a_span_arrives_whole(Protocol::Grpc).await;
}

async fn ask(receiver: &OtlpReceiver, path: &str) -> (u16, Answer) {
    let response = client().get(format!("{}{path}", receiver.url())).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn found(receiver: &OtlpReceiver, path: &str) -> Vec<Trace> {
    let (status, answer) = ask(receiver, path).await;
    assert_eq!((status, answer.errors.is_none()), (200, true));
    answer.data.unwrap()
}

#[tokio::test]
async fn a_trace_is_found_by_its_id_in_jaegers_form() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let sender = Sender::new("inventory", &receiver, Protocol::Http, WAIT_TIMEOUT);
    let elsewhere = family(&sender, &SpanContext::NONE);
    let child = family(&sender, &elsewhere);
    sender.export().await.unwrap();

    let traces = found(&receiver, &format!("/api/traces/{}", child.trace_id())).await;
    assert_eq!(traces.len(), 1);
    let received = receiver.trace(&child.trace_id().to_string());
    let received = named(&received, "process tidings.orders");
    let span = traces[0].spans.iter().find(|span| span.span_id == child.span_id().to_string()).unwrap();
    assert_eq!(span.parent(), received.parent_span_id.as_deref());
    let link = span.references.iter().find(|it| it.ref_type == "FOLLOWS_FROM").unwrap();
    assert_eq!(link.span_id, elsewhere.span_id().to_string());
    assert_eq!(traces[0].processes[&span.process_id].service_name, "inventory");
    assert_eq!(span.start_time, received.start.timestamp_micros());
    assert_eq!(span.duration, (received.end - received.start).num_microseconds().unwrap());
    let tags = ["span.kind", "error", "otel.status_description", "messaging.kafka.offset"];
    let tags = tags.map(|key| span.tag(key).unwrap());
    assert_eq!(tags, ["consumer", "true", "no such order", "42"]);
    let fields: Vec<_> = span.logs[0].fields.iter().map(|tag| (tag.key.as_str(), tag.text())).collect();
    assert_eq!(fields, [("event", "event dead-lettered".to_owned()), ("reason", "unreadable".to_owned())]);

    let (status, answer) = ask(&receiver, "/api/traces/00000000000000000000000000000001").await;
    assert_eq!(status, 404);
    assert_eq!(answer.errors.unwrap()[0].msg, "trace not found");
}

#[tokio::test]
async fn traces_are_found_by_service_and_attributes_newest_first() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let sender = Sender::new("inventory", &receiver, Protocol::Http, WAIT_TIMEOUT);
    let first = family(&sender, &SpanContext::NONE).trace_id().to_string();
    let second = family(&sender, &SpanContext::NONE).trace_id().to_string();
    sender.trace_of_one("something else");
    sender.export().await.unwrap();
    let ids = async |query: &str| -> Vec<String> {
        let traces = found(&receiver, &format!("/api/traces?{query}")).await;
        traces.into_iter().map(|trace| trace.trace_id).collect()
    };

    let kafka = "tags=%7B%22messaging.system%22%3A%22kafka%22%2C%22messaging.kafka.offset%22%3A%2242%22%7D";
    assert_eq!(ids(&format!("service=inventory&{kafka}")).await, [second.clone(), first]);
    assert_eq!(ids(&format!("service=inventory&limit=1&{kafka}")).await, [second]);
    assert_eq!(ids("service=inventory").await.len(), 3);
    assert!(ids(&format!("service=order&{kafka}")).await.is_empty());
    assert!(ids("service=inventory&tags=%7B%22messaging.system%22%3A%22other%22%7D").await.is_empty());
    assert_eq!(ask(&receiver, "/api/traces").await.0, 400);
    assert_eq!(ask(&receiver, "/api/traces?service=inventory&tags=nonsense").await.0, 400);
}

#[tokio::test]
async fn the_oldest_traces_are_forgotten_to_make_room_and_that_is_said() {
    let receiver = OtlpReceiver::start_small(3).await.unwrap();
    let sender = Sender::new("inventory", &receiver, Protocol::Http, WAIT_TIMEOUT);
    let old = family(&sender, &SpanContext::NONE).trace_id().to_string();
    sender.export().await.unwrap();
    let newer = [sender.trace_of_one("a"), sender.trace_of_one("b")];
    sender.export().await.unwrap();

    assert!(receiver.trace(&old).is_empty(), "a trace is forgotten whole");
    let kept: BTreeSet<String> = receiver.spans().into_iter().map(|span| span.trace_id).collect();
    assert_eq!(kept, BTreeSet::from(newer));
    assert_eq!((receiver.count(), receiver.forgotten()), (2, 2));
    let (status, answer) = ask(&receiver, &format!("/api/traces/{old}")).await;
    let words = &answer.errors.unwrap()[0].msg;
    assert!(status == 404 && words.contains("2 older spans were forgotten"), "{words}");
}

async fn exports_wait(receiver: &OtlpReceiver, count: usize) {
    eventually("exports wait", WAIT_TIMEOUT, async || match receiver.waiting() {
        waiting if waiting == count => Ok(()),
        other => Err(other),
    })
    .await;
}

async fn a_slow_receiver_keeps_its_clients_waiting(protocol: Protocol) {
    let receiver = OtlpReceiver::start().await.unwrap();
    receiver.hang();
    let hasty = Sender::new("inventory", &receiver, protocol, Duration::from_millis(300));
    hasty.trace_of_one("given up");
    assert!(hasty.export().await.is_err());
    // What has been given up may still wait at the receiver; it is refused with the others below.
    receiver.refuse();
    exports_wait(&receiver, 0).await;
    receiver.hang();

    let patient = Sender::new("inventory", &receiver, protocol, WAIT_TIMEOUT);
    let trace_id = patient.trace_of_one("waited for");
    let (exported, ()) = tokio::join!(patient.export(), async {
        exports_wait(&receiver, 1).await;
        assert!(receiver.trace(&trace_id).is_empty());
        receiver.recover();
    });
    exported.unwrap();
    assert_eq!(receiver.trace(&trace_id).len(), 1);

    receiver.refuse();
    patient.trace_of_one("refused");
    assert!(patient.export().await.is_err());
    assert!(receiver.spans().iter().all(|span| span.name != "refused"));
}

#[tokio::test]
async fn a_slow_or_refusing_receiver_keeps_nothing_over_http() {
    a_slow_receiver_keeps_its_clients_waiting(Protocol::Http).await;
}

#[tokio::test]
async fn a_slow_or_refusing_receiver_keeps_nothing_over_grpc() {
    a_slow_receiver_keeps_its_clients_waiting(Protocol::Grpc).await;
}

#[tokio::test]
async fn a_dropped_receiver_closes_its_ports_even_while_it_hangs() {
    let (http, grpc) = (ReservedPort::reserve(0).unwrap(), ReservedPort::reserve(0).unwrap());
    let receiver = OtlpReceiver::start_on(http.number(), grpc.number()).await.unwrap();
    let senders =
        [Protocol::Http, Protocol::Grpc].map(|it| Sender::new("inventory", &receiver, it, WAIT_TIMEOUT));
    receiver.hang();
    for sender in &senders {
        sender.trace_of_one("unanswered");
    }
    let started = tokio::time::Instant::now();
    let (by_http, by_grpc, ()) = tokio::join!(senders[0].export(), senders[1].export(), async {
        exports_wait(&receiver, 2).await;
        drop(receiver);
    });
    assert!(by_http.is_err() && by_grpc.is_err());
    assert!(started.elapsed() < WAIT_TIMEOUT, "no wait for a receiver that is gone");
    for port in [http, grpc] {
        eventually("the port is closed", WAIT_TIMEOUT, async || {
            match tokio::net::TcpStream::connect(port.address()).await {
                Ok(_) => Err(port.address()),
                Err(_) => Ok(()),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_stopped_receiver_gives_its_ports_to_the_next() {
    let (http, grpc) = (ReservedPort::reserve(0).unwrap(), ReservedPort::reserve(0).unwrap());
    let receiver = OtlpReceiver::start_on(http.number(), grpc.number()).await.unwrap();
    let sender = Sender::new("inventory", &receiver, Protocol::Http, WAIT_TIMEOUT);
    sender.trace_of_one("before");
    sender.export().await.unwrap();
    receiver.stop().await;

    let receiver = OtlpReceiver::start_on(http.number(), grpc.number()).await.unwrap();
    assert_eq!(receiver.count(), 0);
    sender.trace_of_one("after");
    sender.export().await.unwrap();
    assert_eq!(receiver.spans()[0].name, "after");
}

#[tokio::test]
async fn what_is_no_export_is_refused() {
    let receiver = OtlpReceiver::start().await.unwrap();
    let post = async |content_type: &str, body: Vec<u8>| {
        let request = client().post(format!("{}/v1/traces", receiver.url()));
        request.header("Content-Type", content_type).body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("application/json", b"{}".to_vec()).await, 415);
    assert_eq!(post("application/x-protobuf", b"nonsense".to_vec()).await, 400);
    assert_eq!(post("application/x-protobuf", Vec::new()).await, 200);
    assert_eq!(receiver.count(), 0);
}
