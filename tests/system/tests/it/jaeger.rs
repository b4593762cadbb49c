//! One order's trace in a real Jaeger, over both of OTLP's protocols. `make test-jaeger` runs these.

use std::time::Duration;

use system::{System, options};
use tidings::services::ServiceName;
use tidings::trace::source::Source;
use tidings::trace::{self, OrderTrace};
use tidings::up::configuration::OtlpProtocol;
use tidings::up::options::Collector;

/// How long the last span may take to be found.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "the test finds Jaeger by the environment")]
fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run this by make test-jaeger"))
}

async fn the_trace_is_found(protocol: OtlpProtocol) -> anyhow::Result<OrderTrace> {
    let jaeger = given("TIDINGS_TEST_JAEGER");
    let otlp = match protocol {
        OtlpProtocol::Http => given("TIDINGS_TEST_JAEGER_OTLP_HTTP"),
        OtlpProtocol::Grpc => given("TIDINGS_TEST_JAEGER_OTLP_GRPC"),
    };
    let mut parts = options();
    parts.collector = Some(Collector { otlp, protocol, jaeger: Some(jaeger.clone()) });
    let system = System::start_on(&parts).await;
    assert!(system.stack().traces().is_none(), "spans go to Jaeger alone");
    system.replenish("TEAPOT", 10).await?;
    let order_id = system.place("TEAPOT", 2, "tok_visa").await?;
    let order = system.ended(order_id).await;
    assert_eq!(order.end().as_deref(), Some("confirmed"));

    let orders = system.client(ServiceName::Order)?;
    let options = trace::Options {
        order_url: orders.base().to_owned(),
        traces_url: jaeger.clone(),
        wait: ARRIVES_WITHIN,
    };
    let found = trace::run(order_id, &options).await?;
    println!("{found}");
    assert!(found.is_complete(), "missing: {:?}", found.missing);
    let by_order_id = Source::try_new(&jaeger)?.trace_of_order(order_id, order.placed_at).await?;
    let by_order_id = by_order_id.expect("Jaeger finds the trace by the order's id");
    assert_eq!(by_order_id.trace_id, found.tree.trace_id);

    let roots: Vec<&str> =
        found.tree.spans.iter().filter(|span| span.depth == 0).map(|span| span.name.as_str()).collect();
    assert_eq!(roots, ["POST /orders"]);
    assert_eq!(found.tree.services(), ServiceName::ALL.len(), "every service took part");
    system.stop().await?;
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Jaeger: make test-jaeger"]
async fn an_orders_whole_trace_is_found_in_jaeger_by_its_id() -> anyhow::Result<()> {
    let found = the_trace_is_found(OtlpProtocol::Http).await?;
    let waited = found.tree.spans.iter().filter(|span| span.outbox_wait_ms.is_some()).count();
    assert!(waited > 0, "what was published says how long it waited in the outbox");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a Jaeger: make test-jaeger"]
async fn spans_sent_over_grpc_give_the_same_trace() -> anyhow::Result<()> {
    the_trace_is_found(OtlpProtocol::Grpc).await.map(drop)
}
