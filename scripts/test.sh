#!/usr/bin/env bash
# All checks that a change must pass, on any Debian machine with a Rust toolchain: installs what is missing, then format,
# lints, documentation, tests (with real slapd, Dovecots and mail clients), benches in test mode, and the demo.
# Stops at the first failure. Everything is built in one profile, so that nothing is compiled twice.
set -euo pipefail
cd "$(dirname "$0")/.."

main() {
    export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
    step "install what is missing" scripts/install.sh test
    step "format" cargo fmt --check
    step "lints" cargo clippy --locked --all-targets --all-features -- -D warnings
    step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features
    step "tests" cargo test --locked --all-features --lib --bins --tests
    step "tests in the documentation" cargo test --locked --all-features --doc
    if compgen -G 'benches/*.rs' >/dev/null; then
        step "benches, one round each" cargo test --locked --all-features --bench '*' -- --test
    fi
    step "demo" scripts/demo.sh --once
    echo
    echo "all checks passed in $(minutes "$SECONDS")"
}

step() { # step NAME COMMAND…
    local name=$1 start=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if ! "$@"; then
        printf '\n=== FAILED: %s, after %s (%s)\n' "$name" "$(minutes $((SECONDS - start)))" "$*" >&2
        exit 1
    fi
    printf '=== %s: %s\n' "$name" "$(minutes $((SECONDS - start)))"
}

minutes() {
    printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
}

main
