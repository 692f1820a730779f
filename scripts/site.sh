#!/usr/bin/env bash
# A whole mail site in one temporary folder, on free loopback ports: a test CA, two slapds with six users, two islands of
# two Dovecots each, and mailferry and a balancer in front when asked for. Nothing of the host's configuration is read or changed.
#
#   scripts/site.sh
#
# It stays in the foreground and obeys lines on its standard input, answering each with `ok` or `failed …`:
#
#   start|stop|kill|freeze|thaw NAME     a-left a-right b-left b-right directory directory2 mailferry balancer
#   move USER ISLAND                     with mailbox and account; the old island then knows no such user
#   copy USER ISLAND                     the same, but the old island goes on knowing the user
#
# The first line that it writes is `ready FILE`: FILE (site.env) tells all ports and paths. The site ends when the
# input ends, so it cannot outlive whoever started it; Ctrl-C and kill (-9 too) end it as well. Every end stops all
# processes and removes the folder; standard output stays open until that is done.
#
# As root it runs Dovecot under Debian's users, as anybody else under that user. MAILFERRY names the program that
# `start mailferry` runs. CROWD is how many nameless users the site has besides: crowd1, crowd2, … (default 0).
# FORWARD is how the nodes hear where a client comes from: the islands' `forward` (default: they do not).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
SCRIPTS=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=scripts/site/ports.sh
. "$SCRIPTS/site/ports.sh"
# shellcheck source=scripts/site/certificates.sh
. "$SCRIPTS/site/certificates.sh"
# shellcheck source=scripts/site/users.sh
. "$SCRIPTS/site/users.sh"
# shellcheck source=scripts/site/directory.sh
. "$SCRIPTS/site/directory.sh"
# shellcheck source=scripts/site/nodes.sh
. "$SCRIPTS/site/nodes.sh"
# shellcheck source=scripts/site/ferry.sh
. "$SCRIPTS/site/ferry.sh"
# shellcheck source=scripts/site/balancer.sh
. "$SCRIPTS/site/balancer.sh"

START_TIMEOUT=30 # seconds for one process to accept connections
STOP_TIMEOUT=10  # seconds for one process to end when asked
PORT_ATTEMPTS=5  # how often the whole site is tried when somebody else takes one of its ports

main() {
    open_folder
    choose_accounts
    make_certificates
    write_users
    write_mail
    write_islands
    start_site
    echo "ready $FOLDER/site.env"
    obey
}

# Sockets in the folder must have short names, so it is in /tmp, whatever TMPDIR says.
open_folder() {
    FOLDER=$(mktemp -d /tmp/mailferry.XXXXXXXX)
    mkdir "$FOLDER/processes" "$FOLDER/log"
    chmod 711 "$FOLDER" # Dovecot's own users have to get to their sockets
    exec {ALIVE}> >(remove_everything)
    trap wait_for_removal EXIT
}

wait_for_removal() {
    local tries
    exec {ALIVE}>&-
    for tries in {1..600}; do
        if [ ! -e "$FOLDER" ]; then return 0; fi
        sleep 0.05
    done
    complain "$FOLDER is still there after $tries looks"
}

# Runs beside the supervisor until that is gone, however it went, and is the only one to clear up: the supervisor holds
# the other end of its input.
remove_everything() {
    trap '' INT TERM HUP QUIT
    cat >/dev/null
    local group tries
    for group in "$FOLDER"/processes/*; do
        if [ -e "$group" ]; then kill -KILL -- "-$(cat "$group")" 2>/dev/null || true; fi
    done
    for tries in {1..50}; do
        if rm -rf "$FOLDER" 2>/dev/null; then return 0; fi
        sleep 0.1 # somebody is still dying
    done
    echo "site: could not remove $FOLDER after $tries attempts" >&2
}

start_site() {
    local attempt name
    for ((attempt = 1; ; attempt++)); do
        choose_ports "${PORT_NAMES[@]}"
        IPV6=$(if has_ipv6; then echo yes; else echo no; fi)
        write_directories
        for name in a-left a-right b-left b-right; do
            write_node "${name%-*}" "${name#*-}"
        done
        write_ferry
        write_balancer
        write_environment
        if start_directory directory && start_directory directory2 &&
            start_node a-left && start_node a-right && start_node b-left && start_node b-right; then
            return 0
        fi
        if [ "$attempt" -eq "$PORT_ATTEMPTS" ] || ! grep -rqs 'Address already in use' "$FOLDER/log"; then return 1; fi
        for name in directory directory2 a-left a-right b-left b-right ports; do
            end_process "$name" KILL
        done
        rm -f "$FOLDER"/log/*
    done
}

# site.env: NAME='value' lines, for a shell to read and for others to parse. No value holds a quote.
write_environment() {
    local name
    {
        for name in FOLDER IPV6 "${PORT_NAMES[@]}"; do
            echo "$name='$(value_of "$name")'"
        done
        echo "CA='$FOLDER/tls/ca.pem'"
        echo "USERS='$FOLDER/users.tsv'"
        echo "MESSAGES='$FOLDER/messages'"
        echo "FERRY_CONFIG='$FOLDER/mailferry/proxy.toml'"
        echo "FERRY_LOG='$FOLDER/log/mailferry.log'"
    } >"$FOLDER/site.env"
}

obey() {
    local verb name island
    while read -r verb name island; do
        if [ "$verb" = move ] || [ "$verb" = copy ]; then
            "${verb}_user" "$name" "$island" && echo ok || echo "failed: $verb $name $island"
            continue
        fi
        if [[ ! $name =~ ^([ab]-(left|right)|directory2?|mailferry|balancer)$ ]]; then
            echo "failed: no process is called '$name'"
            continue
        fi
        case $verb in
        start) begin "$name" ;;
        stop) end_process "$name" TERM ;;
        kill) end_process "$name" KILL ;;
        freeze) signal "$name" STOP ;;
        thaw) signal "$name" CONT ;;
        *) complain "no such order: $verb" ;;
        esac && echo ok || echo "failed: $verb $name"
    done
}

begin() { # begin NAME
    if [ -e "$FOLDER/processes/$1" ]; then
        complain "$1 is running"
        return 1
    fi
    case $1 in
    directory | directory2) start_directory "$1" ;;
    mailferry) start_ferry ;;
    balancer) start_balancer ;;
    *) start_node "$1" ;;
    esac
}

# move_user UID ISLAND: as an operator would do it with a user who is logged in nowhere.
move_user() {
    copy_user "$1" "$2" && remove_account "$1" "$(other_island "$2")" && wait_for_accounts
}

copy_user() { # copy_user UID ISLAND: the directories then name the copy
    if [ -z "$(user_field "$1" 1)" ] || [[ ! $2 =~ ^[ab]$ ]]; then
        complain "no such user or island: '$1' '$2'"
        return 1
    fi
    if ! has_account "$1" "$2"; then
        copy_mailbox "$1" "$(other_island "$2")" "$2" && add_account "$1" "$2" && wait_for_accounts || return 1
    fi
    set_island "$1" "$2"
}

# start_process NAME PROGRAM ARGUMENT…: in a process group of its own, so that it can be killed with all its children
# and is not reached by Ctrl-C. Its output goes to log/NAME.log.
start_process() {
    local name=$1
    shift
    setsid "$@" {ALIVE}>&- </dev/null >>"$FOLDER/log/$name.log" 2>&1 &
    echo $! >"$FOLDER/processes/$name"
    disown # or bash reports each kill
}

# end_process NAME SIGNAL: returns when all of it is gone; kills the whole group, or asks the leader and then kills.
end_process() {
    local file=$FOLDER/processes/$1 leader tries=$((STOP_TIMEOUT * 20))
    if [ ! -e "$file" ]; then return 0; fi
    leader=$(cat "$file")
    if [ "$2" = TERM ]; then
        kill -TERM "$leader" 2>/dev/null || true
        while kill -0 "$leader" 2>/dev/null && ((tries-- > 0)); do sleep 0.05; done
    fi
    kill -KILL -- "-$leader" 2>/dev/null || true
    while group_lives "$leader"; do sleep 0.01; done
    rm -f "$file"
}

# group_lives LEADER: a process of the group still has its descriptors. A killed one keeps its listening sockets for as long as
# the kernel takes to end it, whatever became of the leader; a zombie has none, and may wait long for whoever reaps it.
group_lives() {
    local file line
    local -a fields
    for file in /proc/[0-9]*/stat; do
        read -r -d '' line 2>/dev/null <"$file" || true
        read -ra fields <<<"${line##*) }" # from the state on: the name may hold anything
        if [ "${fields[2]-}" = "$1" ] && [[ ${fields[0]} != [ZX] ]]; then return 0; fi
    done
    return 1
}

signal() { # signal NAME SIGNAL: to all of its processes
    kill "-$2" -- "-$(cat "$FOLDER/processes/$1")"
}

wait_for_ports() { # wait_for_ports NAME PORT…
    local name=$1 port
    shift
    for port in "$@"; do
        wait_until "$name" "accepts connections on port $port" answers "$port" || return 1
    done
}

# wait_until NAME WHAT TEST…: until TEST succeeds; fails when the process ends or the time is over.
wait_until() {
    local name=$1 what=$2 tries=$((START_TIMEOUT * 20)) leader
    shift 2
    leader=$(cat "$FOLDER/processes/$name")
    until "$@"; do
        if ! kill -0 "$leader" 2>/dev/null; then
            complain "$name ended: $(tail -n 5 "$FOLDER/log/$name.log")"
            rm -f "$FOLDER/processes/$name"
            return 1
        fi
        if ((tries-- == 0)); then
            complain "no sign in ${START_TIMEOUT} s that $name $what: $(tail -n 5 "$FOLDER/log/$name.log")"
            return 1
        fi
        sleep 0.05
    done
}

complain() {
    echo "site: $1" >&2
}

main
