# shellcheck shell=bash
# Gives a benchmark a network of its own: nothing but a loopback, which shares its ports with nobody, and whose
# congestion control we may choose. Sourced by the scripts in benches/.
#
# Linux' and Debian's default is CUBIC. Some machines have BBR, which lets a timer pace every segment: with it, a transfer
# costs about the same through all proxies, whatever they do. RENO does not pace either, and is always allowed.

# shellcheck disable=SC2016 # the names are for the shell in there
# Begins the script again in such a network, and comes back there. Sets NETWORK, words for a page.
own_network() { # own_network SCRIPT ARGUMENT…
    if [ -n "${NETWORK-}" ]; then return 0; fi
    if ! command -v ip >/dev/null; then
        no_network "without iproute2 there is no network of its own"
    elif [ "$(id -u)" -eq 0 ] && unshare --net true 2>/dev/null; then
        exec unshare --net bash -c "$PREPARE"' exec "$@"' prepare "$@"
    elif [ "$(id -u)" -ne 0 ] && unshare --map-root-user --net true 2>/dev/null; then
        # The caller's own name comes back behind it, so that nothing believes that it is root.
        exec unshare --map-root-user --net bash -c "$PREPARE"' exec unshare --user --map-user="$0" --map-group="$1" "${@:2}"' \
            "$(id -u)" "$(id -g)" "$@"
    else
        no_network "this system lets nobody have a network of its own"
    fi
}

no_network() { # no_network REASON
    NETWORK="in the machine's own network, TCP with $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
    export NETWORK
    echo "$1: measuring $NETWORK" >&2
}

# What has to be done there by its administrator.
# shellcheck disable=SC2016 # it is for the shell in there
PREPARE='
PATH=$PATH:/usr/sbin:/sbin
ip link set lo up || exit 2
for name in cubic reno; do
    if echo "$name" 2>/dev/null >/proc/sys/net/ipv4/tcp_congestion_control; then break; fi
done
export NETWORK="in a network of its own, TCP with $(cat /proc/sys/net/ipv4/tcp_congestion_control)"
'
