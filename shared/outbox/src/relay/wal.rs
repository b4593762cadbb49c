//! The relay of the write-ahead log: appends are read by logical replication, in the order of their commits, and nothing is marked
//! row by row (docs/adr/0026).
//!
//! It is the polling relay with another source. Buffer, publishers and hand-over are those of `poll`; what the log brings takes the
//! place of pages, and a position in the log that of `finished_at`:
//!
//! ```text
//! log ─► stream ─► look: visible? published already? behind what is pending? ─► buffer ─► publishers
//!                     │                                                                      │
//!                     └─► outbox.pending ◄─ blocked, no room, no answer          acknowledged ┘─► progress
//!                               └─► pages, as of the table                                           │
//! snapshot S, then position P ────────────────── everything before P is acknowledged or pending ─► S stored, P confirmed
//! ```
//!
//! **Invariant:** what the slot has passed is acknowledged by the broker, or a row of `outbox.pending`.

pub(super) mod brought;
pub(super) mod decode;
pub(super) mod progress;
pub(super) mod slot;
pub(super) mod stream;
pub(super) mod visible;
