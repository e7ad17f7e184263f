# SPDX-License-Identifier: MIT OR Apache-2.0
# A short front: CMake builds and installs, cargo and ctest test. `make demo` and `make check` first install
# what is missing (tools/setup); the other targets expect it to be there.

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

# Ten million inputs for each parser; what fails is kept in build/fuzz.
fuzz:
	fuzz/run

# include/agentcg.h anew from src/ffi/.
header:
	tools/header

bench: all
	bench/run $(BUILD)

install:
	cmake --install $(BUILD)

clean:
	rm -rf $(BUILD)
	cargo clean
