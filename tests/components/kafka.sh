#!/usr/bin/env bash
# A real Apache Kafka on this machine: one node in KRaft mode, on the loopback interface, small.
#
#   kafka.sh start [PORT]   starts it on PORT, or on a free one, waits until it is ready, and prints four lines: HOST:PORT;
#                           HOST:PORT of a listener with TLS and SCRAM; the file of its certificate authority; the file
#                           of the password of its user, who is called tidings
#   kafka.sh stop PORT      stops it and forgets its data; its log is kept
#   kafka.sh provide        fetches it, and prints the folder it is in
#
# Packages are fetched by Maven once and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=4.3.1

configure() {
    local run="$1" port="$2" secure="$3" controller="$4"
    cat >"$run/server.properties" <<END
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,SECURE://127.0.0.1:$secure
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$run/tls/server.pem
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
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

# Makes, in the directory $1, an authority, what the broker shows of it, and the user's password.
make_secrets() (
    umask 077
    mkdir -p "$1"
    cd "$1"
    {
        openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj '/CN=a test authority' -keyout ca.key -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj '/CN=127.0.0.1' -keyout server.key -out server.csr
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 7 -out server.crt \
            -extfile <(echo 'subjectAltName=IP:127.0.0.1')
    } 2>openssl.log || {
        cat openssl.log >&2
        fail "the certificates could not be made"
    }
    cat server.key server.crt ca.pem >server.pem
    openssl rand -hex 16 >password
)

start() {
    local port="${1:-$(free_port)}" secure java libs run
    command -v openssl >/dev/null || fail "openssl is missing. Debian and Ubuntu: 'sudo apt-get install openssl'."
    java="$(find_java 17)"
    libs="$components/kafka-$version"
    fetch "$here/kafka.pom.xml" "$libs"
    run="$components/run/kafka-$port"
    if alive "$run" || listens "$port"; then fail "port $port is in use"; fi
    rm -rf "$run"
    mkdir -p "$run"
    secure="$(free_port "$port")"
    make_secrets "$run/tls"
    configure "$run" "$port" "$secure" "$(free_port "$port" "$secure")"
    "$java" "${short_lived[@]}" -cp "$libs/*" kafka.tools.StorageTool format --standalone -t dGlkaW5ncy1jb21wb25lbg \
        --add-scram "SCRAM-SHA-512=[name=tidings,password=$(cat "$run/tls/password")]" \
        -c "$run/server.properties" >"$run/format.log" 2>&1 || {
        cat "$run/format.log" >&2
        fail "Kafka could not format its data directory"
    }
    launch "$run" "$java" "${short_lived[@]}" -Xmx512m -Xms128m -cp "$libs/*" kafka.Kafka server.properties
    await "$run" 120 grep -q 'Kafka Server started' "$run/log"
    await "$run" 10 listens "$port"
    printf '%s\n' "127.0.0.1:$port" "127.0.0.1:$secure" "$run/tls/ca.pem" "$run/tls/password"
}

stop() {
    local run="$components/run/kafka-${1:?the port on which it runs}"
    terminate "$run"
    rm -rf "$run/data" "$run/tls"
}

# Prints the folder that has its packages.
provide() {
    fetch "$here/kafka.pom.xml" "$components/kafka-$version" >&2
    echo "$components/kafka-$version"
}

case "${1:-}" in
provide | start | stop) "$@" ;;
*) fail "usage: kafka.sh provide | start [PORT] | stop PORT" ;;
esac
