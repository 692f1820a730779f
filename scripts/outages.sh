#!/usr/bin/env bash
# How many logins are lost, and how long the others take, while parts of a mail site die, freeze and restart: the whole
# site of scripts/site.sh, mailferry in front, and examples/loadgen logging in at a fixed rate, IMAP and POP3 in turns,
# over TLS. Prints one Markdown table, for docs/failure-modes.md; what happened second by second goes to standard error.
#
#   scripts/outages.sh                 all events, some seven minutes
#   scripts/outages.sh kill freeze     these
#   RATE=50 scripts/outages.sh         at 50 logins a second instead of 200
#
# Every event gets a mailferry that was just started, 10 s of peace, 10 s of trouble, and 10 s more. All logins are those
# of the island that is hit; only `degraded` uses both. Builds with --release, unless MAILFERRY and LOADGEN name programs.
# Status 1: a login was lost.
#
# All parts share one machine. When many logins that had to wait go on at once, its Dovecots may need seconds to get
# through them; a lower RATE tells whether a latency is theirs.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
SCRIPTS=$(cd "$(dirname "$0")" && pwd)

RATE=${RATE:-200}       # logins a second
HOLD=${HOLD:-200}       # idle sessions that a node has when it is killed
ADDRESSES=40            # of the clients, all on the loopback
export CROWD=${CROWD:-400} # users besides the six that the site has anyway
EVENTS=(direct peace kill freeze restart crowd directory-kill directory-freeze degraded)

# What each row of the table says.
declare -A NAMES=(
    [direct]="none, and no mailferry: a-left itself"
    [peace]="none"
    [kill]="a-left: kill -9, started again after 10 s"
    [freeze]="a-left: frozen for 10 s"
    [restart]="a-left: restarted"
    [crowd]="a-left: kill -9 with $HOLD idle sessions"
    [directory-kill]="first directory: kill -9, started again after 10 s"
    [directory-freeze]="first directory: frozen for 10 s"
    [degraded]="a-left, b-right and the first directory: kill -9, started again after 10 s"
)

main() {
    local event events=("$@") lost=0
    if [ $# -eq 0 ]; then events=("${EVENTS[@]}"); fi
    for event in "${events[@]}"; do
        if [ -z "${NAMES[$event]-}" ]; then
            echo "usage: $0 [${EVENTS[*]}]" >&2
            exit 64
        fi
    done
    build
    start_site
    for event in "${events[@]}"; do
        measure "$event" || lost=1
    done
    describe
    echo
    echo "| event | phase | logins | lost | cut | p50 | p90 | p99 | p99.9 | max |"
    echo "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    cat "$WORK/rows"
    echo
    for event in "${events[@]}"; do
        sed -n "s/^idle sessions: /${event}: idle sessions: /p" "$WORK/$event.txt"
    done
    return "$lost"
}

# What the figures hold for.
describe() {
    local commit machine
    commit=$(cd "$SCRIPTS/.." && git describe --always --dirty 2>/dev/null || echo unknown)
    machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    echo "Commit $commit, $(nproc) cores ($machine) for all parts together, Dovecot $(dovecot --version | cut -d ' ' -f 1)," \
        "$RATE logins/s, IMAP and POP3 over TLS."
}

build() {
    if [ -z "${MAILFERRY-}" ]; then MAILFERRY=$(built --bin mailferry); fi
    if [ -z "${LOADGEN-}" ]; then LOADGEN=$(built --example loadgen); fi
    export MAILFERRY
}

built() { # built OPTION…: the path of what cargo builds
    (cd "$SCRIPTS/.." && cargo build --release --locked "$@" --message-format=json-render-diagnostics) |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

# Orders go through a pipe with a name, so that the load generator can give them at the right moment.
start_site() {
    local answer
    WORK=$(mktemp -d)
    mkfifo "$WORK/orders"
    exec {ORDERS}<>"$WORK/orders"
    coproc SITE { exec "$SCRIPTS/site.sh" <"$WORK/orders" {ORDERS}>&-; }
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    read -r answer <&"${SITE[0]}" || fail "the site did not start"
    # shellcheck source=/dev/null
    . "${answer#ready }"
    : >"$WORK/rows"
}

measure() { # measure EVENT: status 1 when a login was lost
    local status=0 doors=(--imap "localhost:$FERRY_IMAPS" --pop3 "localhost:$FERRY_POP3S") who=(--island a) extra=()
    local begin=() over=() ttl=5m
    case $1 in
    direct) doors=(--imap "localhost:$A_LEFT_IMAPS" --pop3 "localhost:$A_LEFT_POP3S") ;;
    peace) ;;
    kill) begin=("kill a-left") over=("start a-left") ;;
    crowd) begin=("kill a-left") over=("start a-left") extra=(--hold "$HOLD") ;;
    freeze) begin=("freeze a-left") over=("thaw a-left") ;;
    restart) begin=("stop a-left" "start a-left") ;;
    directory-kill) begin=("kill directory") over=("start directory") ttl=1s ;; # or nobody would ask it
    directory-freeze) begin=("freeze directory") over=("thaw directory") ttl=1s ;;
    degraded)
        begin=("kill a-left" "kill b-right" "kill directory") over=("start a-left" "start b-right" "start directory")
        who=() ttl=1s
        ;;
    esac
    echo "=== ${NAMES[$1]}" >&2
    sed -i "s/^ttl = .*/ttl = \"$ttl\"/" "$FERRY_CONFIG"
    order start mailferry
    if [ ${#begin[@]} -gt 0 ]; then
        extra+=(--event-at 10s --event "$(orders "${begin[@]}")" --event-end 20s --event-over "$(orders "${over[@]}")")
    fi
    "$LOADGEN" rate "${doors[@]}" --ca "$CA" --users "$USERS" "${who[@]}" --addresses "$ADDRESSES" --rate "$RATE" --for 30s \
        --rows "${NAMES[$1]}" "${extra[@]}" >>"$WORK/rows" 2>"$WORK/$1.txt" || status=$?
    cat "$WORK/$1.txt" >&2
    if [ "$status" -gt 1 ]; then fail "nothing was measured"; fi
    hear $((${#begin[@]} + ${#over[@]}))
    order stop mailferry
    return "$status"
}

orders() { # orders ORDER…: a shell command that gives them to the site
    if [ $# -eq 0 ]; then
        echo :
    else
        printf "printf '%%s\\\\n'"
        printf " '%s'" "$@"
        printf " >'%s'" "$WORK/orders"
    fi
}

order() {
    echo "$*" >&"$ORDERS"
    hear 1
}

hear() { # hear COUNT: so many orders were obeyed
    local answer count
    for ((count = 0; count < $1; count++)); do
        read -r answer <&"${SITE[0]}" || fail "the site ended"
        if [ "$answer" != ok ]; then fail "$answer"; fi
    done
}

# Ends the site by closing its input, and returns when it has removed everything.
leave() {
    local status=$?
    trap '' INT TERM HUP
    exec {ORDERS}>&-
    cat <&"${SITE[0]}" >/dev/null 2>&1 || true
    rm -rf "$WORK"
    exit "$status"
}

fail() {
    echo "outages: $1" >&2
    if [ -e "${FERRY_LOG-}" ]; then tail -n 20 "$FERRY_LOG" >&2; fi
    exit 2
}

main "$@"
