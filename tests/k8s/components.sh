# What the checks of k8s/ need: a real API server, kubectl, and the definitions of all custom resources. Each is built or
# fetched once and kept in TIDINGS_COMPONENTS (default target/components). Sourced by bash.

source "$(dirname "${BASH_SOURCE[0]}")/../components/lib.sh"

checks="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# Prints the path of a Go that is new enough.
kubernetes_go() {
    find_go "$(sed -n 's/^go 1\.\([0-9]*\).*/\1/p' "$checks/tools/go.mod")" "Kubernetes' API server"
}

# Prints the folder of Kubernetes' programs, in which these are: names. Versions and checksums stand in tools/go.mod and go.sum.
kubernetes() {
    local version home name package
    version="$(sed -nE 's/^(require)?[[:space:]]+k8s.io\/kubernetes v([0-9.]+).*/\2/p' "$checks/tools/go.mod")"
    home="$components/kubernetes-$version-$(module_version "$checks/tools")"
    mkdir -p "$home"
    for name in "$@"; do
        package="k8s.io/kubernetes/cmd/$name"
        if [ "$name" = etcd ]; then package=go.etcd.io/etcd/server/v3; fi
        go_program "$home/$name" "$checks/tools" "$package" "-X k8s.io/component-base/version.gitVersion=v$version"
    done
    echo "$home"
}

# Prints the objects of an overlay, and the job that is applied beside it when one wants to know: folder of kubectl, overlay.
render() {
    "$1/kubectl" kustomize "$checks/../../k8s/overlays/$2"
    echo ---
    cat "$checks/../../k8s/overlays/$2/verify.yaml"
}

# Prints the folder with all definitions, a file each.
definitions() {
    local sums home partial
    sums="$(cat "$checks"/{crds.txt,models.txt,models.py,strimzi.pom.xml,components.sh} | sha256sum | cut -c1-12)"
    home="$components/crds-$sums"
    if [ ! -d "$home" ]; then
        partial="$home.$$.partial"
        mkdir "$partial"
        if ! { strimzi "$partial" && operators "$partial" && models "$partial"; }; then
            rm -rf "$partial"
            fail "not all definitions of custom resources are there"
        fi
        settle "$partial" "$home"
    fi
    echo "$home"
}

strimzi() {
    local into="$1" java version libs kind arguments=()
    version="$(sed -n 's/.*<strimzi.version>\(.*\)<.*/\1/p' "$checks/strimzi.pom.xml")"
    libs="$components/strimzi-$version"
    java="$(find_java 21)" || return 1
    fetch "$checks/strimzi.pom.xml" "$libs"
    for kind in kafka.Kafka nodepool.KafkaNodePool topic.KafkaTopic user.KafkaUser; do
        arguments+=("io.strimzi.api.kafka.model.$kind=$into/strimzi-${kind#*.}.yaml")
    done
    "$java" -cp "$libs/*" io.strimzi.crdgenerator.CrdGenerator --target-kube 1.25+ --crd-api-version v1 --api-versions v1 \
        --storage-version v1 --yaml "${arguments[@]}" >&2
}

operators() {
    local into="$1" go module version sum folder answer sources file
    go="$(kubernetes_go)" || return 1
    # Keeps what the last try said.
    download_module() { answer="$(cd "$into" && GOFLAGS=-mod=mod "$go" mod download -json "$module@$version")"; }
    while read -r module version sum folder; do
        case "$module" in '' | '#'*) continue ;; esac
        say "fetching the definitions of $module $version"
        tries download_module || {
            say "$answer"
            return 1
        }
        grep -qF "\"Sum\": \"$sum\"" <<<"$answer" || {
            say "$module $version has another checksum than crds.txt says"
            return 1
        }
        sources="$(sed -nE 's/^[[:space:]]*"Dir": "(.*)",?$/\1/p' <<<"$answer")/$folder"
        for file in "$sources"/*.yaml; do
            # A module may keep its kustomization beside its definitions.
            if grep -q '^kind: CustomResourceDefinition' "$file"; then cp "$file" "$into/"; fi
        done
    done <"$checks/crds.txt"
}

# npm is asked for the packages and runs nothing of theirs; models.py compares their checksums with those of models.txt.
models() {
    local into="$1" packed packages=()
    command -v npm >/dev/null || {
        say "npm is missing; it fetches the definitions of models.txt. Debian and Ubuntu: 'sudo apt-get install nodejs npm'."
        return 1
    }
    mapfile -t packages < <(awk '!/^#/ && NF { print $1 "@" $2 }' "$checks/models.txt")
    say "fetching the definitions of ${packages[*]}"
    packed="$(mktemp -d)"
    if ! (cd "$packed" && npm pack --silent --ignore-scripts "${packages[@]}" >/dev/null) ||
        ! python3 -B "$checks/models.py" "$checks/models.txt" "$packed" "$into"; then
        rm -rf "$packed"
        return 1
    fi
    rm -rf "$packed"
}
