# SPDX-License-Identifier: MIT OR Apache-2.0
# How cargo is called: with which compiler, for which target, and with which crates. Defines agentcg_cargo().

find_program(CARGO cargo REQUIRED)
if(DEFINED ENV{RUSTC})
	set(RUSTC $ENV{RUSTC} CACHE FILEPATH "The Rust compiler")
endif()
find_program(RUSTC rustc REQUIRED)
option(AGENTCG_LOCKED "Build with exactly the crates of Cargo.lock. If OFF, cargo may rewrite Cargo.lock" ON)
option(AGENTCG_OFFLINE "Forbid cargo to use the network" OFF)
set(vendor "")
if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/vendor)
	set(vendor ${CMAKE_CURRENT_SOURCE_DIR}/vendor)
endif()
set(AGENTCG_VENDOR_DIR "${vendor}" CACHE PATH "The directory of the crates, as cargo vendor writes it. If empty: cargo's registry")

# agentcg_rust_version(PROGRAM): stops if PROGRAM is older than Cargo.toml's rust-version. An old cargo cannot read Cargo.toml,
# and its message does not name the version that it needs.
file(STRINGS Cargo.toml rust_minimum REGEX "^rust-version = ")
string(REGEX REPLACE ".*\"([0-9.]+)\".*" "\\1" rust_minimum "${rust_minimum}")
function(agentcg_rust_version name program)
	# In the source directory, because rustup may have another compiler for it.
	execute_process(COMMAND ${program} --version WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
		OUTPUT_VARIABLE output ERROR_VARIABLE output RESULT_VARIABLE status)
	if(NOT status EQUAL 0 OR NOT output MATCHES "^[a-z]+ ([0-9]+\\.[0-9]+[.0-9]*)")
		message(FATAL_ERROR "${program} --version failed (${status}): ${output}")
	endif()
	if(CMAKE_MATCH_1 VERSION_LESS rust_minimum)
		string(TOUPPER ${name} variable)
		message(FATAL_ERROR "agentcg needs ${name} ${rust_minimum} or newer, and ${program} is ${CMAKE_MATCH_1}. "
			"Install a newer Rust (on Debian 12: cargo-web and rustc-web), or name another ${name} with -D${variable}=PATH.")
	endif()
endfunction()
agentcg_rust_version(cargo ${CARGO})
agentcg_rust_version(rustc ${RUSTC})

# ---- the target ------------------------------------------------------------------
if(NOT AGENTCG_RUST_TARGET)
	if(DEFINED ENV{CARGO_BUILD_TARGET})
		set(rust_target $ENV{CARGO_BUILD_TARGET})
	elseif(CMAKE_CROSSCOMPILING)
		foreach(known "x86_64|AMD64=x86_64-unknown-linux-gnu" "aarch64|arm64=aarch64-unknown-linux-gnu"
			"i[3-6]86=i686-unknown-linux-gnu" "armv7.*=armv7-unknown-linux-gnueabihf"
			"riscv64=riscv64gc-unknown-linux-gnu" "ppc64le|powerpc64le=powerpc64le-unknown-linux-gnu"
			"s390x=s390x-unknown-linux-gnu")
			string(REGEX MATCH "^(.*)=(.*)$" known ${known})
			set(processors ${CMAKE_MATCH_1})
			set(triple ${CMAKE_MATCH_2})
			if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(${processors})$")
				set(rust_target ${triple})
			endif()
		endforeach()
		if(NOT rust_target)
			message(FATAL_ERROR "CMAKE_SYSTEM_PROCESSOR is \"${CMAKE_SYSTEM_PROCESSOR}\", for which agentcg knows no Rust target: "
				"name it with -DAGENTCG_RUST_TARGET=TARGET. \"rustc --print target-list\" lists all targets.")
		endif()
	else()
		execute_process(COMMAND ${RUSTC} -vV WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE rust_target)
		string(REGEX REPLACE ".*\nhost: ([^\n]+).*" "\\1" rust_target "${rust_target}")
	endif()
	set(AGENTCG_RUST_TARGET ${rust_target} CACHE STRING "The Rust target" FORCE)
endif()
message(STATUS "Rust target: ${AGENTCG_RUST_TARGET}")

# ---- the command -----------------------------------------------------------------
set(cargo_options --target ${AGENTCG_RUST_TARGET})
if(AGENTCG_LOCKED)
	list(APPEND cargo_options --locked)
endif()
if(AGENTCG_OFFLINE)
	list(APPEND cargo_options --offline)
endif()
if(AGENTCG_VENDOR_DIR)
	list(APPEND cargo_options --config "source.crates-io.replace-with='agentcg-vendor'"
		--config "source.agentcg-vendor.directory='${AGENTCG_VENDOR_DIR}'")
endif()

# The C compiler links agentcg-guard, and the cdylib that cargo builds with it.
list(APPEND cargo_options --config "target.${AGENTCG_RUST_TARGET}.linker='${CMAKE_C_COMPILER}'")
# What the C compiler needs for every link, which cmake/rustc passes on.
set(linker_flags "")
if(CMAKE_SYSROOT)
	list(APPEND linker_flags -Clink-arg=--sysroot=${CMAKE_SYSROOT})
endif()
if(CMAKE_C_COMPILER_TARGET)
	list(APPEND linker_flags -Clink-arg=--target=${CMAKE_C_COMPILER_TARGET})
endif()
string(REPLACE ";" " " linker_flags "${linker_flags}")
# CMake's flags for programs, which begin with LDFLAGS. They are not for the cdylib.
separate_arguments(program_link_options UNIX_COMMAND "${CMAKE_EXE_LINKER_FLAGS}")
list(TRANSFORM program_link_options PREPEND -Clink-arg=)

# agentcg_cargo(OUTPUT TARGET_DIR COMMENT ARGUMENT...): OUTPUT is made by "cargo rustc ARGUMENT...", which writes to TARGET_DIR.
function(agentcg_cargo output target_dir comment)
	add_custom_command(OUTPUT ${output}
		COMMAND ${CMAKE_COMMAND} -E env AGENTCG_GUARD_PROGRAM=${installed_guard} AGENTCG_RUSTC=${RUSTC}
			"AGENTCG_LINKER_FLAGS=${linker_flags}"
			RUSTC=${CMAKE_CURRENT_SOURCE_DIR}/cmake/rustc
			${CARGO} rustc ${cargo_options} --target-dir ${target_dir} ${ARGN}
		DEPENDS ${rust_sources} Cargo.toml Cargo.lock build.rs cmake/rustc
		WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} VERBATIM COMMENT ${comment})
endfunction()
