#!/usr/bin/env bash
# Runs promtool with the arguments given. Where it is missing, unpacks the one of the Debian package `prometheus` under
# target/, so that no server is installed; where that can't be done, says what to install and fails.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
unpacked="$here/target/components/promtool"

say() { printf '%s\n' "$*" >&2; }

# The lists of what there is may be old, or missing; only root can renew them.
download() {
    apt-get download -q prometheus || { [ "$(id -u)" = 0 ] && apt-get update -q && apt-get download -q prometheus; }
}

unpack() {
    local folder
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        say "Missing: promtool, which comes with Prometheus (https://prometheus.io/download). Put it on PATH, then run make again."
        exit 1
    fi
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
    say "Fetching the Debian package prometheus for its promtool; unpacked into $unpacked, nothing is installed"
    if ! (cd "$folder" && download >&2); then
        say "The package can't be fetched. Install it (apt-get update && apt-get install prometheus), or put promtool on PATH."
        exit 1
    fi
    dpkg-deb -x "$folder"/prometheus_*.deb "$folder/package"
    mkdir -p "$unpacked"
    mv "$folder/package/usr/bin/promtool" "$unpacked/promtool"
    rm -rf "$folder"
    trap - EXIT
}

promtool="$(command -v promtool || true)"
if [ -z "$promtool" ]; then
    promtool="$unpacked/promtool"
    [ -x "$promtool" ] || unpack
fi
exec "$promtool" "$@"
