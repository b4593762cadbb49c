//! Corrupt rows: each is reported and left out or set aside by itself, so that everything else goes on (docs/adr/0022, docs/adr/0033).

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use metrics::counter;

/// How long a worker leaves a corrupt row alone before it reads it again.
pub const SET_ASIDE: Duration = Duration::from_secs(300);

/// Begins the counter of a table, so that a rate includes its first row.
pub fn begin_counter(table: &'static str) {
    counter!("corrupt_rows_total", "table" => table).increment(0);
}

/// Logs and counts a row of `table` that can't be read or changed. A database that is away or lacks something is no row's fault.
pub fn report(table: &'static str, id: &dyn Display, error: &(dyn Error + 'static)) {
    counter!("corrupt_rows_total", "table" => table).increment(1);
    tracing::error!(table, %id, error, "corrupt row");
}
