//! The progress bar: on a terminal a bar with its rate, elsewhere a plain line every few seconds.

use std::future::Future;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::progress::{Books, Progress};
use crate::output;

/// How often a terminal's bar moves.
const TICK: Duration = Duration::from_millis(100);
/// How often a line appears where no terminal is.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// One phase of the import.
pub(super) struct Bar {
    progress: Arc<Progress>,
    bar: ProgressBar,
    what: &'static str,
    total: u64,
    done: fn(&Books) -> u64,
    shows: Shows,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    Nothing,
    Lines,
    Bar,
}

impl Bar {
    pub(super) fn replenishing(total: usize, progress: &Arc<Progress>, quiet: bool) -> Self {
        Self::new("replenishing", total, progress, quiet, |books| books.replenished)
    }

    pub(super) fn placing(total: usize, progress: &Arc<Progress>, quiet: bool) -> Self {
        Self::new("orders", total, progress, quiet, |books| {
            books.ended() + books.rejected + books.unknown + books.unsent
        })
    }

    fn new(
        what: &'static str,
        total: usize,
        progress: &Arc<Progress>,
        quiet: bool,
        done: fn(&Books) -> u64,
    ) -> Self {
        let shows = match (quiet, stderr().is_terminal()) {
            (true, _) => Shows::Nothing,
            (false, true) => Shows::Bar,
            (false, false) => Shows::Lines,
        };
        let target =
            if shows == Shows::Bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        let style = ProgressStyle::with_template("{prefix:12} {wide_bar} {pos}/{len} {per_sec} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style).with_prefix(what);
        Self { progress: Arc::clone(progress), bar, what, total, done, shows }
    }

    /// Shows the progress while `work` runs.
    pub(super) async fn alongside<T>(self, work: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let mut ticks = interval(if self.shows == Shows::Bar { TICK } else { LINE_EVERY });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks.tick().await;
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                _ = ticks.tick() => self.show(started),
            }
        };
        self.bar.finish_and_clear();
        result
    }

    fn show(&self, started: Instant) {
        let (done, detail) = self.progress.read(|books| ((self.done)(books), detail(books)));
        match self.shows {
            Shows::Nothing => {}
            Shows::Bar => {
                self.bar.set_position(done);
                self.bar.set_message(detail);
            }
            Shows::Lines => {
                let rate = done as f64 / started.elapsed().as_secs_f64().max(0.001);
                output::diagnostic(&format_args!("{} {done}/{} {rate:.0}/s {detail}", self.what, self.total));
            }
        }
    }
}

fn detail(books: &Books) -> String {
    if books.accepted == 0 {
        return format!("repeated {}", books.repeated);
    }
    let ends: Vec<String> = books.ends.iter().map(|(end, count)| format!("{end} {count}")).collect();
    format!(
        "accepted {} open {} repeated {} {}",
        books.accepted,
        books.open.len(),
        books.repeated,
        ends.join(" ")
    )
}
