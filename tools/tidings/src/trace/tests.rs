//! How an order's trace is found and waited for, against an order API and a query API that the test arranges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use contracts::clock;
use embedded::otlp::jaeger::{self, Process, Reference, Span, Tag, Trace};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Options, OrderTrace, run};

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";

/// What both APIs know. Each question for traces is answered by the next of `traces`, the last one again and again.
#[derive(Default)]
struct World {
    order: Option<Value>,
    traces: Vec<Vec<Trace>>,
    batches: BTreeMap<String, Trace>,
    questions: Vec<String>,
}

/// Both APIs behind one address, until it is dropped.
struct Apis {
    world: Arc<Mutex<World>>,
    url: String,
    _server: JoinSet<()>,
}

type Shared = State<Arc<Mutex<World>>>;

async fn order(State(world): Shared) -> Result<Json<Value>, StatusCode> {
    world.lock().unwrap().order.clone().map(Json).ok_or(StatusCode::NOT_FOUND)
}

fn next_traces(world: &mut World, question: String) -> Vec<Trace> {
    world.questions.push(question);
    if world.traces.len() > 1 {
        world.traces.remove(0)
    } else {
        world.traces.first().cloned().unwrap_or_default()
    }
}

async fn trace(State(world): Shared, Path(id): Path<String>) -> (StatusCode, Json<jaeger::Answer>) {
    let mut world = world.lock().unwrap();
    let batch = world.batches.get(&id).cloned();
    let found = batch.map_or_else(|| next_traces(&mut world, id), |batch| vec![batch]);
    let status = if found.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
    (status, Json(jaeger::Answer::of(found)))
}

async fn search(State(world): Shared, Query(query): Query<BTreeMap<String, String>>) -> Json<jaeger::Answer> {
    let question = format!("{} {}", query["service"], query["tags"]);
    Json(jaeger::Answer::of(next_traces(&mut world.lock().unwrap(), question)))
}

impl Apis {
    async fn start(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let routes = Router::new()
            .route("/orders/{id}", get(order))
            .route("/api/traces", get(search))
            .route("/api/traces/{id}", get(trace))
            .with_state(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { world, url, _server: server }
    }

    async fn trace(&self, order_id: Uuid, wait: Duration) -> anyhow::Result<OrderTrace> {
        let options = Options { order_url: self.url.clone(), traces_url: self.url.clone(), wait };
        run(order_id, &options).await
    }
}

/// An order that ended this long ago.
fn ended(ago: chrono::TimeDelta) -> Value {
    let at = clock::now() - ago;
    json!({ "status": "confirmed", "placed_at": at, "ended_at": at, "trace_id": TRACE_ID })
}

/// A span of now, with its id as its name.
fn span(service: &str, id: &str, parent: Option<&str>) -> Span {
    let parent = parent.map(|parent| Reference {
        ref_type: "CHILD_OF".to_owned(),
        trace_id: TRACE_ID.to_owned(),
        span_id: parent.to_owned(),
    });
    Span {
        trace_id: TRACE_ID.to_owned(),
        span_id: id.to_owned(),
        operation_name: id.to_owned(),
        references: parent.into_iter().collect(),
        start_time: clock::now().timestamp_micros(),
        duration: 1_000,
        tags: Vec::<Tag>::new(),
        logs: Vec::new(),
        process_id: service.to_owned(),
    }
}

fn trace_of(trace_id: &str, spans: &[Span]) -> Trace {
    let process = |span: &Span| Process { service_name: span.process_id.clone(), tags: Vec::new() };
    Trace {
        trace_id: trace_id.to_owned(),
        processes: spans.iter().map(|span| (span.process_id.clone(), process(span))).collect(),
        spans: spans.to_vec(),
    }
}

/// Spans that begin together, and now.
fn whole_trace() -> [Span; 4] {
    let mut spans = [
        span("order", "POST /orders", None),
        span("order", "publish", Some("POST /orders")),
        span("notification", "process", Some("publish")),
        span("analytics", "process too", Some("publish")),
    ];
    let begin = spans[0].start_time;
    spans.iter_mut().for_each(|span| span.start_time = begin);
    spans
}

#[tokio::test]
async fn an_order_that_does_not_exist_is_said_to_be_missing() {
    let apis = Apis::start(World::default()).await;
    let order_id = Uuid::nil();
    let error = apis.trace(order_id, Duration::from_secs(10)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("no order {order_id}")) && error.contains("--url"), "{error}");
}

#[tokio::test]
async fn a_trace_that_is_nowhere_is_waited_for_and_then_explained() {
    let order = Some(ended(chrono::TimeDelta::zero()));
    let apis = Apis::start(World { order, ..World::default() }).await;
    let error = apis.trace(Uuid::nil(), Duration::from_secs(3)).await.unwrap_err().to_string();
    assert!(
        error.contains("telemetry.traces_sample_ratio") && error.contains("telemetry.otlp_endpoint"),
        "{error}"
    );
    assert!(apis.world.lock().unwrap().questions.len() > 1, "it was asked for more than once");
}

#[tokio::test]
async fn a_trace_that_still_grows_is_waited_for() {
    let order = Some(ended(chrono::TimeDelta::zero()));
    let spans = whole_trace();
    let orphaned = trace_of(TRACE_ID, &[spans[0].clone(), spans[2].clone()]);
    let traces =
        vec![vec![trace_of(TRACE_ID, &spans[..1])], vec![orphaned], vec![trace_of(TRACE_ID, &spans)]];
    let apis = Apis::start(World { order, traces, ..World::default() }).await;
    let trace = apis.trace(Uuid::nil(), Duration::from_secs(20)).await.unwrap();
    assert!(trace.is_complete(), "{:?}", trace.missing);
    assert_eq!(trace.tree.spans.len(), 4);
    assert!(apis.world.lock().unwrap().questions.iter().all(|question| question == TRACE_ID));
}

#[tokio::test]
async fn waiting_ends_and_says_what_is_missing() {
    let spans = whole_trace();
    let orphaned = trace_of(TRACE_ID, &[spans[0].clone(), span("payment", "lost", Some("gone"))]);
    let order = Some(json!({ "status": "placed", "placed_at": clock::now(), "trace_id": TRACE_ID }));
    let apis = Apis::start(World { order, traces: vec![vec![orphaned]], ..World::default() }).await;
    let trace = apis.trace(Uuid::nil(), Duration::ZERO).await.unwrap();
    assert_eq!(trace.missing, ["the order has not ended", "the parents of 1 spans"]);
}

#[tokio::test]
async fn all_must_have_seen_the_end_and_not_just_the_beginning() {
    let spans = whole_trace();
    let later = clock::now() + chrono::TimeDelta::seconds(5);
    let order = json!({ "status": "confirmed", "placed_at": later, "ended_at": later, "trace_id": TRACE_ID });
    let traces = vec![vec![trace_of(TRACE_ID, &spans)]];
    let apis = Apis::start(World { order: Some(order), traces, ..World::default() }).await;
    let trace = apis.trace(Uuid::nil(), Duration::ZERO).await.unwrap();
    let missing =
        ["no span of notification since the order's end", "no span of analytics since the order's end"];
    assert_eq!(trace.missing, missing);
}

#[tokio::test]
async fn an_order_that_does_not_name_its_trace_is_found_by_its_id_in_the_oldest_trace() {
    let mut order = ended(chrono::TimeDelta::zero());
    order.as_object_mut().unwrap().remove("trace_id");
    let spans = whole_trace();
    let mut later = span("order", "POST /cancellation", None);
    later.start_time += 1_000;
    let cancellation = trace_of("00000000000000000000000000000009", &[later]);
    let traces = vec![vec![cancellation, trace_of(TRACE_ID, &spans)]];
    let apis = Apis::start(World { order: Some(order), traces, ..World::default() }).await;
    let order_id = Uuid::nil();
    let trace = apis.trace(order_id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(trace.tree.trace_id, TRACE_ID);
    let question = format!(r#"order {{"tidings.order_id":"{order_id}"}}"#);
    assert!(apis.world.lock().unwrap().questions.contains(&question));
}

#[tokio::test]
async fn a_batchs_transaction_counts_though_it_is_in_a_trace_of_its_own() {
    let batch_id = "00000000000000000000000000000007";
    let mut spans = whole_trace();
    spans[2].references.push(Reference {
        ref_type: "FOLLOWS_FROM".to_owned(),
        trace_id: batch_id.to_owned(),
        span_id: "batch".to_owned(),
    });
    let begin = spans[0].start_time;
    spans[2].start_time = begin + 6_000;
    spans[2].duration = 4_000;
    let mut transaction = span("notification", "transaction", Some("batch"));
    transaction.start_time = begin + 7_000;
    transaction.duration = 2_500;
    let system =
        Tag { key: "db.system.name".to_owned(), value_type: "string".to_owned(), value: "postgresql".into() };
    transaction.tags.push(system);
    let world = World {
        order: Some(ended(chrono::TimeDelta::seconds(60))),
        traces: vec![vec![trace_of(TRACE_ID, &spans)]],
        batches: BTreeMap::from([(batch_id.to_owned(), trace_of(batch_id, &[transaction]))]),
        ..World::default()
    };
    let trace = Apis::start(world).await.trace(Uuid::nil(), Duration::ZERO).await.unwrap();
    assert!((trace.times.total_ms - 10.0).abs() < 1e-6, "{:?}", trace.times);
    assert!((trace.times.transaction_ms - 2.5).abs() < 1e-6, "{:?}", trace.times);
}
