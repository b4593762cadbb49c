#!/usr/bin/env bash
# A real Apicurio Registry on this machine, in memory, on the loopback interface.
#
#   apicurio.sh start [PORT]   starts it on PORT, or on a free one, waits until it is ready, and prints the address of
#                              its Confluent-compatible API
#   apicurio.sh stop PORT      stops it; its log is kept
#   apicurio.sh provide        fetches it, and prints the folder it is in
#
# Packages are fetched by Maven once and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=3.3.3

answers() {
    # Bash speaks enough HTTP; no other program is needed. Whoever takes the connection may still never answer.
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1"
        printf 'GET /apis/ccompat/v7/subjects HTTP/1.0\r\n\r\n' >&3 && read -r -t 5 answer <&3 && [[ $answer == *' 200'* ]]
    ) 2>/dev/null
}

unpack() {
    local packed="$components/apicurio-$version-packed" into="$1"
    if [ -d "$into" ]; then return; fi
    fetch "$here/apicurio.pom.xml" "$packed"
    mkdir "$into.$$.partial"
    tar -xzf "$packed"/*.tar.gz -C "$into.$$.partial"
    settle "$into.$$.partial" "$into"
    rm -rf "$packed"
}

start() {
    local port="${1:-$(free_port)}" java home run
    java="$(find_java 21)"
    home="$components/apicurio-$version"
    unpack "$home"
    run="$components/run/apicurio-$port"
    if alive "$run" || listens "$port"; then fail "port $port is in use"; fi
    rm -rf "$run"
    mkdir -p "$run"
    export APICURIO_STORAGE_KIND=sql APICURIO_STORAGE_SQL_KIND=h2
    export QUARKUS_HTTP_HOST=127.0.0.1 QUARKUS_HTTP_PORT="$port"
    export QUARKUS_MANAGEMENT_HOST=127.0.0.1 QUARKUS_MANAGEMENT_PORT="$(free_port "$port")"
    launch "$run" "$java" "${short_lived[@]}" -Xmx512m -Djava.io.tmpdir="$run" -jar "$(find "$home" -maxdepth 2 -name quarkus-run.jar | head -n 1)"
    await "$run" 120 answers "$port"
    echo "http://127.0.0.1:$port/apis/ccompat/v7"
}

stop() {
    terminate "$components/run/apicurio-${1:?the port on which it runs}"
}

# Prints the folder that has its program.
provide() {
    unpack "$components/apicurio-$version"
    dirname "$(find "$components/apicurio-$version" -maxdepth 2 -name quarkus-run.jar | head -n 1)"
}

case "${1:-}" in
provide | start | stop) "$@" ;;
*) fail "usage: apicurio.sh provide | start [PORT] | stop PORT" ;;
esac
