//! The present time and new ids: the only file that reads the clock and draws ids; everything else takes both as arguments.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// The present time, in the microseconds that both Avro's `timestamp-micros` and PostgreSQL keep.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(6)
}

/// A new UUID of version 7 (RFC 9562): ordered by the time at which it was drawn.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this file draws the ids")]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}
