# shellcheck shell=bash
# A test CA and what it signs: mail (mailferry's listeners), node (the Dovecots), ldap (slapd). Sourced by site.sh.
# Several clients look at no IP address in a certificate, so each carries the name localhost too.

make_certificates() {
    local name
    mkdir -p "$FOLDER/tls"
    (
        cd "$FOLDER/tls" || exit
        umask 077
        cat >openssl.conf <<'END'
[req]
distinguished_name = nobody
prompt = no
[nobody]
O = mailferry test site
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, DNS:mail.example.net, IP:127.0.0.1, IP:::1
END
        issue ca -extensions ca -subj "/CN=mailferry test CA"
        for name in mail node ldap; do
            issue "$name" -extensions server -subj "/CN=$name" -CA ca.pem -CAkey ca.key
        done
        chmod 644 ./*.pem
    )
    chmod 755 "$FOLDER/tls"
}

issue() { # issue NAME OPTION…: NAME.key and NAME.pem
    local name=$1
    shift
    openssl req -x509 -new -config openssl.conf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 30 \
        -keyout "$name.key" -out "$name.pem" "$@" 2>"openssl.$name.log" ||
        { cat "openssl.$name.log" >&2 && return 1; }
}
