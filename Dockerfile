# Two stages: the first builds mailferry with the locked versions, the second holds the binary and the system's CA
# certificates and runs as an ordinary user.

FROM rust:1.95-bookworm AS builder
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin mailferry

FROM debian:bookworm-slim
# For directories and nodes whose certificates come from a public authority.
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10143 --no-create-home --shell /usr/sbin/nologin mailferry
COPY --from=builder /src/target/release/mailferry /usr/local/bin/mailferry

# The ports of mail are below 1024, and this user is not root. Where the container engine does not set
# net.ipv4.ip_unprivileged_port_start=0, listen on higher ports and publish them as these.
USER mailferry
EXPOSE 143 993 110 995
ENTRYPOINT ["mailferry"]
CMD ["run", "--config", "/etc/mailferry/proxy.toml"]
