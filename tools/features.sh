#!/usr/bin/env bash
# Whether tests share what is compiled for the services and the command: cargo compiles a library again for each set of
# features. Fails with the libraries that tests want with other ones.
#
#   features.sh PACKAGE...     the packages without which nothing runs
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The libraries with their features, without what runs inside the compiler, and without the crates of this repository:
# tests compile those again anyway, under Clippy.
features() {
    cargo tree ${CI:+--locked} --prefix none --format '{p} [{f}]' "$@" | sed 's/ (\*)$//' | grep -v ' (/' | sort -u
}

packages=()
for name in "$@"; do packages+=(--package "$name"); done
programs="$(features --edges normal,no-proc-macro "${packages[@]}")"
tests="$(features --edges normal,dev,no-proc-macro --workspace)"
twice="$(comm -23 <(echo "$programs") <(echo "$tests"))"
[ -z "$twice" ] || {
    printf 'Tests want these with other features, so they are compiled twice: ask for the same where they are used\n%s\n' "$twice" >&2
    exit 1
}
