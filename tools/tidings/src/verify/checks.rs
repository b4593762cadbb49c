//! The five guarantees, each checked by a file of its own.

pub mod accounted;
pub mod books;
pub mod effects;
pub mod published;

use super::case::Case;
use super::history::check_sequences;
use super::report::{Findings, Guarantee, Report, Verdict};

/// Whether dead letters are tolerated: listed, and the orders concerned excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// They are listed.
    Listed,
    /// They violate G5: nothing was expected to be dead-lettered.
    Unexpected,
}

/// Checks everything.
#[must_use]
pub fn check(case: &Case<'_>, dead_letters: DeadLetters) -> Report {
    let truncated: Findings = case.history.truncated().into_iter().collect();
    let mut verdicts = vec![
        published::check(case),
        sequences(case),
        effects::check(case),
        books::check(case),
        accounted::check(case, dead_letters),
    ];
    for verdict in &mut verdicts {
        let unverifiable = std::mem::take(&mut verdict.unverifiable);
        verdict.unverifiable = truncated.clone();
        verdict.unverifiable.append(unverifiable);
        *verdict = Verdict::new(
            verdict.guarantee,
            std::mem::take(&mut verdict.figures),
            std::mem::take(&mut verdict.violations),
            std::mem::take(&mut verdict.unverifiable),
        );
    }
    let excluded =
        case.excluded.iter().map(|order_id| format!("order {order_id} has dead letters")).collect();
    Report { verdicts, excluded }
}

fn sequences(case: &Case<'_>) -> Verdict {
    let (figures, violations) = check_sequences(case.history);
    Verdict::new(
        Guarantee::G2,
        vec![
            ("events", count(figures.events)),
            ("keys", count(figures.keys)),
            ("repeated deliveries", count(figures.repetitions)),
        ],
        violations,
        Findings::default(),
    )
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
