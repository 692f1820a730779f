# shellcheck shell=bash
# The islands' nodes: Dovecots, two for each island, with the same Maildirs. Sourced by site.sh.
# A node's name is island-node (a-left); each has IMAP and POP3, with STARTTLS and with implicit TLS,
# and the same again behind a PROXY header. mailferry's own address is trusted to say whose connection it is.

REUSED=500 # mailboxes that one process serves, one after the other
SPARE=2    # processes that wait for a mailbox

# As root, Dovecot runs as Debian's users, and mail belongs to the user mail; otherwise everything is the caller's.
choose_accounts() {
    if [ "$(id -u)" -eq 0 ]; then
        DOVECOT_USER=dovecot DOVENULL_USER=dovenull MAIL_UID=$(id -u mail) MAIL_GID=$(id -g mail)
    else
        DOVECOT_USER=$(id -un) DOVENULL_USER=$(id -un) MAIL_UID=$(id -u) MAIL_GID=$(id -g)
    fi
    DOVECOT_GROUP=$(id -gn "$DOVECOT_USER")
}

write_islands() {
    local island uid where
    for island in a b; do
        mkdir -p "$FOLDER/island-$island"
        (umask 027 && : >"$FOLDER/island-$island/passwd")
        chgrp "$DOVECOT_GROUP" "$FOLDER/island-$island/passwd"
    done
    while IFS=$'\t' read -r uid where _; do
        add_account "$uid" "$where"
        chown -R "$MAIL_UID:$MAIL_GID" "$FOLDER/island-$where/mail/$uid"
    done <"$FOLDER/users.tsv"
}

add_account() { # add_account UID ISLAND
    printf '%s:{PLAIN.b64}%s:%s:%s::%s::\n' "$1" "$(user_field "$1" 4 | tr -d '\n' | base64 -w 0)" "$MAIL_UID" "$MAIL_GID" \
        "$FOLDER/island-$2/mail/$1" >>"$FOLDER/island-$2/passwd"
}

remove_account() { # remove_account UID ISLAND
    sed -i "/^$1:/d" "$FOLDER/island-$2/passwd"
}

# wait_for_accounts: until all nodes know of a change. Dovecot looks at the file's date once in every second of the clock.
wait_for_accounts() {
    local now=$EPOCHSECONDS
    while ((EPOCHSECONDS <= now)); do sleep 0.05; done
}

has_account() { # has_account UID ISLAND
    grep -q "^$1:" "$FOLDER/island-$2/passwd"
}

other_island() {
    if [ "$1" = a ]; then echo b; else echo a; fi
}

copy_mailbox() { # copy_mailbox UID FROM TO
    rm -rf "$FOLDER/island-$3/mail/$1"
    cp -a "$FOLDER/island-$2/mail/$1" "$FOLDER/island-$3/mail/$1"
}

write_node() { # write_node ISLAND NODE
    local home=$FOLDER/island-$1/$2
    mkdir -p "$home/run" "$home/state"
    case $(dovecot --version) in
    2.[0-3].*) dovecot_23 "$1" "$2" >"$home/dovecot.conf" ;;
    *) dovecot_24 "$1" "$2" >"$home/dovecot.conf" ;;
    esac
}

# What both versions spell alike. requests names the setting of how many connections a process serves before it ends: a login
# process any number, and one that has served a mailbox goes on with the next, or a node of a small machine would do
# little but start processes. Refusals come quickly, and strangers from one address are not slowed down: all clients of a test come from 127.0.0.1. The node
# logs each login.
dovecot_common() {
    local home=$FOLDER/island-$1/$2 requests=$3 unlimited=$4 port
    port=$(upper "$1_$2")
    cat <<END
base_dir = $home/run
state_dir = $home/state
instance_name = $1-$2
log_path = $FOLDER/log/$1-$2.log
listen = 127.0.0.1
auth_verbose = yes
auth_failure_delay = 0
auth_mechanisms = plain login
default_internal_user = $DOVECOT_USER
default_internal_group = $DOVECOT_GROUP
default_login_user = $DOVENULL_USER
first_valid_uid = 1
mail_max_userip_connections = 100
login_trusted_networks = 127.0.0.1
haproxy_trusted_networks = 127.0.0.1
shutdown_clients = yes
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
service auth {
  client_limit = 5000 # or Dovecot warns that its other limits do not fit it
}
service imap {
  $requests = $REUSED
  process_min_avail = $SPARE
}
service pop3 {
  $requests = $REUSED
  process_min_avail = $SPARE
}
service imap-login {
  chroot =
  $requests = $unlimited
  inet_listener imap {
    port = $(value_of "${port}_IMAP")
  }
  inet_listener imaps {
    port = $(value_of "${port}_IMAPS")
    ssl = yes
  }
  inet_listener imap_proxied {
    port = $(value_of "${port}_IMAP_PROXIED")
    haproxy = yes
  }
  inet_listener imaps_proxied {
    port = $(value_of "${port}_IMAPS_PROXIED")
    ssl = yes
    haproxy = yes
  }
}
service pop3-login {
  chroot =
  $requests = $unlimited
  inet_listener pop3 {
    port = $(value_of "${port}_POP3")
  }
  inet_listener pop3s {
    port = $(value_of "${port}_POP3S")
    ssl = yes
  }
  inet_listener pop3_proxied {
    port = $(value_of "${port}_POP3_PROXIED")
    haproxy = yes
  }
  inet_listener pop3s_proxied {
    port = $(value_of "${port}_POP3S_PROXIED")
    ssl = yes
    haproxy = yes
  }
}
END
}

dovecot_23() {
    cat <<END
protocols = imap pop3
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
ssl = yes
ssl_cert = <$FOLDER/tls/node.pem
ssl_key = <$FOLDER/tls/node.key
passdb {
  driver = passwd-file
  args = username_format=%u $FOLDER/island-$1/passwd
}
userdb {
  driver = passwd-file
  args = username_format=%u $FOLDER/island-$1/passwd
}
END
    dovecot_common "$1" "$2" service_count 0
}

dovecot_24() {
    cat <<END
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols = imap pop3
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = ~/Maildir
ssl = yes
ssl_server_cert_file = $FOLDER/tls/node.pem
ssl_server_key_file = $FOLDER/tls/node.key
passdb passwd-file {
  passwd_file_path = $FOLDER/island-$1/passwd
}
userdb passwd-file {
  passwd_file_path = $FOLDER/island-$1/passwd
}
END
    dovecot_common "$1" "$2" restart_request_count unlimited
}

start_node() { # start_node ISLAND-NODE
    local home=$FOLDER/island-${1%-*}/${1#*-} port
    port=$(upper "${1/-/_}")
    start_process "$1" dovecot -F -c "$home/dovecot.conf" &&
        wait_for_ports "$1" "$(value_of "${port}_IMAP")" "$(value_of "${port}_IMAPS")" \
            "$(value_of "${port}_POP3")" "$(value_of "${port}_POP3S")"
}

upper() {
    printf %s "${1^^}"
}

value_of() { # value_of NAME: the value of the variable of that name
    printf %s "${!1}"
}
