//! Warnings and errors that say the same over and over: a few each second are enough, the rest are counted and
//! summarised.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};

/// So many lines of one place in the code are written in one window.
const MOST_LINES: u32 = 20;

/// How long a window is.
const WINDOW: Duration = Duration::from_secs(1);

/// What each place in the code has written lately.
#[derive(Debug, Default)]
pub struct LogLimiter {
    places: Mutex<HashMap<Identifier, Place>>,
}

#[derive(Debug)]
struct Place {
    file: String,
    line: u32,
    since: Instant,
    written: u32,
    suppressed: u64,
}

impl LogLimiter {
    /// Whether one more line of this place may be written now. Only warnings and errors are suppressed.
    pub(crate) fn lets_through(&self, metadata: &Metadata<'_>) -> bool {
        if !metadata.is_event() || *metadata.level() > Level::WARN {
            return true;
        }
        let now = Instant::now();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            file: metadata.file().unwrap_or_default().to_owned(),
            line: metadata.line().unwrap_or_default(),
            since: now,
            written: 0,
            suppressed: 0,
        });
        if now.duration_since(place.since) >= WINDOW {
            (place.since, place.written) = (now, 0);
        }
        let lets_through = place.written < MOST_LINES;
        if lets_through {
            place.written += 1;
        } else {
            place.suppressed += 1;
        }
        lets_through
    }

    /// Says how many lines were suppressed since the last time; to be called every few seconds.
    pub fn summarise(&self) {
        let mut suppressed = Vec::new();
        for place in self.places.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if place.suppressed > 0 {
                suppressed.push((place.file.clone(), place.line, std::mem::take(&mut place.suppressed)));
            }
        }
        // The lock is free again: these are lines, too.
        for (file, line, lines) in suppressed {
            metrics::counter!("log_lines_suppressed_total").increment(lines);
            tracing::warn!(
                lines,
                place = format!("{file}:{line}"),
                "lines like those before were suppressed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::filter::dynamic_filter_fn;
    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    struct Count(Arc<AtomicUsize>);

    impl Layer<Registry> for Count {
        fn on_event(&self, _: &tracing::Event<'_>, _: Context<'_, Registry>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_thousand_lines_of_one_place_are_a_few_and_a_summary_and_other_places_are_heard() {
        let (log_limiter, written) = (Arc::new(LogLimiter::default()), Arc::new(AtomicUsize::new(0)));
        let asked = Arc::clone(&log_limiter);
        let filter =
            dynamic_filter_fn(move |metadata, _: &Context<'_, Registry>| asked.lets_through(metadata));
        let layer = Count(Arc::clone(&written)).with_filter(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for _ in 0..1_000 {
                tracing::warn!("the same again");
            }
            let few = written.load(Ordering::Relaxed);
            // The thousand lines may lie on both sides of a second's end.
            assert!((20..=40).contains(&few), "{few}");
            tracing::warn!("something else");
            assert_eq!(written.load(Ordering::Relaxed), few + 1);
            log_limiter.summarise();
            assert_eq!(written.load(Ordering::Relaxed), few + 2);
            log_limiter.summarise();
            assert_eq!(written.load(Ordering::Relaxed), few + 2, "nothing was held back since");
        });
    }
}
