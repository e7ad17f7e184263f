// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The types of the arguments and results of agentcg.hpp: errors, durations, text, limits, measurements.
#ifndef AGENTCG_VALUES_HPP
#define AGENTCG_VALUES_HPP

#include <agentcg.h>

#include <cerrno>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace agentcgpp {

/// The reason of an error whose code is too coarse: AGENTCG_WHY_... A newer library may have reasons without a name in
/// this header.
enum class why : std::uint32_t {
	unsaid = 0,
	no_cgroup2 = AGENTCG_WHY_NO_CGROUP2,
	outside_namespace = AGENTCG_WHY_OUTSIDE_NAMESPACE,
	read_only = AGENTCG_WHY_READ_ONLY,
	not_delegated = AGENTCG_WHY_NOT_DELEGATED,
	no_controller = AGENTCG_WHY_NO_CONTROLLER,
	populated = AGENTCG_WHY_POPULATED,
	threaded = AGENTCG_WHY_THREADED,
	gone = AGENTCG_WHY_GONE,
	nesting_limit = AGENTCG_WHY_NESTING_LIMIT,
	no_systemd = AGENTCG_WHY_NO_SYSTEMD,
	systemd_refused = AGENTCG_WHY_SYSTEMD_REFUSED,
	caller_inside = AGENTCG_WHY_CALLER_INSIDE,
	not_contained = AGENTCG_WHY_NOT_CONTAINED,
	no_guard = AGENTCG_WHY_NO_GUARD,
	not_executed = AGENTCG_WHY_NOT_EXECUTED,
};

/// The exception of all functions. code() is the positive errno value in std::generic_category(), so it can be compared
/// with std::errc. what() is the message of the library, without additions.
class error : public std::system_error {
public:
	/// Makes an exception of an error of the library.
	explicit error(const agentcg_error &said)
		: std::system_error(-said.code, std::generic_category()), said_(said) {}
	/// Makes an exception of an error for which the library has no message. code is a negative errno value.
	error(int code, const char *message) : error(made_of(code, message)) {}

	/// Returns one line of text: what failed, on which path, and what to do.
	const char *what() const noexcept override { return said_.message; }
	/// Returns the reason if code() is too coarse, else why::unsaid.
	why reason() const noexcept { return static_cast<why>(said_.reason); }
	/// Returns the interface file that failed, such as "memory.max", or "".
	const char *file() const noexcept { return said_.file; }
	/// Returns the error as the C struct.
	const agentcg_error &c() const noexcept { return said_; }

private:
	static agentcg_error made_of(int code, const char *message)
	{
		agentcg_error said{};
		said.code = code;
		std::strncpy(said.message, message, sizeof(said.message) - 1);
		return said;
	}
	agentcg_error said_;
};

/// How long to wait. It is made of any std::chrono duration, and rounded up to whole milliseconds, so that no wait ends
/// too early. A negative duration is 0. A duration of more than INT_MAX milliseconds (24 days) is infinite.
class timeout {
public:
	/// Makes a timeout of a duration.
	template <class Rep, class Period>
	constexpr timeout(std::chrono::duration<Rep, Period> wait)
		: ms_(rounded(std::chrono::duration<double, std::milli>(wait).count())) {}
	/// Returns the timeout for C functions: milliseconds, or AGENTCG_FOREVER.
	constexpr int c() const noexcept { return ms_; }

private:
	static constexpr int rounded(double ms)
	{
		if (!(ms > 0))
			return 0;
		if (ms > INT_MAX)
			return AGENTCG_FOREVER;
		int whole = static_cast<int>(ms);
		return whole < ms ? whole + 1 : whole;
	}
	int ms_;
};
/// A timeout that never ends.
inline constexpr timeout infinite{std::chrono::milliseconds::max()};
/// The value of a limit that limits nothing.
inline constexpr std::uint64_t unlimited = AGENTCG_UNLIMITED;

/// A string argument for a C function: made of a literal, a std::string, or nullptr if the C function accepts NULL. It
/// refers to the text that it was made of, and must not outlive it.
class zstring {
public:
	/// Refers to a C string or nullptr.
	zstring(const char *text) noexcept : text_(text) {}
	/// Throws std::errc::invalid_argument if the string contains a NUL byte, at which it would end for C.
	zstring(const std::string &text) : text_(text.c_str())
	{
		if (text.find('\0') != std::string::npos)
			throw error(-EINVAL, "a string for agentcg has a NUL byte in it");
	}
	/// Returns the C string, or nullptr.
	const char *c() const noexcept { return text_; }

private:
	const char *text_;
};

/// agentcg_limits, with the same fields. A limit that is not set is left as it is. In C++20: {.memory_max_bytes = 64 <<
/// 20, .pids_max = 32}.
struct limits {
	std::optional<std::uint64_t> memory_max_bytes{};
	std::optional<std::uint64_t> memory_high_bytes{};
	std::optional<std::uint64_t> memory_low_bytes{};
	std::optional<std::uint64_t> memory_min_bytes{};
	std::optional<std::uint64_t> swap_max_bytes{};
	std::optional<std::uint64_t> oom_group{};
	std::optional<std::uint64_t> cpu_max_millicpu{};
	std::uint64_t cpu_period_us = 0;        ///< period of cpu_max_millicpu in us; with 0 the library chooses it
	std::optional<std::uint64_t> cpu_burst_us{};
	std::optional<std::uint64_t> cpu_weight{};
	std::optional<std::uint64_t> cpu_idle{};
	std::optional<std::uint64_t> pids_max{};
	std::optional<std::uint64_t> io_weight{};
	std::optional<std::uint64_t> max_depth{};
	std::optional<std::uint64_t> max_descendants{};

	/// Returns the limits as the C struct.
	agentcg_limits c() const;
	/// Returns the limits of a C struct.
	static limits of(const agentcg_limits &found);
};

/// agentcg_new_options. In C++20: {.label = "pull request 7", .tag = "com.example.ci"}.
struct new_options {
	std::optional<std::string> parent{};    ///< the place; the library chooses one if not set
	std::optional<std::string> uuid{};      ///< a random one if not set
	agentcgpp::limits limits{};
	std::uint64_t flags = 0;                ///< AGENTCG_NEW_...
	std::string label{};                    ///< a text for people
	std::optional<std::string> tag{};       ///< the name of the program that owns the agent

	/// Returns the options as the C struct, which refers to this one and to these limits.
	agentcg_new_options c(const agentcg_limits &c_limits) const
	{
		auto text = [](const std::optional<std::string> &set) { return set ? zstring(*set).c() : nullptr; };
		return {text(parent), text(uuid), &c_limits, sizeof(c_limits), flags, zstring(label).c(), text(tag)};
	}
};

/// agentcg_spawn_options. What is not set is the caller's own: descriptors, directory, environment. In C++20:
/// {.stdout_fd = AGENTCG_DEVNULL}.
struct spawn_options {
	std::uint64_t flags = 0;                ///< AGENTCG_SPAWN_...
	int stdin_fd = AGENTCG_INHERIT;         ///< or AGENTCG_DEVNULL, or a descriptor, which stays the caller's
	int stdout_fd = AGENTCG_INHERIT;
	int stderr_fd = AGENTCG_INHERIT;
	int cwd_fd = AGENTCG_INHERIT;           ///< or the descriptor of a directory
	std::optional<std::string> file{};      ///< the program to execute, if it is not argv[0]
	std::optional<std::vector<std::string>> env{};  ///< strings "NAME=value"; the caller's environment if not set
	std::vector<agentcg_spawn_fd> fds{};    ///< more descriptors of the program: {{source, target}, ...}
	std::optional<std::vector<std::uint32_t>> groups{};   ///< supplementary groups
	std::vector<agentcg_spawn_rlimit> rlimits{};    ///< resource limits: {{RLIMIT_CORE, 0, 0}}
	std::optional<std::uint32_t> uid{};
	std::optional<std::uint32_t> gid{};
	std::optional<std::uint32_t> umask{};
	std::optional<int> nice{};
	std::optional<int> oom_score_adj{};
	int parent_death_signal = 0;
	std::uint64_t ignored_signals = 0;      ///< bit n - 1 is signal n
	std::uint64_t blocked_signals = 0;
	std::optional<int> pgroup{};            ///< a process group, or 0 for a new one
	int terminal_fd = 0;                    ///< with AGENTCG_SPAWN_CONTROLLING_TERMINAL or AGENTCG_SPAWN_FOREGROUND
	std::optional<int> file_fd{};           ///< the program by a descriptor
	int begin_timeout_ms = 0;               ///< how long to wait for the program to begin; 0 is 10 s
	int *ret_pipes = nullptr;               ///< an int[3] for the caller's ends of the pipes, with AGENTCG_PIPE

	/// Returns the options as the C struct, which refers to this one. It has no argv, file and env: agentcg_spawn()
	/// takes these as arguments.
	agentcg_spawn_options c() const
	{
		agentcg_spawn_options c = AGENTCG_SPAWN_OPTIONS_INIT;
		auto address = [](const void *array) { return std::uint64_t{reinterpret_cast<std::uintptr_t>(array)}; };
		c.flags = flags;
		c.stdin_fd = stdin_fd;
		c.stdout_fd = stdout_fd;
		c.stderr_fd = stderr_fd;
		c.cwd_fd = cwd_fd;
		c.fds = address(fds.data());
		c.fds_count = fds.size();
		c.ret_pipes = address(ret_pipes);
		c.rlimits = address(rlimits.data());
		c.rlimits_count = rlimits.size();
		c.parent_death_signal = parent_death_signal;
		c.ignored_signals = ignored_signals;
		c.blocked_signals = blocked_signals;
		c.terminal_fd = terminal_fd;
		c.begin_timeout_ms = begin_timeout_ms;
		if (groups) {
			c.groups = address(groups->data());
			c.groups_count = groups->size();
		}
		// A value that is set has its flag.
		auto set = [&c](std::uint64_t flag, const auto &value, auto &field) {
			c.flags |= value ? flag : 0;
			field = value.value_or(0);
		};
		c.flags |= groups ? AGENTCG_SPAWN_GROUPS : 0;
		set(AGENTCG_SPAWN_UID, uid, c.uid);
		set(AGENTCG_SPAWN_GID, gid, c.gid);
		set(AGENTCG_SPAWN_UMASK, umask, c.umask);
		set(AGENTCG_SPAWN_NICE, nice, c.nice);
		set(AGENTCG_SPAWN_OOM_SCORE_ADJ, oom_score_adj, c.oom_score_adj);
		set(AGENTCG_SPAWN_PGROUP, pgroup, c.pgroup);
		set(AGENTCG_SPAWN_FILE_FD, file_fd, c.file_fd);
		return c;
	}
};

/// Measurements: agentcg_stats of C.
struct stats : agentcg_stats {
	/// Returns true if all of these AGENTCG_STAT_... were read.
	bool has(std::uint64_t which) const noexcept { return (mask & which) == which; }
};

/// Why an agent ended: agentcg_verdict of C.
struct verdict : agentcg_verdict {
	/// Returns true if all of these AGENTCG_VERDICT_... are known.
	bool has(std::uint64_t which) const noexcept { return (mask & which) == which; }
	/// Returns true if the cause can be one of these AGENTCG_CAUSE_...
	bool can_be(std::uint64_t which) const noexcept { return (candidates & which) != 0; }
};

/// agentcg_diagnosis, with the report.
struct diagnosis : agentcg_diagnosis {
	/// The report for people.
	std::string text;
};

/// agentcg_found, with the place.
struct found : agentcg_found {
	/// The path of the agent's place, or "" if no mount shows the group.
	std::string place;
};

namespace detail {

/// A field of limits, the field of agentcg_limits that corresponds to it, and its bit in the mask.
struct limit {
	std::optional<std::uint64_t> limits::*field;
	std::uint64_t agentcg_limits::*c_field;
	std::uint64_t bit;
};
inline constexpr limit all_limits[] = {
	{&limits::memory_max_bytes, &agentcg_limits::memory_max_bytes, AGENTCG_LIMIT_MEMORY_MAX},
	{&limits::memory_high_bytes, &agentcg_limits::memory_high_bytes, AGENTCG_LIMIT_MEMORY_HIGH},
	{&limits::memory_low_bytes, &agentcg_limits::memory_low_bytes, AGENTCG_LIMIT_MEMORY_LOW},
	{&limits::memory_min_bytes, &agentcg_limits::memory_min_bytes, AGENTCG_LIMIT_MEMORY_MIN},
	{&limits::swap_max_bytes, &agentcg_limits::swap_max_bytes, AGENTCG_LIMIT_SWAP_MAX},
	{&limits::oom_group, &agentcg_limits::oom_group, AGENTCG_LIMIT_OOM_GROUP},
	{&limits::cpu_max_millicpu, &agentcg_limits::cpu_max_millicpu, AGENTCG_LIMIT_CPU_MAX},
	{&limits::cpu_burst_us, &agentcg_limits::cpu_burst_us, AGENTCG_LIMIT_CPU_BURST},
	{&limits::cpu_weight, &agentcg_limits::cpu_weight, AGENTCG_LIMIT_CPU_WEIGHT},
	{&limits::cpu_idle, &agentcg_limits::cpu_idle, AGENTCG_LIMIT_CPU_IDLE},
	{&limits::pids_max, &agentcg_limits::pids_max, AGENTCG_LIMIT_PIDS_MAX},
	{&limits::io_weight, &agentcg_limits::io_weight, AGENTCG_LIMIT_IO_WEIGHT},
	{&limits::max_depth, &agentcg_limits::max_depth, AGENTCG_LIMIT_MAX_DEPTH},
	{&limits::max_descendants, &agentcg_limits::max_descendants, AGENTCG_LIMIT_MAX_DESCENDANTS},
};

/// Returns the result of ask(reterr), or throws the error if the result is negative.
template <class Ask>
int checked(Ask ask)
{
	agentcg_error said;
	int result = ask(&said);
	if (result < 0)
		throw error(said);
	return result;
}

/// Returns the result of a C function that has no reterr. If it is an error, *reterr gets a message.
inline int worded(int result, agentcg_error *reterr)
{
	if (result < 0)
		*reterr = error(result, std::generic_category().message(-result).c_str()).c();
	return result;
}

/// Returns an array of strings for execve(2). It refers to texts, and must not outlive them.
inline std::vector<char *> listed(const std::vector<std::string> &texts)
{
	std::vector<char *> list;
	for (const std::string &text : texts)
		list.push_back(const_cast<char *>(zstring(text).c()));
	list.push_back(nullptr);
	return list;
}

/// Returns all elements. ask(data, size, reterr) fills at most size of them and returns how many there are, which may
/// be more at the next call.
template <class Container, class Ask>
Container all(Container found, Ask ask)
{
	for (;;) {
		auto there = static_cast<std::size_t>(checked([&](agentcg_error *reterr) {
			return ask(found.data(), found.size(), reterr);
		}));
		bool fits = there <= found.size();
		found.resize(fits ? there : there + there / 8);
		if (fits)
			return found;
	}
}

/// Returns a whole text. The terminating NUL goes to where std::string has its own.
template <class Ask>
std::string text(std::size_t room, Ask ask)
{
	return all(std::string(room, '\0'), [&](char *buf, std::size_t size, agentcg_error *reterr) {
		return ask(buf, size + 1, reterr);
	});
}

} // namespace detail

inline agentcg_limits limits::c() const
{
	agentcg_limits all{};
	for (const detail::limit &limit : detail::all_limits) {
		if (!(this->*limit.field))
			continue;
		all.mask |= limit.bit;
		all.*limit.c_field = *(this->*limit.field);
	}
	all.cpu_period_us = cpu_period_us;
	return all;
}

inline limits limits::of(const agentcg_limits &found)
{
	limits all;
	for (const detail::limit &limit : detail::all_limits)
		if (found.mask & limit.bit)
			all.*limit.field = found.*limit.c_field;
	all.cpu_period_us = found.cpu_period_us;
	return all;
}

} // namespace agentcgpp

#endif
