#!/usr/bin/env bash
# A real Jaeger on this machine: collector, memory and query in one process, on the loopback interface.
#
#   jaeger.sh start [PORT]   starts its query API on PORT, or on a free one, waits until it is ready, and prints three
#                            lines: the address of the query API, of OTLP over HTTP, and of OTLP over gRPC
#   jaeger.sh stop PORT      stops it and forgets its traces; its log is kept
#   jaeger.sh provide        prints the path of its program
#
# The program is the one that TIDINGS_JAEGER names (Jaeger 1's jaeger-all-in-one, of its releases); or it is built once, from
# its Go module, and kept in TIDINGS_COMPONENTS (default target/components). Ends with 69 where neither can be had.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=1.76.0

provide() {
    if [ -n "${TIDINGS_JAEGER:-}" ]; then
        [ -x "$TIDINGS_JAEGER" ] || fail "TIDINGS_JAEGER names $TIDINGS_JAEGER, which is no program"
        echo "$TIDINGS_JAEGER"
        return
    fi
    build_go_program "jaeger-$version" github.com/jaegertracing/jaeger "$version" ./cmd/all-in-one
    echo "$components/jaeger-$version"
}

answers() { [ "$(curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "$1")" = 200 ]; }

start() {
    local port="${1:-$(free_port)}" binary run http grpc
    command -v curl >/dev/null || fail "curl is missing. Debian and Ubuntu: 'sudo apt-get install curl'."
    binary="$(provide)"
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
start | stop | provide) "$@" ;;
*) fail "usage: jaeger.sh start [PORT] | stop PORT | provide" ;;
esac
