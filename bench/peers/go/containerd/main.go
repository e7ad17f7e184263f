// SPDX-License-Identifier: MIT OR Apache-2.0

// The adapter of containerd/cgroups.
package main

import (
	"path/filepath"
	"strconv"

	"github.com/containerd/cgroups/v3/cgroup2"

	"peers/adapter"
)

type group struct {
	manager *cgroup2.Manager
	path    string
	stats   cgroup2.StatMask
}

func start(setting adapter.Setting) (adapter.Library, error) {
	var limits *cgroup2.Resources
	stats := cgroup2.StatCPU
	if setting.Limits {
		quota, period, memory := int64(adapter.CPUMaxUs), uint64(adapter.CPUPeriodUs), int64(adapter.MemoryMaxBytes)
		limits = &cgroup2.Resources{
			CPU:    &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, &period)},
			Memory: &cgroup2.Memory{Max: &memory},
			Pids:   &cgroup2.Pids{Max: adapter.PidsMax},
		}
		stats |= cgroup2.StatMemory
	}
	// The manager of the directory in which groups are made. The controllers are enabled there.
	parent, err := cgroup2.Load("/"+filepath.Base(setting.Groups), cgroup2.WithMountpoint(filepath.Dir(setting.Groups)))
	if err != nil {
		return nil, err
	}
	return func(number int) (adapter.Group, error) {
		name := strconv.Itoa(number)
		// With resources NewChild would enable the controllers again.
		manager, err := parent.NewChild(name, nil)
		if err != nil {
			return nil, err
		}
		if limits != nil {
			if err := manager.Update(limits); err != nil {
				return nil, err
			}
		}
		return &group{manager, filepath.Join(setting.Groups, name), stats}, nil
	}, nil
}

func (g *group) Path() string       { return g.path }
func (g *group) Move(pid int) error { return g.manager.AddProc(uint64(pid)) }
func (g *group) Kill() error        { return g.manager.Kill() }
func (g *group) Remove() error      { return g.manager.Delete() }

func (g *group) Read() (uint64, error) {
	metrics, err := g.manager.StatFiltered(g.stats)
	if err != nil {
		return 0, err
	}
	return metrics.CPU.UsageUsec * 1000, nil
}

func main() {
	adapter.Run(start)
}
