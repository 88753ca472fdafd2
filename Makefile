# What one can do here. Every target installs what it needs by itself (scripts/install), on
# Debian 12 with Rust.

CARGO ?= cargo
# Where scripts/install puts cargo-deny, if it is not installed already.
export PATH := $(PATH):$(CURDIR)/target/tools

.PHONY: help demo test bench bench-s3 lint deb

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/make \1\t\2/' | expand -t 14

demo: ## backs up, breaks and recovers a throw-away PostgreSQL, end to end
	@scripts/install demo
	$(CARGO) build --locked
	$(CARGO) run --locked --quiet -- demo

test: ## every test, against real servers of PostgreSQL 15, 17 and 18, of S3 and of mail
	@scripts/install test
	$(CARGO) test --locked
	@echo "the main job once more, with the repository in a bucket"
	FENICE_TEST_STORE=bucket $(CARGO) test --locked --test all -- cli:: engine:: --skip expire_faults --skip copy_faults --skip sixty

bench: ## speed of snapshots and restores, on this machine
	@scripts/install test
	$(CARGO) bench --locked --no-fail-fast --bench '*'

bench-s3: ## of these only what concerns a repository in a bucket
	@scripts/install test
	$(CARGO) bench --locked --bench objects
	$(CARGO) bench --locked --bench postgres -- bucket

lint: ## format, clippy without warnings, licences and origins of dependencies
	@scripts/install lint
	$(CARGO) fmt --check
	$(CARGO) deny --locked --log-level error check bans licenses sources
	$(CARGO) clippy --locked --all-targets -- -D warnings

deb: ## a Debian package of a release build, in target/package
	@scripts/install deb
	@CARGO="$(CARGO)" scripts/package
