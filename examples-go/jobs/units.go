// SPDX-License-Identifier: MIT OR Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"agentcg"
)

// size, cpus and count are values of the package flag that set a limit.
type (
	size  struct{ limit *agentcg.Limit }
	cpus  struct{ limit *agentcg.Limit }
	count struct{ limit *agentcg.Limit }
)

func (size) String() string  { return "" }
func (cpus) String() string  { return "" }
func (count) String() string { return "" }

func (s size) Set(text string) error {
	digits := strings.TrimRight(text, "KMG")
	shift := 0
	if unit := text[len(digits):]; len(unit) == 1 {
		shift = 10 * (strings.Index("KMG", unit) + 1)
	} else if unit != "" {
		digits = ""
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return errors.New("not a size such as 64M")
	}
	*s.limit = agentcg.At(n << shift)
	return nil
}

func (c cpus) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n >= 0.001 && n <= 1e6) {
		return errors.New("not a number of CPUs such as 0.5")
	}
	*c.limit = agentcg.At(uint64(math.Round(n * 1000)))
	return nil
}

func (c count) Set(text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return errors.New("not a number")
	}
	*c.limit = agentcg.At(n)
	return nil
}

// amount formats a number of bytes for people.
func amount(bytes uint64) string {
	const k = 1024
	switch {
	case bytes >= k*k*k:
		return fmt.Sprintf("%.1fG", float64(bytes)/(k*k*k))
	case bytes >= k*k:
		return fmt.Sprintf("%.1fM", float64(bytes)/(k*k))
	}
	return fmt.Sprintf("%dK", bytes/k)
}
