// SPDX-License-Identifier: MIT OR Apache-2.0

// Package agentcg gives each agent, job or command a Linux cgroup v2 of its own: limit it, measure it, kill all
// of it. It binds the C library libagentcg, which pkg-config has to find.
//
//	g, err := agentcg.New(agentcg.Options{Limits: agentcg.Limits{
//		MemoryMaxBytes: agentcg.At(64 << 20),
//		SwapMaxBytes:   agentcg.At(0), // else it grows on in swap
//		CPUMaxMillicpu: agentcg.At(500),
//		PIDsMax:        agentcg.At(32),
//	}})
//	if err != nil {
//		log.Fatal(err) // what failed, on which file, and what to do
//	}
//	defer g.Destroy(context.Background())
//	cmd := exec.Command("make", "-j8")
//	if err := g.Start(cmd); err != nil { // inside before its first instruction, and so is all that it starts
//		log.Fatal(err)
//	}
//	err = cmd.Wait()
//
// # Errors
//
// Every error that comes from the library is an [*Error]. It has an errno, so that errors.Is(err, syscall.EBUSY)
// works, and a [Reason] where errno is too coarse: errors.Is(err, agentcg.NoController).
//
// # Contexts
//
// A context bounds the waiting, not the deed: [Group.KillAll], [Group.Destroy] and their like do once what they
// are for even where the context has ended already, so a deferred Destroy with the request's cancelled context
// still kills. Where that was not enough, the error is the context's (errors.Is(err, context.Canceled)) and says
// what is still alive.
//
// # Concurrency
//
// All methods may be called from several goroutines at once, [Group.Close] and [Group.Destroy] included: calls
// that come after give [ErrClosed], and those that wait end with it within a moment. The methods of a nil *Group
// give EINVAL. A Group that is forgotten is closed by the garbage collector, which neither kills nor removes.
//
// It is no security boundary between processes of one uid: an agent with the program's own uid can undo its limits.
package agentcg
