# Builds stand-ins under the names of the images that docker-compose.yml and Dockerfile use, for machines that can't pull.
# Sourced by bash, after engine.sh. Each is made of the original's own program where a package registry has it.

image_of() { sed -nE "s|^ *image: ($1:.*)$|\1|p" "$repository/docker-compose.yml" | head -n 1; }

# Makes it anew: half of one can't be completed.
bootstrap_debian() {
    rm -rf --one-file-system "$1" && debootstrap --variant=minbase --include=busybox,ca-certificates bookworm "$1"
}

# A minimal Debian, imported once.
import_debian() {
    local root="$work/debian"
    tries logged "$work/debootstrap.log" bootstrap_debian "$root" ||
        { tail -n 20 "$work/debootstrap.log" >&2; fail "debootstrap failed"; }
    cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
    rm -rf "$root"/var/cache/apt/archives/*.deb
    ln -s /bin/busybox "$root/usr/local/bin/wget"
    tar -C "$root" -c . | "$docker" import - tidings-stand-in/debian >/dev/null
    rm -rf "$root"
}

# Downloads Debian packages into a folder: folder, packages. The lists of what there is may be old, or missing.
download_packages() (
    cd "$1" || return 1
    shift
    apt-get download -q "$@" || { apt-get update -q && apt-get download -q "$@"; }
)

# The packages of distroless' static, unpacked, with its user.
unpack_distroless() {
    local root="$1" package
    mkdir -p "$root/home/nonroot" "$root/etc/ssl/certs" "$work/packages"
    tries logged "$work/apt.log" download_packages "$work/packages" base-files ca-certificates media-types netbase tzdata ||
        { tail -n 20 "$work/apt.log" >&2; fail "could not download the packages of distroless' static"; }
    for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$root"/usr/share/{man,lintian,bug} "$root"/usr/sbin/*
    find "$root/usr/share/ca-certificates" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
    printf '%s\n' root:x:0:0:root:/root:/sbin/nologin nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin \
        nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin >"$root/etc/passwd"
    printf '%s\n' root:x:0: nobody:x:65534: nonroot:x:65532: >"$root/etc/group"
    chmod 1777 "$root/tmp"
}

# This machine's Rust, without what building doesn't need.
copy_rust() {
    local from="$1" to="$2"
    mkdir -p "$to/bin" "$to/lib/rustlib"
    cp -a "$from"/bin/{cargo,rustc} "$to/bin/"
    cp -a "$from"/lib/*.so* "$to/lib/"
    cp -a "$from/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')" "$to/lib/rustlib/"
}

build_stand_in() {
    tries logged "$work/stand-in.log" "$docker" build --quiet --network=host --target "$1" --tag "$2" "$context" ||
        { tail -n 30 "$work/stand-in.log" >&2; fail "the stand-in $2 could not be built"; }
}

build_stand_ins() {
    local context="$work/context" java jaeger mailpit sources="$repository/tests/components"
    if "$docker" image inspect tidings-stand-in/complete >/dev/null 2>&1; then return; fi
    java="$(find_java 21)"
    jaeger="$("$sources/jaeger.sh" provide)"
    mailpit="$("$sources/mailpit.sh" provide)"
    say "building stand-ins"
    import_debian
    mkdir -p "$context"
    cp "$repository"/tests/compose/stand-ins/* "$context/"
    unpack_distroless "$context/distroless"
    copy_rust "$(rustc --print sysroot)" "$context/rust"
    cp -rL "$(dirname "$(dirname "$(readlink -f "$java")")")" "$context/java"
    rm -rf "$context"/java/{jmods,lib/src.zip}
    cp -r "$("$sources/kafka.sh" provide)" "$context/kafka"
    cp -r "$("$sources/apicurio.sh" provide)" "$context/apicurio"
    cp "$jaeger" "$context/jaeger"
    cp "$mailpit" "$context/mailpit"

    build_stand_in rust "$(sed -nE "s|^FROM (rust:[^ ]+) .*|\1|p" "$repository/Dockerfile")"
    build_stand_in distroless "$probe_image"
    build_stand_in kafka "$(image_of apache/kafka)"
    build_stand_in registry "$(image_of apicurio/apicurio-registry)"
    build_stand_in postgres "$(image_of postgres)"
    build_stand_in jaeger "$(image_of jaegertracing/jaeger)"
    build_stand_in collector "$(image_of otel/opentelemetry-collector-contrib)"
    build_stand_in mailpit "$(image_of axllent/mailpit)"
    build_stand_in prometheus "$(image_of prom/prometheus)"
    "$docker" tag tidings-stand-in/debian tidings-stand-in/complete
    rm -rf "$context"
}
