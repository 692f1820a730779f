# shellcheck shell=bash
# Two slapds with the same entries, the users and one who may read them: replicas in all but the replication.
# Sourced by site.sh.

# Nobody can bind without TLS, and nobody but mailferry can read: a proxy that forgets StartTLS or the bind finds no one.
write_directories() {
    rm -rf "$FOLDER/directory" "$FOLDER/directory2"
    mkdir "$FOLDER/directory" "$FOLDER/directory2"
    (umask 077 && openssl rand -hex 16 | tr -d '\n' >"$FOLDER/directory/bind.secret")
    write_directory directory
    write_directory directory2
}

write_directory() { # write_directory NAME
    local home=$FOLDER/$1 schema
    mkdir "$home/db"
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
rootdn "cn=operator,dc=example,dc=net"
rootpw $(cat "$FOLDER/directory/bind.secret")
END
    } >"$home/slapd.conf"
    chmod 600 "$home/slapd.conf"
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

start_directory() { # start_directory NAME
    local plain=$LDAP tls=$LDAPS
    if [ "$1" = directory2 ]; then plain=$LDAP2 tls=$LDAPS2; fi
    start_process "$1" slapd -d stats -f "$FOLDER/$1/slapd.conf" \
        -h "ldap://127.0.0.1:$plain/ ldaps://127.0.0.1:$tls/" && wait_for_ports "$1" "$plain" "$tls"
}

# set_island UID ISLAND: in each directory, which must run.
set_island() {
    local port
    for port in "$LDAPS" "$LDAPS2"; do
        LDAPTLS_CACERT=$FOLDER/tls/ca.pem ldapmodify -o nettimeout=5 -H "ldaps://127.0.0.1:$port" -x \
            -D "cn=operator,dc=example,dc=net" -y "$FOLDER/directory/bind.secret" >/dev/null <<END || return 1
dn: uid=$1,ou=people,dc=example,dc=net
changetype: modify
replace: mailHost
mailHost: $2
END
    done
}
