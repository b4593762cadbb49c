//! Log lines, one an event: for people or as JSON, each with the trace under which it was written.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, dynamic_filter_fn};
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;
use crate::log_limiter::LogLimiter;

/// Lines that pass `filter`, on standard output, in colours if that is a terminal. Lines that repeat too often are held
/// back by `log_limiter`.
pub(crate) fn layer<S>(
    format: LogFormat,
    filter: EnvFilter,
    log_limiter: Arc<LogLimiter>,
) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Evaluated per line. A filter whose answer is kept per call site would not be: then whoever merely asks
    // whether a level is enabled (sqlx does, for each statement) leaves its "no" behind for the thread's next line,
    // which is lost (tokio-rs/tracing, per-layer filters).
    // What the filter takes nowhere is not even asked: without this bound, every trace and debug line of every crate would be.
    let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    let filter = dynamic_filter_fn(move |metadata, context| {
        filter.enabled(metadata, context.clone()) && log_limiter.lets_through(metadata)
    })
    .with_max_level_hint(most);
    match format {
        LogFormat::Text => {
            let format = WithTrace(tracing_subscriber::fmt::format().with_target(false));
            let colours = std::io::stdout().is_terminal();
            tracing_subscriber::fmt::layer()
                .with_ansi(colours)
                .event_format(format)
                .with_filter(filter)
                .boxed()
        }
        LogFormat::Json => json_subscriber::fmt::layer()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_opentelemetry_ids(true)
            .with_filter(filter)
            .boxed(),
    }
}

/// The usual format, behind the trace's id.
struct WithTrace(Format);

impl<S, N> FormatEvent<S, N> for WithTrace
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if let Some(trace_id) = trace_id(context) {
            write!(writer, "[{trace_id}] ")?;
        }
        self.0.format_event(context, writer, event)
    }
}

fn trace_id<S, N>(context: &FmtContext<'_, S, N>) -> Option<opentelemetry::TraceId>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let span = context.parent_span()?.id();
    let context = tracing::dispatcher::get_default(|dispatch| {
        tracing_opentelemetry::get_otel_context(&span, dispatch)
    })?;
    let span = context.span();
    span.span_context().is_valid().then(|| span.span_context().trace_id())
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;

    use super::*;

    #[test]
    fn no_line_is_looked_at_of_a_level_that_the_filter_takes_nowhere() {
        for (filter, most) in [
            ("info,sqlx=warn,librdkafka=error", LevelFilter::INFO),
            ("warn,sqlx=debug", LevelFilter::DEBUG),
            ("off", LevelFilter::OFF),
        ] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let layer = layer::<Registry>(format, EnvFilter::new(filter), Arc::default());
                assert_eq!(layer.max_level_hint(), Some(most), "{filter}");
            }
        }
    }
}
