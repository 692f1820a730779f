#!/usr/bin/env bash
# Restarts and reloads of mailferry under a storm of logins, in clear text and at a fixed rate, whatever happens to earlier ones. How many
# were refused or reset, how many were lost, and how long did the longest take? Prints rows for docs/operations.md.
#
#   benches/restart.sh                              30 s of 500 logins a second, and five of each way
#   LENGTH=8 RATE=50 RESTARTS=2 benches/restart.sh  a short one, which says only whether everything works
#   WAYS=take-over benches/restart.sh               one way: reload, take-over, passed, crash or plain
#
# reload: the same process reads its configuration again, of which the greeting, a limit, the patience with nodes and a
# listener have changed. take-over: the next process gets the sockets from the one that runs. passed: they are another process's, as with systemd,
# and the next one begins when the last one has ended; crash: the same with SIGKILL, which cuts the logins that are under way.
# plain: a stop and a start, for comparison. Builds with --release, unless MAILFERRY and LOADGEN name programs, with whole paths.
#
# Status 1: a login was lost that should not have been: any of reload, take-over and passed, one that was refused of crash.
# 2: nothing could be measured.
set -euo pipefail
# shellcheck source=benches/peers/begin.sh
. "$(dirname "$0")/peers/begin.sh"

LENGTH=${LENGTH:-30} RATE=${RATE:-500} RESTARTS=${RESTARTS:-5} WAYS=${WAYS:-reload take-over passed crash plain}
USERS=1000

main() {
    local way status=0
    if [ $# -gt 0 ] || [ -n "${LENGTH//[0-9]/}${RATE//[0-9]/}${RESTARTS//[0-9]/}" ]; then usage; fi
    if ! command -v python3 >/dev/null; then fail "python3 is missing: it holds the sockets of passed and crash"; fi
    set_out "$@"
    for way in $WAYS; do
        FOLDER=$TOP/$way
        mkdir "$FOLDER"
        storm "$way" || status=1
    done
    echo
    echo "| what was done | logins | refused | reset | lost | cut behind the login | median | longest |"
    echo "|---|--:|--:|--:|--:|--:|--:|--:|"
    cat "$TOP"/*/row
    echo
    echo "$RATE logins a second for $LENGTH s, $NETWORK."
    return "$status"
}

usage() {
    sed -n '/^#   /s/^# *//p' "$0" >&2
    exit 64
}

# Whoever holds the sockets goes first, for he starts the next one.
clear_up() {
    local pid
    stop_all
    while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done < <(cat "$TOP"/*/pids 2>/dev/null)
}

storm() { # storm WAY
    local way=$1 load restarts=0 number
    start_node "$USERS"
    seq -f "user%.0f" "$USERS" | sed 's/.*/&\ta\t&@example.net\tsecret/' >"$FOLDER/users"
    prepare
    begin "$way"
    "$LOADGEN" rate --imap "$HOST:${PLAIN[mailferry]}" --pop3 "$HOST:${POP3[mailferry]}" --users "$FOLDER/users" \
        --rate "$RATE" --for "${LENGTH}s" --timeout 60s --addresses 64 --json >"$FOLDER/json" &
    load=$!
    for ((number = 1; number <= RESTARTS; number++)); do
        # Equal pauses, none at the ends.
        sleep "$(awk "BEGIN { print $LENGTH / ($RESTARTS + 1) }")"
        again "$way" "$number" && restarts=$number
    done
    wait "$load" || [ $? -eq 1 ] || fail "loadgen could not measure"
    row "$way" "$restarts" >"$FOLDER/row"
    clear_up
    if ! judge "$way"; then
        grep -o '"stage":"[^"]*","words":"[^"]*"' "$FOLDER/json" | sort | uniq -c | sort -rn | head -n 10 >&2
        return 1
    fi
}

# The configuration of the other benchmarks, with an admin socket of its own.
prepare() {
    mkdir "$FOLDER/mailferry"
    PLAIN[mailferry]=$((NEXT_PORT++)) TLS[mailferry]=$((NEXT_PORT++)) POP3[mailferry]=$((NEXT_PORT++)) POP3S[mailferry]=$((NEXT_PORT++))
    STARTTLS[mailferry]=$((NEXT_PORT++)) STLS[mailferry]=$((NEXT_PORT++))
    configure mailferry mailferry.toml
    printf '[admin]\nsocket = "%s/admin.sock"\nstate_file = "%s/operator.json"\n' "$FOLDER" "$FOLDER" >>"$FOLDER/mailferry/mailferry.toml"
    sed -i 's/^level = "warn"/level = "info"/' "$FOLDER/mailferry/mailferry.toml"
}

begin() { # begin WAY: the first one
    case $1 in
    passed | crash)
        python3 -c "$HOLDER" "$FOLDER" "$MAILFERRY" "$HOST" "${PLAIN[mailferry]}" "${TLS[mailferry]}" "${POP3[mailferry]}" \
            "${POP3S[mailferry]}" "${STARTTLS[mailferry]}" "${STLS[mailferry]}" >>"$FOLDER/mailferry/output" 2>&1 &
        PIDS[mailferry]=$!
        ;;
    *) next ;;
    esac
    wait_until mailferry serves 1
}

next() { # next OPTION…: one more process
    (ulimit -n "$DESCRIPTORS" && exec "$MAILFERRY" run -c "$FOLDER/mailferry/mailferry.toml" "$@") >>"$FOLDER/mailferry/output" 2>&1 &
    PIDS[mailferry]="${PIDS[mailferry]-} $!"
    echo $! >>"$FOLDER/pids"
}

again() { # again WAY NUMBER
    local last
    last=$(tail -n 1 "$FOLDER/pids")
    case $1 in
    reload)
        change "$2"
        "$MAILFERRY" reload --socket "$FOLDER/admin.sock" >>"$FOLDER/reloads" || fail "reload: $(tail -n 3 "$FOLDER/reloads")"
        return
        ;;
    take-over) next --take-over ;;
    passed) kill "$last" ;;
    crash) kill -KILL "$last" ;;
    plain)
        kill "$last"
        while kill -0 "$last" 2>/dev/null; do sleep 0.01; done
        next
        ;;
    esac
    wait_until mailferry serves $(($2 + 1))
}

change() { # change NUMBER: another greeting, limit and patience, and a listener that comes or goes
    local file=$FOLDER/mailferry/mailferry.toml
    if [ ! -e "$FOLDER/first.toml" ]; then cp "$file" "$FOLDER/first.toml"; fi
    sed -e "s/^hostname = .*/hostname = \"mail$1.example.net\"/" -e "s/^patience = \"25s\"/patience = \"$((25 + $1))s\"/" \
        -e "s/^\[limits\]/&\nfailed_logins = $((5 + $1))/" "$FOLDER/first.toml" >"$file.new"
    if (($1 % 2)); then
        printf '[[listener]]\nprotocol = "imap"\naddress = "%s:%s"\ntls = "off"\ncleartext_login = true\n' "$HOST" "$NEXT_PORT" >>"$file.new"
    fi
    mv "$file.new" "$file"
}

serves() { # serves TIMES: so many processes have said so
    [ "$(grep -cE ' ready ' "$FOLDER/mailferry/output")" -ge "$1" ]
}

row() { # row WAY RESTARTS
    echo "| $1, $2 times | $(all logins) | $(words 'os error 111') | $(words 'os error 104') | $(all lost) | $(all cut) | $(all p50) ms | $(all max) ms |"
}

all() { # all FIELD: over the whole run
    sed 's/.*"phases":\[{\([^}]*\)}.*/\1/' "$FOLDER/json" | tr ',' '\n' | sed -n "s/^\"$1\"://p"
}

words() { # words TEXT: logins that ended with this
    grep -o '"words":"[^"]*"' "$FOLDER/json" | grep -cF "$1" || true
}

judge() { # judge WAY
    case $1 in
    reload | take-over | passed) [ "$(all lost)" -eq 0 ] && [ "$(all cut)" -eq 0 ] ;;
    crash) [ "$(words 'os error 111')" -eq 0 ] ;;
    plain) ;;
    esac
}

# Holds the sockets, as systemd does, and starts one process after the other.
# shellcheck disable=SC2016 # it is for the shell in there
HOLDER='
import os, socket, subprocess, sys
folder, program, host, ports = sys.argv[1], sys.argv[2], sys.argv[3], [int(port) for port in sys.argv[4:]]
held = []
for number, port in enumerate(ports):
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen(4096)
    held.append(listening)
# Above all that may be open, and then down to the numbers that are agreed on.
high = [os.dup2(it.fileno(), 100 + number) for number, it in enumerate(held)]
for it in held:
    it.close()
for number, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + number, inheritable=True)
    os.close(descriptor)
count = str(len(ports))
command = ["sh", "-c", "exec env LISTEN_PID=$$ LISTEN_FDS=" + count + " \"$0\" run -c \"$1\"", program, folder + "/mailferry/mailferry.toml"]
while True:
    child = subprocess.Popen(command, close_fds=False)
    with open(folder + "/pids", "a") as pids:
        print(child.pid, file=pids)
    child.wait()
'

main "$@"
