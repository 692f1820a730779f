#!/usr/bin/env bash
# All checks that a change must pass, on any Debian machine with a Rust toolchain: installs what is missing, then format,
# lints, documentation, tests (with real slapd, Dovecots and mail clients), benches in test mode, short runs of the
# benchmarks that need sockets, and the demo.
# Stops at the first failure. Everything but the fuzz targets is built in one profile, so that nothing is compiled twice; the
# fuzz targets are built while the tests run, which wait most of the time.
# What all of it prints is kept until the end and searched for the passwords that the tests log in with.
set -euo pipefail
cd "$(dirname "$0")/.."

main() {
    OUTPUT=$(mktemp)
    trap leave EXIT
    export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto} REQUIRE_REAL=1
    # Tests wait, for sockets and clocks, for more than half of their time.
    export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
    step "install what is missing" scripts/install.sh test
    step "format" cargo fmt --check
    step "lints" cargo clippy --locked --all-targets --all-features -- -D warnings
    step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --all-features
    step "build of the tests" cargo test --locked --all-features --no-run --lib --bins --tests --example loadgen
    beside scripts/fuzz.sh 0
    step "tests" cargo test --locked --all-features --lib --bins --tests --example loadgen
    step "tests in the documentation" cargo test --locked --all-features --doc
    if compgen -G 'benches/*.rs' >/dev/null; then
        step "benches, one round each" cargo test --locked --all-features --bench '*' -- --test
    fi
    step "benchmarks, a short run" short_benchmarks
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

# Whether each of them works, with the programs of the tests: figures of these are nothing to keep. A measurement that goes
# wrong fails the script.
short_benchmarks() {
    local target
    cargo build --locked --all-features --bin mailferry --example loadgen || return 1
    target=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    export MAILFERRY=$target/debug/mailferry LOADGEN=$target/debug/examples/loadgen
    benches/compare.sh --quick --peers haproxy || return 1
    PROCESSES=2 SESSIONS_EACH=50 HELD_FOR=2s benches/many.sh || return 1
    benches/soak.sh 5s
}

# Does something with what the steps leave of the processors. Whether it succeeds, and what it says, comes out when a step does
# it again.
beside() { # beside COMMAND…
    set -m # a process group of its own, that all of it can be ended
    nice -n 19 "$@" >/dev/null 2>&1 </dev/null &
    BESIDE=$!
    set +m
}

leave() {
    rm -f "$OUTPUT"
    if [ -n "${BESIDE-}" ]; then kill -- "-$BESIDE" 2>/dev/null || true; fi
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
