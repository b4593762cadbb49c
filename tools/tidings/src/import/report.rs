//! What an import came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::progress::Books;
use super::rules::Reason;
use crate::text::{duration, money, percentile, thousands};

/// The summary; its fields are the `--json` output.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What the file held.
    pub file: FileFigures,
    /// SKUs replenished first.
    pub replenished_skus: u64,
    /// Orders that the service accepted, now or in an earlier run.
    pub accepted: u64,
    /// Those of them accepted for the first time.
    pub accepted_new: u64,
    /// Orders that the service rejected.
    pub rejected: u64,
    /// Orders whose outcome stayed unknown.
    pub unknown: u64,
    /// Orders that were not sent, because the service did not answer any more.
    pub unsent: u64,
    /// Requests repeated because their outcome was unknown.
    pub repeated_requests: u64,
    /// How many accepted orders came to which end.
    pub ended: BTreeMap<String, u64>,
    /// Accepted orders that had not ended when the wait was over.
    pub open: usize,
    /// The largest number of open orders seen at once.
    pub max_open: usize,
    /// Seconds from the first request to the last answer.
    pub placing_seconds: f64,
    /// Seconds from the first request to the last end.
    pub total_seconds: f64,
    /// Accepted orders per second, while placing.
    pub accepted_per_second: f64,
    /// Ended orders per second, from the first request to the last end.
    pub ended_per_second: f64,
    /// From placed to ended by the service's clock.
    pub time_to_end_ms: Option<Percentiles>,
    /// What the service said to the first rejected or unknown orders.
    pub errors: Vec<String>,
}

/// Percentiles in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: u128,
    /// Nine of ten are faster.
    pub p90: u128,
    /// 99 of 100 are faster.
    pub p99: u128,
    /// The slowest.
    pub max: u128,
}

/// How long the two parts took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the first request to the last answer.
    pub placing: Duration,
    /// From the first request to the last end.
    pub total: Duration,
}

/// What the file held.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FileFigures {
    /// Rows.
    pub rows: usize,
    /// Invoices.
    pub invoices: usize,
    /// Invoices that are orders and are to be placed.
    pub orders: usize,
    /// Units of all those orders.
    pub units: i128,
    /// What they cost together, in pence.
    pub total_minor: i128,
    /// Invoices that are no orders.
    pub rejected: usize,
    /// How many invoices bear which reason; one may bear several.
    pub rejected_by_reason: BTreeMap<Reason, u64>,
}

impl fmt::Display for FileFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "file       {} rows, {} invoices: {} orders ({} units, GBP {}), {} rejected",
            thousands_of(self.rows),
            thousands_of(self.invoices),
            thousands_of(self.orders),
            thousands(self.units),
            money(self.total_minor),
            thousands_of(self.rejected)
        )?;
        for (reason, number) in &self.rejected_by_reason {
            writeln!(f, "             {:<28} {:>7}", reason.code(), thousands(*number))?;
        }
        Ok(())
    }
}

fn thousands_of(count: usize) -> String {
    thousands(i128::try_from(count).unwrap_or(i128::MAX))
}

impl Summary {
    /// Puts the books and the clock together.
    pub fn new(file: FileFigures, books: &Books, took: Took) -> Self {
        let mut times = books.times_to_end.clone();
        times.sort_unstable();
        let at = |per_mille| percentile(&times, per_mille).map(|time| time.as_millis());
        let time_to_end_ms = match (at(500), at(900), at(990), at(1_000)) {
            (Some(p50), Some(p90), Some(p99), Some(max)) => Some(Percentiles { p50, p90, p99, max }),
            _ => None,
        };
        Self {
            file,
            replenished_skus: books.replenished,
            accepted: books.accepted,
            accepted_new: books.accepted - books.replayed,
            rejected: books.rejected,
            unknown: books.unknown,
            unsent: books.unsent,
            repeated_requests: books.repeated,
            ended: books.ends.clone(),
            open: books.open.len(),
            max_open: books.max_open,
            placing_seconds: took.placing.as_secs_f64(),
            total_seconds: took.total.as_secs_f64(),
            accepted_per_second: rate(books.accepted, took.placing),
            ended_per_second: rate(books.ended(), took.total),
            time_to_end_ms,
            errors: books.errors.clone(),
        }
    }

    /// Whether every order of the file was accepted and every accepted order has ended.
    pub fn is_complete(&self) -> bool {
        self.open == 0 && self.rejected == 0 && self.unknown == 0 && self.unsent == 0
    }
}

fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(0.001)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |seconds: f64| duration(Duration::from_secs_f64(seconds));
        write!(f, "{}", self.file)?;
        writeln!(
            f,
            "accepted   {} ({} new) in {}: {:.0} orders/s",
            thousands(self.accepted),
            thousands(self.accepted_new),
            seconds(self.placing_seconds),
            self.accepted_per_second
        )?;
        if self.rejected + self.unknown + self.repeated_requests > 0 {
            writeln!(
                f,
                "           rejected {}, unknown {}, requests repeated {}",
                thousands(self.rejected),
                thousands(self.unknown),
                thousands(self.repeated_requests)
            )?;
        }
        if self.unsent > 0 {
            writeln!(
                f,
                "not sent   {}: the service did not answer any more. Once it is ready, the same command continues; nothing is \
                 placed twice.",
                thousands(self.unsent)
            )?;
        }
        let ended: u64 = self.ended.values().sum();
        writeln!(
            f,
            "ended      {} in {}: {:.0} orders/s; open {}, up to {} seen open at once",
            thousands(ended),
            seconds(self.total_seconds),
            self.ended_per_second,
            thousands_of(self.open),
            thousands_of(self.max_open)
        )?;
        for (end, number) in &self.ended {
            writeln!(f, "             {end:<28} {:>7}", thousands(*number))?;
        }
        if let Some(times) = self.time_to_end_ms {
            writeln!(
                f,
                "to the end p50 {} ms, p90 {} ms, p99 {} ms, max {} ms (from placed to ended, by the service's clock)",
                times.p50, times.p90, times.p99, times.max
            )?;
        }
        for error in &self.errors {
            writeln!(f, "           {error}")?;
        }
        Ok(())
    }
}
