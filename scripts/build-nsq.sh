#!/bin/sh
# Builds nsqd and nsqlookupd, in the versions that tools/nsq/go.mod pins, into .tools/bin/.
#
# Idempotent: does nothing (and needs no network, nor Go) while both programs are there and were
# built from the same go.mod and go.sum. Prints what it does.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
source_dir="$root/tools/nsq"
bin="$root/.tools/bin"
stamp="$bin/.nsq-built-from"

say() { printf 'nsq: %s\n' "$*"; }

wanted=$(cat "$source_dir/go.mod" "$source_dir/go.sum" | sha256sum | cut -d' ' -f1)

if [ -x "$bin/nsqd" ] && [ -x "$bin/nsqlookupd" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    say "nsqd and nsqlookupd are up to date in $bin"
    exit 0
fi

if ! command -v go >/dev/null 2>&1; then
    say "Go is not installed, so nsqd and nsqlookupd cannot be built (an nsqd on the PATH serves as well)" >&2
    exit 1
fi

say "building nsqd and nsqlookupd into $bin"
mkdir -p "$bin"
# Built beside the target and renamed, so that a build broken off leaves no half a program, and a
# server that still runs from the old file is not disturbed.
scratch=$(mktemp -d "$bin/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT INT TERM
(
    cd "$source_dir"
    CGO_ENABLED=0 GOWORK=off go build -mod=readonly -buildvcs=false -trimpath -o "$scratch/" \
        github.com/nsqio/nsq/apps/nsqd github.com/nsqio/nsq/apps/nsqlookupd
)
for program in nsqd nsqlookupd; do
    mv -f "$scratch/$program" "$bin/$program"
done
printf '%s\n' "$wanted" >"$stamp"
say "built $("$bin/nsqd" --version)"
