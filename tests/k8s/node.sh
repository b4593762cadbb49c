#!/usr/bin/env bash
# A Kubernetes cluster of one node, with everything that one has: control plane, scheduler, controllers, kubelet, containerd,
# cluster DNS, services' addresses, network policies. Runs a command beside it.
#
#   node.sh IMAGES COMMAND [ARGUMENT...]   needs root on Linux; IMAGES is an archive as `docker save` makes it
#   node.sh provide                        builds its programs, and prints their folders
#
# All of it lives in namespaces of its own (network, processes, mounts): the machine's network is neither used nor changed, and
# nothing outlives the command. The command finds kubectl on PATH and the cluster in KUBECONFIG, as context `tidings`.
source "$(dirname "${BASH_SOURCE[0]}")/components.sh"

# The node's address, and those of pods and services, which mean nothing outside.
address=192.168.213.1
pods=10.244.0.0/24
services=10.96.0.0/16
dns=10.96.0.10
name=node

# Prints the folder of what runs containers.
node_programs() {
    local home module="$checks/tools" program package
    home="$components/node-$(module_version "$module")"
    mkdir -p "$home"
    while read -r program package; do
        go_program "$home/$program" "$module" "$package"
    done <<END
containerd github.com/containerd/containerd/v2/cmd/containerd
containerd-shim-runc-v2 github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2
ctr github.com/containerd/containerd/v2/cmd/ctr
ptp github.com/containernetworking/plugins/plugins/main/ptp
host-local github.com/containernetworking/plugins/plugins/ipam/host-local
loopback github.com/containernetworking/plugins/plugins/main/loopback
coredns ./dns
kube-network-policies sigs.k8s.io/kube-network-policies/cmd
pause ./pause
END
    echo "$home"
}

# Prints the tree of control groups, or of each controller its own where they are of version 1.
control_groups() { if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else printf '%s\n' /sys/fs/cgroup/*; fi; }

# Starts a program in the background: name, program, arguments. It ends with the namespaces.
part() {
    local part="$1"
    shift
    "$@" >"$run/$part.log" 2>&1 </dev/null &
    echo $! >"$run/$part.pid"
}

# Waits until command $3... succeeds, at most $2 seconds, while part $1 lives.
until_ready() {
    local part="$1" deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$(cat "$run/$part.pid")" 2>/dev/null || break
        [ "$SECONDS" -lt "$deadline" ] || break
        sleep 0.3
    done
    "$@" >/dev/null 2>&1 && return
    tail -n 30 "$run/$part.log" >&2
    fail "$part is not ready; its log is $run/$part.log"
}

prepare_network() {
    ip link set lo up
    # Only there to have the address: what has none but loopback is no node.
    ip link add "$name" type bridge
    ip address add "$address/24" dev "$name"
    ip link set "$name" up
    echo 1 >/proc/sys/net/ipv4/ip_forward
}

# Places that programs insist on are empty ones of this mount namespace.
prepare_mounts() {
    local place
    for place in /run/containerd /run/netns /run/secrets; do
        mkdir -p "$place"
        mount -t tmpfs -o mode=755 tmpfs "$place"
    done
}

write_configuration() {
    local token="$1"
    echo "$token,tests,tests,system:masters" >"$run/tokens.csv"
    cat >"$run/kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: tidings
contexts: [{ name: tidings, context: { cluster: tidings, user: tests } }]
clusters: [{ name: tidings, cluster: { server: "https://localhost:6443", certificate-authority: "$run/certificates/apiserver.crt" } }]
users: [{ name: tests, user: { token: "$token" } }]
END
    cat >"$run/containerd.toml" <<END
version = 3
root = "$run/containerd"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "docker.io/tidings-cluster/pause:1"
# Where a machine is a container itself, even root may not spare processes from running out of memory.
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["$node"]
conf_dir = "$run/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
END
    mkdir -p "$run/cni"
    cat >"$run/cni/pods.conflist" <<END
{ "cniVersion": "1.0.0", "name": "pods", "plugins": [{
    "type": "ptp", "mtu": 1500, "ipam": { "type": "host-local", "dataDir": "$run/addresses",
        "ranges": [[{ "subnet": "$pods" }]], "routes": [{ "dst": "0.0.0.0/0" }] } }] }
END
    : >"$run/resolv.conf"
    cat >"$run/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
# Nobody but the API server reaches it, and that comes without a certificate.
authentication: { anonymous: { enabled: true }, webhook: { enabled: false } }
authorization: { mode: AlwaysAllow }
clusterDNS: [$dns]
clusterDomain: cluster.local
resolvConf: $run/resolv.conf
cgroupDriver: cgroupfs
cgroupRoot: $cgroup
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
podLogsDir: $run/pods
volumePluginDir: $run/plugins
# The machine's disk is not the node's.
evictionHard: { nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0% }
END
}

# The API server with its etcd, its controllers and the scheduler.
start_control_plane() {
    (umask 077 && openssl genrsa -out "$run/key.pem" 2048 2>/dev/null)
    part etcd "$kubernetes/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --log-level warn
    until_ready etcd 180 listens 2379
    part kube-apiserver "$kubernetes/kube-apiserver" --advertise-address "$address" --secure-port 6443 --cert-dir "$run/certificates" \
        --etcd-servers http://127.0.0.1:2379 --service-cluster-ip-range "$services" --authorization-mode RBAC \
        --token-auth-file "$run/tokens.csv" --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$run/key.pem" \
        --service-account-signing-key-file "$run/key.pem"
    until_ready kube-apiserver 120 kubectl get --raw /readyz
    part kube-controller-manager "$kubernetes/kube-controller-manager" --kubeconfig "$KUBECONFIG" --leader-elect=false \
        --bind-address 127.0.0.1 --service-account-private-key-file "$run/key.pem" --root-ca-file "$run/certificates/apiserver.crt"
    part kube-scheduler "$kubernetes/kube-scheduler" --kubeconfig "$KUBECONFIG" --leader-elect=false --bind-address 127.0.0.1
}

# What is in no package registry as an image, or would be pulled: an image of one program, made by hand.
image_of_program() {
    local program="$1" folder="$run/image-$1"
    mkdir -p "$folder"
    tar -C "$node" -c "$program" >"$folder/layer.tar"
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["/%s"],"User":"65532"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(dpkg --print-architecture)" "$program" "$(sha256sum "$folder/layer.tar" | cut -d ' ' -f 1)" >"$folder/config.json"
    printf '[{"Config":"config.json","RepoTags":["tidings-cluster/%s:1"],"Layers":["layer.tar"]}]' "$program" >"$folder/manifest.json"
    tar -C "$folder" -c . | import -
    rm -rf "$folder"
}

import() { ctr --address /run/containerd/containerd.sock --namespace k8s.io images import --local "$1" >>"$run/import.log" 2>&1 || { cat "$run/import.log" >&2; fail "containerd can't read the images"; }; }

start_node() {
    local tree
    while read -r tree; do mkdir -p "$tree$cgroup"; done < <(control_groups)
    part containerd containerd --config "$run/containerd.toml"
    until_ready containerd 180 ctr --address /run/containerd/containerd.sock version
    say "bringing the images to the node"
    image_of_program pause
    image_of_program coredns
    import "$images"
    part kubelet "$kubernetes/kubelet" --config "$run/kubelet.yaml" --kubeconfig "$KUBECONFIG" --root-dir "$run/kubelet" \
        --cert-dir "$run/kubelet/pki" --hostname-override "$name" --node-ip "$address"
    part kube-proxy "$kubernetes/kube-proxy" --kubeconfig "$KUBECONFIG" --proxy-mode nftables --cluster-cidr "$pods" \
        --hostname-override "$name" --bind-address 127.0.0.1 --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 \
        --conntrack-tcp-timeout-close-wait 0 --oom-score-adj 0
    # It takes itself for a pod, which has its address and its token from the kubelet.
    mkdir -p /run/secrets/kubernetes.io/serviceaccount
    cut -d , -f 1 "$run/tokens.csv" | tr -d '\n' >/run/secrets/kubernetes.io/serviceaccount/token
    cp "$run/certificates/apiserver.crt" /run/secrets/kubernetes.io/serviceaccount/ca.crt
    part kube-network-policies env KUBERNETES_SERVICE_HOST=localhost KUBERNETES_SERVICE_PORT=6443 \
        "$node/kube-network-policies" -disable-nri -hostname-override "$name" -metrics-bind-address 127.0.0.1:9080
    # It decides on what the kernel asks. Its own rule, by which the kernel asks, needs a part of nftables that not every kernel
    # has (NFT_QUEUE); this one does the same: new connections between pods are held until they are decided.
    iptables --insert FORWARD --match conntrack --ctstate NEW --jump NFQUEUE --queue-num 100
    until_ready kubelet 180 kubectl wait --for condition=Ready "node/$name" --timeout 1s
}

# What the namespaces don't take with them.
leave_nothing() {
    local status=$? tree
    trap - EXIT
    while read -r tree; do
        if [ -d "$tree$cgroup" ]; then find "$tree$cgroup" -depth -type d -exec rmdir {} \; || true; fi
    done < <(control_groups)
    rm -rf "$run"/{containerd,etcd,kubelet,volumes}
    if [ "$status" = 0 ]; then rm -rf "$run"; else say "the logs are in $run"; fi
    exit "$status"
}

# Prints the folders of all programs.
provide() {
    kubernetes kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet etcd
    node_programs
}

# The machine's part: the programs, then the namespaces.
outside() {
    local tool folders
    [ "$(id -u)" = 0 ] || fail "a node needs root"
    for tool in unshare ip nft iptables runc openssl; do
        command -v $tool >/dev/null || fail "$tool is missing. Debian and Ubuntu: apt-get install util-linux iproute2 nftables iptables runc openssl"
    done
    folders="$(provide)"
    { read -r kubernetes && read -r node; } <<<"$folders"
    run="$(mktemp -d "${TMPDIR:-/tmp}/tidings-node.XXXXXX")"
    cgroup="/$(basename "$run")"
    export kubernetes node run cgroup
    trap leave_nothing EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    unshare --net --mount --pid --fork --kill-child --mount-proc "${BASH_SOURCE[0]}" --inside "$@"
}

inside() {
    images="$1"
    shift
    export KUBECONFIG="$run/kubeconfig" KUBECACHEDIR="$run/cache" PATH="$kubernetes:$node:$PATH"
    prepare_network
    prepare_mounts
    write_configuration "$(openssl rand -hex 16)"
    say "starting the control plane"
    start_control_plane
    start_node
    kubectl apply --filename "$checks/dns.yaml" >/dev/null
    kubectl --namespace kube-system rollout status deployment/coredns --timeout 120s >&2
    "$@"
}

if [ "$*" = provide ]; then
    provide
    exit
fi
[ $# -ge 2 ] || fail "usage: node.sh IMAGES COMMAND [ARGUMENT...] | provide"
if [ "$1" = --inside ]; then
    shift
    inside "$@"
else
    outside "$@"
fi
