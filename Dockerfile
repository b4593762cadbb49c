# One image for each service, and one for the command; a target each:
#
#   docker build --target order --tag tidings/order:0.2.0 .
#
# All binaries are built by one cargo invocation, so that what they share is compiled once. cargo's registry and its target
# folder are cache mounts: a change of the code compiles what changed.

FROM rust:1.95.0-bookworm AS builder
# The list of a binary's dependencies goes into the binary, where scanners find it: the software bill of materials.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    CARGO_PROFILE_DEV_DEBUG=false cargo install --debug --locked --quiet --root /usr/local cargo-auditable@0.7.7
WORKDIR /source
COPY . .
# OpenSSL and zlib are linked into the binaries, which then need glibc and nothing else.
ENV OPENSSL_STATIC=1 OPENSSL_INCLUDE_DIR=/usr/include LIBZ_SYS_STATIC=1
# cargo tells by a file's time whether it has changed. One that is edited while a build runs is older than what that
# build made of its predecessor, and would be taken for built. So what differs in content is copied, and is new.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build,sharing=locked \
    mkdir -p /build/source /out/root \
    && find . -type f -exec sh -c 'for file; do cmp -s "$file" "/build/source/$file" || cp --parents "$file" /build/source/; done' sh {} + \
    && cd /build/source \
    && find . -type f -exec sh -c 'for file; do [ -e "/source/$file" ] || rm "$file"; done' sh {} + \
    && OPENSSL_LIB_DIR="/usr/lib/$(gcc -print-multiarch)" \
        cargo auditable build --locked --profile image --target-dir /build/target --bins \
        --package order --package inventory --package payment --package notification --package analytics --package tidings \
    && for binary in order inventory payment notification analytics tidings; do cp "/build/target/image/$binary" /out/; done \
    && ldd /out/order | grep -o '/[^ ]*' | xargs -I '{}' cp --parents --dereference '{}' /out/root/

# Certificates, time zones and a user without rights; no shell, no package manager. glibc comes from the builder, which is
# the same Debian: the image that has it (base-nossl) has ten megabytes of character sets besides.
FROM gcr.io/distroless/static-debian12:nonroot AS runtime
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="Tidings" \
    org.opencontainers.image.licenses="MIT OR Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=builder /out/root/ /
USER 65532:65532
EXPOSE 8080

FROM runtime AS order
LABEL org.opencontainers.image.title="tidings/order" \
    org.opencontainers.image.description="Takes orders and decides how they end."
COPY --from=builder /out/order /usr/local/bin/order
HEALTHCHECK --interval=5s --timeout=5s --start-period=90s CMD ["/usr/local/bin/order", "--check-health"]
ENTRYPOINT ["/usr/local/bin/order"]

FROM runtime AS inventory
LABEL org.opencontainers.image.title="tidings/inventory" \
    org.opencontainers.image.description="Holds and gives stock."
COPY --from=builder /out/inventory /usr/local/bin/inventory
HEALTHCHECK --interval=5s --timeout=5s --start-period=90s CMD ["/usr/local/bin/inventory", "--check-health"]
ENTRYPOINT ["/usr/local/bin/inventory"]

FROM runtime AS payment
LABEL org.opencontainers.image.title="tidings/payment" \
    org.opencontainers.image.description="Takes and returns money."
COPY --from=builder /out/payment /usr/local/bin/payment
HEALTHCHECK --interval=5s --timeout=5s --start-period=90s CMD ["/usr/local/bin/payment", "--check-health"]
ENTRYPOINT ["/usr/local/bin/payment"]

FROM runtime AS notification
LABEL org.opencontainers.image.title="tidings/notification" \
    org.opencontainers.image.description="Writes mails."
COPY --from=builder /out/notification /usr/local/bin/notification
HEALTHCHECK --interval=5s --timeout=5s --start-period=90s CMD ["/usr/local/bin/notification", "--check-health"]
ENTRYPOINT ["/usr/local/bin/notification"]

FROM runtime AS analytics
LABEL org.opencontainers.image.title="tidings/analytics" \
    org.opencontainers.image.description="Keeps read models."
COPY --from=builder /out/analytics /usr/local/bin/analytics
HEALTHCHECK --interval=5s --timeout=5s --start-period=90s CMD ["/usr/local/bin/analytics", "--check-health"]
ENTRYPOINT ["/usr/local/bin/analytics"]

FROM runtime AS tidings
LABEL org.opencontainers.image.title="tidings/tidings" \
    org.opencontainers.image.description="The command: verifies the guarantees, shows traces, places orders."
COPY --from=builder /out/tidings /usr/local/bin/tidings
ENTRYPOINT ["/usr/local/bin/tidings"]
