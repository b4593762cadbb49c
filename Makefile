# Every target does its own set-up. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
export CARGO_TERM_COLOR ?= auto
# rustup puts cargo here; a shell that was open before doesn't know.
export PATH := $(PATH):$(HOME)/.cargo/bin

# In CI a lock file that does not fit the manifests is an error. Elsewhere cargo completes it, as after adding a crate.
LOCKED := $(if $(CI),--locked)

# What the demo runs. Nothing else is compiled for it.
PROGRAMS := order inventory payment notification analytics tidings

# What crates.io would take: the crates under shared/ that may be published.
LIBRARIES = $(shell grep -L '^publish' shared/*/Cargo.toml | xargs grep -hm1 '^name' | cut -d '"' -f 2)

# Whatever is compiled for tests, Clippy checks on the way: both share one compilation of the dependencies.
test test-kafka test-debezium test-jaeger test-upgrade test-openapi test-k8s test-mutations test-outside verify-million: export RUSTC_WORKSPACE_WRAPPER := $(CURDIR)/tools/clippy-and-rustc

# The test binaries that take a real Kafka and a real registry where the environment names them.
KAFKA_TESTS := relay kit system

.PHONY: help demo build build-tests check test test-outside package doc test-alerts test-kafka test-with-kafka test-debezium test-with-debezium bench bench-curves bench-price bench-experiments bench-earlier bench-flames bench-decode test-jaeger test-upgrade test-openapi test-compose test-k8s test-cluster test-mutations verify-million audit lint generate bootstrap

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: build ## Start everything, place orders, check the guarantees (ARGS=--exit ends afterwards)
	target/debug/tidings demo $(ARGS)

build: bootstrap ## Build the five services and the command
	@tools/announce.sh "the five services and the command" 360
	cargo build $(LOCKED) --bins $(addprefix --package ,$(PROGRAMS))

build-tests: bootstrap
	@tools/announce.sh "the five services, the command and all tests, checked by Clippy on the way" 480
	cargo build --workspace --all-targets $(LOCKED)

check: bootstrap test-alerts ## What only reads files: formatting, mutations and other patches, alert rules, lock files, features of dependencies, length of docs/one-order.md
	cargo fmt --all --check
	tests/mutations/run --check
	tests/bench/without/build --check
	for lock in $$(git ls-files '*Cargo.lock'); do cargo update --quiet --workspace $(LOCKED) --manifest-path $${lock%lock}toml || exit 1; done
	tools/features.sh $(PROGRAMS)
	tools/one-order --check >/dev/null

lint: check ## The same, and Clippy
	cargo clippy --workspace --all-targets $(LOCKED) -- -D warnings

test: check build-tests ## Everything that needs neither Docker nor Java
	target/debug/tidings schemas check
	target/debug/with-postgres cargo test --workspace $(LOCKED) --no-fail-fast
	target/debug/with-postgres $(MAKE) test-with-libraries

test-outside: build-tests ## A system of its own on the libraries alone (part of make test)
	target/debug/with-postgres $(MAKE) test-with-libraries

test-with-libraries:
	DATABASE_URL="$$TIDINGS_TEST_POSTGRES" cargo test --manifest-path tests/outside/Cargo.toml --target-dir target $(LOCKED)

# With the settings of [profile.dev], so that dependencies are shared.
package: export CARGO_PROFILE_DEV_OPT_LEVEL = 1
package: export CARGO_PROFILE_DEV_CODEGEN_UNITS = 1
package: export CARGO_PROFILE_DEV_DEBUG = false
package: export CARGO_PROFILE_DEV_BUILD_OVERRIDE_OPT_LEVEL = 0
package: export CARGO_PROFILE_DEV_BUILD_OVERRIDE_CODEGEN_UNITS = 16
package: bootstrap ## The libraries as crates.io would get them, each built from its package
	tools/package.sh $(LIBRARIES)

doc: export RUSTDOCFLAGS = --deny warnings
doc: bootstrap ## The documentation of the libraries and of what services are built with, in target/doc
	cargo doc $(LOCKED) --no-deps --features kafka-inbox/testing $(addprefix --package ,$(LIBRARIES) events contracts service testkit)

test-alerts: ## The alert rules, by promtool
	tools/promtool.sh check rules observability/prometheus/alerts.yml
	tools/promtool.sh test rules observability/prometheus/tests/*.yml

test-kafka: build-tests ## Bus, relay and system again, on Apache Kafka and Apicurio Registry (needs Java and Maven)
	tests/components/with-kafka target/debug/with-postgres $(MAKE) test-with-kafka

# The interleavings of three transactions are the database's matter: `make test` has them all, here are those of two.
test-with-kafka:
	cargo test --workspace $(LOCKED) --no-fail-fast $(addprefix --test ,$(KAFKA_TESTS)) -- \
		--skip every_interleaving_of_three_transactions
	cargo test --workspace $(LOCKED) --no-fail-fast --test bus --test runtime -- --ignored kafka
	KAFKA_BOOTSTRAP_SERVERS="$$TIDINGS_TEST_KAFKA" $(MAKE) test-with-libraries

test-debezium: build-tests ## Debezium Server beside the polling relay, and in the relay's suite (by hand: fetches 780 MB once; needs Java and Maven)
	tests/components/debezium.sh provide >/dev/null
	tests/components/with-kafka $(MAKE) test-with-debezium

# The tests of the suite have servers and processes of Debezium of their own: half a gigabyte each.
test-with-debezium:
	cargo test --workspace $(LOCKED) --no-fail-fast --test debezium -- --include-ignored
	cargo test --workspace $(LOCKED) --no-fail-fast --test relay -- --ignored by_debezium

verify-million: build-tests ## tidings verify over a million orders: time and memory (by hand: an hour, 40 GB of disk)
	tests/components/with-kafka cargo test $(LOCKED) -p verify-campaign --test campaign -- \
		--ignored --nocapture a_million_orders_hold_in_a_gigabyte

# What the images run, and the program that measures it; nothing is built in the middle of a measurement.
bench: bootstrap ## What the system costs, beside what its parts cost: docs/benchmarks (needs Java and Maven; ARGS=--help)
	@tools/announce.sh "the five services, the command and the benchmarks as the images have them" 900
	cargo build $(LOCKED) --profile image --bins $(addprefix --package ,$(PROGRAMS) bench)
	TIDINGS_JAVA_OPTIMISED=1 tests/components/with-kafka target/image/bench $(ARGS)

bench-curves: override ARGS := --curves $(ARGS)
bench-curves: bench ## The same while one parameter grows (by hand: hours)

bench-price: bootstrap ## What each mechanism of the guarantees costs: the services beside themselves without it (by hand: an hour)
	tests/bench/without/build
	$(MAKE) bench ARGS='--only price $(ARGS)'

bench-experiments: bootstrap ## Missed goals beside the services without what each miss is attributed to (by hand: an hour)
	tests/bench/without/build --experiments
	$(MAKE) bench ARGS='--only experiments $(ARGS)'

bench-earlier: bootstrap ## The whole system beside the commit with which the goals began (by hand: half an hour, most of it a build)
	tests/bench/earlier/build
	$(MAKE) bench ARGS='--only earlier $(ARGS)'

bench-flames: bootstrap ## Flame graphs of the API, the relay and a consumer (by hand; needs perf)
	tests/bench/flames/build
	$(MAKE) bench ARGS='--only flames $(ARGS)'

bench-decode: bootstrap ## Decoding and dispatching an event, by Criterion (by hand)
	cargo bench --manifest-path tests/bench/decode/Cargo.toml --target-dir target/decode $(LOCKED)
	$(MAKE) bench ARGS='--only decode $(ARGS)'

test-jaeger: build-tests ## One order's trace in a real Jaeger (TIDINGS_JAEGER names its program, or Go builds it once)
	tests/components/with-jaeger target/debug/with-postgres \
		cargo test --workspace $(LOCKED) --no-fail-fast --test system -- --ignored jaeger::

test-upgrade: build-tests ## The previous release on this one's databases (builds it once, from git)
	tests/components/with-previous-release target/debug/with-postgres \
		cargo test --workspace $(LOCKED) --no-fail-fast --test system -- upgrade::

test-openapi: build-tests ## What the services answer, compared with their OpenAPI descriptions (needs Python; fetches schemathesis once)
	tests/openapi/run

test-k8s: build-tests ## The manifests of k8s/: rules, a real API server, production's settings (needs Go, npm, Java, Maven, Python, psql)
	tests/k8s/run
	tests/k8s/rehearse

test-cluster: bootstrap ## k8s/overlays/local on a cluster of one node that this builds (as root on Linux; needs what test-compose needs)
	tests/k8s/cluster

test-compose: bootstrap ## The images and docker-compose.yml on a Docker engine (where images can't be pulled: as root, needs Go, Java, Maven)
	tests/compose/run

test-mutations: build-tests ## Take each mechanism away and see its test fail (takes hours; ARGS=name runs one)
	tests/mutations/run $(ARGS)

audit: bootstrap ## Licences, sources and known vulnerabilities of what we depend on (ARGS=--recorded: without GitHub)
	tools/audit.sh $(ARGS)

generate: bootstrap ## Write anew the Rust types of avro/, docs/metrics.md, docs/configuration.md, Grafana's dashboards, the checks in docs/guarantees.md
	cargo run $(LOCKED) -p codegen
	cargo run $(LOCKED) -p observability
	cargo build $(LOCKED) -p tidings
	page="$$(sed '/^## What `tidings verify` compares/,$$d' docs/guarantees.md; target/debug/tidings verify --list-checks)" && \
		printf '%s\n' "$$page" >docs/guarantees.md

# The picture of the system: `make docs/system.svg` after a change of its source. Graphviz is no part of the set-up.
docs/system.svg: docs/system.dot
	@command -v dot >/dev/null || { echo "Graphviz is missing. Debian and Ubuntu: 'sudo apt-get install graphviz'." >&2; exit 1; }
	dot -Tsvg $< -o $@

bootstrap: ## Install what building needs, after saying what
	@tools/bootstrap.sh
