# Two stages: the first builds mailferry with the locked versions, the second holds the binary and the system's CA
# certificates and runs as an ordinary user.

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin mailferry

FROM debian:bookworm-slim
# For directories and nodes whose certificates come from a public authority. The folders are for what mailferry keeps, and
# for its sockets.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10143 mailferry \
    && useradd --system --uid 10143 --gid 10143 --no-create-home --shell /usr/sbin/nologin mailferry \
    && install --directory --owner mailferry --group mailferry --mode 750 /var/lib/mailferry /run/mailferry
COPY --from=builder /src/target/release/mailferry /usr/bin/mailferry

# The ports of mail are below 1024, and this user is not root. Where the container engine does not set
# net.ipv4.ip_unprivileged_port_start=0, listen on higher ports and publish them as these.
# A number, so that who starts it can see that it is not root.
USER 10143:10143
EXPOSE 143 993 110 995
# Whether it lives: it answers its operators' socket. `mailferry ready` says whether it wants new clients, which a mailferry
# that is stopping does not; it is well all the same.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["mailferry", "status"]
# Lets the sessions end, for `drain_delay` and `drain_timeout`: the engine has to wait for so long, and 10 seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["mailferry"]
CMD ["run", "--config", "/etc/mailferry/proxy.toml"]
