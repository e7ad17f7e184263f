// SPDX-License-Identifier: MIT OR Apache-2.0

// Package agentcg runs each agent, job or command in a Linux cgroup v2 of its own: it limits the cgroup, measures it,
// and kills all processes in it. The package binds the C library libagentcg, which pkg-config has to find.
//
//	g, err := agentcg.New(agentcg.Options{Limits: agentcg.Limits{
//		MemoryMaxBytes: agentcg.At(64 << 20),
//		SwapMaxBytes:   agentcg.At(0), // without it, the rest goes to swap
//		CPUMaxMillicpu: agentcg.At(500),
//		PIDsMax:        agentcg.At(32),
//	}})
//	if err != nil {
//		log.Fatal(err) // what failed, on which file, and what to do
//	}
//	defer g.Destroy(context.Background())
//	cmd := exec.Command("make", "-j8")
//	process, err := g.Spawn(ctx, cmd, agentcg.SpawnOptions{Contain: true}) // in the group before its first instruction
//	if err != nil {
//		log.Fatal(err)
//	}
//	err = process.Wait()
//
// # Errors
//
// Every error of the library is an [*Error]. It has an errno, so that errors.Is(err, syscall.EBUSY) works, and a
// [Reason] if errno is too coarse: errors.Is(err, agentcg.NoController).
//
// # Contexts
//
// A context bounds the waiting only. [Group.KillAll], [Group.Destroy] and the like act once even if the context has
// ended, so a deferred Destroy with the cancelled context of a request kills. If that is not enough, the error is that
// of the context (errors.Is(err, context.Canceled)), and its text says what is still alive.
//
// # Concurrency
//
// Several goroutines may call all methods at the same time, [Group.Close] and [Group.Destroy] included. Later calls
// return [ErrClosed], and calls that are waiting return it within a moment. The methods of a nil *Group return EINVAL.
// The garbage collector closes a Group that is no longer referenced; that neither kills processes nor removes the
// group.
//
// The package is not a security boundary between processes of one uid: an agent with the uid of the program can undo
// its limits, unless it was started with [SpawnOptions].Contain.
package agentcg
