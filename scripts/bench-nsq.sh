#!/usr/bin/env bash
# Measures the NSQ client beside the Go client, on one nsqd; see nsq/benches/throughput. `make bench-nsq` says how it is
# built.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

command -v nsqd >/dev/null || scripts/build-nsq.sh
scripts/build-go-nsq-peer.sh
GO_NSQ_PEER=$root/.tools/bin/go-nsq-peer \
    exec "${CARGO:-cargo}" bench --locked --workspace --bench throughput --profile dev
