// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build go1.20

package agentcg

import (
	"os/exec"
	"time"
)

func hasCancel(cmd *exec.Cmd) bool { return cmd.Cancel != nil }

// waitDelay returns cmd.WaitDelay, and the error if it has passed.
func waitDelay(cmd *exec.Cmd) (time.Duration, error) { return cmd.WaitDelay, exec.ErrWaitDelay }
