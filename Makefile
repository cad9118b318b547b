# Safelight: what people and CI run. `make` alone lists the commands.
#
# Everything is built with one cargo profile (dev, see Cargo.toml for what is optimized in it), so that the
# commands share what is built. CARGO_TARGET_DIR is obeyed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

CARGO ?= cargo
target_dir := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
programs := $(target_dir)/debug

.PHONY: help
help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup-build models ## Install what is missing, build, and watch photographs being recognized
	$(CARGO) build --locked --workspace --bin safelight
	exec $(programs)/safelight demo

.PHONY: test
test: setup-build setup-test models ## Install what is missing, and run every test on real servers
	.venv/bin/python -m unittest discover --start-directory kube_files/tests
	@echo '$(CARGO) test --locked --workspace $(TEST_FLAGS)'; \
	log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	{ $(CARGO) test --locked --workspace $(TEST_FLAGS) 2>&1 >&3 | tee "$$log" >&2; } 3>&1; \
	echo "make test: $$(grep -c '^SKIPPED:' "$$log" || true) tests skipped"

# What is measured is built as a release is; what the workspace depends on is built so in any case.
bench bench-mesh bench-nsq bench-transform: export CARGO_PROFILE_DEV_OPT_LEVEL := 3
bench bench-mesh bench-nsq bench-transform: export CARGO_PROFILE_DEV_DEBUG_ASSERTIONS := false
bench bench-mesh bench-nsq bench-transform: export CARGO_PROFILE_DEV_OVERFLOW_CHECKS := false
bench bench-mesh bench-nsq bench-transform: export CARGO_PROFILE_DEV_INCREMENTAL := false

.PHONY: bench
bench: setup-build setup-test models ## Measure; each result is a line `name value unit`
	$(CARGO) bench --locked --workspace --bench '*' --profile dev

.PHONY: bench-mesh
bench-mesh: setup-build ## Measure the mesh beside tonic's channels and other breakers
	$(CARGO) bench --locked --workspace --bench breaker --bench channel --profile dev

.PHONY: bench-nsq
bench-nsq: setup-build ## Measure the NSQ client beside the Go client, on one nsqd
	@scripts/bench-nsq.sh

.PHONY: bench-transform
bench-transform: setup-build setup-test models ## Measure what is made of pictures and films beside vips and ffmpeg
	@scripts/apt.sh libvips-tools curl
	$(CARGO) bench --locked --workspace --bench transform --profile dev

.PHONY: fuzz
fuzz: ## Fuzz the NSQ client for a minute a target, where cargo-fuzz is installed
	@scripts/fuzz.sh

.PHONY: scenarios
scenarios: setup-build ## Play the troubles of mesh/scenarios/report.md anew, and write down what comes of them
	RENEW_SCENARIOS=1 $(CARGO) test --locked --workspace --test scenarios

.PHONY: up-real
up-real: setup-build setup-test models ## MariaDB, NSQ and the services as separate processes, until Ctrl-C
	$(CARGO) build --locked --workspace --bins
	exec scripts/up-real.sh $(programs)

.PHONY: build
build: setup-build ## Build all programs
	$(CARGO) build --locked --workspace --bins

.PHONY: lint
lint: setup-build ## Formatting, clippy and shellcheck; warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; fi

.PHONY: fmt
fmt: ## Format the Rust code
	$(CARGO) fmt --all

.PHONY: tools
tools: setup-test ## Install what the tests and a look at the services by hand need, grpcurl included
	scripts/build-go-tool.sh grpcurl

.PHONY: clean-data
clean-data: ## Remove what the demo and up-real have stored in ./safelight-data
	rm -rf safelight-data

.PHONY: setup-build setup-test models
setup-build:
	@scripts/setup-build.sh
setup-test:
	@scripts/setup-test.sh
models:
	@scripts/fetch-models.sh
