#!/usr/bin/env bash
# Builds a tool that is a Go module into .tools/bin: `grpcurl`, which calls gRPC services from a shell, or
# `kustomize`, which renders the Kubernetes manifests. Does nothing where the tool is there already.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
bin=$root/.tools/bin

tool=${1:-}
case $tool in
grpcurl) package=github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 ;;
kustomize) package=sigs.k8s.io/kustomize/kustomize/v5@v5.7.1 ;;
*)
    echo "usage: $0 grpcurl|kustomize" >&2
    exit 2
    ;;
esac

if command -v "$tool" >/dev/null || [[ -x $bin/$tool ]]; then
    exit 0
fi
if ! command -v go >/dev/null; then
    echo "$tool: Go is not installed, so $tool cannot be built" >&2
    exit 1
fi
echo "$tool: building ${package##*@} into .tools/bin"
CGO_ENABLED=0 GOWORK=off GOBIN=$bin go install -trimpath "$package"
