#!/usr/bin/env bash
# Asks cargo-deny about licences, sources and banned dependencies, and about known vulnerabilities:
#
#   audit.sh               all of it; the advisories come from RustSec's database, a git repository on GitHub
#   audit.sh --offline     without the advisories, where that repository can't be reached
#
# cargo-deny is built once, under target/components.
set -euo pipefail

version=0.20.2
repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
root="${TIDINGS_COMPONENTS:-$repository/target/components}/cargo-deny-$version"
checks=(advisories bans licenses sources)
if [ "${1:-}" = --offline ]; then checks=(bans licenses sources); fi

if [ ! -x "$root/bin/cargo-deny" ]; then
    echo "building cargo-deny $version: some minutes, once" >&2
    cargo install --locked --quiet --root "$root" --target-dir "$root/target" "cargo-deny@$version"
    rm -rf "$root/target"
fi
cd "$repository"
"$root/bin/cargo-deny" --locked check "${checks[@]}"
