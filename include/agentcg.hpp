// SPDX-License-Identifier: MIT OR Apache-2.0
//
// agentcg.hpp - agentcg.h for C++17 and later. Header only. It adds a class that ends its agent in the destructor,
// exceptions, and std::chrono durations.
//
//	agentcgpp::limits limits;
//	limits.memory_max_bytes = 64 << 20;
//	limits.pids_max = 32;
//	auto group = agentcgpp::group::make(limits);    // throws agentcgpp::error: what failed, and what to do
//	pid_t pid = group.spawn({"/usr/bin/make", "-j8"});
//	auto last = group.destroy(5s);                  // all processes are dead, the directory is removed
//
// Each function does what the C function of the same name does. agentcg.h documents it, its errors and their causes.
// Flags and masks are those of agentcg.h. A C function that returns a negative number throws agentcgpp::error here.
// Nothing else is thrown, except std::bad_alloc. The namespace is not named "agentcg", because that is the type of a
// handle in C.
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

/// Returns true if agentcg_is_available() returns 1.
inline bool is_available() { return agentcg_is_available() == 1; }

/// Returns the path of agentcg_discover_parent().
inline std::string discover_parent() { return detail::text(255, agentcg_discover_parent); }

/// Returns the result of agentcg_diagnose(). An agent can be made if its place is not 0.
inline diagnosis diagnose()
{
	diagnosis found{};
	found.text = detail::text(8191, [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return detail::worded(agentcg_diagnose(&found, sizeof(agentcg_diagnosis), buf, size), reterr);
	});
	return found;
}

/// Returns the result of agentcg_diagnose_new(): what group::make() would do with these limits and flags.
inline diagnosis diagnose(const limits &wanted, std::uint64_t flags = 0)
{
	const agentcg_limits c = wanted.c();
	diagnosis found{};
	found.text = detail::text(8191, [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return agentcg_diagnose_new(&c, sizeof(c), flags, &found, sizeof(agentcg_diagnosis), buf, size, reterr);
	});
	return found;
}

/// Returns all agents that agentcg_list() finds.
inline std::vector<agentcg_entry> list(zstring parent = nullptr)
{
	return detail::all(std::vector<agentcg_entry>(16),
	                   [&](agentcg_entry *entries, std::size_t count, agentcg_error *reterr) {
		return agentcg_list(parent.c(), entries, sizeof(*entries), count, reterr);
	});
}

/// Returns the agents with this tag that agentcg_list_tagged() finds.
inline std::vector<agentcg_entry> list_tagged(zstring tag, zstring parent = nullptr)
{
	return detail::all(std::vector<agentcg_entry>(16),
	                   [&](agentcg_entry *entries, std::size_t count, agentcg_error *reterr) {
		return agentcg_list_tagged(parent.c(), tag.c(), entries, sizeof(*entries), count, reterr);
	});
}

/// Returns the agent of a process, as agentcg_find() finds it.
inline found find(pid_t pid)
{
	found agent{};
	agent.place = detail::text(255, [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return agentcg_find(pid, &agent, sizeof(agentcg_found), buf, size, reterr);
	});
	return agent;
}

/// Returns the agent of the process of a pidfd, as agentcg_find_pidfd() finds it.
inline found find_pidfd(int pidfd)
{
	found agent{};
	agent.place = detail::text(255, [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return agentcg_find_pidfd(pidfd, &agent, sizeof(agentcg_found), buf, size, reterr);
	});
	return agent;
}

/// Calls agentcg_reap(). Returns the number of agents that were removed. Orphans of all programs of the caller's uid are
/// meant.
inline int reap(timeout wait, zstring parent = nullptr)
{
	return detail::checked([&](agentcg_error *reterr) { return agentcg_reap(parent.c(), wait.c(), reterr); });
}

/// Calls agentcg_reap_tagged(), which leaves the orphans of other programs alone. Returns the number of agents that were
/// removed.
inline int reap_tagged(zstring tag, timeout wait, zstring parent = nullptr)
{
	return detail::checked([&](agentcg_error *reterr) {
		return agentcg_reap_tagged(parent.c(), tag.c(), wait.c(), reterr);
	});
}

/// Sets limits of all agents of a place together by agentcg_set_place_limits(). flags are AGENTCG_SET_...
inline void set_place_limits(const limits &wanted, zstring parent = nullptr, std::uint64_t flags = 0)
{
	agentcg_limits c = wanted.c();
	detail::checked([&](agentcg_error *reterr) {
		return agentcg_set_place_limits(parent.c(), &c, sizeof(c), flags, reterr);
	});
}

/// Returns the limits of agentcg_get_place_limits(). Those that do not exist are not set.
inline limits get_place_limits(zstring parent = nullptr)
{
	agentcg_limits found{};
	detail::checked([&](agentcg_error *reterr) {
		return agentcg_get_place_limits(parent.c(), &found, sizeof(found), reterr);
	});
	return limits::of(found);
}

/// The handle of one agent. It can be moved, but not copied. An object that was moved from, released, freed or
/// destroyed is empty. All functions of an empty object throw std::errc::invalid_argument, except get(), move_self(),
/// release(), free() and operator bool.
///
/// If the handle is the owner's (after make(), and after open() with AGENTCG_OPEN_OWN), the destructor ends the agent,
/// and so does an assignment to the object: it kills all processes, waits up to destructor_patience, and removes the
/// group. If that fails, because a process does not die in that time or because the caller is in the group, the agent
/// is left to agentcg_reap(). Call destroy() first to get such an error. The destructor of a non-owner's handle only
/// frees the handle, and so does every destructor in a forked child, which owns nothing. Call free() to leave an agent
/// running.
///
/// Several threads may use an object at the same time, as in C, but not while one of them moves it, ends the agent, or
/// assigns to the object.
class group {
public:
	/// How long the destructor waits for the processes to die.
	static constexpr std::chrono::seconds destructor_patience{5};

	/// Makes an empty object.
	group() noexcept = default;
	/// Takes the handle of other, which is empty afterwards.
	group(group &&other) noexcept : cg_(std::exchange(other.cg_, nullptr)), owner_(std::exchange(other.owner_, 0)) {}
	/// Ends the agent of this object as the destructor does, and takes the handle of other.
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

	/// Makes an agent with agentcg_new(). flags are AGENTCG_NEW_... Without uuid it gets a random one. Without parent
	/// the library chooses the place.
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
	/// Makes an agent with agentcg_new_with(), with a label and a tag if they are set.
	[[nodiscard]] static group make_with(const new_options &options)
	{
		group made;
		agentcg_limits limits = options.limits.c();
		agentcg_new_options c = options.c(limits);
		detail::checked([&](agentcg_error *reterr) {
			return agentcg_new_with(&c, sizeof(c), &made.cg_, reterr);
		});
		made.owner_ = getpid();
		return made;
	}
	/// Makes a child of this agent, which becomes a session, with agentcg_new_in(). options has no parent, and no flag but
	/// AGENTCG_NEW_GUARD.
	[[nodiscard]] group new_in(const new_options &options = {})
	{
		group made;
		agentcg_limits limits = options.limits.c();
		agentcg_new_options c = options.c(limits);
		call(agentcg_new_in, &c, sizeof(c), &made.cg_);
		made.owner_ = getpid();
		return made;
	}
	/// Opens an existing agent with agentcg_open(), as a non-owner, or with AGENTCG_OPEN_OWN as its new owner.
	[[nodiscard]] static group open(zstring uuid, std::uint64_t flags = 0, zstring parent = nullptr)
	{
		group opened;
		detail::checked([&](agentcg_error *reterr) {
			return agentcg_open(parent.c(), uuid.c(), flags, &opened.cg_, reterr);
		});
		opened.owner_ = flags & AGENTCG_OPEN_OWN ? getpid() : 0;
		return opened;
	}
	/// Opens an existing agent that has this tag with agentcg_open_tagged(), in the same way.
	[[nodiscard]] static group open_tagged(zstring uuid, zstring tag, std::uint64_t flags = 0, zstring parent = nullptr)
	{
		group opened;
		detail::checked([&](agentcg_error *reterr) {
			return agentcg_open_tagged(parent.c(), uuid.c(), tag.c(), flags, &opened.cg_, reterr);
		});
		opened.owner_ = flags & AGENTCG_OPEN_OWN ? getpid() : 0;
		return opened;
	}
	/// Takes over a handle of the C interface. If this throws, the handle still belongs to the caller.
	[[nodiscard]] static group adopt(agentcg *cg)
	{
		agentcg_info info{};
		detail::checked([&](agentcg_error *reterr) { return agentcg_get_info(cg, &info, sizeof(info), reterr); });
		group adopted;
		adopted.cg_ = cg;
		adopted.owner_ = info.owned ? getpid() : 0;
		return adopted;
	}

	/// Ends the agent with agentcg_destroy(), and returns the last measurements. flags are AGENTCG_DESTROY_... If this
	/// throws, the handle stays valid: call it again.
	stats destroy(timeout wait, std::uint64_t flags = 0)
	{
		stats last{};
		call(agentcg_destroy, flags, wait.c(), &last, sizeof(agentcg_stats));
		cg_ = nullptr;
		return last;
	}
	/// Ends the agent with agentcg_destroy_explained(), and returns the last measurements. ret_verdict receives the verdict.
	/// wait_status is that of the main program, if it has ended. If this throws, the handle stays valid: call it again.
	stats destroy_explained(timeout wait, verdict &ret_verdict, int wait_status = AGENTCG_NO_WAIT_STATUS,
	                        std::uint64_t flags = 0)
	{
		stats last{};
		call(agentcg_destroy_explained, flags, wait.c(), wait_status, &last, sizeof(agentcg_stats), &ret_verdict,
		     sizeof(agentcg_verdict));
		cg_ = nullptr;
		return last;
	}
	/// Finds out why the agent ended with agentcg_explain().
	verdict explain(int wait_status = AGENTCG_NO_WAIT_STATUS) const
	{
		verdict found{};
		call(agentcg_explain, wait_status, &found, sizeof(agentcg_verdict));
		return found;
	}
	/// Calls agentcg_free(): the agent goes on without an owner. Does nothing if the object is empty.
	void free() noexcept { agentcg_free(release()); }
	/// Returns the handle, or nullptr, and leaves the object empty. The handle then belongs to the caller.
	[[nodiscard]] agentcg *release() noexcept { return std::exchange(cg_, nullptr); }
	/// Returns the handle for C functions, or nullptr. The handle belongs to this object.
	agentcg *get() const noexcept { return cg_; }
	/// Returns true if the object is not empty.
	explicit operator bool() const noexcept { return cg_ != nullptr; }

	/// Returns the uuid of agentcg_uuid().
	std::string uuid() const { return text(AGENTCG_UUID_SIZE - 1, agentcg_uuid); }
	/// Returns the path of agentcg_path().
	std::string path() const { return text(255, agentcg_path); }
	/// Returns the descriptor of agentcg_fd(). It belongs to this object.
	int fd() const { return agentcg_fd(held()); }
	/// Returns the facts of agentcg_get_info().
	agentcg_info get_info() const
	{
		agentcg_info info{};
		call(agentcg_get_info, &info, sizeof(info));
		return info;
	}

	/// Changes the label with agentcg_set_label(). "" removes it.
	void set_label(zstring label) { call(agentcg_set_label, label.c()); }

	/// Moves a process with agentcg_move_pid().
	void move_pid(pid_t pid) { call(agentcg_move_pid, pid); }
	/// Moves the calling process with agentcg_move_self(). This is for use between fork(2) and execve(2), so it does
	/// not throw: it returns 0 or a negative errno value, -EINVAL if the object is empty.
	[[nodiscard]] int move_self() const noexcept { return agentcg_move_self(cg_); }
	/// Moves a process with agentcg_move_pidfd().
	void move_pidfd(int pidfd) { call(agentcg_move_pidfd, pidfd); }
	/// Moves a process of the group to the caller's cgroup with agentcg_move_out().
	void move_out(pid_t pid) { call(agentcg_move_out, pid); }
	/// Moves a process of the group to the caller's cgroup with agentcg_move_out_pidfd().
	void move_out_pidfd(int pidfd) { call(agentcg_move_out_pidfd, pidfd); }
	/// Starts a program with agentcg_spawn() and returns the pid of the child. The caller waits for the child, and
	/// closes *ret_pidfd if it is not -1.
	pid_t spawn(const std::vector<std::string> &argv, const spawn_options &options = {}, int *ret_pidfd = nullptr)
	{
		std::vector<char *> args = detail::listed(argv), env;
		if (options.env)
			env = detail::listed(*options.env);
		zstring file = options.file ? zstring(*options.file) : args[0];
		agentcg_spawn_options c = options.c();
		pid_t pid = 0;
		// The program by a descriptor has no file name.
		const char *path = options.file_fd && !options.file ? nullptr : file.c();
		call(agentcg_spawn, path, args.data(), options.env ? env.data() : nullptr, &c, sizeof(c), &pid, ret_pidfd);
		return pid;
	}
	/// Returns true if the program of a start with AGENTCG_SPAWN_ASYNC has begun, and false if it has not begun yet.
	/// Throws what agentcg_spawn_result() returns if it does not begin.
	bool spawn_result(int pidfd)
	{
		agentcg_error why;
		int code = agentcg_spawn_result(held(), pidfd, &why);
		if (code == -EINPROGRESS)
			return false;
		if (code < 0)
			throw error(why);
		return true;
	}
	/// Returns true if the process is in the group or below it, as agentcg_contains() finds.
	bool contains(pid_t pid) const { return call(agentcg_contains, pid) == 1; }
	/// Returns all processes that agentcg_pids() lists.
	std::vector<pid_t> pids() const
	{
		return detail::all(std::vector<pid_t>(64), [&](pid_t *pids, std::size_t count, agentcg_error *reterr) {
			return agentcg_pids(held(), pids, count, reterr);
		});
	}

	/// Changes limits with agentcg_set_limits(): all of them, or none. flags are AGENTCG_SET_...
	void set_limits(const limits &wanted, std::uint64_t flags = 0)
	{
		agentcg_limits c = wanted.c();
		call(agentcg_set_limits, &c, sizeof(c), flags);
	}
	/// Returns the limits of agentcg_get_limits(). Those that do not exist are not set.
	limits get_limits() const
	{
		agentcg_limits found{};
		call(agentcg_get_limits, &found, sizeof(found));
		return limits::of(found);
	}
	/// Returns the whole file that agentcg_read_file() reads.
	std::string read_file(zstring name) const
	{
		return detail::text(4095, [&](char *buf, std::size_t size, agentcg_error *reterr) {
			return agentcg_read_file(held(), name.c(), buf, size, reterr);
		});
	}
	/// Writes an interface file with agentcg_write_file().
	void write_file(zstring name, zstring value) { call(agentcg_write_file, name.c(), value.c()); }

	/// Measures with agentcg_read_stats(). which are AGENTCG_STAT_... bits; stats::has() returns which of them were
	/// read.
	stats read_stats(std::uint64_t which = AGENTCG_STAT_BASIC) const
	{
		stats read{};
		call(agentcg_read_stats, which, &read, sizeof(agentcg_stats));
		return read;
	}

	/// Returns the descriptor of agentcg_event_fd(). It belongs to this object.
	int event_fd(std::uint64_t which) { return call(agentcg_event_fd, which); }
	/// Returns the AGENTCG_EVENT_... bits of agentcg_next_events(), 0 if there was no event in that time.
	std::uint64_t next_events(timeout wait)
	{
		std::uint64_t events = 0;
		call(agentcg_next_events, wait.c(), &events);
		return events;
	}
	/// Reports AGENTCG_EVENT_STALLED by agentcg_watch_stall(), or no longer if stall is 0. resource and kind are AGENTCG_STALL_...
	/// constants.
	void watch_stall(std::uint32_t resource, std::uint32_t kind, std::chrono::microseconds stall,
	                 std::chrono::microseconds window)
	{
		call(agentcg_watch_stall, resource, kind, static_cast<std::uint64_t>(stall.count()),
		     static_cast<std::uint64_t>(window.count()));
	}
	/// Waits with agentcg_wait_empty(). Returns true if no process lives in the group, false if the time is over. That
	/// is not an error here.
	[[nodiscard]] bool wait_empty(timeout wait) const
	{
		agentcg_error said;
		int result = agentcg_wait_empty(held(), wait.c(), &said);
		if (result < 0 && result != -ETIMEDOUT)
			throw error(said);
		return result == 0;
	}

	/// Freezes the group with agentcg_freeze().
	void freeze(timeout wait) { call(agentcg_freeze, wait.c()); }
	/// Thaws the group with agentcg_thaw().
	void thaw(timeout wait) { call(agentcg_thaw, wait.c()); }
	/// Sends a signal with agentcg_signal_all(). Returns the number of processes that received it.
	int signal_all(int signal) { return call(agentcg_signal_all, signal); }
	/// Kills all processes with agentcg_kill_all().
	void kill_all(timeout wait) { call(agentcg_kill_all, wait.c()); }
	/// Ends all processes with agentcg_terminate(). Returns true if the kill was necessary after the grace period.
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
	/// The process that owns the agent through this object, 0 if none does. A forked child gets a copy of the object
	/// and must not end the agent.
	pid_t owner_ = 0;
};

/// Kills all processes of many groups with agentcg_kill_all_of(). groups is a container of group, or of
/// std::reference_wrapper<group>. Returns the result of each: 0, or the error that agentcg_kill_all() would have returned.
/// Throws if a group is empty; then nothing was killed.
template <class Groups>
std::vector<int> kill_all_of(const Groups &groups, timeout wait)
{
	std::vector<agentcg *> handles;
	for (const group &one : groups)
		handles.push_back(one.get());
	constexpr int not_written = 1;
	std::vector<int> codes(handles.size(), not_written);
	agentcg_error said;
	int result = agentcg_kill_all_of(handles.data(), handles.size(), codes.data(), wait.c(), &said);
	if (result < 0 && (codes.empty() || codes.front() == not_written))
		throw error(said);
	return codes;
}

} // namespace agentcgpp

#endif
