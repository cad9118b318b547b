#!/bin/sh
# Builds s3s-fs, an S3 server in front of a folder that the tests put objects into, into .tools/s3/.
#
# Idempotent: does nothing (and needs no network) while the program is there in this version. It is built apart
# from the workspace, with its own lock file, and what it is built of is thrown away. Prints what it does.
set -eu

# Later ones need a newer compiler.
version=0.14.1

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools="$root/.tools/s3"
stamp="$tools/.built-from"

say() { printf 's3: %s\n' "$*"; }

if [ -x "$tools/bin/s3s-fs" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$version" ]; then
    say "s3s-fs is up to date in $tools/bin"
    exit 0
fi

say "building s3s-fs $version into $tools/bin"
mkdir -p "$tools"
scratch=$(mktemp -d "$root/.tools/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT INT TERM
# A server of tests is built in half the time without the last optimizations.
cargo install --quiet --locked --version "$version" --features binary --root "$tools" --target-dir "$scratch" \
    --config profile.release.opt-level=1 --no-track --force s3s-fs
printf '%s\n' "$version" >"$stamp"
say "built s3s-fs $version"
