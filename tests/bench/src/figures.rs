//! A figure: what was measured, what stands beside it, and its goal.

use serde::{Deserialize, Serialize};

/// What was measured. A throughput or a latency says little alone, because machines differ: the ratio to what was
/// measured beside it, in the same run, is the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The unit of `value` and of what stands beside it.
    pub unit: String,
    /// The measured value.
    pub value: f64,
    /// What stands beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// `value` divided by what stands beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// What is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Whether the goal was met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// The figure that a value is compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// What it is of.
    pub what: String,
    /// Its value, in the same unit.
    pub value: f64,
}

/// What is wanted of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The ratio is at least this.
    RatioAtLeast(f64),
    /// The ratio is at most this.
    RatioAtMost(f64),
    /// The value is at most this.
    ValueAtMost(f64),
}

impl Figure {
    /// A value alone.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: &str, value: f64) -> Self {
        Self {
            name: name.into(),
            unit: unit.to_owned(),
            value,
            beside: None,
            ratio: None,
            goal: None,
            met: None,
        }
    }

    /// With what was measured beside it. Nothing is compared with zero.
    #[must_use]
    pub fn beside(mut self, what: &str, value: f64) -> Self {
        self.beside = Some(Beside { what: what.to_owned(), value });
        self.ratio = (value > 0.0).then(|| self.value / value);
        self.met = self.compare();
        self
    }

    /// With a goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self.met = self.compare();
        self
    }

    /// What the goal is about, divided by the goal: 1 is the goal itself.
    #[must_use]
    pub fn share_of_goal(&self) -> Option<f64> {
        let (measured, wanted) = self.measured_and_wanted()?;
        (wanted > 0.0).then(|| measured / wanted)
    }

    fn measured_and_wanted(&self) -> Option<(f64, f64)> {
        match self.goal? {
            Goal::RatioAtLeast(wanted) | Goal::RatioAtMost(wanted) => Some((self.ratio?, wanted)),
            Goal::ValueAtMost(wanted) => Some((self.value, wanted)),
        }
    }

    fn compare(&self) -> Option<bool> {
        let (measured, wanted) = self.measured_and_wanted()?;
        Some(match self.goal? {
            Goal::RatioAtLeast(_) => measured >= wanted,
            Goal::RatioAtMost(_) | Goal::ValueAtMost(_) => measured <= wanted,
        })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RatioAtLeast(wanted) => write!(f, "ratio ≥ {wanted}"),
            Self::RatioAtMost(wanted) => write!(f, "ratio ≤ {wanted}"),
            Self::ValueAtMost(wanted) => write!(f, "≤ {wanted}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(value: f64, other: f64, goal: Goal) -> Figure {
        Figure::new("x", "orders/s", value).beside("pgbench", other).goal(goal)
    }

    #[test]
    fn a_goal_is_met_up_to_its_bound() {
        for (figure, ratio, met) in [
            (beside(400.0, 800.0, Goal::RatioAtLeast(0.5)), Some(0.5), Some(true)),
            (beside(399.0, 800.0, Goal::RatioAtLeast(0.5)), Some(399.0 / 800.0), Some(false)),
            (beside(3.0, 1.0, Goal::RatioAtMost(3.0)), Some(3.0), Some(true)),
            (beside(3.1, 1.0, Goal::RatioAtMost(3.0)), Some(3.1), Some(false)),
            (beside(0.2, 0.0, Goal::ValueAtMost(0.12)), None, Some(false)),
            (Figure::new("x", "ms", 0.1).goal(Goal::ValueAtMost(0.12)), None, Some(true)),
            (Figure::new("x", "ms", 0.1), None, None),
        ] {
            assert_eq!((figure.ratio, figure.met), (ratio, met), "{figure:?}");
        }
    }

    #[test]
    fn nothing_is_a_ratio_to_zero_and_no_goal_about_it_is_met() {
        let figure = beside(1.0, 0.0, Goal::RatioAtLeast(0.5));
        assert_eq!((figure.ratio, figure.met, figure.share_of_goal()), (None, None, None));
    }

    #[test]
    fn the_share_of_a_goal_is_one_at_the_goal() {
        assert_eq!(beside(400.0, 800.0, Goal::RatioAtLeast(0.5)).share_of_goal(), Some(1.0));
        assert_eq!(Figure::new("x", "ms", 0.24).goal(Goal::ValueAtMost(0.12)).share_of_goal(), Some(2.0));
    }

    #[test]
    fn a_figure_is_read_as_it_was_written() {
        let figure = beside(1.5, 2.0, Goal::RatioAtLeast(0.5));
        let text = serde_json::to_string(&figure).unwrap();
        assert!(text.contains(r#""ratio":0.75"#) && text.contains(r#""met":true"#), "{text}");
        assert_eq!(serde_json::from_str::<Figure>(&text).unwrap(), figure);
    }
}
