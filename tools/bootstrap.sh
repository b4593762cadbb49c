#!/usr/bin/env bash
# Installs what building needs: a C and C++ compiler for librdkafka, OpenSSL's and zlib's headers, and Rust.
# Says first what it will install; asks for rights only where system packages are missing.
set -euo pipefail

rust_version=1.95
needed_packages=(gcc g++ make pkg-config libssl-dev zlib1g-dev curl ca-certificates)

say() { printf '%s\n' "$*" >&2; }

have_tools() {
    command -v gcc >/dev/null && command -v g++ >/dev/null && command -v pkg-config >/dev/null &&
        pkg-config --exists openssl zlib
}

install_packages() {
    if ! command -v apt-get >/dev/null; then
        say "Missing: a C and C++ compiler, make, pkg-config, and the headers of OpenSSL and zlib."
        say "Install them with your system's package manager, then run make again."
        exit 1
    fi
    local missing=() package
    for package in "${needed_packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { say "As root, install: ${missing[*]}"; exit 1; }
        as_root=(sudo)
    fi
    say "Installing Debian packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -q >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends "${missing[@]}" >&2
}

rust_is_new_enough() {
    local found
    found="$(cargo --version 2>/dev/null | awk '{ print $2 }')" || return 1
    [ -n "$found" ] && [ "$(printf '%s\n' "$rust_version" "$found" | sort -V | head -n 1)" = "$rust_version" ]
}

install_rust() {
    if command -v rustup >/dev/null; then
        say "Installing the Rust toolchain that rust-toolchain.toml names, with rustup"
        rustup toolchain install
        return
    fi
    say "Installing Rust with rustup into $HOME/.cargo and $HOME/.rustup (no rights needed; remove with: rustup self uninstall)"
    curl --proto '=https' --tlsv1.2 -sSf https://static.rust-lang.org/rustup/rustup-init.sh | sh -s -- -y --profile minimal --no-modify-path
    export PATH="$PATH:$HOME/.cargo/bin"
    rustup toolchain install
}

have_tools || install_packages
rust_is_new_enough || install_rust
rust_is_new_enough || { say "cargo $rust_version or newer is needed; found: $(cargo --version 2>&1)"; exit 1; }
