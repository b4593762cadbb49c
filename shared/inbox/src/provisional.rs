//! Records that can't be decoded yet: what their schemas come from may lag behind, and is given some time before they are
//! blamed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::decoding::Item;
use crate::error_policy::{HandlerError, Rejection};

/// How long a rejection may be provisional before it is one.
const PROVISIONAL_FOR: Duration = Duration::from_secs(5);
const REMEMBERED: usize = 10_000;

/// When each provisional rejection was met first.
#[derive(Default)]
pub(crate) struct Provisional {
    met: Mutex<HashMap<Rejection, Instant>>,
}

impl Provisional {
    /// Fails, so that the batch is repeated, while one of these rejections is provisional and new.
    pub(crate) fn wait(&self, items: &[Item]) -> Result<(), HandlerError> {
        let rejections = items.iter().filter_map(|item| match item {
            Item::Undecodable(undecodable) if undecodable.is_provisional => Some(&undecodable.rejection),
            _ => None,
        });
        let now = Instant::now();
        let mut newest = None;
        let mut met = None;
        for rejection in rejections {
            let met = met.get_or_insert_with(|| self.met.lock().unwrap_or_else(PoisonError::into_inner));
            if met.len() > REMEMBERED {
                met.clear();
            }
            if now - *met.entry(rejection.clone()).or_insert(now) < PROVISIONAL_FOR {
                newest = Some(rejection);
            }
        }
        newest.map_or(Ok(()), |rejection| Err(HandlerError::Retry(Box::new(rejection.clone()))))
    }
}
