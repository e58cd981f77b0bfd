# Holdfast. `make help` lists the targets. Needs Go, git and make, and a Linux kernel with user
# namespaces; everything else is fetched by hash and built, into the cache outside the checkout.
.PHONY: help demo rollback-demo test fuzz check build image pcrs reproduce bench clean programs
.DELETE_ON_ERROR:

# Programs that need no C are built by the host's Go; those that link blst take the sandbox's compiler.
GO      = CGO_ENABLED=0 GOFLAGS= go
CGO     = eval "$$(bin/image env toolchain)" && GOFLAGS= go
STATIC  = -trimpath -tags netgo,osusergo -ldflags=-extldflags=-static
TIMEOUT = 40m

# verify is built as PCRS.md has its hash: any go command gives these bytes by these flags and go.mod's toolchain.
VERIFY  = CGO_ENABLED=0 GOFLAGS= GOOS=linux GOARCH=amd64 GOAMD64=v1 go build -trimpath -buildvcs=false -tags netgo,osusergo -ldflags='-s -w -buildid='

FUZZTIME = 10s

# How long the load test of 64 connections runs in make test.
SOAK    = 60s

help:
	@echo 'make demo       build the enclave image, boot it on an emulated Nitro machine, verify it, sign'
	@echo 'make rollback-demo   roll the slashing journal back, run an enclave twice: nothing slashable is signed'
	@echo 'make test       run every test, building what they need'
	@echo 'make fuzz       fuzz every parser for FUZZTIME (10s) each, and keep what they learn in testdata/fuzz'
	@echo 'make check      format, vet, staticcheck, module tidiness, documentation rules'
	@echo 'make build      programs into bin/, the enclave image into build/, the page docs/verify.html'
	@echo 'make image      the enclave image alone; fails where PCRS.md disagrees with it'
	@echo 'make pcrs       rewrite the current entry of PCRS.md from the built image'
	@echo 'make reproduce  build the image twice under different conditions and compare'
	@echo 'make bench      measure, beside the limit or a peer'

demo: build
	@bin/image emulator >build/emulator
	@bin/demo

rollback-demo: build
	@bin/image emulator >build/emulator
	@bin/rollback-demo

test: build
	@eval "$$(bin/image env)" && GOFLAGS= HOLDFAST_SOAK=$(SOAK) go test $(STATIC) -timeout $(TIMEOUT) ./... && \
		cd enclave/ethereum/differential && GOFLAGS= go test $(STATIC) -timeout $(TIMEOUT) ./...

fuzz: bin/image
	@$(CGO) run ./internal/fuzz -time $(FUZZTIME)

check: bin/image
	@test -z "$$(gofmt -l .)" || { echo 'not formatted:'; gofmt -l .; exit 1; }
	@$(GO) mod tidy -diff
	@cd enclave/ethereum/differential && $(GO) mod tidy -diff
	@$(CGO) vet ./...
	@$(CGO) tool staticcheck ./...

build: programs image

programs: bin/image
	@$(VERIFY) -o bin/verify ./verify
	@$(GO) build -trimpath -o bin/parent ./parent
	@$(GO) run ./verify/wasm/assemble
	@$(CGO) build $(STATIC) -o bin/demo ./internal/demo
	@$(CGO) build $(STATIC) -o bin/rollback-demo ./internal/rollback
	@$(CGO) build $(STATIC) -o bin/keys ./keys

# Go decides what is stale, faster than make could.
.PHONY: bin/image
bin/image:
	@$(GO) build -trimpath -o bin/image ./image

image: bin/image
	@bin/image build

pcrs: bin/image
	@bin/image pcrs

reproduce: bin/image
	@bin/image reproduce

bench: build
	@eval "$$(bin/image env)" && GOFLAGS= go run $(STATIC) ./internal/bench

clean:
	rm -rf bin build
