#!/usr/bin/env bash
# A real Jaeger on this machine: collector, memory and query in one process, on the loopback interface.
#
#   jaeger.sh start [PORT]   starts its query API on PORT, or on a free one, waits until it is ready, and prints three
#                            lines: the address of the query API, of OTLP over HTTP, and of OTLP over gRPC
#   jaeger.sh stop PORT      stops it and forgets its traces; its log is kept
#
# Built once, from its Go module, and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=1.76.0
module=github.com/jaegertracing/jaeger

# Prints the path of a Go that is installed.
find_go() {
    local go
    for go in "${TIDINGS_GO:-}" "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go /usr/lib/go-*/bin/go; do
        [ -n "$go" ] && [ -x "$go" ] || continue
        echo "$go"
        return
    done
    say "Go is missing; it builds Jaeger $version. Debian and Ubuntu: 'sudo apt-get install golang-go' where that is new enough"
    say "(1.24), or any other build of Go. TIDINGS_GO may name its 'go'."
    return 1
}

# Prints the folder in which Go keeps the module's sources.
download() {
    local go="$1" answer
    answer="$("$go" mod download -json "$module@v$version")" || {
        say "$answer"
        fail "Go could not fetch $module v$version"
    }
    sed -nE 's/^[[:space:]]*"Dir": "(.*)",?$/\1/p' <<<"$answer"
}

# Builds the binary $1, unless it is there.
build() {
    local binary="$1" go sources partial="$1.$$.partial"
    if [ -x "$binary" ]; then return; fi
    go="$(find_go)"
    say "fetching and building Jaeger $version: some minutes, once"
    sources="$(cd "$components" && download "$go")"
    [ -d "$sources" ] || fail "Go does not say where it keeps $module"
    # Go builds inside a module only where it may write.
    mkdir -p "$partial"
    cp -r "$sources/." "$partial/"
    chmod -R u+w "$partial"
    if ! (cd "$partial" && "$go" build -o all-in-one ./cmd/all-in-one >&2); then
        rm -rf "$partial"
        fail "Jaeger $version could not be built"
    fi
    mv "$partial/all-in-one" "$binary"
    rm -rf "$partial"
}

answers() { [ "$(curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "$1")" = 200 ]; }

start() {
    local port="${1:-$(free_port)}" binary="$components/jaeger-$version" run http grpc
    command -v curl >/dev/null || fail "curl is missing. Debian and Ubuntu: 'sudo apt-get install curl'."
    build "$binary"
    run="$components/run/jaeger-$port"
    if alive "$run" || listens "$port"; then fail "port $port is in use"; fi
    rm -rf "$run"
    mkdir -p "$run"
    http="$(free_port)"
    grpc="$(free_port)"
    # Port 0: nobody asks there. Jaeger's spans about itself are nobody's concern either.
    OTEL_TRACES_SAMPLER=always_off SPAN_STORAGE_TYPE=memory launch_program "$run" "$binary" \
        --memory.max-traces=20000 \
        --query.http-server.host-port="127.0.0.1:$port" --query.grpc-server.host-port=127.0.0.1:0 \
        --collector.otlp.enabled=true \
        --collector.otlp.http.host-port="127.0.0.1:$http" --collector.otlp.grpc.host-port="127.0.0.1:$grpc" \
        --collector.http-server.host-port=127.0.0.1:0 --collector.grpc-server.host-port=127.0.0.1:0 \
        --admin.http.host-port=127.0.0.1:0
    await "$run" 60 answers "http://127.0.0.1:$port/api/services"
    await "$run" 10 listens "$http"
    await "$run" 10 listens "$grpc"
    printf 'http://127.0.0.1:%s\n' "$port" "$http" "$grpc"
}

stop() {
    terminate "$components/run/jaeger-${1:?the port of its query API}"
}

case "${1:-}" in
start | stop) "$@" ;;
*) fail "usage: jaeger.sh start [PORT] | stop PORT" ;;
esac
