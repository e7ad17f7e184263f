// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !go1.20

package agentcg

import (
	"os/exec"
	"time"
)

// hasCancel and waitDelay are about fields that exec.Cmd has since Go 1.20.
func hasCancel(*exec.Cmd) bool { return false }

func waitDelay(*exec.Cmd) (time.Duration, error) { return 0, nil }
