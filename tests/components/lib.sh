# What the scripts that start real components share: finding Java, fetching packages, ports, processes. Sourced by bash.

set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
components="${TIDINGS_COMPONENTS:-$here/../../target/components}"
mkdir -p "$components"
components="$(cd "$components" && pwd)"

# For servers that live for minutes: what the optimising compiler costs, they don't earn back. TIDINGS_JAVA_OPTIMISED=1 where they are
# measured.
short_lived=(-XX:+UseSerialGC)
[ -n "${TIDINGS_JAVA_OPTIMISED:-}" ] || short_lived+=(-XX:TieredStopAtLevel=1)

say() { echo "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Runs a command that asks the network, three times at most. A function must tell by its status: `set -e` is off in here.
tries() {
    local pause
    for pause in 10 30; do
        "$@" && return
        say "it failed; trying again in $pause s: $*"
        sleep "$pause"
    done
    "$@"
}

# Runs a command, with all that it writes in file $1.
logged() {
    local log="$1"
    shift
    "$@" >"$log" 2>&1
}

# Prints the path of an installed Java of at least version $1, the oldest that will do.
find_java() {
    local least="$1" best="" best_version=999 java version
    for java in "${TIDINGS_JAVA:-}" "${JAVA_HOME:+$JAVA_HOME/bin/java}" "$(command -v java || true)" \
        /usr/lib/jvm/*/bin/java "$HOME"/.sdkman/candidates/java/*/bin/java /Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java; do
        [ -n "$java" ] && [ -x "$java" ] || continue
        # "1.8.0_402", "17.0.15", "25" or "25-ea".
        version="$("$java" -version 2>&1 | sed -n 's/.* version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p' | head -n 1)"
        if [ -n "$version" ] && [ "$version" -ge "$least" ] && [ "$version" -lt "$best_version" ]; then
            best="$java"
            best_version="$version"
        fi
    done
    if [ -z "$best" ]; then
        say "Java $least or newer is missing. Debian and Ubuntu: 'sudo apt-get install openjdk-$least-jre-headless' where the"
        say "distribution has it, or any other build of OpenJDK $least (such as Eclipse Temurin). TIDINGS_JAVA may name its 'java'."
        return 1
    fi
    echo "$best"
}

# Prints the path of an installed Go of at least version 1.$1, which is needed to build $2.
find_go() {
    local go version
    for go in "${TIDINGS_GO:-}" "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go /usr/lib/go-*/bin/go; do
        [ -n "$go" ] && [ -x "$go" ] || continue
        version="$("$go" version | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')"
        [ "${version:-0}" -ge "$1" ] || continue
        echo "$go"
        return
    done
    say "Go 1.$1 or newer is missing; it builds $2. Debian and Ubuntu: 'sudo apt-get install golang-go' where that is new"
    say "enough, or any other build of Go. TIDINGS_GO may name its 'go'."
    return 1
}

# Copies the packages that the Maven project $1 names into the directory $2, unless they are there.
fetch() {
    local pom="$1" into="$2"
    if [ -d "$into" ]; then return; fi
    command -v mvn >/dev/null ||
        fail "Maven is missing; it fetches $(basename "$into"). Debian and Ubuntu: 'sudo apt-get install maven'."
    local partial="$into.$$.partial"
    say "fetching $(basename "$into")"
    if ! tries mvn --batch-mode --quiet -Dstyle.color=never --file "$pom" dependency:copy-dependencies -DoutputDirectory="$partial" >&2; then
        rm -rf "$partial"
        fail "Maven could not fetch $(basename "$into")"
    fi
    settle "$partial" "$into"
}

# Moves the directory $1 to its place $2, unless another run was faster.
settle() {
    if [ -d "$2" ]; then rm -rf "$1"; else mv "$1" "$2"; fi
}

# Builds a program of the Go module in folder $2, whose go.mod and go.sum name versions and checksums, as $1, unless it is there:
# package $3, with linker flags $4.
go_program() {
    local program="$1" module="$2" package="$3" flags="-s -w ${4:-}" name go
    if [ -x "$program" ]; then return; fi
    name="$(basename "$program")"
    go="$(find_go "$(sed -n 's/^go 1\.\([0-9]*\).*/\1/p' "$module/go.mod")" "$name")"
    say "fetching and building $name: some minutes, once"
    # Without inlining and debug data: a third less to compile, and fast enough for tests.
    if ! (cd "$module" && CGO_ENABLED=0 GOFLAGS=-mod=readonly GOTOOLCHAIN=local \
        tries "$go" build -trimpath -buildvcs=false -gcflags 'all=-l -dwarf=false' -ldflags "$flags" -o "$program.$$.partial" "$package" >&2); then
        rm -f "$program.$$.partial"
        fail "$name could not be built; Go says above why"
    fi
    mv "$program.$$.partial" "$program"
}

# A short name for what the module in folder $1 makes: another version, or another source, is another program.
module_version() { find "$1" -type f \( -name 'go.*' -o -name '*.go' \) -print0 | LC_ALL=C sort -z | xargs -0 cat | sha256sum | cut -c1-12; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Prints a port on which nothing listens and that is none of the arguments, which are taken already; it lies outside the range from
# which the kernel takes ports for clients.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 10000))
        if [[ " $* " != *" $port "* ]] && ! listens "$port"; then
            echo "$port"
            return
        fi
    done
    fail "no free port found"
}

# Whether the process of the run directory $1 lives; a process that only inherited its number does not count.
alive() {
    local pid
    pid="$(cat "$1/pid" 2>/dev/null)" || return 1
    # However wide the terminal is: its width counts even where nothing is shown on it.
    ps -ww -o args= -p "$pid" 2>/dev/null | grep -qF -- "tidings.run=$1"
}

# Waits until what was started in the run directory $1 has its name among the processes, or has ended: a moment before, it
# is still this shell, and would be taken for dead.
named() {
    local _
    for _ in $(seq 300); do
        if alive "$1" || ! kill -0 "$(cat "$1/pid")" 2>/dev/null; then return; fi
        sleep 0.1
    done
}

# Starts a Java program in the background: run directory, Java, arguments. Its output is kept in the run directory.
launch() {
    local run="$1" java="$2"
    shift 2
    (cd "$run" && exec nohup "$java" "-Dtidings.run=$run" "$@" >"$run/log" 2>&1 </dev/null) &
    echo $! >"$run/pid"
    named "$run"
}

# Starts another program in the background: run directory, program, arguments. Its run directory is part of its name
# among the processes, which is how it is known again.
launch_program() {
    local run="$1" program="$2"
    shift 2
    (
        cd "$run"
        trap '' HUP
        exec -a "$(basename "$program") tidings.run=$run" "$program" "$@" >"$run/log" 2>&1 </dev/null
    ) &
    echo $! >"$run/pid"
    named "$run"
}

# Waits until command $3... succeeds, at most $2 seconds, while the process of run directory $1 lives.
await() {
    local run="$1" seconds="$2" deadline
    shift 2
    deadline=$((SECONDS + seconds))
    until "$@"; do
        if ! alive "$run"; then
            tail -n 30 "$run/log" >&2
            fail "$(basename "$run") ended before it was ready; its log is $run/log"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            tail -n 30 "$run/log" >&2
            terminate "$run"
            fail "$(basename "$run") was not ready within $seconds seconds; its log is $run/log"
        fi
        sleep 0.2
    done
}

# Ends the process of run directory $1: politely, then not.
terminate() {
    local run="$1" pid
    alive "$run" || return 0
    pid="$(cat "$run/pid")"
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do
        alive "$run" || return 0
        sleep 0.2
    done
    say "$(basename "$run") did not end in 20 seconds: killing it"
    kill -9 "$pid" 2>/dev/null || true
}
