# SPDX-License-Identifier: MIT OR Apache-2.0
# Short names for common commands. CMake builds and installs; cargo and ctest run the tests. `make demo` and
# `make check` first install what is missing (tools/setup). The other targets do not.

BUILD ?= build
MAKEFLAGS += --no-print-directory

.PHONY: all demo check test lint fuzz header bench install clean

all:
	cmake -S . -B $(BUILD)
	cmake --build $(BUILD)

demo:
	tools/setup lab
	$(MAKE) all
	examples-c/demo $(BUILD)

check:
	tools/setup test
	tools/check $(BUILD)

test: all
	ctest --test-dir $(BUILD) --output-on-failure -j2

lint:
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	cargo clippy --lib --tests --no-default-features --features c-library --locked -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --manifest-path fuzz/Cargo.toml --target-dir build/fuzz/lint --locked -- -D warnings

# Ten million inputs for each parser. Inputs that fail are kept in build/fuzz.
fuzz:
	fuzz/run

# Generates include/agentcg.h from src/ffi/.
header:
	tools/header

bench: all
	bench/run $(BUILD)

install:
	cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)
	cargo clean
