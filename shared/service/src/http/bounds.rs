//! The bounds of the HTTP edge that no setting changes, and the text that may be repeated of a request (docs/adr/0037).

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

/// The beginning of `text`. Whatever an answer, a label, an attribute of a span or a log repeats of a request goes through
/// here.
pub(super) fn bounded(text: &str) -> &str {
    text.char_indices().nth(MAX_REPEATED_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Cuts `text` as [`bounded`] does, and marks the cut.
pub(super) fn bound_text(text: &mut String) {
    let end = bounded(text).len();
    if end < text.len() {
        text.truncate(end);
        text.push('…');
        text.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpConfig;

    /// What a service takes with no connection open.
    const AT_REST_BYTES: usize = 64 << 20;

    /// What a byte of a body costs while it is read into its type: the test `a_body_costs_a_few_times_its_size` measures it.
    const COST_OF_A_BODY_BYTE: usize = 4;

    /// A connection has a buffer to read and one to write.
    const BUFFERS: usize = 2;

    /// The limits that a manifest sets, as `key: 256Mi` or `key: 256M`.
    fn memory_limits(manifest: &str, key: &str) -> Vec<usize> {
        let values = manifest.lines().filter_map(|line| line.trim().strip_prefix(key));
        values
            .map(|value| {
                let value = value.trim().trim_matches('"').to_ascii_lowercase();
                let (number, unit) = value.split_at(value.find(|it: char| !it.is_ascii_digit()).unwrap());
                let unit = match unit {
                    "mi" | "m" | "mb" => 1 << 20,
                    "gi" | "g" | "gb" => 1 << 30,
                    unit => panic!("{unit} is no unit that this test knows"),
                };
                number.parse::<usize>().unwrap() * unit
            })
            .collect()
    }

    #[test]
    fn what_strangers_can_hold_fits_into_the_memory_that_the_manifests_allow() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
        let read = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap();
        let deployment = read("k8s/base/service/deployment.yaml");
        let limits = deployment.split("limits:").skip(1);
        let mut allowed: Vec<usize> =
            limits.filter_map(|limits| memory_limits(limits, "memory:").into_iter().next()).collect();
        assert!(!allowed.is_empty(), "the deployment has a limit");
        // Compose has limits where it names them.
        allowed.extend(memory_limits(&read("docker-compose.yml"), "mem_limit:"));
        let least = allowed.into_iter().min().unwrap();
        let config = HttpConfig::default();
        let heads = (config.max_connections + RESERVED_CONNECTIONS) * MAX_HEAD_BYTES * BUFFERS;
        let bodies = MAX_BODY_BYTES_HELD.max(config.max_body_bytes) * COST_OF_A_BODY_BYTE;
        assert!(
            AT_REST_BYTES + heads + bodies <= least,
            "{heads} for heads and {bodies} for bodies, {least} are allowed"
        );
    }

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
