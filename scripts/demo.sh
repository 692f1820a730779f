#!/usr/bin/env bash
# mailferry at work, on one machine: a user of each of two islands reads mail through the same address, a node is killed,
# another one freezes, the directory dies. Everything is in a temporary folder, on free loopback ports, and nothing stays.
#
#   scripts/demo.sh            leaves all running until Ctrl-C, with a line to paste
#   scripts/demo.sh --once     ends by itself
#
# Installs what is missing (scripts/install.sh) and builds mailferry, unless MAILFERRY names a program. Whatever the
# demo says is checked first: what is not true ends it with status 1.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
SCRIPTS=$(cd "$(dirname "$0")" && pwd)

PATIENCE=10 # seconds for something to appear in a log
CLIENT=127.0.0.7 # where the mail clients are; mailferry and the nodes are at 127.0.0.1

main() {
    case ${1-} in
    '' | --once) ;;
    *) echo "usage: $0 [--once]" >&2 && exit 64 ;;
    esac
    choose_colours
    title "mailferry: one address in front of two islands"
    "$SCRIPTS/install.sh" demo
    build
    start_everything
    two_islands_one_address
    a_node_dies
    a_node_returns
    a_node_freezes
    the_directory_dies
    if [ "${1-}" != --once ]; then stay; fi
}

build() {
    if [ -n "${MAILFERRY-}" ]; then return 0; fi
    say "Building mailferry; the first time takes some minutes."
    MAILFERRY=$(cd "$SCRIPTS/.." && cargo build --locked --bin mailferry --message-format=json-render-diagnostics |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    export MAILFERRY
}

start_everything() {
    say "Starting slapd, two islands of two Dovecots each, and mailferry."
    local answer
    coproc SITE { FORWARD=id exec "$SCRIPTS/site.sh"; }
    trap leave EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    read -r answer <&"${SITE[0]}" || fail "the site did not start"
    # shellcheck source=/dev/null
    . "${answer#ready }"
    order start mailferry
    ADDRESS=imaps://localhost:$FERRY_IMAPS
    note folder "$FOLDER"
    note directory "six users: $(cut -f 1,2 "$USERS" | sed 's/\(.*\)\t\(.*\)/\1 (\2)/' | paste -sd ' ')"
    note "island a" "left and right, with the same mail; mailferry uses STARTTLS"
    note "island b" "left and right, with the same mail; mailferry uses implicit TLS"
    note mailferry "$ADDRESS"
}

two_islands_one_address() {
    title "1. Two users, two islands, one address"
    show_login anna a
    FIRST=$NODE
    show_login bela b
    say "The nodes know where their clients are (rip=$CLIENT), for mailferry introduces them."
}

a_node_dies() {
    title "2. kill -9: the node $FIRST of island a, with all of its processes"
    order kill "a-$FIRST"
    local port
    port=$(port_of a "$FIRST")
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then fail "something still listens on port $port"; fi
    say "Nothing listens on its port $port any more. anna does not know, and logs in as before:"
    echo
    show_login anna a
    if [ "$NODE" = "$FIRST" ]; then fail "a dead node is said to have served"; fi
    say "Served by the other side; from curl's start to its end it took $MILLISECONDS ms."
}

a_node_returns() {
    title "3. The node comes back"
    order start "a-$FIRST"
    say "a-$FIRST accepts connections again; the island is whole. (fail_back decides when it gets its users back.)"
}

a_node_freezes() {
    local frozen=$NODE
    title "4. SIGSTOP: the node $frozen of island a, which serves anna now, freezes"
    order freeze "a-$frozen"
    say "It still accepts connections, and says nothing. A quarter of a second later the other node is asked as well:"
    echo
    show_login anna a
    if [ "$NODE" = "$frozen" ]; then fail "a frozen node is said to have served"; fi
    say "From curl's start to its end it took $MILLISECONDS ms."
    order thaw "a-$frozen"
}

the_directory_dies() {
    title "5. The directory dies"
    order kill directory
    say "Who has logged in lately has a route in the cache, which serves for a day if it must:"
    echo
    show_login anna a
    order start directory
    say "The directory is back."
}

stay() {
    title "All of this goes on running. Try it from another terminal:"
    echo "  curl --cacert $CA --user anna:$(password_of anna) '$ADDRESS/INBOX;MAILINDEX=1'"
    echo
    say "mailferry's log: $FERRY_LOG"
    say "Ctrl-C ends it and removes the folder."
    trap 'exit 0' INT
    wait "$SITE_PID" || true
    fail "the site ended by itself"
}

# show_login UID ISLAND: reads the first message with curl and says who served it, in NODE. The message must be the one
# that was delivered; mailferry's log and the node's own must agree.
show_login() {
    local uid=$1 island=$2 url="$ADDRESS/INBOX;MAILINDEX=1" before after start login line
    before=$(count_logins "$uid")
    start=${EPOCHREALTIME/[.,]/}
    curl --silent --show-error --max-time 60 --interface "$CLIENT" --cacert "$CA" --user "$uid:$(password_of "$uid")" \
        --output "$FOLDER/$uid.eml" "$url" || fail "$uid could not read the message"
    MILLISECONDS=$(((${EPOCHREALTIME/[.,]/} - start) / 1000))
    cmp "$FOLDER/$uid.eml" "$MESSAGES/$uid/1.eml" >&2 || fail "this is not the message that $uid has"

    wait_for_login "$uid" "$before"
    after=$(count_logins "$uid")
    login=$(logins "$uid" | tail -n 1)
    NODE=$(json_field node "$login")
    if [ "$(json_field island "$login")" != "$island" ]; then fail "not island $island: $login"; fi
    # before and after: logins in mailferry's log, in the left node's, in the right node's
    case "$NODE:$before:$after" in
    left:*) is_one_more "$before" "$after" 2 3 ;;
    right:*) is_one_more "$before" "$after" 3 2 ;;
    *) false ;;
    esac || fail "mailferry says that $NODE served $uid, the Dovecots say otherwise"
    line=$(grep -E "$(node_login "$uid")" "$FOLDER/log/$island-$NODE.log" | tail -n 1)
    if [[ $line != *"rip=$CLIENT,"* ]]; then fail "the node does not know that the client is at $CLIENT: $line"; fi

    say "$BOLD$uid$PLAIN of island $BOLD$island$PLAIN:  curl --user $uid:… '$url'"
    sed -n 's/\r$//; /^Subject: /p; /^$/,$p' "$FOLDER/$uid.eml" | sed "s/^/    $DIM|$PLAIN /"
    note "mailferry" "user=$uid island=$(json_field island "$login") node=$BOLD$NODE$PLAIN"
    note "$island-$NODE" "${line#*Info: }"
    echo
}

# The logins of somebody: in mailferry's log, and in those of both nodes of the island.
count_logins() {
    local node island
    island=$(awk -F'\t' -v uid="$1" '$1 == uid { print $2 }' "$USERS")
    logins "$1" | wc -l | tr '\n' ' '
    for node in left right; do
        grep -cE "$(node_login "$1")" "$FOLDER/log/$island-$node.log" || true
    done | tr '\n' ' '
}

node_login() { # how Dovecot 2.3 and 2.4 log the login of somebody
    echo "(Login|Logged in): user=<$1>"
}

logins() {
    grep -F '"message":"login"' "$FERRY_LOG" | grep -F "\"user\":\"$1\"" || true
}

wait_for_login() { # wait_for_login UID BEFORE
    local tries=$((PATIENCE * 20))
    until is_one_more "$2" "$(count_logins "$1")" 1 1; do
        if ((tries-- == 0)); then fail "mailferry logged no login of $1"; fi
        sleep 0.05
    done
}

# is_one_more BEFORE AFTER N M: the Nth count has grown by one; the Mth, when it is another one, has not.
is_one_more() {
    local -a before after
    read -ra before <<<"$1"
    read -ra after <<<"$2"
    ((after[$3 - 1] == before[$3 - 1] + 1)) && { (($3 == $4)) || ((after[$4 - 1] == before[$4 - 1])); }
}

json_field() { # json_field NAME LINE
    sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" <<<"$2"
}

password_of() {
    awk -F'\t' -v uid="$1" '$1 == uid { print $4 }' "$USERS"
}

port_of() { # port_of ISLAND NODE
    local name="${1}_${2}_IMAP"
    name=${name^^}
    echo "${!name}"
}

order() {
    local answer
    echo "$*" >&"${SITE[1]}"
    read -r answer <&"${SITE[0]}" || fail "the site ended"
    if [ "$answer" != ok ]; then fail "$answer"; fi
}

# Ends the site by closing its input, and returns when it has removed everything.
leave() {
    local status=$?
    trap '' INT TERM HUP
    if [ -n "${SITE[1]-}" ]; then
        eval "exec ${SITE[1]}>&-"
        cat <&"${SITE[0]}" >/dev/null || true
        if [ -z "${FOLDER-}" ] || [ -e "$FOLDER" ]; then
            echo "demo: something was left behind: ${FOLDER-}" >&2
            status=1
        else
            title "Everything has ended, and $FOLDER is gone."
        fi
    fi
    exit "$status"
}

choose_colours() {
    BOLD='' DIM='' PLAIN=''
    if [ -t 1 ] && [ -z "${NO_COLOR-}" ] && [ "${TERM-dumb}" != dumb ]; then
        BOLD=$'\e[1m' DIM=$'\e[2m' PLAIN=$'\e[0m'
    fi
}

title() {
    printf '\n%s%s%s\n\n' "$BOLD" "$1" "$PLAIN"
}

say() {
    printf '  %s\n' "$1"
}

note() { # note WHAT TEXT
    printf '    %s%-10s%s %s\n' "$DIM" "$1" "$PLAIN" "$2"
}

fail() {
    echo "demo: $1" >&2
    if [ -n "${FERRY_LOG-}" ] && [ -e "$FERRY_LOG" ]; then
        echo "demo: the end of mailferry's log:" >&2
        tail -n 20 "$FERRY_LOG" >&2
    fi
    exit 1
}

main "$@"
