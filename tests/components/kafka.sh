#!/usr/bin/env bash
# A real Apache Kafka on this machine: one node in KRaft mode, on the loopback interface, small.
#
#   kafka.sh start [PORT]   starts it on PORT, or on a free one, waits until it is ready, and prints HOST:PORT
#   kafka.sh stop PORT      stops it and forgets its data; its log is kept
#
# Packages are fetched by Maven once and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=4.3.1

configure() {
    local run="$1" port="$2" controller="$3"
    cat >"$run/server.properties" <<END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$run/data
# Services create their topics and keep everything.
auto.create.topics.enable=false
log.retention.ms=-1
# One node.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=6
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# Small, and quick to answer.
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
group.initial.rebalance.delay.ms=0
END
}

start() {
    local port="${1:-$(free_port)}" java libs run
    java="$(find_java 17)"
    libs="$components/kafka-$version"
    fetch "$here/kafka.pom.xml" "$libs"
    run="$components/run/kafka-$port"
    if alive "$run" || listens "$port"; then fail "port $port is in use"; fi
    rm -rf "$run"
    mkdir -p "$run"
    configure "$run" "$port" "$(free_port)"
    "$java" -cp "$libs/*" kafka.tools.StorageTool format --standalone -t dGlkaW5ncy1jb21wb25lbg \
        -c "$run/server.properties" >"$run/format.log" 2>&1 || {
        cat "$run/format.log" >&2
        fail "Kafka could not format its data directory"
    }
    launch "$run" "$java" -Xmx512m -Xms128m -cp "$libs/*" kafka.Kafka server.properties
    await "$run" 120 grep -q 'Kafka Server started' "$run/log"
    await "$run" 10 listens "$port"
    echo "127.0.0.1:$port"
}

stop() {
    local run="$components/run/kafka-${1:?the port on which it runs}"
    terminate "$run"
    rm -rf "$run/data"
}

case "${1:-}" in
start | stop) "$@" ;;
*) fail "usage: kafka.sh start [PORT] | stop PORT" ;;
esac
