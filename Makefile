# Everything that a person or a machine does with this repository. `make help` lists it.

SHELL := /bin/sh
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PATCHMESH := $(TARGET)/debug/patchmesh
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
DENY := $(shell $(CARGO) deny --version >/dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help setup setup-bench build agent demo demo-once test fuzz bench lint tuf-conformance clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and testing need (apt; says what is missing otherwise)
	@deploy/setup

setup-bench: ## the same, and the peers that `make bench` measures beside
	@deploy/setup bench

# The whole workspace in one profile, always: another selection would resolve
# features anew and compile RocksDB a second time.
build: setup ## build everything
	$(CARGO) build --locked --workspace

agent: ## build the agent alone, for machines: no RocksDB, nothing that only nodes need
	$(CARGO) build --locked --release --package patchmesh --no-default-features --bin patchmesh-agent
	@ls -l $(TARGET)/release/patchmesh-agent

demo: build ## run a whole company on this machine until Ctrl-C
	$(PATCHMESH) demo

demo-once: build ## the same, once, with a JSON report; fails unless everything converged
	$(PATCHMESH) demo --once --output json

test: build ## run every test
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --locked --workspace
else
	RUST_TEST_THREADS=2 $(CARGO) test --locked --workspace --all-targets --no-fail-fast
endif
	$(CARGO) test --locked --workspace --doc --quiet

fuzz: build ## fuzz what reads a peer's bytes: make fuzz [SECONDS=60] [TARGET=frames]
	PATCHMESH_FUZZ_SECONDS=$(or $(SECONDS),60) RUST_TEST_THREADS=2 \
		$(CARGO) test --locked --workspace --lib fuzz::$(TARGET) -- --nocapture

bench: setup-bench build agent ## measure beside peers: make bench [ROWS=transfer] [QUICK=1]
	$(TARGET)/debug/patchmesh-bench $(if $(ROWS),--rows $(ROWS)) $(if $(QUICK),--quick)

lint: ## formatting, clippy with warnings as errors, licences and sources of dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --package patchmesh --no-default-features --lib --bin patchmesh-agent -- -D warnings
ifeq ($(DENY),yes)
	$(CARGO) deny --all-features check licenses bans sources
else
	@echo "lint: cargo-deny is not installed, so deny.toml was not checked (cargo install cargo-deny)"
endif

tuf-conformance: build ## run the public TUF client suite: make tuf-conformance SUITE=folder
	@test -n "$(SUITE)" || { echo "give a checkout of theupdateframework/tuf-conformance: make tuf-conformance SUITE=folder"; exit 64; }
	tests/tuf-conformance.sh "$(SUITE)" "$(TARGET)/debug/tuf-client"

clean: ## remove what was built
	$(CARGO) clean
