# SPDX-License-Identifier: MIT OR Apache-2.0
# Short names for common commands. CMake builds and installs; cargo and ctest run the tests. `make demo`,
# `make check` and `make check-all` first install what is missing (tools/setup). The other targets do not.

BUILD ?= build
MAKEFLAGS += --no-print-directory

.PHONY: all demo check check-all check-packages test lint fuzz header bench bench-peers dist install clean

all:
	cmake -S . -B $(BUILD)
	cmake --build $(BUILD)

# Builds only what the demo runs.
demo:
	tools/setup lab
	cmake -S . -B $(BUILD)
	cmake --build $(BUILD) --parallel $$(nproc) --target agentcg-run memory-hog cpu-burner fork-bomb
	examples-c/demo $(BUILD)

# Runs every behaviour at least once, on Linux 6.1, in each layout.
check:
	tools/setup test
	tools/check $(BUILD)

# Runs every kernel, layout and round.
check-all:
	tools/setup test
	tools/check --all $(BUILD)

# Builds the packages of distributions in bare roots, which it downloads, and tests them; and restarts services on the systemd of
# Debian 13. As root.
check-packages: all
	tools/setup packages
	tests/packaging/run $(BUILD)/packaging
	tests/lab/restart $(BUILD) --suite trixie

test: all
	ctest --test-dir $(BUILD) --output-on-failure -j2

lint:
	cargo fmt --check
	tools/plain
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --lib --no-default-features --features c-library --locked -- -D warnings
	cargo clippy --lib --profile test --no-default-features --features c-library --locked -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --all --manifest-path bench/peers/rust/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir build/fuzz/lint --locked -- -D warnings

# Ten million inputs for each parser. Inputs that fail are kept in build/fuzz.
fuzz:
	fuzz/run

# Generates include/agentcg.h and the manual pages (build.rs).
header:
	tools/header

bench: all
	bench/run $(BUILD)

# Compares with other libraries, whose adapters are built in $(BUILD)/peers, and writes docs/benchmarks.md.
bench-peers: all
	bench/peers/run $(BUILD)

# The tarballs of a release, checksums and a list of the crates in them, from the commit that is checked out.
dist:
	tools/dist $(BUILD)/dist

install:
	cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)
	cargo clean
