# Galeway in an image of its own: the program, the public certificate authorities, and nothing else. No shell, no package
# manager, no user but the one it runs as.
#
#   docker build -t galeway .
#   docker run -p 3306:3306 -e GALEWAY_LISTEN=0.0.0.0:3306 -e GALEWAY_NODES=db1,db2,db3 \
#     -e GALEWAY_MONITOR_USER=monitor -e GALEWAY_MONITOR_PASSWORD=secret galeway
#
# What can be said so, and what wants a file: docs/containers.md. scripts/image-test builds this and runs what comes out.

ARG RUST_IMAGE=docker.io/library/rust:1-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# A page of the manual is made of it.
COPY config/full.toml config/full.toml
# Not built, and named in Cargo.toml.
COPY benches benches
# Linked with the C library itself, with relocations in their short form and with code on pages of its own: a quarter less is
# resident from the start, and the image needs no other file of a Linux. Names are looked up as ever: this C library has
# "files" and "dns" within, and nsswitch.conf asks for no others. Short relocations want the loader of Debian 12 or later,
# which is why Cargo.toml does not ask for them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    set -eu; \
    host=$(rustc -vV | sed -n 's/^host: //p'); \
    export RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,-z,separate-code"; \
    cargo build --locked --release --bin galeway --target "$host"; \
    install -D -m 0755 "target/$host/release/galeway" /image/usr/bin/galeway
RUN set -eu; \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt; \
    echo 'hosts: files dns' > /image/etc/nsswitch.conf; \
    echo 'galeway:x:65532:65532:Galeway:/var/lib/galeway:/nonexistent' > /image/etc/passwd; \
    echo 'galeway:x:65532:' > /image/etc/group; \
    install -d -m 0755 /image/etc/galeway; \
    install -d -m 0750 /own/galeway

FROM scratch
LABEL org.opencontainers.image.title="galeway" \
      org.opencontainers.image.description="A layer-4 load balancer made for Galera clusters" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /image/ /
# The admin socket, and what a restart must not forget. With a read-only root they want a mount each, or are left out.
COPY --from=build --chown=65532:65532 /own/ /run/
COPY --from=build --chown=65532:65532 /own/ /var/lib/
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/galeway/
# By number, so that Kubernetes' runAsNonRoot can tell that it is not root.
USER 65532:65532
EXPOSE 3306 9306
STOPSIGNAL SIGTERM
# Whether it lives, and not whether the database behind it does: a restart would not help that one.
HEALTHCHECK --interval=10s --timeout=6s --start-period=5s CMD ["/usr/bin/galeway", "status", "--alive"]
# Without a command it runs: by GALEWAY_LISTEN and its like, or else by /etc/galeway/galeway.toml.
ENTRYPOINT ["/usr/bin/galeway"]
