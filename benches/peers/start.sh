# shellcheck shell=bash
# Starts and stops the proxies that are compared. Sourced by the scripts in benches/, which set FOLDER and BENCHES (the
# folder above this one). start_node sets NODE_IMAP, NODE_IMAPS, NODE_POP3 and NODE_POP3S, its ports, and makes certificates
# and routes in FOLDER.
#
# start NAME sets ${PLAIN[NAME]}, ${TLS[NAME]} (IMAP), ${POP3[NAME]} and ${POP3S[NAME]}, ports, for mailferry
# ${STARTTLS[NAME]} (IMAP) and ${STLS[NAME]} (POP3) too, and ${PIDS[NAME]}, the processes whose trees are measured.

declare -A PLAIN TLS STARTTLS POP3 POP3S STLS PIDS
NODE_PIDS=()
HOST=127.0.0.1 # where a mailferry listens; the others know no other address
THREADS=$(nproc)
DESCRIPTORS=$(ulimit -Hn)
SESSIONS=$(((DESCRIPTORS - 200) / 2)) # each needs two descriptors
NEXT_PORT=${NEXT_PORT:-21100}
START_TIMEOUT=20                      # seconds

# Sets MAILFERRY and LOADGEN, where nobody else has. BENCHES is the folder above this one.
build() {
    if [ -z "${MAILFERRY-}" ]; then MAILFERRY=$(built --bin mailferry); fi
    if [ -z "${LOADGEN-}" ]; then LOADGEN=$(built --example loadgen); fi
    export MAILFERRY LOADGEN # the script begins again in its own network
}

built() { # built OPTION…: the path of what cargo builds
    (cd "$BENCHES/.." && cargo build --release --locked "$@" --message-format=json-render-diagnostics) |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

# Debian's packages of a peer, and how to see whether they are there.
packages() { # packages NAME: those that are missing
    case $1 in
    mailferry-other) [ -x "${OTHER-}" ] || fail "OTHER has to name a program" ;;
    mailferry*) ;;
    haproxy*) command -v haproxy >/dev/null || echo haproxy ;;
    nginx)
        command -v nginx >/dev/null || echo nginx
        [ -e /usr/lib/nginx/modules/ngx_mail_module.so ] || echo libnginx-mod-mail
        ;;
    dovecot)
        [ -x /usr/lib/dovecot/imap-login ] || [ -x /usr/libexec/dovecot/imap-login ] || echo dovecot-imapd
        [ -x /usr/lib/dovecot/pop3-login ] || [ -x /usr/libexec/dovecot/pop3-login ] || echo dovecot-pop3d
        ;;
    perdition) command -v perdition >/dev/null || echo perdition ;;
    *) fail "no such proxy: $1" ;;
    esac
}

version() { # version NAME
    case $1 in
    mailferry) "$MAILFERRY" --version ;;
    mailferry-other) "$OTHER" --version ;;
    haproxy) haproxy -v | sed -n 's/^HAProxy version \([^ ]*\).*/HAProxy \1/p' ;;
    nginx) nginx -v 2>&1 | sed 's/^nginx version: //' ;;
    dovecot) echo "Dovecot $(dovecot --version | cut -d ' ' -f 1)" ;;
    perdition) { perdition --help 2>&1 || true; } | sed -n 's/^perdition version \([^ ]*\).*/Perdition \1/p' ;;
    esac
}

# A node of loadgen's, certificates for all, and routes for so many users.
start_node() { # start_node USERS
    local free=127.0.0.1:0 ports=$FOLDER/node/ports
    "$LOADGEN" certificates "$FOLDER/tls"
    seq -f 'user%.0f a' "$1" >"$FOLDER/routes"
    mkdir "$FOLDER/node"
    "$LOADGEN" node --imap $free --imaps $free --pop3 $free --pop3s $free --counts $free --certificates "$FOLDER/tls" >"$ports" &
    NODE_PIDS+=($!)
    wait_until node grep -qs '^counts=' "$ports"
    NODE_IMAP=$(sed -n 's/^imap=.*://p' "$ports")
    NODE_IMAPS=$(sed -n 's/^imaps=.*://p' "$ports")
    NODE_POP3=$(sed -n 's/^pop3=.*://p' "$ports")
    NODE_POP3S=$(sed -n 's/^pop3s=.*://p' "$ports")
    # shellcheck disable=SC2034 # for the scripts
    NODE_COUNTS=$(sed -n 's/^counts=//p' "$ports")
}

start() { # start NAME
    local name=$1 work=$FOLDER/$1 program=$MAILFERRY port
    mkdir -p "$work"
    PLAIN[$name]=$((NEXT_PORT++)) TLS[$name]=$((NEXT_PORT++)) POP3[$name]=$((NEXT_PORT++)) POP3S[$name]=$((NEXT_PORT++))
    if [[ $name == mailferry* ]]; then STARTTLS[$name]=$((NEXT_PORT++)) STLS[$name]=$((NEXT_PORT++)); fi
    for port in "${PLAIN[$name]}" "${TLS[$name]}" "${POP3[$name]}" "${POP3S[$name]}" ${STARTTLS[$name]-} ${STLS[$name]-}; do
        if answers "$port"; then fail "port $port is in use"; fi
    done
    case $name in
    mailferry*)
        configure "$name" mailferry.toml
        if [[ $name == mailferry-other* ]]; then program=$OTHER; fi
        launch "$name" "$program" run -c "$work/mailferry.toml"
        ;;
    haproxy*)
        configure "$name" haproxy.cfg
        launch "$name" haproxy -db -f "$work/haproxy.cfg"
        ;;
    nginx)
        "$LOADGEN" lookup --listen 127.0.0.1:0 --imap "127.0.0.1:$NODE_IMAP" --pop3 "127.0.0.1:$NODE_POP3" >"$work/lookup" &
        PIDS[$name]=$!
        wait_until "nginx's helper" grep -qs = "$work/lookup"
        configure "$name" nginx.conf
        launch "$name" nginx -p "$work" -c "$work/nginx.conf"
        ;;
    dovecot)
        choose_dovecot_users
        mkdir -p "$work/run" "$work/state"
        configure "$name" dovecot.conf
        launch "$name" dovecot -F -c "$work/dovecot.conf"
        ;;
    perdition)
        local ssl=(--ssl_mode ssl_listen --ssl_cert_file "$FOLDER/tls/chain.pem" --ssl_key_file "$FOLDER/tls/key.pem")
        perdition_at "$name" IMAP4 "$NODE_IMAP" "${PLAIN[$name]}"
        perdition_at "$name" IMAP4 "$NODE_IMAP" "${TLS[$name]}" "${ssl[@]}"
        perdition_at "$name" POP3 "$NODE_POP3" "${POP3[$name]}"
        perdition_at "$name" POP3 "$NODE_POP3" "${POP3S[$name]}" "${ssl[@]}"
        ;;
    esac
    for port in "${PLAIN[$name]}" "${TLS[$name]}" "${POP3[$name]}" "${POP3S[$name]}" ${STARTTLS[$name]-} ${STLS[$name]-}; do
        wait_until "$name" answers "$port"
    done
}

# One process for each connection is all that it has; without a map it asks nobody.
perdition_at() { # perdition_at NAME PROTOCOL NODE_PORT PORT OPTION…
    local name=$1 protocol=$2 node=$3 port=$4
    shift 4
    launch "$name" perdition --no_daemon --no_lookup --protocol "$protocol" --bind_address 127.0.0.1 --listen_port "$port" \
        --map_library '' --outgoing_server 127.0.0.1 --outgoing_port "$node" --pid_file '' --quiet --server_resp_line \
        --log_facility /dev/null --username "$(id -un)" --group "$(id -gn)" --timeout 3600 "$@"
}

# As root, Dovecot runs under Debian's users; otherwise everything is the caller's.
choose_dovecot_users() {
    DOVECOT_USER=$(id -un) DOVENULL_USER=$(id -un)
    if [ "$(id -u)" -eq 0 ]; then DOVECOT_USER=dovecot DOVENULL_USER=dovenull; fi
    DOVECOT_GROUP=$(id -gn "$DOVECOT_USER")
}

configure() { # configure NAME TEMPLATE
    local name=$1 node=$NODE_IMAP node_pop3=${NODE_POP3-110} node_tls=off node_ca='' node_name='' splice='' lookup='' sessions=$SESSIONS
    if [[ $name == mailferry*-both ]]; then
        node=$NODE_IMAPS node_pop3=$NODE_POP3S node_tls=implicit node_ca="ca = \"$FOLDER/tls/ca.pem\"" node_name='tls_name = "localhost"'
    fi
    if [ "$name" = haproxy-splice ]; then splice='option splice-auto' sessions=$((SESSIONS / 2)); fi # it wants pipes too
    if [ -e "$FOLDER/$name/lookup" ]; then lookup=$(sed -n 's/^lookup=.*://p' "$FOLDER/$name/lookup"); fi
    sed -e "s|@FOLDER@|$FOLDER|g; s|@WORK@|$FOLDER/$name|g; s|@PLAIN@|${PLAIN[$name]}|g; s|@TLS@|${TLS[$name]}|g" \
        -e "s|@POP3@|${POP3[$name]-}|g; s|@POP3S@|${POP3S[$name]-}|g; s|@STARTTLS@|${STARTTLS[$name]-}|g" \
        -e "s|@HOST@|$HOST|g; s|@STLS@|${STLS[$name]-}|g" \
        -e "s|@NODE@|$node|g; s|@NODE_POP3@|$node_pop3|g; s|@NODE_TLS@|$node_tls|g; s|@NODE_CA@|$node_ca|g; s|@NODE_NAME@|$node_name|g; s|@SPLICE@|$splice|g" \
        -e "s|@THREADS@|$THREADS|g; s|@SESSIONS@|$sessions|g; s|@DESCRIPTORS@|$DESCRIPTORS|g; s|@LOOKUP@|$lookup|g" \
        -e "s|@DOVECOT_USER@|${DOVECOT_USER-}|g; s|@DOVENULL_USER@|${DOVENULL_USER-}|g" \
        -e "s|@DOVECOT_GROUP@|${DOVECOT_GROUP-}|g" "$PEERS_FOLDER/$2" >"$FOLDER/$name/$2"
}

launch() { # launch NAME COMMAND…
    local name=$1
    shift
    (ulimit -n "$DESCRIPTORS" && exec "$@") >>"$FOLDER/$name/output" 2>&1 &
    PIDS[$name]="${PIDS[$name]-} $!"
}

stop() { # stop NAME
    local pid
    for pid in ${PIDS[$1]-}; do kill "$pid" 2>/dev/null || true; done
    for pid in ${PIDS[$1]-}; do end "$pid"; done
    PIDS[$1]=''
}

end() { # end PID: waits for it, and has no more patience after a while
    local tries
    for tries in {1..100}; do
        if ! kill -0 "$1" 2>/dev/null; then break; fi
        if [ "$tries" -eq 100 ]; then kill -KILL "$1" 2>/dev/null || true; fi
        sleep 0.1
    done
    wait "$1" 2>/dev/null || true
}

stop_all() { # the nodes too
    local name pid
    for name in "${!PIDS[@]}"; do stop "$name"; done
    for pid in "${NODE_PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${NODE_PIDS[@]}"; do end "$pid"; done
    NODE_PIDS=()
}

wait_until() { # wait_until WHO COMMAND…
    local tries=$((START_TIMEOUT * 20)) who=$1
    shift
    until "$@"; do
        if ((tries-- == 0)); then
            tail -n 20 "$FOLDER/$who/output" "$FOLDER/$who"/*.log >&2 2>/dev/null || true
            fail "$who did not start within $START_TIMEOUT s"
        fi
        sleep 0.05
    done
}

answers() { # answers PORT: something accepts connections there
    (exec 3<>"/dev/tcp/$HOST/$1") 2>/dev/null
}
