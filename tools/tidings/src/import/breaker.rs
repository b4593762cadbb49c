//! One breaker for all requests of a run: when none of them is answered for long enough, no more are sent.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When anything was last answered.
#[derive(Debug)]
pub(super) struct Breaker {
    last_answer: Mutex<Instant>,
    timeout: Duration,
}

impl Breaker {
    /// Opens once nothing was answered for `timeout`, and stays open.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { last_answer: Mutex::new(Instant::now()), timeout }
    }

    /// A request was answered: its outcome is known.
    pub(super) fn answered(&self) {
        if !self.is_open() {
            *self.last_answer.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// Whether to send nothing more.
    pub(super) fn is_open(&self) -> bool {
        self.last_answer.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_the_time_without_an_answer_and_stays_open() {
        let breaker = Breaker::new(Duration::from_secs(3_600));
        breaker.answered();
        assert!(!breaker.is_open());
        let breaker = Breaker::new(Duration::ZERO);
        assert!(breaker.is_open());
        breaker.answered();
        assert!(breaker.is_open());
    }
}
