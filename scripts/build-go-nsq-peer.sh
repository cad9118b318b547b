#!/bin/sh
# Builds the Go client's side of the NSQ benchmark and of the interoperability tests, nsq/benches/go, into
# .tools/bin/go-nsq-peer. Idempotent: does nothing while the program was built from the same source.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
source_dir="$root/nsq/benches/go"
bin="$root/.tools/bin"
stamp="$bin/.go-nsq-peer-built-from"

say() { printf 'go-nsq-peer: %s\n' "$*"; }

wanted=$(cat "$source_dir"/*.go "$source_dir/go.mod" "$source_dir/go.sum" | sha256sum | cut -d' ' -f1)

if [ -x "$bin/go-nsq-peer" ] && [ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ]; then
    exit 0
fi

if ! command -v go >/dev/null 2>&1; then
    say "Go is not installed, so the Go client cannot be built" >&2
    exit 1
fi

say "building into $bin"
mkdir -p "$bin"
# Built beside the target and renamed, so that a build broken off leaves no half a program.
scratch=$(mktemp -d "$bin/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT INT TERM
(
    cd "$source_dir"
    CGO_ENABLED=0 GOWORK=off go build -mod=readonly -buildvcs=false -trimpath -o "$scratch/go-nsq-peer" .
)
mv -f "$scratch/go-nsq-peer" "$bin/go-nsq-peer"
printf '%s\n' "$wanted" >"$stamp"
