#!/usr/bin/env bash
# A real Kubernetes API server on this machine, with its etcd, on the loopback interface. Nothing runs what it is told: there
# is no scheduler, no controller and no node, so it only accepts or refuses.
#
#   server.sh start [PORT]   starts it on PORT, or on a free one, waits until it is ready, and prints the path of a kubeconfig
#   server.sh stop PORT      stops it and forgets its data; its logs are kept
#
# Built once, from Kubernetes' Go modules, and kept in TIDINGS_COMPONENTS (default target/components).
source "$(dirname "${BASH_SOURCE[0]}")/components.sh"

# A key that signs nothing that matters, and a token for this one server.
configure() {
    local run="$1" port="$2" token
    command -v openssl >/dev/null || fail "openssl is missing. Debian and Ubuntu: 'sudo apt-get install openssl'."
    (umask 077 && openssl genrsa -out "$run/key.pem" 2048 2>/dev/null)
    token="$(openssl rand -hex 16)"
    echo "$token,tests,tests,system:masters" >"$run/tokens.csv"
    cat >"$run/kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: tests
contexts: [{ name: tests, context: { cluster: tests, user: tests } }]
clusters: [{ name: tests, cluster: { server: "https://127.0.0.1:$port", certificate-authority: "$run/certificates/apiserver.crt" } }]
users: [{ name: tests, user: { token: "$token" } }]
END
}

ready() { "$1/kubectl" --kubeconfig "$2/kubeconfig" --request-timeout 2s get --raw /readyz >/dev/null 2>&1; }

start() {
    local port="${1:-$(free_port)}" home run etcd etcd_port peer_port
    home="$(kubernetes kubectl kube-apiserver etcd)"
    run="$components/run/kubernetes-$port"
    etcd="$components/run/etcd-of-$port"
    if alive "$run" || listens "$port"; then fail "port $port is in use"; fi
    rm -rf "$run" "$etcd"
    mkdir -p "$run" "$etcd"
    configure "$run" "$port"
    etcd_port="$(free_port "$port")"
    peer_port="$(free_port "$port" "$etcd_port")"
    launch_program "$etcd" "$home/etcd" --data-dir "$etcd/data" --unsafe-no-fsync --log-level warn \
        --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$peer_port"
    await "$etcd" 120 listens "$etcd_port"
    launch_program "$run" "$home/kube-apiserver" --bind-address 127.0.0.1 --secure-port "$port" --cert-dir "$run/certificates" \
        --etcd-servers "http://127.0.0.1:$etcd_port" --service-cluster-ip-range 10.96.0.0/16 \
        --authorization-mode RBAC --token-auth-file "$run/tokens.csv" --service-account-issuer https://tests \
        --service-account-key-file "$run/key.pem" --service-account-signing-key-file "$run/key.pem"
    await "$run" 120 ready "$home" "$run"
    echo "$run/kubeconfig"
}

stop() {
    local port="${1:?the port on which it runs}"
    terminate "$components/run/kubernetes-$port"
    terminate "$components/run/etcd-of-$port"
    rm -rf "$components/run/etcd-of-$port/data"
}

case "${1:-}" in
start | stop) "$@" ;;
*) fail "usage: server.sh start [PORT] | stop PORT" ;;
esac
