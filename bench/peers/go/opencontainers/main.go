// SPDX-License-Identifier: MIT OR Apache-2.0

// The adapter of opencontainers/cgroups.
package main

import (
	"path/filepath"
	"strconv"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs2"

	"peers/adapter"
)

type group struct {
	manager *fs2.Manager
	path    string
	stats   *cgroups.StatsOptions
}

func start(setting adapter.Setting) (adapter.Library, error) {
	stats := &cgroups.StatsOptions{Controllers: cgroups.CPU}
	if setting.Limits {
		stats.Controllers |= cgroups.Memory
	}
	return func(number int) (adapter.Group, error) {
		resources := &cgroups.Resources{}
		if setting.Limits {
			pids := int64(adapter.PidsMax)
			resources = &cgroups.Resources{
				CpuQuota:  adapter.CPUMaxUs,
				CpuPeriod: adapter.CPUPeriodUs,
				Memory:    adapter.MemoryMaxBytes,
				PidsLimit: &pids,
			}
		}
		path := filepath.Join(setting.Groups, strconv.Itoa(number))
		manager, err := fs2.NewManager(&cgroups.Cgroup{Resources: resources}, path)
		if err != nil {
			return nil, err
		}
		// It moves no process for the pid -1.
		if err := manager.Apply(-1); err != nil {
			return nil, err
		}
		if setting.Limits {
			if err := manager.Set(resources); err != nil {
				return nil, err
			}
		}
		return &group{manager, path, stats}, nil
	}, nil
}

func (g *group) Path() string       { return g.path }
func (g *group) Move(pid int) error { return g.manager.AddPid("", pid) }
func (g *group) Remove() error      { return g.manager.Destroy() }

// The library has no function for it: runc writes the file with this one.
func (g *group) Kill() error { return cgroups.WriteFile(g.path, "cgroup.kill", "1") }

func (g *group) Read() (uint64, error) {
	stats, err := g.manager.Stats(g.stats)
	if err != nil {
		return 0, err
	}
	return stats.CpuStats.CpuUsage.TotalUsage, nil
}

func main() {
	adapter.Run(start)
}
