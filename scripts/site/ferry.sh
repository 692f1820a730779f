# shellcheck shell=bash
# mailferry's configuration for the site, with a listener of every kind. Sourced by site.sh.

write_ferry() {
    local home=$FOLDER/mailferry
    mkdir -p "$home"
    {
        cat <<END
[server]
hostname = "mail.example.net"
auth_failure_delay = "100ms"
drain_timeout = "5s"

[log]
format = "json"

[tls]
certificates = [{ chain = "$FOLDER/tls/mail.pem", key = "$FOLDER/tls/mail.key" }]

END
        listener imap "127.0.0.1:$FERRY_IMAPS" implicit false
        listener imap "127.0.0.1:$FERRY_IMAP" starttls false
        listener imap "127.0.0.1:$FERRY_IMAP_CLEAR" off true
        listener pop3 "127.0.0.1:$FERRY_POP3S" implicit false
        listener pop3 "127.0.0.1:$FERRY_POP3" starttls false
        listener pop3 "127.0.0.1:$FERRY_POP3_CLEAR" off true
        if [ "$IPV6" = yes ]; then
            listener imap "[::1]:$FERRY_IMAPS_V6" implicit false
            listener pop3 "[::1]:$FERRY_POP3S_V6" implicit false
        fi
        cat <<END
[limits]
exempt_networks = ["127.0.0.0/8", "::1"]

[directory]
type = "ldap"
urls = ["ldap://localhost:$LDAP", "ldap://localhost:$LDAP2"]
starttls = true
ca = "$FOLDER/tls/ca.pem"
bind_dn = "cn=mailferry,dc=example,dc=net"
bind_password_file = "$FOLDER/directory/bind.secret"
base = "ou=people,dc=example,dc=net"
filter = "(&(objectClass=inetOrgPerson)(|(uid={user})(mail={user})))"
island_attribute = "mailHost"
login_attribute = "uid"

[directory.cache]
ttl = "5m"

END
        island a starttls "$A_LEFT_IMAP" "$A_LEFT_POP3" "$A_RIGHT_IMAP" "$A_RIGHT_POP3"
        island b implicit "$B_LEFT_IMAPS" "$B_LEFT_POP3S" "$B_RIGHT_IMAPS" "$B_RIGHT_POP3S"
    } >"$home/proxy.toml"
}

listener() { # listener PROTOCOL ADDRESS TLS CLEARTEXT_LOGIN
    cat <<END
[[listener]]
protocol = "$1"
address = "$2"
tls = "$3"
cleartext_login = $4

END
}

island() { # island NAME TLS LEFT_IMAP LEFT_POP3 RIGHT_IMAP RIGHT_POP3
    local forward=
    if [ -n "${FORWARD-}" ]; then forward=$'\n'"forward = \"$FORWARD\""; fi
    cat <<END
[[island]]
name = "$1"
tls = "$2"
ca = "$FOLDER/tls/ca.pem"$forward
nodes = [
    { name = "left", host = "127.0.0.1", imap_port = $3, pop3_port = $4, tls_name = "localhost" },
    { name = "right", host = "127.0.0.1", imap_port = $5, pop3_port = $6, tls_name = "localhost" },
]

END
}

# start_ferry: returns when mailferry says that all its listeners accept.
start_ferry() {
    if [ -z "${MAILFERRY-}" ]; then
        complain "MAILFERRY names no program"
        return 1
    fi
    local log=$FOLDER/log/mailferry.log lines=0
    if [ -e "$log" ]; then lines=$(wc -l <"$log"); fi
    start_process mailferry "$MAILFERRY" run --config "$FOLDER/mailferry/proxy.toml" &&
        wait_until mailferry "is ready" ferry_says_ready "$log" "$lines"
}

ferry_says_ready() { # ferry_says_ready LOG LINES: behind the first LINES lines
    tail -n "+$(($2 + 1))" "$1" 2>/dev/null | grep -q '"message":"ready"'
}
