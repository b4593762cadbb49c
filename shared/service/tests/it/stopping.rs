//! Whoever stops a service waits for longer than the service takes at most.

use std::path::{Path, PathBuf};
use std::time::Duration;

use service::config::Common;

/// The key of each platform.
const KUBERNETES: &str = "terminationGracePeriodSeconds:";
const COMPOSE: &str = "stop_grace_period:";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What stands behind `key` in each line of a file that has it, in seconds.
fn seconds(file: &Path, key: &str) -> Vec<u64> {
    let text = std::fs::read_to_string(file).unwrap();
    let values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    values.map(|value| value.trim().trim_end_matches('s').parse().unwrap()).collect()
}

fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            manifests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_platform_waits_for_longer_than_a_service_takes_to_stop() {
    let config = Common::defaults("order", "127.0.0.1:8080");
    let bound = service::longest_stop(&config);
    assert!(bound > Duration::from_millis(config.lifecycle.grace_ms + config.outbox.shutdown_grace_ms));
    let mut files = Vec::new();
    manifests(&root().join("k8s"), &mut files);
    let mut compared = 0;
    for file in &files {
        // Kubernetes counts the pause before the signal, too.
        let pause: u64 = seconds(file, "seconds:").into_iter().sum();
        for timeout in seconds(file, KUBERNETES) {
            compared += 1;
            let needed = bound + Duration::from_secs(pause);
            assert!(Duration::from_secs(timeout) > needed, "{}: {timeout} s, {needed:?}", file.display());
        }
    }
    // The first is that of the services; the others are those of what they use.
    for timeout in seconds(&root().join("docker-compose.yml"), COMPOSE).into_iter().take(1) {
        compared += 1;
        assert!(Duration::from_secs(timeout) > bound, "docker-compose.yml: {timeout} s, {bound:?}");
    }
    assert!(compared >= 4, "{compared}");
}
