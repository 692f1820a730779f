# shellcheck shell=bash
# A TCP balancer in front of mailferry: HAProxy, which tells of its clients in PROXY headers. Sourced by site.sh.

BALANCER_ADDRESS=127.0.0.3 # it connects from here; mailferry connects to nodes from 127.0.0.1

write_balancer() {
    local home=$FOLDER/balancer two='send-proxy-v2 proxy-v2-options crc32c,unique-id'
    mkdir -p "$home"
    (umask 077 && cat "$FOLDER/tls/mail.pem" "$FOLDER/tls/mail.key" >"$home/mail.pem")
    {
        cat <<END
global
    log stdout format raw daemon
defaults
    mode tcp
    log global
    option tcplog
    unique-id-format %ci:%cp-%rt
    timeout connect 5s
    timeout client 60s
    timeout server 60s
END
        # TLS is mailferry's.
        balance imaps "$BALANCER_IMAPS" "" "$FERRY_IMAPS" "$two"
        balance pop3s "$BALANCER_POP3S" "" "$FERRY_POP3S" "$two"
        # The same with version 1 of the header, and STARTTLS.
        balance imap "$BALANCER_IMAP" "" "$FERRY_IMAP" send-proxy
        balance pop3 "$BALANCER_POP3" "" "$FERRY_POP3" send-proxy
        # TLS ends at the balancer.
        balance imaps_ended "$BALANCER_IMAPS_ENDED" "ssl crt $home/mail.pem" "$FERRY_IMAP" \
            'send-proxy-v2-ssl-cn proxy-v2-options ssl-cipher,authority,crc32c'
        balance pop3s_ended "$BALANCER_POP3S_ENDED" "ssl crt $home/mail.pem" "$FERRY_POP3" \
            'send-proxy-v2-ssl-cn proxy-v2-options ssl-cipher,authority,crc32c'
    } >"$home/haproxy.cfg"
}

balance() { # balance NAME PORT BIND-OPTIONS FERRY-PORT SERVER-OPTIONS
    cat <<END
listen $1
    bind 127.0.0.1:$2 $3
    server ferry 127.0.0.1:$4 source $BALANCER_ADDRESS check inter 300ms $5
END
}

start_balancer() {
    start_process balancer haproxy -db -f "$FOLDER/balancer/haproxy.cfg" &&
        wait_for_ports balancer "$BALANCER_IMAPS" "$BALANCER_POP3S" "$BALANCER_IMAP" "$BALANCER_POP3" \
            "$BALANCER_IMAPS_ENDED" "$BALANCER_POP3S_ENDED"
}
