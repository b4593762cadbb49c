#!/usr/bin/env bash
# A real Jaeger on this machine: collector, memory and query in one process, on the loopback interface.
#
#   jaeger.sh start [PORT]   starts its query API on PORT, or on a free one, waits until it is ready, and prints three
#                            lines: the address of the query API, of OTLP over HTTP, and of OTLP over gRPC
#   jaeger.sh stop PORT      stops it and forgets its traces; its log is kept
#   jaeger.sh provide        prints the path of its program
#
# The program is the one that TIDINGS_JAEGER names (`jaeger`, of the releases of Jaeger 2); or it is built once, from the
# modules that jaeger/go.mod names, and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

provide() {
    local program="${TIDINGS_JAEGER:-}"
    if [ -n "$program" ]; then
        [ -x "$program" ] || fail "TIDINGS_JAEGER names $program, which is no program"
    else
        program="$components/jaeger-$(module_version "$here/jaeger")"
        go_program "$program" "$here/jaeger" github.com/jaegertracing/jaeger/cmd/jaeger
    fi
    echo "$program"
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
    http="$(free_port "$port")"
    grpc="$(free_port "$port" "$http")"
    # Jaeger's spans about itself are nobody's concern.
    OTEL_TRACES_SAMPLER=always_off QUERY_PORT="$port" OTLP_HTTP_PORT="$http" OTLP_GRPC_PORT="$grpc" \
        launch_program "$run" "$binary" --config="$here/jaeger/config.yaml"
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
