# shellcheck shell=bash
# How each of the scripts in benches/ begins and ends. Sourced by them first: sets BENCHES and PEERS_FOLDER, and sources
# start.sh and network.sh.
#
# `set_out "$@"` builds, goes into a network of its own, and makes a folder, which is TOP and FOLDER. Whatever ends the script
# calls `clear_up`, which the script may replace, stops all that start.sh has started, and removes TOP; with KEEP=yes it stays.

PATH=$PATH:/usr/sbin:/sbin
BENCHES=$(cd "$(dirname "$0")" && pwd)
PEERS_FOLDER=$BENCHES/peers
NAME=$(basename "$0" .sh)
# shellcheck source=benches/peers/start.sh
. "$PEERS_FOLDER/start.sh"
# shellcheck source=benches/peers/network.sh
. "$PEERS_FOLDER/network.sh"

set_out() { # set_out ARGUMENT…: those of the script
    build
    own_network "$0" "$@"
    TOP=$(mktemp -d "/tmp/mailferry-$NAME.XXXXXXXX")
    # shellcheck disable=SC2034 # for the scripts, and start.sh
    FOLDER=$TOP
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

clear_up() { :; }

leave() {
    local status=$?
    trap '' INT TERM HUP
    clear_up
    stop_all
    if [ -z "${KEEP-}" ]; then rm -rf "$TOP"; fi
    exit "$status"
}

fail() {
    echo "$NAME: $1" >&2
    if [ -e "${OUTPUT-}" ]; then tail -n 5 "$OUTPUT" >&2; fi # what the script reads, where it says so
    exit 2
}
