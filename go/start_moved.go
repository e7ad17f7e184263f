// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !go1.20

package agentcg

import "os/exec"

// startInto never tries, because SysProcAttr.CgroupFD needs Go 1.20.
func (g *Group) startInto(*exec.Cmd) (tried bool, err error) { return false, nil }
