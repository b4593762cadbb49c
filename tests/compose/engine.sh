# Docker and Compose for the test: the machine's own engine where images can be pulled, a private one with stand-ins
# where they can't. Sourced by bash, after tests/components/lib.sh.

# An image that the build needs, and a small one.
probe_image=gcr.io/distroless/static-debian12:nonroot

engine="" # the process id of a private engine
engine_root=""
docker=""
compose=()
build_options=()
images="${TIDINGS_TEST_IMAGES:-}"

install_packages() {
    apt-get update -q &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=300 --no-install-recommends "$@"
}

# Installs Debian packages that are missing, after saying so; elsewhere says what is missing and fails.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] ||
        fail "missing: ${missing[*]}. Debian and Ubuntu, as root: apt-get install ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    tries logged "$work/apt.log" install_packages "${missing[@]}" ||
        { tail -n 20 "$work/apt.log" >&2; fail "could not install ${missing[*]}: fix what apt reports above, or install them by hand"; }
}

# A client that can build with cache mounts: an old one with BuildKit inside, or a new one with the plug-in for it.
find_docker() {
    local candidate version
    for candidate in "$(command -v docker || true)" /usr/bin/docker; do
        [ -x "$candidate" ] || continue
        version="$("$candidate" version --format '{{.Client.Version}}' 2>/dev/null || true)"
        if "$candidate" buildx version >/dev/null 2>&1 || [ "${version%%.*}" -lt 23 ]; then
            docker="$candidate"
            return
        fi
    done
}

# Compose v2: the plug-in, or what the package of Debian 13 has; Debian 12 has only its predecessor, and can run this one.
find_compose() {
    local program="$components/docker-compose-debian-13"
    if "$docker" compose version >/dev/null 2>&1; then
        compose=("$docker" compose)
        return
    fi
    [ -x "$program" ] || fetch_compose "$program"
    compose=("$program")
}

# Downloads Debian 13's package with lists of its own, so that nothing of this machine's packages changes.
fetch_compose() {
    local apt="$work/apt" keys=/usr/share/keyrings/debian-archive-keyring.gpg mirror options
    [ -f "$keys" ] && command -v apt-get >/dev/null ||
        fail "Docker Compose v2 is missing. Debian and Ubuntu: apt-get install docker-compose-v2, or docker-compose-plugin from Docker"
    say "fetching Docker Compose from Debian 13"
    mirror="$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 'Label: Debian' | head -n 1)"
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,unpacked}
    echo "deb [signed-by=$keys] ${mirror:-http://deb.debian.org/debian} trixie main" >"$apt/sources.list"
    options=(-q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State="$apt/state"
        -o Dir::State::Status=/dev/null -o Dir::Cache="$apt/cache" -o APT::Sandbox::User= -o Acquire::Languages=none)
    download_compose() { (cd "$apt" && apt-get "${options[@]}" update && apt-get "${options[@]}" download docker-compose); }
    tries logged "$work/apt.log" download_compose ||
        { tail -n 20 "$work/apt.log" >&2; fail "could not download docker-compose of Debian 13"; }
    dpkg-deb -x "$apt"/docker-compose_*.deb "$apt/unpacked"
    mv "$apt/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$1"
}

can_pull() { timeout 30 "$docker" pull --quiet "$probe_image" >/dev/null 2>&1; }

# The engine, by what it can do. TIDINGS_TEST_IMAGES=official or stand-in decides without trying.
find_engine() {
    export DOCKER_BUILDKIT=1
    find_docker
    if [ "$images" != stand-in ] && [ -n "$docker" ] && "$docker" info >/dev/null 2>&1; then
        if [ "$images" = official ] || can_pull; then
            images=official
            find_compose
            return
        fi
    fi
    [ "$images" != official ] || fail "TIDINGS_TEST_IMAGES=official needs a Docker engine that answers; 'docker info' says why not"
    images=stand-in
    [ "$(id -u)" = 0 ] ||
        fail "no Docker engine answers, or it can't pull images; with stand-ins this must be root: sudo make test-compose"
    need_packages docker.io iptables debootstrap ca-certificates debian-archive-keyring
    find_docker
    [ -n "$docker" ] || fail "no docker client found that can build with cache mounts; Debian's is /usr/bin/docker"
    find_compose
    start_engine
}

# A private engine: its data, socket and networks are its own. TIDINGS_TEST_ENGINE keeps its data for the next run.
start_engine() {
    local driver deadline
    engine_root="${TIDINGS_TEST_ENGINE:-$work/engine}"
    mkdir -p "$engine_root"
    export DOCKER_HOST="unix://$engine_root/docker.sock"
    # An engine changes the machine's packet filter, and leaves it so. Where no other one has, it is put back.
    if ! iptables --list DOCKER >/dev/null 2>&1; then iptables-save >"$work/iptables"; fi
    for driver in overlay2 vfs; do
        dockerd --storage-driver=$driver --data-root="$engine_root/data-$driver" --exec-root="$engine_root/exec" \
            --pidfile="$engine_root/pid" --host="$DOCKER_HOST" --bridge=none \
            --default-address-pool=base=10.213.0.0/16,size=24 >"$engine_root/log" 2>&1 </dev/null &
        engine=$!
        deadline=$((SECONDS + 180))
        while kill -0 "$engine" 2>/dev/null && [ "$SECONDS" -lt "$deadline" ]; do
            if timeout 20 "$docker" info >/dev/null 2>&1; then return; fi
            sleep 0.2
        done
        # An engine ends by itself where it can't use a driver. One that lives is only slow, and another driver is no help.
        if kill -0 "$engine" 2>/dev/null; then break; fi
        stop_engine
    done
    tail -n 20 "$engine_root/log" >&2
    fail "the Docker engine did not start; it needs root, cgroups and iptables"
}

stop_engine() {
    [ -n "$engine" ] || return 0
    kill "$engine" 2>/dev/null || true
    for _ in $(seq 150); do
        kill -0 "$engine" 2>/dev/null || break
        sleep 0.2
    done
    kill -9 "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
    engine=""
    if [ -f "$work/iptables" ]; then iptables-restore "$work/iptables" || true; fi
    # What an engine that was killed had mounted must not be deleted through its mount points.
    awk -v root="$engine_root/" 'index($2, root) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mounted; do
        umount "$mounted" || true
    done
}
