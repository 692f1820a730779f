# shellcheck shell=bash
# slapd: six users, and one who may read them. Sourced by site.sh.

# Nobody can bind without TLS, and nobody but mailferry can read: a proxy that forgets StartTLS or the bind finds no one.
write_directory() {
    local home=$FOLDER/directory schema
    mkdir -p "$home/db"
    (umask 077 && openssl rand -hex 16 | tr -d '\n' >"$home/bind.secret")
    {
        for schema in core cosine inetorgperson misc; do
            echo "include /etc/ldap/schema/$schema.schema"
        done
        cat <<END
pidfile $home/slapd.pid
argsfile $home/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile $FOLDER/tls/ldap.pem
TLSCertificateKeyFile $FOLDER/tls/ldap.key
TLSCACertificateFile $FOLDER/tls/ca.pem
security simple_bind=128
database mdb
suffix "dc=example,dc=net"
directory $home/db
maxsize 16777216
index uid,mail eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=mailferry,dc=example,dc=net" read by * none
END
    } >"$home/slapd.conf"
    (umask 077 && directory_entries >"$home/entries.ldif")
    slapadd -q -f "$home/slapd.conf" -l "$home/entries.ldif" >"$home/slapadd.log" 2>&1 ||
        { cat "$home/slapadd.log" >&2 && return 1; }
}

directory_entries() {
    cat <<END
dn: dc=example,dc=net
objectClass: dcObject
objectClass: organization
dc: example
o: mailferry test site

dn: cn=mailferry,dc=example,dc=net
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: mailferry
userPassword: $(cat "$FOLDER/directory/bind.secret")

dn: ou=people,dc=example,dc=net
objectClass: organizationalUnit
ou: people
END
    local uid island mail
    while IFS=$'\t' read -r uid island mail _; do
        cat <<END

dn: uid=$uid,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: $uid
cn: $uid
sn: $uid
mail: $mail
mailHost: $island
END
    done <"$FOLDER/users.tsv"
}

start_directory() {
    start_process directory slapd -d stats -f "$FOLDER/directory/slapd.conf" \
        -h "ldap://127.0.0.1:$LDAP/ ldaps://127.0.0.1:$LDAPS/" && wait_for_ports directory "$LDAP" "$LDAPS"
}
