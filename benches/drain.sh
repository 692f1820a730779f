#!/usr/bin/env bash
# How the held sessions of a node end: by `mailferry drain` and `mailferry kick` of the node, and by SIGTERM to mailferry.
# All are in IDLE under TLS. Prints rows for docs/operations.md.
#
#   benches/drain.sh                          1 000 sessions, over 20 s
#   SESSIONS_HELD=50 OVER=4s benches/drain.sh  whether it works
#
# Builds with --release, unless MAILFERRY and LOADGEN name programs, with whole paths. Status 1: sessions were cut. 2: nothing
# could be measured.
set -euo pipefail
# shellcheck source=benches/peers/begin.sh
. "$(dirname "$0")/peers/begin.sh"

SESSIONS_HELD=${SESSIONS_HELD:-1000} OVER=${OVER:-20s}
USERS=1000 PATIENCE=${PATIENCE:-300} # seconds

main() {
    local status=0
    set_out "$@"
    write_template
    start_node "$USERS"
    echo "| $SESSIONS_HELD sessions in IDLE, TLS, over $OVER | ended in order | cut | from the order to the last end, s | most in one second | exit code |"
    echo "|---|--:|--:|--:|--:|--:|"
    measure kick "\`mailferry drain\`, \`mailferry kick\` of the node" kicked || status=1
    measure stop "SIGTERM" drained || status=1
    return "$status"
}

# As the other benchmarks' mailferry, with a socket for orders, a log that tells of ends, and the time.
write_template() {
    mkdir "$FOLDER/templates"
    sed -e "s|^hostname.*|&\ndrain_timeout = \"$OVER\"\n[admin]\nsocket = \"@WORK@/admin.sock\"\nstate_file = \"@WORK@/states\"|" \
        -e 's|^level.*|level = "info"\nformat = "json"|' -e "s|^patience|disconnect_spread = \"$OVER\"\n&|" \
        "$PEERS_FOLDER/mailferry.toml" >"$FOLDER/templates/mailferry.toml"
    PEERS_FOLDER=$FOLDER/templates
}

measure() { # measure WAY NAME WHY: status 1 when sessions were cut
    local name=mailferry-$1 began ended code='–' holder
    OUTPUT=$FOLDER/$name/output
    start "$name"
    "$LOADGEN" hold --imap "$HOST:${TLS[$name]}" --tls implicit --tls-name localhost --ca "$FOLDER/tls/ca.pem" \
        --users "$USERS" --settle 1s --steps "$SESSIONS_HELD" --answer-after "${PATIENCE}s" >"$FOLDER/held" 2>&1 &
    holder=$!
    wait_for "sessions are held" has_sessions "$name" "$SESSIONS_HELD"
    sleep 6 # all are quiet then
    began=$(date +%s.%N)
    if [ "$1" = stop ]; then
        kill -TERM "${PIDS[$name]# }"
        code=0
        wait "${PIDS[$name]# }" || code=$?
        PIDS[$name]=''
    else
        ask "$name" drain a/node >/dev/null
        ask "$name" kick a/node >/dev/null
        wait_for "no session is left" has_sessions "$name" 0
    fi
    ended=$(ends . | tail -n 1)
    echo "| $2 | $(ends "$3" | wc -l) | $(ends shutdown | wc -l) | $(seconds "$began" "$ended") | $(busiest) | $code |"
    kill "$holder" 2>/dev/null || true
    wait "$holder" 2>/dev/null || true
    stop "$name"
    [ "$(ends shutdown | wc -l)" -eq 0 ]
}

ask() { # ask NAME ORDER…
    local name=$1
    shift
    "$MAILFERRY" "$@" --socket "$FOLDER/$name/admin.sock"
}

has_sessions() { # has_sessions NAME COUNT
    [ "$(ask "$1" sessions --limit 0 --json 2>/dev/null | grep -o '"matching": *[0-9]*' | grep -o '[0-9]*$')" = "$2" ]
}

ends() { # ends WHY: when sessions of the relay ended so
    grep '"message":"session ended"' "$OUTPUT" | grep '"stage":"relay"' | grep "\"why\":\"$1" |
        sed 's/.*"timestamp":"\([^"]*\)".*/\1/'
}

seconds() { # seconds BEGAN TIMESTAMP
    awk -v began="$1" -v ended="$(date -d "$2" +%s.%N)" 'BEGIN { printf "%.1f", ended - began }'
}

busiest() { # the most ends within one second
    ends . | cut -c 1-19 | uniq -c | awk '$1 > most { most = $1 } END { print most + 0 }'
}

wait_for() { # wait_for WHAT COMMAND…
    local tries=$((PATIENCE * 4)) what=$1
    shift
    until "$@"; do
        if ((tries-- == 0)); then fail "$what: not within $PATIENCE s"; fi
        sleep 0.25
    done
}

main "$@"
