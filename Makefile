# make run            builds Push and runs the example in examples/im, until Ctrl-C
# make build          builds hub, extension and C library in release mode
# make install        builds and installs them; make uninstall removes them (PREFIX=/usr/local, DESTDIR= for packages)
# make test           all tests
# make pictures       takes the pictures of the README anew
# make lint           formatting and lints
# make guard          counts the instructions of the hot paths: none may grow by more than a tenth. ACCEPT=yes accepts them
# make bench          push-hub beside nginx + nchan and a floor, and publishing from PHP beside curl and php-redis; writes
#                     bench/RESULTS.md. REPETITIONS=3, ONLY=fanout for a part (which is only printed)
# make bench-churn    five minutes of subscribers who come and go, twice: does the memory grow, and is it given back?
# make bench-c        publishing from C, beside hiredis and redis-server
# make reliability    kills, reloads and hand-overs under load: what is lost, doubled, reordered, refused
# make fuzz           what strangers can send, found by a fuzzer: FUZZ_SECONDS=60 for each target, FUZZ="ring call" for some of
#                     them; needs a nightly Rust and cargo-fuzz, see fuzz/README.md
# make deps-run       installs the packages that `make run` needs; make deps-test those that the tests need, too, and
#                     make deps-bench those of `make bench`
#
# PHP_VERSION=8.3 chooses between installed versions, PORT=8080 is the port of the example.

SHELL = bash
.SHELLFLAGS = -euo pipefail -c
tools = . scripts/toolchain.sh; require_rust

export PREFIX DESTDIR

.PHONY: run build install uninstall test test-rust test-php test-phpt test-js guard pictures lint bench bench-churn bench-c reliability fuzz deps-run deps-test deps-bench

run:
	@exec scripts/run.sh

build:
	@scripts/deps.sh ask run
	@$(tools); also='--package push-c-api'; . scripts/build.sh

install uninstall:
	@scripts/install.sh $@

test: test-rust test-phpt test-js test-php guard

test-rust:
	@$(tools); scripts/deps.sh ask run; scripts/deps.sh ask test
	cargo test --locked
	@echo 'The model of the ring, every interleaving (loom):'
	RUSTFLAGS='--cfg loom' cargo test --locked --release --target-dir target/loom \
		--package push-core --no-default-features --test ring_loom

test-php:
	@scripts/deps.sh ask run; scripts/deps.sh ask test
	@$(tools); . scripts/build.sh; \
		export PUSH_SCREENSHOTS="$$target/screenshots"; mkdir -p "$$PUSH_SCREENSHOTS"; \
		echo "Screenshots of the chat will be in $$PUSH_SCREENSHOTS"; \
		exec "$$PHP" "$$(command -v phpunit)" --configuration php-tests

pictures:
	@scripts/deps.sh ask run; scripts/deps.sh ask test
	@$(tools); . scripts/build.sh; \
		PUSH_SCREENSHOTS=docs/images exec "$$PHP" "$$(command -v phpunit)" --configuration php-tests --filter Readable

# As a distributor runs them: run-tests.php of this PHP, and nothing but the extension and a hub.
test-phpt:
	@scripts/deps.sh ask run
	@$(tools); . scripts/build.sh; exec scripts/run-phpt.sh

# The browser client in node, which has WebSockets of its own from version 22 on.
test-js:
	@scripts/deps.sh ask run; scripts/deps.sh ask test
	@$(tools); . scripts/build.sh; cd js; \
		exec node --experimental-websocket --no-warnings --test --test-reporter=spec test/*.test.js

# Instructions, not time: they are the same on each run. The counts are those of a release build, as are those accepted.
guard:
	@$(tools); scripts/deps.sh ask test
	cargo bench --locked --package push-core --features paths --bench paths -- $(if $(ACCEPT),accept)

lint:
	@$(tools)
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --features push-core/paths -- -D warnings

bench bench-churn:
	@$(tools); scripts/deps.sh ask run; scripts/deps.sh ask bench; find_php; export PHP_FPM; \
		cargo build --locked --release --package push-core --package push-php-ext --package push-bench; \
		target=$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'); \
		if [ $@ = bench-churn ]; then exec "$$target/release/push-bench" churns; fi; \
		exec "$$target/release/push-bench" compare --repetitions $(or $(REPETITIONS),3) $(if $(ONLY),--only $(ONLY))

bench-c:
	@$(tools)
	cargo build --locked --release --package push-core --package push-c-api --package push-bench
	exec "$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/push-bench" c

reliability:
	@$(tools); scripts/deps.sh ask run; find_php; export PHP_FPM
	cargo build --locked --release --package push-core --package push-php-ext --package push-bench
	exec "$$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/push-bench" reliability

fuzz:
	@$(tools)
	for target in $(or $(FUZZ),$$(cargo +nightly fuzz list)); do \
		cargo +nightly fuzz run "$$target" -- -max_total_time=$(or $(FUZZ_SECONDS),60) \
			-rss_limit_mb=2048 -timeout=20 -len_control=0 -max_len=2000; \
	done

deps-run:
	@scripts/deps.sh install run

deps-bench: deps-run
	@scripts/deps.sh install bench

deps-test: deps-run
	@scripts/deps.sh install test
