# shellcheck shell=bash
# Six users on two islands, a crowd when asked for, and the mail in their mailboxes. Sourced by site.sh.

# users.tsv: uid, island, mail address, password; tab-separated. bodo's address is not made of his uid; berta's password
# has all that is hard to carry (blank, quotes, backslash, what looks like a literal or a wildcard, a colon, UTF-8).
# The crowd comes behind them: crowd1 on island a, crowd2 on island b, and so on.
write_users() {
    (umask 077 && cat >"$FOLDER/users.tsv") <<'END'
anna	a	anna@example.net	anna-4Ferry-Hx7
adam	a	adam@example.net	adam-4Ferry-Kp2
alma	a	alma@example.net	alma-4Ferry-Wz9
bela	b	bela@example.net	bela-4Ferry-Qd5
bodo	b	b.berg@mail.example.net	bodo-4Ferry-Lm3
berta	b	berta@example.net	Grüße "4" \Ferry\ {5} *(&%s) : €uro
END
    local n islands=(b a)
    for ((n = 1; n <= ${CROWD:-0}; n++)); do
        printf 'crowd%d\t%s\tcrowd%d@example.net\tcrowd-4Ferry-%d\n' "$n" "${islands[n % 2]}" "$n" "$n"
    done >>"$FOLDER/users.tsv"
}

# user_field UID NUMBER: one column of users.tsv.
user_field() {
    awk -F'\t' -v uid="$1" -v field="$2" '$1 == uid { print $field }' "$FOLDER/users.tsv"
}

# write_mail: what each user has, twice: in messages/UID/N.eml for those who compare, and in the Maildir that both
# nodes of the island serve. Lines end in CRLF in both, so that nodes and files agree to the octet. One message is enough
# for one of the crowd.
write_mail() {
    local uid island maildir n last
    while IFS=$'\t' read -r uid island _; do
        maildir=$FOLDER/island-$island/mail/$uid/Maildir
        mkdir -p "$FOLDER/messages/$uid" "$maildir"/{cur,new,tmp}
        last=3
        if [[ $uid == crowd* ]]; then last=1; fi
        for ((n = 1; n <= last; n++)); do
            "message_$n" "$uid" "$island" | sed 's/$/\r/' >"$FOLDER/messages/$uid/$n.eml"
            cp "$FOLDER/messages/$uid/$n.eml" "$maildir/cur/100000000$n.M${n}P1.site:2,"
        done
    done <"$FOLDER/users.tsv"
}

message_head() { # message_head UID NUMBER SUBJECT
    echo "From: The harbour master <harbour@example.net>
To: $1 <$1@example.net>
Subject: $3
Date: Sat, 21 Nov 2026 10:00:00 +0000
Message-ID: <message-$2.$1@example.net>
MIME-Version: 1.0"
}

message_1() {
    message_head "$1" 1 "Welcome to island $2"
    echo "Content-Type: text/plain; charset=us-ascii

Dear $1,

your mail lives on island $2, and you need not know it.
The ferry finds the way."
}

# Lines of 998 and 8000 octets (fetchmail breaks longer ones), every octet from 0x80 to 0xff, and lines that POP3 must
# stuff with dots.
message_2() {
    message_head "$1" 2 "Odd octets for $1"
    echo "Content-Type: text/plain; charset=x-unknown
Content-Transfer-Encoding: 8bit
"
    head -c 998 /dev/zero | tr '\0' 'x'
    echo
    head -c 8000 /dev/zero | tr '\0' 'y'
    echo
    local octet
    for octet in {128..255}; do
        # shellcheck disable=SC2059 # the octet is the format
        printf "\\x$(printf %x "$octet")"
    done
    printf '\n.\n..\n.dot\n\n. \n\ttab and trailing blanks   \n.\n'
}

# An attachment of 1.2 MB, the same in every run and different for every user.
message_3() {
    message_head "$1" 3 "A picture for $1"
    echo 'Content-Type: multipart/mixed; boundary="=_b"

--=_b
Content-Type: text/plain; charset=us-ascii

See the attachment.
--=_b
Content-Type: application/octet-stream; name="picture.bin"
Content-Transfer-Encoding: base64
'
    head -c 1200000 /dev/zero |
        openssl enc -aes-128-ctr -nosalt -K "$(printf %s "$1" | openssl dgst -sha256 -r | cut -c1-32)" -iv 00 2>/dev/null |
        openssl base64
    echo '--=_b--'
}
