#!/usr/bin/env bash
# Builds grpcurl, which calls gRPC services from a shell, into .tools/bin. A second run does nothing.
set -euo pipefail

version=v1.9.3
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/.tools/bin

if command -v grpcurl >/dev/null || [[ -x $bin/grpcurl ]]; then
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "grpcurl: Go is not installed, so grpcurl cannot be built" >&2
    exit 1
fi
echo "grpcurl: building grpcurl $version into .tools/bin"
CGO_ENABLED=0 GOWORK=off GOBIN=$bin go install -trimpath "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version"
