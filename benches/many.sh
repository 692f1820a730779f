#!/usr/bin/env bash
# Many idle sessions over several mailferrys, each on a loopback address of its own and with a node of its own, for the
# limit of descriptors holds for a process. All are in IDLE under TLS, and after five minutes each is asked whether it is
# alive. Prints rows for docs/benchmarks.md.
#
#   benches/many.sh                                   40 000 sessions over 5 mailferrys, five minutes
#   PROCESSES=2 SESSIONS_EACH=50 HELD_FOR=5s benches/many.sh   whether it works
#
# 40 000 sessions take some 3 GB of memory here, most of it the clients' and the kernel's. Builds with --release, unless
# MAILFERRY and LOADGEN name programs, with whole paths.
#
# Status 1: some session was not alive. 2: nothing could be measured.
set -euo pipefail
# shellcheck source=benches/peers/begin.sh
. "$(dirname "$0")/peers/begin.sh"

PROCESSES=${PROCESSES:-5} SESSIONS_EACH=${SESSIONS_EACH:-8000} HELD_FOR=${HELD_FOR:-5m}
SETTLE=5s USERS=1000

main() {
    local status=0
    # A mailferry wants eleven descriptors for five sessions.
    if ((SESSIONS_EACH > DESCRIPTORS * 5 / 11)); then fail "$DESCRIPTORS descriptors are too few for $SESSIONS_EACH sessions"; fi
    set_out "$@"
    local number
    for ((number = 1; number <= PROCESSES; number++)); do
        FOLDER=$TOP/$number HOST=127.0.0.$((number + 1))
        mkdir "$FOLDER"
        start_node "$USERS"
        start "mailferry$number"
        hold "$number" &
        HOLDERS[number]=$!
    done
    watch_sockets &
    WATCHER=$!
    for number in "${!HOLDERS[@]}"; do
        wait "${HOLDERS[number]}" || status=1
        if [ "$status" -ne 0 ]; then cat "$TOP/$number/held" >&2; fi
    done
    rows
    return "$status"
}

declare -a HOLDERS

hold() { # hold NUMBER
    "$LOADGEN" hold --imap "$HOST:${TLS[mailferry$1]}" --tls implicit --tls-name localhost --ca "$FOLDER/tls/ca.pem" \
        --counts "$NODE_COUNTS" --pid "${PIDS[mailferry$1]# }" --users "$USERS" --settle "$SETTLE" \
        --steps "$((SESSIONS_EACH / 8)),$SESSIONS_EACH" --answer-after "$HELD_FOR" \
        --append "$FOLDER/figures" --who "mailferry$1" --what held >"$FOLDER/held"
}

# The most sockets that this network has seen; each session has four ends here.
watch_sockets() {
    local most=0 now
    while sleep 2; do
        now=$(awk '$1 == "TCP:" { print $3 }' /proc/net/sockstat)
        if ((now > most)); then
            most=$now
            echo "$most" >"$TOP/sockets"
        fi
    done
}

rows() {
    local number all=0 alive=0
    echo "| process | opened | alive | anonymous memory, KiB | for each session more, KiB |"
    echo "|--:|--:|--:|--:|--:|"
    for number in "${!HOLDERS[@]}"; do
        FOLDER=$TOP/$number
        if [ ! -s "$FOLDER/figures" ]; then continue; fi
        echo "| $number | $(figure opened) | $(figure alive) | $(figure 'rss anon' "$SESSIONS_EACH") | $(figure 'rss anon slope') |"
        all=$((all + $(figure opened))) alive=$((alive + $(figure alive)))
    done
    echo
    echo "$alive of $all sessions alive after $HELD_FOR, $NETWORK; at most $(cat "$TOP/sockets") TCP sockets in it, four for each."
}

figure() { # figure NAME [SESSIONS]
    awk -F '\t' -v name="$1" -v at="${2--}" '$3 == name && $4 == at { print ($5 == int($5) ? $5 : sprintf("%.2f", $5)) }' \
        "$FOLDER/figures"
}

clear_up() {
    local pid
    for pid in "${HOLDERS[@]}" ${WATCHER-}; do kill "$pid" 2>/dev/null || true; done
}

main "$@"
