#!/usr/bin/env bash
# Lets imaptest, which sends random commands and checks the answers, loose on a Dovecot, and on the same Dovecot behind
# mailferry, and compares errors, disconnections and commands per second.
#
#   benches/imaptest.sh                  with the imaptest that is on PATH
#   IMAPTEST=/tmp/imaptest benches/imaptest.sh
#   SECONDS_EACH=30 CLIENTS=20 ROUNDS=2 benches/imaptest.sh
#
# Builds with --release, unless MAILFERRY and LOADGEN name programs. Needs dovecot-imapd.
# Status 1: behind mailferry there were errors or disconnections, and without it there were none. 2: nothing was measured.
#
# imaptest is no package of Debian's. It is at https://github.com/dovecot/imaptest; commit ba1d6ab builds against
# Debian 12's dovecot-dev (2.3.19) after these changes, for it is written for a newer Dovecot:
#
#   - every imap_parser_create(input, NULL, (size_t)-1) gets a fourth argument, NULL;
#   - in src/test-parser.c, str_begins(line, "…", &env) becomes (str_begins(line, "…") && (env = line + strlen("…"), TRUE)),
#     and str_begins_with becomes str_begins.
#
# Then autogen.sh, configure and make; or, without autotools, in src/:
#
#   gcc -std=gnu99 -O1 -w -DHAVE_CONFIG_H -I/usr/include/dovecot *.c -o imaptest \
#       -L/usr/lib/dovecot -ldovecot -lssl -lcrypto -lm -Wl,-rpath,/usr/lib/dovecot
set -euo pipefail
# shellcheck source=benches/peers/begin.sh
. "$(dirname "$0")/peers/begin.sh"

IMAPTEST=${IMAPTEST:-imaptest}
SECONDS_EACH=${SECONDS_EACH:-20} CLIENTS=${CLIENTS:-20} ROUNDS=${ROUNDS:-2}
USERS=200

main() {
    local round where worse=0
    if ! command -v "$IMAPTEST" >/dev/null; then fail "no imaptest on PATH; the head of this script says where to get it"; fi
    if [ -n "$(packages dovecot)" ]; then fail "please install dovecot-imapd"; fi
    set_out "$@"
    chmod 711 "$FOLDER"
    prepare
    echo "$NETWORK:"
    echo
    echo "| round | | commands/s | errors | disconnections |"
    echo "|--:|---|--:|--:|--:|"
    for ((round = 1; round <= ROUNDS; round++)); do
        for where in direct mailferry; do measure "$round" "$where"; done
    done
    if ((TROUBLES[mailferry] > 0 && TROUBLES[direct] == 0)); then worse=1; fi
    return "$worse"
}

prepare() {
    local number
    declare -gA TROUBLES=([direct]=0 [mailferry]=0)
    "$LOADGEN" certificates "$FOLDER/tls"
    seq -f 'user%.0f a' "$USERS" >"$FOLDER/routes"
    for number in {1..40}; do
        printf 'From sender@example.net Thu Jan  1 00:00:00 1970\nFrom: sender@example.net\nSubject: Message %s\n' "$number"
        printf 'Message-ID: <%s@example.net>\nDate: Thu, 1 Jan 1970 00:00:00 +0000\n\nThis is message %s.\n' "$number" "$number"
        head -c $((number * 200)) /dev/zero | tr '\0' x | fold -w 72
        printf '\n\n'
    done >"$FOLDER/messages"
    start_dovecot_node
    start mailferry
}

start_dovecot_node() {
    choose_dovecot_users
    MAIL_UID=$(id -u) MAIL_GID=$(id -g)
    if [ "$(id -u)" -eq 0 ]; then MAIL_UID=$(id -u mail) MAIL_GID=$(id -g mail); fi
    mkdir -p "$FOLDER/node/run" "$FOLDER/node/state" "$FOLDER/node/mail"
    chown "$MAIL_UID:$MAIL_GID" "$FOLDER/node/mail"
    PLAIN[node]=$((NEXT_PORT++)) TLS[node]=0
    NODE_IMAP=${PLAIN[node]} NODE_IMAPS=0
    if answers "$NODE_IMAP"; then fail "port $NODE_IMAP is in use"; fi
    configure node imaptest-node.conf
    sed -i "s|@MAIL_UID@|$MAIL_UID|; s|@MAIL_GID@|$MAIL_GID|" "$FOLDER/node/imaptest-node.conf"
    launch node dovecot -F -c "$FOLDER/node/imaptest-node.conf"
    wait_until node answers "$NODE_IMAP"
}

measure() { # measure ROUND WHERE
    local port=$NODE_IMAP out=$FOLDER/$2.out errors=$FOLDER/$2.err commands disconnections others
    if [ "$2" = mailferry ]; then port=${PLAIN[mailferry]}; fi
    # Nobody shares a mailbox, so that whatever is odd is somebody's fault; the same seed sends the same commands.
    "$IMAPTEST" host=127.0.0.1 port="$port" user=user%d users="1-$USERS" pass=secret clients="$CLIENTS" \
        secs="$SECONDS_EACH" seed="$1" mbox="$FOLDER/messages" no_pipelining >"$out" 2>"$errors" || true
    commands=$(total <"$out")
    if [ -z "$commands" ]; then
        tail -n 20 "$out" "$errors" >&2
        fail "imaptest has counted nothing"
    fi
    disconnections=$(grep -ciE 'disconnect|connection (closed|reset)' "$errors" || true)
    others=$(grep -viE 'disconnect|connection (closed|reset)' "$errors" | grep -ciE 'error|fatal|panic|stalled' || true)
    TROUBLES[$2]=$((TROUBLES[$2] + disconnections + others))
    if ((disconnections + others > 0)); then head -n 10 "$errors" >&2; fi
    echo "| $1 | $2 | $((commands / SECONDS_EACH)) | $others | $disconnections |"
}

# All commands: the last line of numbers alone below `Totals:`.
total() {
    awk '/^Totals:/ { below = 1 }
        below && /^[ 0-9]+$/ && NF > 5 { sum = 0; for (i = 1; i <= NF; i++) sum += $i; last = sum }
        END { if (last) print last }'
}

main "$@"
