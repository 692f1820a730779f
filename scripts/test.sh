#!/usr/bin/env bash
# All checks that a change must pass, on any Debian machine with a Rust toolchain: installs what is missing, then format,
# lints, documentation, tests (with real slapd, Dovecots and mail clients), benches in test mode, and the demo.
# Stops at the first failure. Everything but the fuzz targets is built in one profile, so that nothing is compiled twice.
# What all of it prints is kept until the end and searched for the passwords that the tests log in with.
set -euo pipefail
cd "$(dirname "$0")/.."

main() {
    OUTPUT=$(mktemp)
    trap 'rm -f "$OUTPUT"' EXIT
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
    step "fuzzing, 10 s each" scripts/fuzz.sh 10
    step "demo" scripts/demo.sh --once
    step "no secret in all of this" no_secrets
    echo
    echo "all checks passed in $(minutes "$SECONDS")"
}

# What the passwords of tests/it, tests/real and testkit::leaks contain, as it is and in base64.
MARKS='-Pa55|LVBhNT|1QYTU1|tUGE1N|-Zm4|LVptN|tWm00'
MARKS+='|kH7wPq2ZrT5vXy9L|a0g3d1BxMlpyVDV2WHk5T|tIN3dQcTJaclQ1dlh5OU|rSDd3UHEyWnJUNXZYeTlM'

# The logs are searched where they are written: by each site of tests/it and tests/real that ends, and by the fuzz target
# `credentials`. This is for whatever else the programs print.
no_secrets() {
    local found
    found=$(grep -anE -- "$MARKS" "$OUTPUT") || return 0
    echo "$found"
    return 1
}

step() { # step NAME COMMAND…
    local name=$1 start=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if ! "$@" 2>&1 | tee -a "$OUTPUT"; then
        printf '\n=== FAILED: %s, after %s (%s)\n' "$name" "$(minutes $((SECONDS - start)))" "$*" >&2
        exit 1
    fi
    printf '=== %s: %s\n' "$name" "$(minutes $((SECONDS - start)))"
}

minutes() {
    printf '%d min %02d s' $(($1 / 60)) $(($1 % 60))
}

main
