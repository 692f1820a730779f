#!/usr/bin/env bash
# Installs what the demo or the tests need and this machine lacks, and nothing else.
#
#   scripts/install.sh demo     slapd, Dovecot, curl, openssl, a C compiler
#   scripts/install.sh test     the same, the mail clients that the tests log in with, a balancer (HAProxy), a browser
#   scripts/install.sh missing  installs nothing: prints what `test` would install, and fails if there is anything
#
# Needs apt and root (or sudo) only when something is missing. Where it cannot install, it names the packages and
# fails. Packages are kept from starting their services: the site of the demo and the tests runs its own.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin

missing=()

need() { # need PACKAGE TEST…: PACKAGE is missing unless TEST succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

any_of() { # any_of FILE…: one of them can be executed
    local file
    for file in "$@"; do
        if [ -x "$file" ]; then return 0; fi
    done
    return 1
}

a_c_program_compiles() {
    local program
    program=$(mktemp) && echo '#include <stdlib.h>
int main(void) { return EXIT_SUCCESS; }' | cc -x c -o "$program" -
    local result=$?
    rm -f "$program"
    return "$result"
}

a_cxx_program_compiles() {
    local program
    program=$(mktemp) && echo '#include <vector>
int main() { return static_cast<int>(std::vector<int>().size()); }' | c++ -x c++ -o "$program" -
    local result=$?
    rm -f "$program"
    return "$result"
}

look_for_demo_parts() {
    need slapd command -v slapd
    need ldap-utils command -v ldapsearch
    need dovecot-imapd any_of /usr/lib/dovecot/imap /usr/libexec/dovecot/imap
    need dovecot-pop3d any_of /usr/lib/dovecot/pop3 /usr/libexec/dovecot/pop3
    need curl command -v curl
    need openssl command -v openssl
    need perl-base command -v perl
    if [ -n "${MAILFERRY-}" ]; then return 0; fi # a program is there, nothing needs to be built
    need gcc command -v cc
    need make command -v make # for the allocator
    need libc6-dev a_c_program_compiles # for the TLS library's C parts
}

look_for_test_parts() {
    look_for_demo_parts
    need isync command -v mbsync
    need fetchmail command -v fetchmail
    need getmail6 command -v getmail
    need python3 command -v python3
    need g++ a_cxx_program_compiles # for the fuzzer's own library
    need haproxy command -v haproxy
    need systemd command -v systemd-analyze # looks at the units; nothing of it runs
    need iproute2 command -v ip # a network of its own for each benchmark
    need chromium command -v chromium # for the status page, and what drives it
    need chromium-driver command -v chromedriver
}

# Debian starts a service as soon as its package is there, unless this script says no (101).
forbid_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then return 0; fi
    # shellcheck disable=SC2064 # the path is known now
    trap "${as_root[*]} rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
}

apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"
}

install_missing() {
    echo "installing: ${missing[*]}"
    as_root=(env)
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then give_up "neither root nor sudo"; fi
        as_root=(sudo)
    fi
    if ! command -v apt-get >/dev/null; then give_up "no apt-get here"; fi
    forbid_services
    # The lists of packages are fetched only when those at hand do not do.
    if ! apt install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
        apt update
        apt install -y --no-install-recommends "${missing[@]}" >/dev/null
    fi
    echo "installed; no service was started (a reboot would start those that Debian enables: slapd, dovecot, haproxy)"
}

give_up() {
    {
        echo "cannot install ($1). Please install these packages, then run this again:"
        echo "    ${missing[*]}"
    } >&2
    exit 1
}

look_for_rust() { # look_for_rust TOOL…: cargo, new enough, with these components
    local wanted found tool
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        echo "no Rust toolchain: please install Rust $wanted or newer, e.g. from https://rustup.rs" >&2
        exit 1
    fi
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        echo "Rust $found is too old: please install $wanted or newer, e.g. from https://rustup.rs" >&2
        exit 1
    fi
    for tool in "$@"; do
        if ! cargo "$tool" --version >/dev/null 2>&1; then
            echo "cargo $tool is missing: rustup component add rustfmt clippy" >&2
            exit 1
        fi
    done
}

case ${1-} in
demo)
    if [ -z "${MAILFERRY-}" ]; then look_for_rust; fi
    look_for_demo_parts
    ;;
test)
    look_for_rust fmt clippy
    look_for_test_parts
    ;;
missing)
    look_for_test_parts
    if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
    echo "${missing[*]}"
    exit 1
    ;;
*)
    echo "usage: $0 demo|test|missing" >&2
    exit 64
    ;;
esac
if [ ${#missing[@]} -gt 0 ]; then install_missing; fi
missing=()
"look_for_$1_parts"
if [ ${#missing[@]} -gt 0 ]; then give_up "apt-get was content, yet something is still missing"; fi
