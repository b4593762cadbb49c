//! The bounds of the HTTP edge that no setting changes, and the text that may be repeated of a request (docs/adr/0034).

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

/// The longest text, in characters, that an answer repeats of its request.
const MAX_REPEATED_CHARS: usize = 200;

/// The beginning of `text`, and whether there is more of it. Whatever an answer, a label, an attribute of a span or a log repeats of a
/// request goes through here.
pub(super) fn bound_text(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(MAX_REPEATED_CHARS) {
        text.truncate(at);
        text.push('…');
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        for (text, expected) in [
            ("é".repeat(MAX_REPEATED_CHARS), "é".repeat(MAX_REPEATED_CHARS)),
            ("é".repeat(MAX_REPEATED_CHARS + 1), "é".repeat(MAX_REPEATED_CHARS) + "…"),
            (String::new(), String::new()),
        ] {
            let mut bounded = text;
            bound_text(&mut bounded);
            assert_eq!(bounded, expected);
        }
    }
}
