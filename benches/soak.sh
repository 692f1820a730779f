#!/usr/bin/env bash
# Half an hour of logins, messages and clients that break off at any octet, at full speed: IMAP and POP3, in clear text,
# behind STARTTLS and under TLS. Then a pause, and mailferry must hold no more than at the base: what it held behind a
# warm-up of the same clients and the same pause. Prints what happened, and rows for docs/benchmarks.md.
#
#   benches/soak.sh         30 minutes, a warm-up of two and two pauses of two
#   benches/soak.sh 20s     a short one, which says only whether everything works
#   NICE=19 benches/soak.sh where others want the machine too
#
# Builds with --release, unless MAILFERRY and LOADGEN name programs, with whole paths. KEPT names a file for the report.
#
# Status 1: something went wrong for a client, or more is held than at the base. 2: nothing could be measured.
set -euo pipefail
# shellcheck source=benches/peers/begin.sh
. "$(dirname "$0")/peers/begin.sh"

LENGTH=${1:-30m}
PAUSE=2m WARM_UP=2m USERS=1000 CLIENTS=64
SLACK=1024 # KiB of memory above the base that are still the base: what an allocator rounds

main() {
    local doors=() status=0
    if [ $# -gt 1 ] || [[ $LENGTH != [0-9]* ]]; then usage; fi
    if [[ $LENGTH == *s ]]; then PAUSE=12s WARM_UP=$LENGTH SLACK=1000000; fi # memory says nothing yet
    if [ -n "${NICE-}" ] && [ -z "${NETWORK-}" ]; then renice -n "$NICE" $$ >/dev/null; fi
    set_out "$@"
    start_node "$USERS"
    start mailferry
    doors=(--door "imap:off:localhost:${PLAIN[mailferry]}" --door "pop3:off:localhost:${POP3[mailferry]}"
        --door "imap:starttls:localhost:${STARTTLS[mailferry]}" --door "pop3:starttls:localhost:${STLS[mailferry]}"
        --door "imap:implicit:localhost:${TLS[mailferry]}" --door "pop3:implicit:localhost:${POP3S[mailferry]}")
    "$LOADGEN" soak "${doors[@]}" --ca "$FOLDER/tls/ca.pem" --counts "$NODE_COUNTS" --pid "${PIDS[mailferry]# }" \
        --users "$USERS" --in-flight "$CLIENTS" --warm-up "$WARM_UP" --for "$LENGTH" --settle "$PAUSE" --slack "$SLACK" \
        --append "$FOLDER/figures" --who mailferry --what soak | tee "$FOLDER/report" "${KEPT:-/dev/null}" || status=$?
    echo "mailferry's own words: $(wc -l <"$FOLDER/mailferry/output") lines" >&2
    cut -c 29-160 "$FOLDER/mailferry/output" | sort | uniq -c | sort -rn | head -n 10 >&2
    if [ -s "$FOLDER/figures" ]; then rows | tee -a "${KEPT:-/dev/null}"; fi
    return "$status"
}

usage() {
    sed -n '/^#   /s/^# *//p' "$0" >&2
    exit 64
}

# Memory and descriptors, as they stand in docs/benchmarks.md.
rows() {
    echo
    echo "| | base | most | end |"
    echo "|---|--:|--:|--:|"
    echo "| anonymous memory (RSS), KiB | $(figure 'rss anon, base') | $(figure 'rss anon, most') | $(figure 'rss anon, end') |"
    echo "| PSS, KiB | $(figure 'pss, base') | $(figure 'pss, most') | $(figure 'pss, end') |"
    echo "| descriptors | $(figure 'descriptors, base') | $(figure 'descriptors, most') | $(figure 'descriptors, end') |"
    echo "| of these, ends of pipes, kept for later | $(figure 'ends of pipes, base') | $(figure 'ends of pipes, most') | $(figure 'ends of pipes, end') |"
}

figure() { # figure NAME
    awk -F '\t' -v name="$1" '$3 == name { printf "%.0f", $5 }' "$FOLDER/figures"
}

main "$@"
