#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/ for a while, two at a time, with the stable toolchain.
#
#   scripts/fuzz.sh [SECONDS] [TARGET…]    all targets, 10 seconds each, unless it is told otherwise; 0 builds them only
#
# Each begins with its seeds, the transcripts of tests/zoo and what it found before (fuzz/corpus). A crash prints the
# target, the input and the command that repeats it, and ends this with status 1; mend it together with a test of its
# name, and put the input into fuzz/seeds, which `cargo test --test seeds` goes through every time.
set -euo pipefail
cd "$(dirname "$0")/.."

TIMEOUT=10      # seconds for one input
MEMORY=1024     # MiB for one process
LENGTH=40000    # octets of an input; the longest limit of a command is 36 KiB
INPUT_SHOWN=4096 # octets of an input that crashed

# What cargo-fuzz gives the compiler, without a sanitizer: the one unsafe call (src/net/listen/defer.rs) is in no target.
FLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0
    -Cllvm-args=-sanitizer-coverage-stack-depth --cfg fuzzing -Cdebug-assertions -Coverflow-checks"

main() {
    local seconds=10 target
    if [[ ${1-} =~ ^[0-9]+$ ]]; then
        seconds=$1
        shift
    fi
    local targets=("$@")
    if [ $# -eq 0 ]; then
        for target in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$target" .rs)"); done
    fi
    LOGS=$(mktemp -d)
    trap 'rm -rf "$LOGS"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    build "${targets[@]}"
    if [ "$seconds" -eq 0 ]; then return 0; fi
    run_all "$seconds" "${targets[@]}"
}

# The host is named so that build scripts and macros are built without the flags.
build() {
    local host target bins=()
    host=$(rustc --version --verbose | sed -n 's/^host: //p')
    for target in "$@"; do
        if [ ! -e "fuzz/fuzz_targets/$target.rs" ]; then fail "there is no target '$target'"; fi
        bins+=(--bin "$target")
    done
    RUSTFLAGS=${FLAGS//$'\n'/ } cargo build --locked --release --manifest-path fuzz/Cargo.toml --target "$host" \
        --target-dir fuzz/target "${bins[@]}"
    PROGRAMS=fuzz/target/$host/release
}

run_all() { # run_all SECONDS TARGET…
    local seconds=$1 target running=0 status=0
    shift
    for target in "$@"; do
        if [ "$running" -eq 2 ]; then
            wait -n || status=1
            running=1
        fi
        run "$seconds" "$target" &
        running=$((running + 1))
    done
    while [ "$running" -gt 0 ]; do
        wait -n || status=1
        running=$((running - 1))
    done
    return "$status"
}

run() { # run SECONDS TARGET
    local seconds=$1 target=$2 options=() folder
    local corpus=fuzz/corpus/$target artifacts=fuzz/artifacts/$target/
    local dictionary=fuzz/dictionaries/$target.dict
    if [ ! -e "$dictionary" ]; then dictionary=fuzz/dictionaries/${target%%_*}.dict; fi
    mkdir -p "$corpus" "$artifacts" "$LOGS/zoo-$target"
    if [ -e "$dictionary" ]; then options+=("-dict=$dictionary"); fi
    visit_zoo "$target" "$LOGS/zoo-$target"
    for folder in "$corpus" "fuzz/seeds/$target" "$LOGS/zoo-$target"; do
        if [ -d "$folder" ]; then options+=("$folder"); fi
    done
    if "$PROGRAMS/$target" -max_total_time="$seconds" -timeout="$TIMEOUT" -rss_limit_mb="$MEMORY" -max_len="$LENGTH" \
        -artifact_prefix="$artifacts" "${options[@]}" >"$LOGS/$target" 2>&1; then
        echo "$target: $(grep -a DONE "$LOGS/$target" | tr -s '\t ' ' ')"
    else
        report "$target"
        return 1
    fi
}

report() { # report TARGET: it has crashed
    local target=$1 input
    input=$(sed -n 's/.*Test unit written to //p' "$LOGS/$target" | tail -n 1)
    {
        echo "=== $target crashed:"
        grep -aE -A 3 'panicked at|ERROR: libFuzzer' "$LOGS/$target" || tail -n 20 "$LOGS/$target"
        if [ -n "$input" ]; then
            echo "--- with this input of $(wc -c <"$input") octets:"
            head -c "$INPUT_SHOWN" "$input" |
                perl -0777 -pe 's/([^\x20-\x5b\x5d-\x7e])/sprintf("\\x%02x", ord $1)/ge'
            echo
            echo "--- again with: $PROGRAMS/$target $input"
        fi
    } >&2
}

# Seeds out of the recorded clients: whatever each of them says, behind an octet or three that the target has for itself.
visit_zoo() { # visit_zoo TARGET FOLDER
    local front protocol=${1%%_*} files=(tests/zoo/*.txt)
    if [ ! -e "${files[0]}" ]; then return 0; fi
    case $1 in
    imap_client | pop3_client | imap_command | pop3_command) front='\x00' ;;
    framing) front='\xff\x07' protocol=imap ;;
    *) return 0 ;;
    esac
    perl -e '
        my ($protocol, $front, $folder, @files) = @ARGV;
        my ($number, $is_wanted, $seed) = (0, 0, "");
        sub octets { shift =~ s{\\(?:x([0-9a-f]{2})|(.))}{defined $1 ? chr hex $1 : {r => "\r", n => "\n"}->{$2} // $2}ger }
        sub keep {
            if ($is_wanted) { open my $file, ">:raw", "$folder/" . $number++ or die; print $file octets($front) . $seed }
            $seed = "";
        }
        @ARGV = @files;
        while (<>) {
            if (/^O: (\w+)/) { keep(); $is_wanted = $1 eq $protocol }
            $seed .= octets($1) if /^C: (.*)/;
        }
        keep();
    ' "$protocol" "$front" "$2" "${files[@]}"
}

fail() {
    echo "fuzz: $1" >&2
    exit 1
}

main "$@"
