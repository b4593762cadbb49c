#!/usr/bin/env bash
# Says before the first build what is compiled and about how long it takes: announce.sh WHAT CPU-SECONDS
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ ! -d target/debug/.fingerprint ] || exit 0
cores="$(getconf _NPROCESSORS_ONLN)"
minutes=$((($2 / cores + 59) / 60))
echo "Compiling $1, with some 300 libraries: about $minutes minutes on these $cores cores, once. Later only what has changed." >&2
