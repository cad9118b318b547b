#!/usr/bin/env bash
# Fuzzes what async-nsq reads from a socket, each target for so many seconds (60, or the first argument). Does nothing
# where cargo-fuzz is not installed: the crate's own tests check the same properties within bounds.
set -euo pipefail

seconds=${1:-60}
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../nsq"

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "fuzz: cargo-fuzz is not installed (cargo install cargo-fuzz), skipped"
    exit 0
fi

if cargo +nightly --version >/dev/null 2>&1; then
    fuzz=(cargo +nightly fuzz run)
else
    # The stable compiler has the coverage that libFuzzer needs, too, behind this switch.
    export RUSTC_BOOTSTRAP=1
    fuzz=(cargo fuzz run --sanitizer none)
fi

# What a run adds to the corpus is not kept.
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
for target in frame_decoder connection; do
    mkdir "$found/$target"
    "${fuzz[@]}" "$target" "$found/$target" "fuzz/corpus/$target" -- -max_total_time="$seconds"
done
