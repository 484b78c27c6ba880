# Portbind. `make` alone says what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

# hack/setup puts a Go here when the machine has none that is new enough.
export PATH := $(CURDIR)/.cache/go/bin:$(PATH)

# For `make lab`; in the environment of every recipe, so that no shell but the guest's looks into it.
export LAB_CMD

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD_FLAGS := -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
IMAGE ?= localhost/portbind-csi:$(VERSION)
FUZZTIME ?= 10s
comma := ,
LAB_FLAGS := -tags lab -exec $(CURDIR)/hack/lab/run -count=1 -v

.PHONY: help
help: ## What there is to make
	@echo 'Portbind: CSI driver for multipath iSCSI over bound NICs. Targets:'
	@echo
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS=$$'\t' read -r target text; \
	  do printf '  %-12s %s\n' "$$target" "$$text"; done
	@echo
	@echo 'As root, on Debian 12 or later. What is missing on the machine gets installed (hack/setup, hack/lab/setup).'

.PHONY: setup
setup:
	@hack/setup

.PHONY: build
build: setup ## Static binaries of every command into bin/
	@. hack/lib.sh; CGO_ENABLED=0 stage 'binaries in bin/' compile $(BUILD_FLAGS) -o bin/ -- ./cmd/...; finish build

.PHONY: demo
demo: build ## The whole story with kubectl, on a Kubernetes cluster that it brings up on this machine (cluster-down ends it)
	@hack/cluster/demo

.PHONY: demo-node
demo-node: build ## The same on one node without Kubernetes: bound paths, a NIC cut under writes, what other set-ups do
	@hack/lab/setup
	@LAB_TIMEOUT=30m go test $(LAB_FLAGS) -timeout 30m -run TestDemo ./test/demo/...

.PHONY: test
test: setup ## Everything: unit and contract tests with the race detector, then all lab scenarios (RUN=, PKGS=)
	@hack/test unit lab

.PHONY: test-unit
test-unit: setup ## Unit and contract tests with the race detector (RUN=, PKGS=)
	@hack/test unit

.PHONY: test-lab
test-lab: setup ## Lab scenarios on a real kernel (RUN=, PKGS=; LAB=qemu or host for other kernels)
	@hack/test lab

.PHONY: test-alerts
test-alerts: setup ## Prometheus' own check of the alert rules, their tests and the dashboard; builds promtool first (minutes)
	@hack/alerts

.PHONY: verify
verify: setup ## Linters, formatting, generated code, modules, shell scripts, spelling, links of the documentation
	@hack/verify

.PHONY: fuzz
fuzz: setup ## Each fuzz target for FUZZTIME=10s
	@FUZZTIME=$(FUZZTIME) hack/fuzz

.PHONY: bench
bench: build ## Benchmarks in the lab, against the bare sequence of commands in the same run
	@hack/lab/setup
	@LAB_TIMEOUT=60m go test $(LAB_FLAGS) -p 1 -timeout 60m ./test/bench/...
	@LAB_TIMEOUT=60m go test $(subst -tags lab,-tags lab$(comma)bench,$(LAB_FLAGS)) -timeout 60m -run Speed ./test/lab/attach

.PHONY: soak
soak: build ## The long scenarios: ten minutes without a path, flapping, a hundred volumes at once, random faults (LAB_SOAK=10m, LAB_SEED=)
	@hack/lab/setup
	@LAB_TIMEOUT=$${LAB_TIMEOUT:-6h} LAB_OUTAGE=10m LAB_CHURN=50 LAB_MEM=4G go test $(subst -tags lab,-tags lab$(comma)soak,$(LAB_FLAGS)) -p 1 \
	  -timeout $${LAB_TIMEOUT:-6h} -run '$(or $(RUN),TestAllPathsDown|TestFlapping|TestFullPool|TestPortalGone|TestRandomFaults|TestStageWhileOthersUnstage)' \
	  ./test/lab/failover ./test/lab/node

.PHONY: lab
lab: build ## A shell in a guest of the lab, or LAB_CMD='...' in it
	@hack/lab/setup
	@if [ -n "$${LAB_CMD:-}" ]; then hack/lab/run /bin/bash -c "$$LAB_CMD"; else hack/lab/run /bin/bash -i; fi

.PHONY: cluster
cluster: build ## A Kubernetes cluster with the driver in the lab, left running; says how to use it
	@hack/cluster/up

.PHONY: cluster-down
cluster-down: ## The end of it
	@hack/cluster/down

.PHONY: test-cluster
test-cluster: build ## Scenarios on that cluster, driven through kubectl (RUN=); brings it up if it is not running
	@hack/cluster/test

.PHONY: e2e-cluster
e2e-cluster: build ## Kubernetes' own end-to-end tests of storage drivers on that cluster (FOCUS=, SKIP=, PROCS=)
	@hack/cluster/e2e-run

.PHONY: cover
cover: setup ## Coverage of the unit tests, in artefacts/cover.html
	@mkdir -p artefacts
	@go test -coverprofile=artefacts/cover.out ./pkg/... >/dev/null
	@go tool cover -html=artefacts/cover.out -o artefacts/cover.html
	@go tool cover -func=artefacts/cover.out | tail -n 1

.PHONY: proto
proto: setup ## Generate pkg/targetapi from its .proto
	@. hack/lib.sh; stage 'code from .proto files' hack/proto; finish proto

.PHONY: image
image: ## Container image of portbind-csi (needs docker or podman; IMAGE=)
	@engine=$$(command -v docker || command -v podman) || { echo 'image: neither docker nor podman here' >&2; exit 1; }; \
	"$$engine" build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: image-tar
image-tar: build ## The same as a file, bin/portbind-csi.tar, made without docker or podman (IMAGE=)
	@. hack/lib.sh; stage 'image in bin/portbind-csi.tar' go run ./hack/imagetar -name '$(IMAGE)' -to bin/portbind-csi.tar bin/portbind-csi; \
	finish 'image $(IMAGE)'

.PHONY: sbom
sbom: build ## Bill of materials of each binary, CycloneDX, in bin/*.cdx.json
	@. hack/lib.sh; stage 'bills of materials' go run ./hack/sbom -version '$(VERSION)' $$(find bin -type f -perm -u+x); finish sbom

.PHONY: clean
clean: ## Remove bin/ and artefacts/ (tools and toolchain stay in .cache/)
	@rm -rf bin artefacts
