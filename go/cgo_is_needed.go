// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !cgo

package agentcg

// The name of this file makes this the first error of the compiler. The others are about names of the files that use cgo.
var _ = agentcg_needs_cgo__install_a_C_compiler_and_set_CGO_ENABLED_to_1
