#!/usr/bin/env bash
# Debezium Server, the relay that stands beside ours in tests and benchmarks.
#
#   debezium.sh provide     fetches it (780 MB) and compiles what deploy/debezium adds to it; prints the folder it is in
#   debezium.sh version     prints its version where it is provided; otherwise says what to do, and fails
#   debezium.sh run DIR     becomes Debezium Server, with DIR/config/application.properties and DIR for its files
#
# Packages are fetched by Maven once and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=3.6.0.Final
home="$components/debezium-$version"
source="$here/../../deploy/debezium/OutboxHeaders.java"
# Another source is another program.
added="$components/debezium-headers-$(sha256sum "$source" | cut -c1-12)"

unpack() {
    local packed="$components/debezium-$version-packed.$$"
    if [ -d "$home" ]; then return; fi
    command -v mvn >/dev/null || fail "Maven is missing; it fetches Debezium Server. Debian and Ubuntu: 'sudo apt-get install maven'."
    say "fetching debezium-$version"
    # By its name alone: its project names a parent that is not published.
    if ! tries mvn --batch-mode --quiet -Dstyle.color=never dependency:copy \
        -Dartifact="io.debezium:debezium-server-dist:$version:tar.gz" -DoutputDirectory="$packed" >&2; then
        rm -rf "$packed"
        fail "Maven could not fetch debezium-$version"
    fi
    mkdir "$home.$$.partial"
    tar -xzf "$packed"/*.tar.gz -C "$home.$$.partial" --strip-components=1
    settle "$home.$$.partial" "$home"
    rm -rf "$packed"
}

compile() {
    local javac
    if [ -d "$added" ]; then return; fi
    javac="$(dirname "$(find_java 21)")/javac"
    [ -x "$javac" ] || fail "$javac is missing: a JDK is needed. Debian and Ubuntu: 'sudo apt-get install openjdk-21-jdk-headless'."
    mkdir -p "$added.$$.partial"
    "$javac" -proc:none --release 17 -cp "$home/lib/*" -d "$added.$$.partial" "$source" >&2 || {
        rm -rf "$added.$$.partial"
        fail "deploy/debezium/OutboxHeaders.java could not be compiled"
    }
    settle "$added.$$.partial" "$added"
}

provide() {
    unpack
    compile
    echo "$home"
}

version() {
    if [ ! -d "$home" ] || [ ! -d "$added" ]; then
        fail "Debezium Server is missing: 'tests/components/debezium.sh provide' fetches it (780 MB; needs Java 21 and Maven)"
    fi
    find_java 21 >/dev/null
    echo "${version%.Final}"
}

run() {
    local java options=()
    java="$(find_java 21)"
    # Where it is measured, it runs as its own script starts it.
    [ -n "${TIDINGS_JAVA_OPTIMISED:-}" ] || options=("${short_lived[@]}" -Xmx512m)
    cd "${1:?the folder that has config/application.properties}"
    mkdir -p data
    exec "$java" "${options[@]}" -cp "$(find "$home" -maxdepth 1 -name '*-runner.jar'):config:$added:$home/lib/*" \
        io.debezium.server.Main
}

case "${1:-}" in
provide | version | run) "$@" ;;
*) fail "usage: debezium.sh provide | version | run DIR" ;;
esac
