# What holds of the images themselves. Sourced by bash.

build_images() {
    local binary
    for binary in "${binaries[@]}"; do
        tries "$docker" build --quiet "${build_options[@]}" --target "$binary" --tag "tidings/$binary:$version" "$repository" || return 1
    done
}

inspect() { "$docker" image inspect --format "$2" "tidings/$1:$version"; }

is_small() { [ "$(inspect "$1" '{{.Size}}')" -lt 40000000 ]; }

# The list of everything that an image holds.
content() {
    local container
    container="$("$docker" create "tidings/$1:$version")"
    "$docker" export "$container" | tar -t
    "$docker" rm "$container" >/dev/null
}

# No shell, no package manager, and the program is there.
has_only_its_program() {
    content "$1" >"$work/content"
    grep -qx "usr/local/bin/$1" "$work/content" && ! grep -E '(^|/)(sh|bash|dash|busybox|apt|apt-get|dpkg|curl|wget)$' "$work/content"
}

runs_without_rights() {
    [ "$(inspect "$1" '{{.Config.User}}')" = 65532:65532 ] &&
        [ "$(inspect "$1" '{{json .Config.Entrypoint}}')" = "[\"/usr/local/bin/$1\"]" ]
}

is_labelled() {
    local label
    for label in title description version revision licenses; do
        [ -n "$(inspect "$1" "{{index .Config.Labels \"org.opencontainers.image.$label\"}}")" ] || return 1
    done
}

asks_itself() { [ "$(inspect "$1" '{{json .Config.Healthcheck.Test}}')" = "[\"CMD\",\"/usr/local/bin/$1\",\"--check-health\"]" ]; }

# The dependencies' list that cargo-auditable writes: its section begins with zlib's magic and is some kilobytes long.
names_its_dependencies() {
    local container
    container="$("$docker" create "tidings/$1:$version")"
    "$docker" cp "$container:/usr/local/bin/$1" "$work/binary"
    "$docker" rm "$container" >/dev/null
    objcopy --dump-section .dep-v0="$work/dependencies" "$work/binary" && [ "$(stat -c %s "$work/dependencies")" -gt 1000 ]
}

check_images() {
    local binary
    must "the images build" build_images
    for binary in "${binaries[@]}"; do
        say "      tidings/$binary: $(($(inspect "$binary" '{{.Size}}') / 1000)) kB"
        check "tidings/$binary is smaller than 40 MB" is_small "$binary"
        check "tidings/$binary holds its program and no shell" has_only_its_program "$binary"
        check "tidings/$binary runs as 65532" runs_without_rights "$binary"
        check "tidings/$binary is labelled" is_labelled "$binary"
        check "tidings/$binary names its dependencies" names_its_dependencies "$binary"
    done
    for binary in "${services[@]}"; do
        check "tidings/$binary asks itself how it is" asks_itself "$binary"
    done
}
