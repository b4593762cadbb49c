//! Decoding and dispatching an event, as Criterion has measured it.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::Measured;
use crate::figures::{Figure, Goal};

pub(super) const NAME: &str = "decode";
pub(super) const MEASURES: &str = "An event of 300 B (OrderPlaced with 14 lines) from a record with its headers to its handler: the type by \
    header, Avro in Confluent's wire format, envelope, key, dispatch. Criterion's mean over batches of 100 records on one core \
    (tests/bench/decode), in the profile of the images.";
pub(super) const BESIDE: &str = "nothing; it is the work of one core.";

/// Records of a batch, as the benchmark has them.
const RECORDS: f64 = 100.0;

/// What Criterion writes, as far as it is read.
#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

pub(super) fn run() -> anyhow::Result<Measured> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let file = root.join("target/decode/criterion/decode/events/new/estimates.json");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("{} is missing: `make bench-decode` writes it", file.display()))?;
    let Estimates { mean } = serde_json::from_str(&text).context("Criterion's estimates")?;
    let us = |nanoseconds: f64| nanoseconds / 1_000.0 / RECORDS;
    let figure =
        Figure::new("decoded and dispatched", "us", us(mean.point_estimate)).goal(Goal::ValueAtMost(2.0));
    let Interval { lower_bound, upper_bound } = mean.confidence_interval;
    let note = format!(
        "The mean lies between {:.2} and {:.2} us (95 % confidence).",
        us(lower_bound),
        us(upper_bound)
    );
    Ok(Measured { figures: vec![figure], notes: vec![note] })
}
