//! The curves: figures while one parameter grows, each point on servers of its own.

use tidings::output;

use crate::figures::{Figure, Goal};
use crate::report::{Point, rounded};
use crate::rows::Setting;
use crate::scenario::{Measured, Scenario};
use crate::servers::Servers;
use crate::without::{self, PARTITION_COUNT};

/// A curve.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) measures: &'static str,
    pub(crate) beside: &'static str,
    pub(crate) parameter: &'static str,
    values: &'static [u64],
    /// Sets the parameter.
    set: fn(&mut Scenario, u64) -> anyhow::Result<()>,
    measured: &'static [Measured],
    /// The share of the first figure at the first value that it is to keep at the last.
    keeps: Option<f64>,
    /// Connections that PostgreSQL takes at most, where its default would not do.
    max_connections: Option<&'static str>,
}

const NOTHING: &str = "nothing.";
/// What a curve has that says nothing else.
const PLAIN: Curve = Curve {
    name: "",
    measures: "",
    beside: NOTHING,
    parameter: "",
    values: &[],
    set: |_, _| Ok(()),
    measured: &[],
    keeps: None,
    max_connections: None,
};

/// All curves.
pub(crate) static CURVES: [Curve; 9] = [
    Curve {
        name: "curve-backlog",
        measures: "Waiting rows published by the polling relay of order, over how many wait.",
        beside: "nothing; the row relay-poll has librdkafka.",
        parameter: "waiting rows",
        values: &[10_000, 100_000, 1_000_000],
        set: |scenario, at| {
            scenario.waiting = at;
            Ok(())
        },
        measured: &[Measured::Relay],
        ..PLAIN
    },
    Curve {
        name: "curve-finished",
        measures: "100,000 waiting rows published by the polling relay of order, over how many were published before them.",
        parameter: "finished rows",
        values: &[10_000, 100_000, 1_000_000, 10_000_000],
        set: |scenario, at| {
            scenario.finished = at;
            Ok(())
        },
        measured: &[Measured::Relay],
        keeps: Some(0.9),
        ..PLAIN
    },
    Curve {
        name: "curve-lines",
        measures: "Orders accepted over HTTP by order alone on 16 connections, over the lines of an order.",
        beside: "pgbench with the statements recorded for an order of as many lines.",
        parameter: "lines",
        values: &[1, 10, 300],
        set: |scenario, at| {
            scenario.lines = usize::try_from(at)?;
            Ok(())
        },
        measured: &[Measured::AcceptBesidePgbench],
        ..PLAIN
    },
    Curve {
        name: "curve-batch",
        measures: "20,000 waiting events of orders of 3 lines applied by inventory alone, and orders through the five services at \
            full speed, over consumer.max_batch_records.",
        parameter: "records of a transaction",
        values: &[1, 10, 100, 500],
        set: |scenario, at| set(scenario, "consumer.max_batch_records", at),
        measured: &[Measured::Apply, Measured::Whole],
        ..PLAIN
    },
    Curve {
        name: "curve-partitions",
        measures: "Waiting events of orders of 3 lines applied by inventory alone, and orders through the five services at full speed, over the \
            partitions of each topic. The services are built without the check that these are six (tests/bench/without).",
        parameter: "partitions",
        values: &[1, 3, 6, 12, 24],
        set: |scenario, at| {
            scenario.partitions = Some(i32::try_from(at)?);
            scenario.deployment = scenario.deployment.clone().binaries(without::binaries(PARTITION_COUNT)?);
            Ok(())
        },
        measured: &[Measured::Apply, Measured::Whole],
        ..PLAIN
    },
    Curve {
        name: "curve-members",
        measures: "Waiting events of orders of 3 lines applied by inventory alone, and orders through the five services at full speed, over the \
            replicas of each service. PostgreSQL has max_connections = 500.",
        parameter: "members",
        values: &[1, 2, 4],
        set: |scenario, at| {
            scenario.deployment = scenario.deployment.clone().replicas(usize::try_from(at)?);
            Ok(())
        },
        measured: &[Measured::Apply, Measured::Whole],
        max_connections: Some("500"),
        ..PLAIN
    },
    Curve {
        name: "curve-skew",
        measures: "Waiting events of orders of 3 lines applied by inventory alone, and orders through the five services at full speed, over how \
            many orders of a hundred want the same 3 SKUs; the others are spread over 500.",
        parameter: "hot orders (%)",
        values: &[0, 50, 90, 100],
        set: |scenario, at| {
            scenario.hot_per_cent = at;
            Ok(())
        },
        measured: &[Measured::Apply, Measured::Whole],
        ..PLAIN
    },
    Curve {
        name: "curve-inbox",
        measures: "20,000 waiting events of orders of 3 lines applied by inventory alone, over the rows that its inbox has from the \
            week before, in the table partition of the new ones.",
        parameter: "inbox rows",
        values: &[0, 100_000, 1_000_000, 10_000_000],
        set: |scenario, at| {
            scenario.inbox_rows = at;
            Ok(())
        },
        measured: &[Measured::Apply],
        keeps: Some(0.9),
        ..PLAIN
    },
    Curve {
        name: "curve-tracing",
        measures: "Orders of 3 lines accepted by order alone on 16 connections, and orders through the five services at full speed, \
            over how many traces of a hundred are recorded. The receiver of the spans shares the cores.",
        parameter: "traces (%)",
        values: &[0, 1, 10, 100],
        set: |scenario, at| {
            scenario.deployment = scenario.deployment.clone().traces(at);
            Ok(())
        },
        measured: &[Measured::Accept, Measured::Whole],
        ..PLAIN
    },
];

fn set(scenario: &mut Scenario, setting: &str, value: u64) -> anyhow::Result<()> {
    scenario.deployment = scenario.deployment.clone().set(setting, &value);
    Ok(())
}

impl Curve {
    /// The values of the parameter: up to the largest that is asked for; two of them in a quick run.
    pub(crate) fn values(&self, is_quick: bool, up_to: Option<u64>) -> Vec<u64> {
        let largest = up_to.unwrap_or(u64::MAX);
        let values = self.values.iter().copied().filter(|value| *value <= largest);
        values.take(if is_quick { 2 } else { usize::MAX }).collect()
    }

    /// The figures at one value.
    ///
    /// # Errors
    /// When something can't be measured.
    pub(crate) async fn point(&self, setting: &Setting, at: u64) -> anyhow::Result<Point> {
        let mut figures = Vec::new();
        for (number, measured) in self.measured.iter().enumerate() {
            output::diagnostic(&format!("{}: {at} {}, {measured:?}", self.name, self.parameter));
            let run = contracts::clock::new_id().simple().to_string();
            let mut scenario = Scenario::new(setting, format!("bench-{}-{number}-{run}", self.name));
            (self.set)(&mut scenario, at)?;
            let max_connections = self.max_connections.map(|count| ("max_connections", count));
            let settings: Vec<(&str, &str)> = max_connections.into_iter().collect();
            let servers = Servers::start_with(&setting.kafka, &setting.binaries, &settings).await?;
            figures.extend(scenario.measure(*measured, setting, &servers).await?);
        }
        Ok(Point { at: at as f64, figures })
    }

    /// The first figure at the last value beside that at the first, if it has a goal.
    pub(crate) fn kept(&self, points: &[Point]) -> Option<Figure> {
        let [first, .., last] = points else { return None };
        let (from, to) = (first.figures.first()?, last.figures.first()?);
        let name = format!("{}, {} {}", to.name, tidings::text::thousands(rounded(last.at)), self.parameter);
        let figure = Figure::new(name, &to.unit, to.value);
        let beside = format!("{} of them", tidings::text::thousands(rounded(first.at)));
        Some(figure.beside(&beside, from.value).goal(Goal::RatioAtLeast(self.keeps?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_a_curve_rise_and_are_bounded_by_what_is_asked_for() {
        for curve in &CURVES {
            assert!(curve.values.is_sorted() && curve.values.len() > 2, "{}", curve.name);
            assert!(!curve.measured.is_empty() && curve.name.starts_with("curve-"), "{}", curve.name);
            assert_eq!(curve.values(true, None).len(), 2);
        }
        assert_eq!(CURVES[1].values(false, Some(1_000_000)), [10_000, 100_000, 1_000_000]);
    }

    #[test]
    fn what_is_to_be_kept_is_the_first_figure_at_the_last_value_beside_the_first() {
        let point = |at, value| Point {
            at,
            figures: vec![Figure::new("published", "rows/s", value), Figure::new("CPU", "us", 1.0)],
        };
        let points = [point(1e4, 100.0), point(1e5, 20.0), point(1e7, 89.0)];
        let kept = CURVES[1].kept(&points).unwrap();
        assert_eq!((kept.name.as_str(), kept.ratio), ("published, 10,000,000 finished rows", Some(0.89)));
        assert_eq!(kept.met, Some(false));
        assert!(CURVES[0].kept(&points).is_none() && CURVES[1].kept(&points[..1]).is_none());
    }
}
