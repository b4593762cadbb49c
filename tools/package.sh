#!/usr/bin/env bash
# Packages libraries as crates.io would get them, and builds each from its package and the packages of the others.
#
#   package.sh PACKAGE...
#
# cargo could verify them itself, but keeps what it unpacked and compiled of a version for ever, as nothing that was published
# may change. Here a version changes until it is published.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=()
for name in "$@"; do packages+=(--package "$name"); done
cargo package ${CI:+--locked} --allow-dirty --no-verify "${packages[@]}"

unpacked=target/package/unpacked
rm -rf "$unpacked"
mkdir -p "$unpacked"
{
    printf '[workspace]\nresolver = "3"\nmembers = ["*"]\n\n[patch.crates-io]\n'
    for name in "$@"; do
        # With the time of now, because cargo tells by a file's time whether it has changed.
        tar --extract --touch --gzip --directory "$unpacked" --file "$(ls -t target/package/"$name"-[0-9]*.crate | head -1)"
        printf '%s = { path = "%s" }\n' "$name" "$(basename "$(ls -d "$unpacked/$name"-[0-9]*)")"
    done
} >"$unpacked/Cargo.toml"
cp Cargo.lock "$unpacked/"
for name in "$@"; do
    cargo build --manifest-path "$unpacked/Cargo.toml" --target-dir target --package "$name"
done
