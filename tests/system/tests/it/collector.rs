//! A collector that is slow, refuses or is gone costs spans, which are counted, and nothing else.

use std::time::Duration;

use system::System;
use testkit::exposition::Exposition;
use testkit::otlp::OtlpReceiver;
use testkit::wait::eventually;
use tidings::services::ServiceName;

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

async fn order_metric(system: &System, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
    let url = format!("{}/metrics", system.client(ServiceName::Order)?.base());
    let text = contracts::http::client().build()?.get(url).send().await?.error_for_status()?.text().await?;
    let exposed = Exposition::parse(&text).map_err(|line| anyhow::anyhow!("{line}"))?;
    Ok(exposed.sum(name, labels).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_or_refuses_costs_spans_and_nothing_else() -> anyhow::Result<()> {
    let system = System::start().await;
    system.replenish("TEAPOT", 1_000).await?;
    let collector = system.stack().traces().expect("the stack receives traces");
    for (name, trouble) in
        [("hangs", OtlpReceiver::hang as fn(&OtlpReceiver)), ("refuses", OtlpReceiver::refuse)]
    {
        trouble(collector);
        let lost = async || {
            order_metric(&system, "telemetry_spans_dropped_total", &[("reason", "export_failed")]).await
        };
        let before = lost().await?;
        let mut orders = Vec::new();
        for _ in 0..20 {
            orders.push(system.place("TEAPOT", 1, "tok_visa").await?);
        }
        for order_id in orders {
            assert_eq!(system.ended(order_id).await.end().as_deref(), Some("confirmed"), "while it {name}");
        }
        eventually(&format!("lost spans are counted while the collector {name}"), WAIT_TIMEOUT, async || {
            let now = lost().await?;
            if now > before { Ok(()) } else { Err(anyhow::anyhow!("{now} of {before}")) }
        })
        .await;
        collector.recover();
    }
    let report = system.verify().await?;
    assert!(report.holds(), "{report}");
    system.stop().await
}
