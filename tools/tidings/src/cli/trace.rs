//! `tidings trace` as a command line: whom to ask, how long to wait, what to print.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use uuid::Uuid;

use super::{DEFAULT_ORDER_URL, code, service_url};
use crate::output;
use crate::state::RunningSystem;
use crate::trace;

/// Prints one order's way through the services: the tree of its trace, and where the time went.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidings trace 0192f3a4-7c1e-7b3a-9c55-0242ac120002     in the system that `tidings up` runs
  tidings trace 0192f3a4-7c1e-7b3a-9c55-0242ac120002 --url http://127.0.0.1:8080 --jaeger http://127.0.0.1:16686
  tidings trace 0192f3a4-7c1e-7b3a-9c55-0242ac120002 --wait 0 --json     what is there now, for a program

One line a span, below its parent: service, name, when it began, how long it lasted, how long its event had waited
in the outbox or on the topic, events on the span, and what went wrong. In the last line, time that two branches
spend in the same way at once counts once.

Ends with 0 when the trace is complete: the order has ended, notification has seen its end, and every span's parent
is there.")]
pub(super) struct TraceArgs {
    /// The order.
    order_id: Uuid,
    /// order's base URL [default: the running system's, else http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
    /// The query API to ask for traces [default: the running system's]
    #[arg(long, value_name = "URL")]
    jaeger: Option<String>,
    /// Seconds to wait at most until the trace is complete.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
    /// Prints the spans and the figures as JSON.
    #[arg(long)]
    json: bool,
}

impl TraceArgs {
    pub(super) async fn run(self, name: Option<&str>) -> anyhow::Result<ExitCode> {
        let json = self.json;
        let trace = trace::run(self.order_id, &self.into_options(name)?).await?;
        if json {
            output::line(&serde_json::to_string_pretty(&trace)?)?;
        } else {
            output::text(&trace)?;
        }
        Ok(code(trace.is_complete()))
    }

    fn into_options(self, name: Option<&str>) -> anyhow::Result<trace::Options> {
        let running = RunningSystem::find(name)?;
        let order_url = self.url.unwrap_or_else(|| service_url(running.as_ref(), "order", DEFAULT_ORDER_URL));
        let traces_url = self.jaeger.or_else(|| running.as_ref()?.traces.clone()).with_context(|| {
            if running.is_some() {
                "the running system sends its traces to a collector: say --jaeger with the query API behind it"
            } else {
                "no system runs here: say --jaeger with the query API that has its traces"
            }
        })?;
        Ok(trace::Options { order_url, traces_url, wait: Duration::from_secs(self.wait) })
    }
}
