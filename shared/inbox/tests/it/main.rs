//! The inbox on a real PostgreSQL: effects once, order kept, nothing dropped silently.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where it meets what it does not expect"
)]

mod alone;
mod breaker;
mod commit;
mod dead_letters;
mod effects;
mod group;
mod halves;
mod hand_over;
mod harness;
mod held;
mod holes;
mod isolation;
mod joint;
mod keys;
mod leaders;
mod ledger;
mod logs;
mod metrics;
mod reach;
mod redrive;
mod rejections;
mod releases;
mod rights;
mod stack;
mod topics;
mod verdicts;
mod weeks;
mod wire;
