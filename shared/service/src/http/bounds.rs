//! The bounds of the HTTP edge that no setting changes (docs/adr/0034).

use std::time::Duration;

/// The largest head of a request: its request line and its headers. Each open connection may hold one.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How long a client may take to send the whole body of a request.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a response may wait for its client to read any of it.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of bodies that are held at once, unless a single body may be larger.
pub(super) const MAX_BODY_BYTES_HELD: usize = 16 * 1024 * 1024;

/// Connections beyond `http.max_connections` that are open at once, for health and metrics.
pub(super) const RESERVED_CONNECTIONS: usize = 64;

/// How long a reserved connection may take to send its request.
pub(super) const RESERVED_HEADER_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a reserved connection may be open.
pub(super) const RESERVED_TIMEOUT: Duration = Duration::from_secs(5);
