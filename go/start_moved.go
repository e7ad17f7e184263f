// SPDX-License-Identifier: MIT OR Apache-2.0

//go:build !go1.20

package agentcg

import "os/exec"

// startInto cannot be done before Go 1.20, which brought SysProcAttr.CgroupFD.
func (g *Group) startInto(*exec.Cmd) (tried bool, err error) { return false, nil }
