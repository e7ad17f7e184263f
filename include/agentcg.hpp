// SPDX-License-Identifier: MIT OR Apache-2.0
//
// agentcg.hpp - agentcg.h for C++17 and later: an owner that ends its agent, exceptions, durations. Header only.
//
//	agentcgpp::limits limits;
//	limits.memory_max_bytes = 64 << 20;
//	limits.pids_max = 32;
//	auto group = agentcgpp::group::make(limits);    // throws agentcgpp::error: what failed, and what to do
//	pid_t pid = group.spawn({"/usr/bin/make", "-j8"});
//	auto last = group.destroy(5s);                  // nothing of it lives, its directory is gone
//
// Each function does what its namesake in agentcg.h does, which says what may fail and why; flags and masks are those of
// agentcg.h. What is a negative number there is thrown as agentcgpp::error here, and nothing else is but std::bad_alloc.
// The namespace is not "agentcg", since that is the type of a handle in C.
#ifndef AGENTCG_HPP
#define AGENTCG_HPP

#include <agentcg/values.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace agentcgpp {

/// agentcg_is_available()
inline bool is_available() { return agentcg_is_available() == 1; }

/// agentcg_discover_parent()
inline std::string discover_parent() { return detail::text(255, agentcg_discover_parent); }

/// agentcg_diagnose(); an agent can be made if its place is not 0.
inline diagnosis diagnose()
{
	diagnosis found{};
	found.text = detail::text(8191, [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return detail::worded(agentcg_diagnose(&found, sizeof(agentcg_diagnosis), buf, size), reterr);
	});
	return found;
}

/// agentcg_diagnose_new(): what group::make() would do with these limits and flags.
inline diagnosis diagnose(const limits &wanted, std::uint64_t flags = 0)
{
	const agentcg_limits c = wanted.c();
	diagnosis found{};
	found.text = detail::text(8191, [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return agentcg_diagnose_new(&c, sizeof(c), flags, &found, sizeof(agentcg_diagnosis), buf, size, reterr);
	});
	return found;
}

/// agentcg_list()
inline std::vector<agentcg_entry> list(zstring parent = nullptr)
{
	return detail::all(std::vector<agentcg_entry>(16),
	                   [&](agentcg_entry *entries, std::size_t count, agentcg_error *reterr) {
		return agentcg_list(parent.c(), entries, sizeof(*entries), count, reterr);
	});
}

/// agentcg_reap(): how many were removed.
inline int reap(timeout wait, zstring parent = nullptr)
{
	return detail::checked([&](agentcg_error *reterr) { return agentcg_reap(parent.c(), wait.c(), reterr); });
}

/// One agent's cgroup, and its handle. It can be moved, not copied; one that was moved from, released, freed or
/// destroyed is empty, and all but get(), move_self(), release() and free() throw std::errc::invalid_argument then.
///
/// Where the handle owns the agent, which it does after make() and after open() with AGENTCG_OPEN_OWN, the destructor,
/// and an assignment to it, ends the agent: kills all, waits up to destructor_patience, removes it. What would not die
/// in that time, and an agent that the caller is inside of, is left to agentcg_reap(); to hear of it, call destroy()
/// first. A guest's agent is left be, and so is all in a forked child, which owns nothing: there only the handle goes.
/// To leave an agent running, free() it.
///
/// Several threads may use one at once, as in C; but not while one of them moves, ends or assigns to it.
class group {
public:
	static constexpr std::chrono::seconds destructor_patience{5};

	/// Empty.
	group() noexcept = default;
	group(group &&other) noexcept : cg_(std::exchange(other.cg_, nullptr)), owner_(std::exchange(other.owner_, 0)) {}
	group &operator=(group &&other) noexcept
	{
		group taken(std::move(other));
		std::swap(cg_, taken.cg_);
		std::swap(owner_, taken.owner_);
		return *this;
	}
	group(const group &) = delete;
	group &operator=(const group &) = delete;
	~group()
	{
		if (cg_ && owner_ == getpid() &&
		    agentcg_destroy(cg_, 0, timeout(destructor_patience).c(), nullptr, 0, nullptr) == 0)
			return;
		agentcg_free(cg_);
	}

	/// agentcg_new(): flags are AGENTCG_NEW_...; without a uuid a random one, without a parent the best place.
	[[nodiscard]] static group make(const limits &wanted = {}, std::uint64_t flags = 0, zstring uuid = nullptr,
	                                zstring parent = nullptr)
	{
		group made;
		agentcg_limits c = wanted.c();
		detail::checked([&](agentcg_error *reterr) {
			return agentcg_new(parent.c(), uuid.c(), &c, sizeof(c), flags, &made.cg_, reterr);
		});
		made.owner_ = getpid();
		return made;
	}
	/// agentcg_open(): as a guest, or with AGENTCG_OPEN_OWN as the owner.
	[[nodiscard]] static group open(zstring uuid, std::uint64_t flags = 0, zstring parent = nullptr)
	{
		group opened;
		detail::checked([&](agentcg_error *reterr) {
			return agentcg_open(parent.c(), uuid.c(), flags, &opened.cg_, reterr);
		});
		opened.owner_ = flags & AGENTCG_OPEN_OWN ? getpid() : 0;
		return opened;
	}
	/// Take over a handle of C's. Where it throws the handle is still the caller's.
	[[nodiscard]] static group adopt(agentcg *cg)
	{
		agentcg_info info{};
		detail::checked([&](agentcg_error *reterr) { return agentcg_get_info(cg, &info, sizeof(info), reterr); });
		group adopted;
		adopted.cg_ = cg;
		adopted.owner_ = info.owned ? getpid() : 0;
		return adopted;
	}

	/// agentcg_destroy(): the last measurements. flags are AGENTCG_DESTROY_... Where it throws nothing is lost: the
	/// group is as it was, try again.
	stats destroy(timeout wait, std::uint64_t flags = 0)
	{
		stats last{};
		call(agentcg_destroy, flags, wait.c(), &last, sizeof(agentcg_stats));
		cg_ = nullptr;
		return last;
	}
	/// agentcg_free(): leave the agent be, without an owner. Nothing if it is empty.
	void free() noexcept { agentcg_free(release()); }
	/// Give the handle up to the caller, or nullptr.
	[[nodiscard]] agentcg *release() noexcept { return std::exchange(cg_, nullptr); }
	/// The handle for the functions of C, or nullptr. It stays the group's.
	agentcg *get() const noexcept { return cg_; }
	/// Whether it holds an agent.
	explicit operator bool() const noexcept { return cg_ != nullptr; }

	/// agentcg_uuid()
	std::string uuid() const { return text(AGENTCG_UUID_SIZE - 1, agentcg_uuid); }
	/// agentcg_path()
	std::string path() const { return text(255, agentcg_path); }
	/// agentcg_fd(): it stays the group's.
	int fd() const { return agentcg_fd(held()); }
	/// agentcg_get_info()
	agentcg_info get_info() const
	{
		agentcg_info info{};
		call(agentcg_get_info, &info, sizeof(info));
		return info;
	}

	/// agentcg_move_pid()
	void move_pid(pid_t pid) { call(agentcg_move_pid, pid); }
	/// agentcg_move_self(), for use between fork(2) and execve(2), where nothing may throw: 0, or as C a negative errno
	/// value, -EINVAL if empty.
	[[nodiscard]] int move_self() const noexcept { return agentcg_move_self(cg_); }
	/// agentcg_move_pidfd()
	void move_pidfd(int pidfd) { call(agentcg_move_pidfd, pidfd); }
	/// agentcg_spawn(): the pid of the child, which is the caller's to wait for; so is ret_pidfd to close, if there is one.
	pid_t spawn(const std::vector<std::string> &argv, const spawn_options &options = {}, int *ret_pidfd = nullptr)
	{
		std::vector<char *> args = detail::listed(argv), env;
		if (options.env)
			env = detail::listed(*options.env);
		zstring file = options.file ? zstring(*options.file) : args[0];
		agentcg_spawn_options c = options.c();
		pid_t pid = 0;
		call(agentcg_spawn, file.c(), args.data(), options.env ? env.data() : nullptr, &c, sizeof(c), &pid, ret_pidfd);
		return pid;
	}
	/// agentcg_contains()
	bool contains(pid_t pid) const { return call(agentcg_contains, pid) == 1; }
	/// agentcg_pids(): all of them.
	std::vector<pid_t> pids() const
	{
		return detail::all(std::vector<pid_t>(64), [&](pid_t *pids, std::size_t count, agentcg_error *reterr) {
			return agentcg_pids(held(), pids, count, reterr);
		});
	}

	/// agentcg_set_limits(): all of them, or none. flags are AGENTCG_SET_...
	void set_limits(const limits &wanted, std::uint64_t flags = 0)
	{
		agentcg_limits c = wanted.c();
		call(agentcg_set_limits, &c, sizeof(c), flags);
	}
	/// agentcg_get_limits(): those that exist.
	limits get_limits() const
	{
		agentcg_limits told{};
		call(agentcg_get_limits, &told, sizeof(told));
		return limits::of(told);
	}
	/// agentcg_read_file(): the whole of it.
	std::string read_file(zstring name) const
	{
		return detail::text(4095, [&](char *buf, std::size_t size, agentcg_error *reterr) {
			return agentcg_read_file(held(), name.c(), buf, size, reterr);
		});
	}
	/// agentcg_write_file()
	void write_file(zstring name, zstring value) { call(agentcg_write_file, name.c(), value.c()); }

	/// agentcg_read_stats(): which is of AGENTCG_STAT_...; ask has() which of it were really read.
	stats read_stats(std::uint64_t which = AGENTCG_STAT_BASIC) const
	{
		stats read{};
		call(agentcg_read_stats, which, &read, sizeof(agentcg_stats));
		return read;
	}

	/// agentcg_event_fd(): it stays the group's.
	int event_fd(std::uint64_t which) { return call(agentcg_event_fd, which); }
	/// agentcg_next_events(): AGENTCG_EVENT_... that have happened, 0 if none has in that time.
	std::uint64_t next_events(timeout wait)
	{
		std::uint64_t events = 0;
		call(agentcg_next_events, wait.c(), &events);
		return events;
	}
	/// agentcg_wait_empty(): whether nothing lives in it; false when the time is over, which is no error here.
	[[nodiscard]] bool wait_empty(timeout wait) const
	{
		agentcg_error said;
		int result = agentcg_wait_empty(held(), wait.c(), &said);
		if (result < 0 && result != -ETIMEDOUT)
			throw error(said);
		return result == 0;
	}

	/// agentcg_freeze()
	void freeze(timeout wait) { call(agentcg_freeze, wait.c()); }
	/// agentcg_thaw()
	void thaw(timeout wait) { call(agentcg_thaw, wait.c()); }
	/// agentcg_signal_all(): how many took it.
	int signal_all(int signal) { return call(agentcg_signal_all, signal); }
	/// agentcg_kill_all()
	void kill_all(timeout wait) { call(agentcg_kill_all, wait.c()); }
	/// agentcg_terminate(): whether it came to the kill after the grace.
	bool terminate(timeout grace, timeout wait) { return call(agentcg_terminate, grace.c(), wait.c()) == 1; }

private:
	agentcg *held() const
	{
		if (!cg_)
			throw error(-EINVAL, "this agentcgpp::group is empty: it was moved from, released, freed or destroyed");
		return cg_;
	}
	template <class Function, class... Arguments>
	int call(Function function, Arguments... arguments) const
	{
		return detail::checked([&, cg = held()](agentcg_error *reterr) { return function(cg, arguments..., reterr); });
	}
	template <class Function>
	std::string text(std::size_t room, Function function) const
	{
		return detail::text(room, [&, cg = held()](char *buf, std::size_t size, agentcg_error *reterr) {
			return detail::worded(function(cg, buf, size), reterr);
		});
	}

	agentcg *cg_ = nullptr;
	/// The process whose agent ends with this, as it is its owner; 0: nobody's. A forked child has a copy.
	pid_t owner_ = 0;
};

} // namespace agentcgpp

#endif
