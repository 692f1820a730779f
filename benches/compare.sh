#!/usr/bin/env bash
# What a login, an idle session, a transfer and a round trip cost through mailferry and through other proxies: the same
# clients, the same node and the same work for all, in turns, on this machine. Writes the tables and plots of
# docs/benchmarks.md, between its marks. All of it happens in a network namespace of its own.
#
#   benches/compare.sh                      everything; some 17 minutes
#   benches/compare.sh --quick              whether everything works: figures of a minute, printed and not kept
#   benches/compare.sh --only hold,logins   only these works: hold logins pop3 alone bulk noop
#   benches/compare.sh --peers haproxy      only these proxies beside mailferry: haproxy nginx dovecot perdition
#   OTHER=/tmp/mailferry benches/compare.sh --print --peers haproxy,mailferry-other
#                                           another build of mailferry too: another commit, or other features
#   benches/compare.sh --rounds 5           how often each work is done (3)
#   benches/compare.sh --print              prints the tables, and leaves docs/benchmarks.md alone
#
# Builds with --release, unless MAILFERRY and LOADGEN name programs, with whole paths. The other proxies are Debian's packages, set up as
# in benches/peers/; stalwart-proxy is none and not here. The figures of all rounds stay in target/benchmarks/.
#
# Status 1: a measurement went wrong, and is not in the tables. 2: nothing could be measured.
set -euo pipefail
# shellcheck source=benches/peers/begin.sh
. "$(dirname "$0")/peers/begin.sh"

USERS=1000
PRINT=no ROUNDS=3 WORKS=hold,logins,pop3,alone,bulk,noop PEERS=haproxy,nginx,dovecot,perdition
LOGINS=5000 PLAIN_LOGINS=15000 POP3_LOGINS=4000 POP3_PLAIN_LOGINS=15000 ALONE=1500 NOOPS=20000 AT_MOST=6s POP3_AT_MOST=3s BULK=2s WARM_UP=200
# A mailferry wants eleven descriptors for five sessions. A Perdition is a process for each session.
HELD=$((DESCRIPTORS * 5 / 11 - 500))
STEPS=1000,$((HELD / 2)),$HELD FORKED_STEPS=100,300,500 SETTLE=3s
STATUS=0

main() {
    arguments "$@"
    check_packages
    set_out "$@"
    chmod 711 "$FOLDER" # Dovecot's own users have to get to their sockets
    start_node "$USERS"
    if has hold; then hold_sessions; fi
    if has logins || has pop3 || has alone || has bulk || has noop; then
        for name in "${ALL[@]}"; do start "$name"; done
        for name in "${ALL[@]}"; do check "$name"; done
        for ((round = 0; round < ROUNDS; round++)); do
            echo "=== round $((round + 1)) of $ROUNDS" >&2
            a_round
        done
        stop_all
    fi
    publish
    return "$STATUS"
}

arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --quick)
            PRINT=yes ROUNDS=1 LOGINS=200 PLAIN_LOGINS=300 POP3_LOGINS=200 POP3_PLAIN_LOGINS=300 ALONE=20 NOOPS=200 AT_MOST=3s BULK=200ms
            WARM_UP=20 STEPS=50,150 FORKED_STEPS=20,40 SETTLE=500ms
            ;;
        --only) WORKS=${2?} && shift ;;
        --peers) PEERS=${2?} && shift ;;
        --rounds) ROUNDS=${2?} && shift ;;
        --print) PRINT=yes ;;
        *) usage ;;
        esac
        shift
    done
    read -ra ALL <<<"mailferry ${PEERS//,/ }"
    if has bulk && [[ ,$PEERS, == *,haproxy,* ]]; then ALL+=(haproxy-splice); fi
}

usage() {
    sed -n '/^#   /s/^# *//p' "$0" >&2
    exit 64
}

has() { # has WORK
    [[ ,$WORKS, == *,$1,* ]]
}

check_packages() {
    local name lacks missing=()
    for name in "${ALL[@]}"; do
        lacks=$(packages "$name") || exit 2
        if [ -n "$lacks" ]; then mapfile -O "${#missing[@]}" -t missing <<<"$lacks"; fi
    done
    if [ ${#missing[@]} -eq 0 ]; then return 0; fi
    echo "compare: please install these packages (Debian would start their services, which need not run):" >&2
    echo "    apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 2
}

# One login through each door, seen by the node.
check() { # check NAME
    local door
    for door in plain tls pop3 pop3s starttls stls; do
        if [[ $door == st* ]] && [ -z "${STARTTLS[$1]-}" ]; then continue; fi
        run "$1" "$door" logins --count 1 --warm-up 0 --in-flight 1 >"$FOLDER/check" ||
            fail "$1 ($door) does not work: $(tail -n 3 "$FOLDER/check" "$FOLDER/$1/output")"
    done
}

# Each proxy and each kind of session gets fresh processes: what logins leave behind is no session's.
hold_sessions() {
    local name steps
    for name in "${ALL[@]}"; do
        if [ "$name" = haproxy-splice ]; then continue; fi
        steps=$STEPS
        if [ "$name" = perdition ]; then steps=$FORKED_STEPS; fi
        hold "$name" "$name" tls hold-tls "$steps"
        hold "$name" "$name" plain hold-plain "$steps"
        if [[ $name == mailferry* ]]; then hold "$name" "$name-both" tls hold-both "$steps"; fi
    done
}

hold() { # hold COLUMN NAME DOOR WHAT STEPS
    start "$2"
    check "$2"
    measure "$1" "$2" "$3" "$4" hold --steps "$5" --settle "$SETTLE"
    stop "$2"
}

# Everybody in turns, at each work; another one begins in each round.
a_round() {
    local what name turn order=()
    for ((turn = 0; turn < ${#ALL[@]}; turn++)); do
        order+=("${ALL[(turn + round) % ${#ALL[@]}]}")
    done
    if ((round == 0)); then order=("${ALL[@]}"); fi
    for what in logins-tls logins-resumed logins-plain pop3-tls pop3-plain alone-tls alone-plain down-plain down-tls up-plain up-tls \
        noop-plain noop-tls; do
        if ! has "$(work_of "$what")"; then continue; fi
        for name in "${order[@]}"; do
            if [ "$name" = haproxy-splice ] && [ "$what" != down-plain ] && [ "$what" != up-plain ]; then continue; fi
            do_work "$name" "$what"
        done
    done
}

work_of() { # work_of WHAT: what it is called on the command line
    case $1 in
    down-* | up-*) echo bulk ;;
    *) echo "${1%-*}" ;;
    esac
}

do_work() { # do_work NAME WHAT
    local how=()
    case $2 in
    logins-tls) how=(tls logins-tls logins --count "$LOGINS") ;;
    logins-resumed) how=(tls logins-resumed logins --resume --count "$LOGINS") ;;
    logins-plain) how=(plain logins-plain logins --count "$PLAIN_LOGINS") ;;
    pop3-tls) how=(pop3s pop3-tls logins --count "$POP3_LOGINS") ;;
    pop3-plain) how=(pop3 pop3-plain logins --count "$POP3_PLAIN_LOGINS") ;;
    alone-tls) how=(tls alone-tls logins --in-flight 1 --count "$ALONE") ;;
    alone-plain) how=(plain alone-plain logins --in-flight 1 --count "$ALONE") ;;
    down-*) how=("${2#*-}" "$2" bulk --for "$BULK") ;;
    up-*) how=("${2#*-}" "$2" bulk --direction up --for "$BULK") ;;
    noop-*) how=("${2#*-}" "$2" noop --count "$NOOPS") ;;
    esac
    if [ "${how[2]}" = logins ]; then
        if [ "$(work_of "$2")" = pop3 ]; then how+=(--for "$POP3_AT_MOST"); else how+=(--for "$AT_MOST"); fi
        how+=(--warm-up "$WARM_UP")
    fi
    measure "$1" "$1" "${how[@]}"
}

measure() { # measure COLUMN NAME DOOR WHAT COMMAND OPTION…
    local column=$1 name=$2 door=$3 what=$4
    shift 4
    echo "--- $name, $what" >&2
    if ! run "$name" "$door" "$@" --append "$FOLDER/figures" --who "$column" --what "$what" >"$FOLDER/last"; then
        STATUS=1
        echo "compare: $name, $what went wrong, and does not count:" >&2
    fi
    cat "$FOLDER/last" >&2
}

run() { # run NAME DOOR COMMAND OPTION…
    local name=$1 door=$2 command=$3 pid where=()
    shift 3
    case $door in
    plain) where=(--imap "localhost:${PLAIN[$name]}") ;;
    tls) where=(--imap "localhost:${TLS[$name]}" --tls implicit) ;;
    starttls) where=(--imap "localhost:${STARTTLS[$name]}" --tls starttls) ;;
    pop3) where=(--pop3 "localhost:${POP3[$name]}") ;;
    pop3s) where=(--pop3 "localhost:${POP3S[$name]}" --tls implicit) ;;
    stls) where=(--pop3 "localhost:${STLS[$name]}" --tls starttls) ;;
    esac
    if [ "$door" != plain ] && [ "$door" != pop3 ]; then where+=(--ca "$FOLDER/tls/ca.pem"); fi
    for pid in ${PIDS[$name]}; do where+=(--pid "$pid"); done
    "$LOADGEN" "$command" "${where[@]}" --counts "$NODE_COUNTS" --users "$USERS" "$@"
}

joined() { # joined WORD…
    local text
    text=$(printf ', %s' "$@")
    echo "${text#, }"
}

# Everything that the figures hold for.
describe() {
    local commit machine name versions=()
    commit=$(cd "$BENCHES/.." && git describe --always --dirty 2>/dev/null || echo unknown)
    machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
    for name in "${ALL[@]}"; do
        if [ "$name" != haproxy-splice ]; then versions+=("$(version "$name")"); fi
    done
    echo "Measured on $(date -u +%Y-%m-%d) with commit $commit: $(joined "${versions[@]}")." \
        "$(nproc) cores ($machine) for clients, proxies and node together, Linux $(uname -r)," \
        "$NETWORK, $DESCRIPTORS descriptors for each process; $ROUNDS rounds, load average at the end" \
        "$(cut -d ' ' -f 1 /proc/loadavg). mailferry's program has $(stat -c %s "$MAILFERRY") octets."
}

publish() {
    local page=$BENCHES/../docs/benchmarks.md kept=$BENCHES/../target/benchmarks plots=()
    if [ ! -s "$FOLDER/figures" ]; then fail "nothing was measured"; fi
    mkdir -p "$kept"
    cp "$FOLDER/figures" "$kept/figures.tsv"
    if [ "$PRINT" = no ]; then plots=(--plots "$BENCHES/../docs/benchmarks"); else plots=(--plots "$kept"); fi
    {
        describe
        echo
        "$LOADGEN" page "$FOLDER/figures" "${plots[@]}"
    } >"$FOLDER/tables"
    if [ "$PRINT" = yes ]; then
        cat "$FOLDER/tables"
        return
    fi
    awk -v tables="$FOLDER/tables" '
        /^<!-- begin: figures/ { print; print ""; while ((getline line < tables) > 0) print line; skip = 1 }
        /^<!-- end: figures/ { skip = 0 }
        !skip { print }
    ' "$page" >"$FOLDER/page"
    cat "$FOLDER/page" >"$page"
}

main "$@"
