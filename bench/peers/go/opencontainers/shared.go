// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build shared

package main

// This file makes the same a shared library, whose size is compared with that of the other libraries.

import "C"

import "peers/adapter"

//export peer_run
func peer_run() {
	adapter.Run(start)
}
