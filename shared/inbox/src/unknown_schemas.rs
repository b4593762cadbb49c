//! Schema ids that the registry does not know: a registry that lags behind is given some time before records are blamed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contracts::DecodeError;
use tokio::time::Instant;

use crate::error_policy::HandlerError;

/// How long an id may be unknown before its records are.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many ids are remembered.
const REMEMBERED: usize = 10_000;

/// When each unknown id was met first.
#[derive(Default)]
pub(crate) struct UnknownSchemas {
    met: Mutex<HashMap<u32, Instant>>,
}

impl UnknownSchemas {
    /// Fails, so that the batch is repeated, while one of these ids has not been unknown for long.
    pub(crate) fn blame(&self, unknown: &BTreeSet<u32>) -> Result<(), HandlerError> {
        if unknown.is_empty() {
            return Ok(());
        }
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if met.len() > REMEMBERED {
            met.clear();
        }
        let now = Instant::now();
        let is_new = |id: &&u32| now - *met.entry(**id).or_insert(now) < PATIENCE;
        match unknown.iter().filter(is_new).max() {
            Some(id) => Err(HandlerError::Retry(Box::new(DecodeError::UnknownSchema { id: *id }))),
            None => Ok(()),
        }
    }
}
