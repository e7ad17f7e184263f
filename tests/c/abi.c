/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The binary interface in literal numbers, as programs were compiled with it.
 * If the compiler stops here, a change in src/ffi/ has broken those programs:
 * new fields go to the end, and new constants get new values.
 */
#include "check.h"

#include <stddef.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type)
#define AT(type, field, offset, bytes) \
	_Static_assert(offsetof(type, field) == (offset) && sizeof(((type *)0)->field) == (bytes), \
	               #type "." #field " has moved or has another size")
#define IS(constant, value) _Static_assert((constant) == (value), #constant " has another value")
/* The constant has 64 bits, also if the number alone would be an int. */
#define BIT(constant, n) \
	_Static_assert((constant) == UINT64_C(1) << (n) && sizeof(constant) == 8, \
	               #constant " has another value or type")

SIZE(agentcg_error, 256);
AT(agentcg_error, code, 0, 4);
AT(agentcg_error, reason, 4, 4);
AT(agentcg_error, file, 8, 64);
AT(agentcg_error, message, 72, 184);

SIZE(agentcg_limits, 128);
IS(AGENTCG_LIMITS_SIZE_V0, 128);
AT(agentcg_limits, mask, 0, 8);
AT(agentcg_limits, memory_max_bytes, 8, 8);
AT(agentcg_limits, memory_high_bytes, 16, 8);
AT(agentcg_limits, memory_low_bytes, 24, 8);
AT(agentcg_limits, memory_min_bytes, 32, 8);
AT(agentcg_limits, swap_max_bytes, 40, 8);
AT(agentcg_limits, oom_group, 48, 8);
AT(agentcg_limits, cpu_max_millicpu, 56, 8);
AT(agentcg_limits, cpu_period_us, 64, 8);
AT(agentcg_limits, cpu_burst_us, 72, 8);
AT(agentcg_limits, cpu_weight, 80, 8);
AT(agentcg_limits, cpu_idle, 88, 8);
AT(agentcg_limits, pids_max, 96, 8);
AT(agentcg_limits, io_weight, 104, 8);
AT(agentcg_limits, max_depth, 112, 8);
AT(agentcg_limits, max_descendants, 120, 8);

SIZE(agentcg_stats, 296);
IS(AGENTCG_STATS_SIZE_V0, 296);
AT(agentcg_stats, mask, 0, 8);
AT(agentcg_stats, time_ns, 8, 8);
AT(agentcg_stats, cpu_usage_ns, 16, 8);
AT(agentcg_stats, cpu_user_ns, 24, 8);
AT(agentcg_stats, cpu_system_ns, 32, 8);
AT(agentcg_stats, cpu_nr_periods, 40, 8);
AT(agentcg_stats, cpu_nr_throttled, 48, 8);
AT(agentcg_stats, cpu_throttled_ns, 56, 8);
AT(agentcg_stats, memory_current_bytes, 64, 8);
AT(agentcg_stats, memory_peak_bytes, 72, 8);
AT(agentcg_stats, swap_current_bytes, 80, 8);
AT(agentcg_stats, swap_peak_bytes, 88, 8);
AT(agentcg_stats, memory_anon_bytes, 96, 8);
AT(agentcg_stats, memory_file_bytes, 104, 8);
AT(agentcg_stats, memory_kernel_bytes, 112, 8);
AT(agentcg_stats, memory_shmem_bytes, 120, 8);
AT(agentcg_stats, memory_events_high, 128, 8);
AT(agentcg_stats, memory_events_max, 136, 8);
AT(agentcg_stats, memory_events_oom, 144, 8);
AT(agentcg_stats, memory_events_oom_kill, 152, 8);
AT(agentcg_stats, memory_events_oom_group_kill, 160, 8);
AT(agentcg_stats, pids_current, 168, 8);
AT(agentcg_stats, pids_peak, 176, 8);
AT(agentcg_stats, pids_events_max, 184, 8);
AT(agentcg_stats, io_read_bytes, 192, 8);
AT(agentcg_stats, io_write_bytes, 200, 8);
AT(agentcg_stats, io_reads, 208, 8);
AT(agentcg_stats, io_writes, 216, 8);
AT(agentcg_stats, cpu_pressure_some_us, 224, 8);
AT(agentcg_stats, memory_pressure_some_us, 232, 8);
AT(agentcg_stats, memory_pressure_full_us, 240, 8);
AT(agentcg_stats, io_pressure_some_us, 248, 8);
AT(agentcg_stats, io_pressure_full_us, 256, 8);
AT(agentcg_stats, populated, 264, 8);
AT(agentcg_stats, frozen, 272, 8);
AT(agentcg_stats, nr_descendants, 280, 8);
AT(agentcg_stats, nr_dying_descendants, 288, 8);

SIZE(agentcg_info, 200);
AT(agentcg_info, id, 0, 8);
AT(agentcg_info, controllers, 8, 8);
AT(agentcg_info, place, 16, 4);
AT(agentcg_info, owned, 20, 4);
AT(agentcg_info, guarded, 24, 4);
AT(agentcg_info, reserved, 28, 4);
AT(agentcg_info, label, 32, 64);
AT(agentcg_info, tag, 96, 64);
AT(agentcg_info, session, 160, 37);
AT(agentcg_info, reserved2, 197, 3);

/* The only struct with pointers. */
#define WORD sizeof(void *)
SIZE(agentcg_new_options, 6 * WORD + 8);
AT(agentcg_new_options, parent, 0, WORD);
AT(agentcg_new_options, uuid, WORD, WORD);
AT(agentcg_new_options, limits, 2 * WORD, WORD);
AT(agentcg_new_options, limits_size, 3 * WORD, WORD);
AT(agentcg_new_options, flags, 4 * WORD, 8);
AT(agentcg_new_options, label, 4 * WORD + 8, WORD);
AT(agentcg_new_options, tag, 5 * WORD + 8, WORD);

SIZE(agentcg_spawn_options, 136);
AT(agentcg_spawn_options, flags, 0, 8);
AT(agentcg_spawn_options, stdin_fd, 8, 4);
AT(agentcg_spawn_options, stdout_fd, 12, 4);
AT(agentcg_spawn_options, stderr_fd, 16, 4);
AT(agentcg_spawn_options, cwd_fd, 20, 4);
AT(agentcg_spawn_options, fds, 24, 8);
AT(agentcg_spawn_options, fds_count, 32, 8);
AT(agentcg_spawn_options, ret_pipes, 40, 8);
AT(agentcg_spawn_options, groups, 48, 8);
AT(agentcg_spawn_options, groups_count, 56, 8);
AT(agentcg_spawn_options, rlimits, 64, 8);
AT(agentcg_spawn_options, rlimits_count, 72, 8);
AT(agentcg_spawn_options, uid, 80, 4);
AT(agentcg_spawn_options, gid, 84, 4);
AT(agentcg_spawn_options, umask, 88, 4);
AT(agentcg_spawn_options, nice, 92, 4);
AT(agentcg_spawn_options, oom_score_adj, 96, 4);
AT(agentcg_spawn_options, parent_death_signal, 100, 4);
AT(agentcg_spawn_options, ignored_signals, 104, 8);
AT(agentcg_spawn_options, blocked_signals, 112, 8);
AT(agentcg_spawn_options, pgroup, 120, 4);
AT(agentcg_spawn_options, terminal_fd, 124, 4);
AT(agentcg_spawn_options, file_fd, 128, 4);
AT(agentcg_spawn_options, begin_timeout_ms, 132, 4);

SIZE(agentcg_spawn_fd, 8);
AT(agentcg_spawn_fd, source_fd, 0, 4);
AT(agentcg_spawn_fd, target_fd, 4, 4);

SIZE(agentcg_spawn_rlimit, 24);
AT(agentcg_spawn_rlimit, resource, 0, 8);
AT(agentcg_spawn_rlimit, soft, 8, 8);
AT(agentcg_spawn_rlimit, hard, 16, 8);

SIZE(agentcg_entry, 224);
AT(agentcg_entry, uuid, 0, 37);
AT(agentcg_entry, orphan, 37, 1);
AT(agentcg_entry, populated, 38, 1);
AT(agentcg_entry, reserved, 39, 1);
AT(agentcg_entry, owner_pid, 40, 4);
AT(agentcg_entry, reserved2, 44, 4);
AT(agentcg_entry, created_unix_ns, 48, 8);
AT(agentcg_entry, label, 56, 64);
AT(agentcg_entry, tag, 120, 64);
AT(agentcg_entry, session, 184, 37);
AT(agentcg_entry, reserved3, 221, 3);

SIZE(agentcg_found, 224);
AT(agentcg_found, uuid, 0, 37);
AT(agentcg_found, below, 37, 1);
AT(agentcg_found, reserved, 38, 2);
AT(agentcg_found, owner_pid, 40, 4);
AT(agentcg_found, reserved2, 44, 4);
AT(agentcg_found, created_unix_ns, 48, 8);
AT(agentcg_found, label, 56, 64);
AT(agentcg_found, tag, 120, 64);
AT(agentcg_found, child, 184, 37);
AT(agentcg_found, reserved3, 221, 3);

SIZE(agentcg_verdict, 608);
AT(agentcg_verdict, mask, 0, 8);
AT(agentcg_verdict, cause, 8, 8);
AT(agentcg_verdict, candidates, 16, 8);
AT(agentcg_verdict, exit_code, 24, 4);
AT(agentcg_verdict, term_signal, 28, 4);
AT(agentcg_verdict, call, 32, 4);
AT(agentcg_verdict, levels_up, 36, 4);
AT(agentcg_verdict, oom_kills, 40, 8);
AT(agentcg_verdict, forks_refused, 48, 8);
AT(agentcg_verdict, forks_refused_own, 56, 8);
AT(agentcg_verdict, forks_refused_above, 64, 8);
AT(agentcg_verdict, memory_peak_bytes, 72, 8);
AT(agentcg_verdict, memory_max_bytes, 80, 8);
AT(agentcg_verdict, cpu_throttled_ns, 88, 8);
AT(agentcg_verdict, text, 96, 512);

SIZE(agentcg_diagnosis, 32);
AT(agentcg_diagnosis, obstacle, 0, 4);
AT(agentcg_diagnosis, place, 4, 4);
AT(agentcg_diagnosis, controllers, 8, 8);
AT(agentcg_diagnosis, missing_controllers, 16, 8);
AT(agentcg_diagnosis, features, 24, 8);

IS(AGENTCG_FOREVER, -1);
IS(AGENTCG_UNLIMITED, UINT64_MAX);
IS(AGENTCG_UUID_SIZE, 37);
IS(AGENTCG_LABEL_SIZE, 64);

IS(AGENTCG_WHY_NO_CGROUP2, 1);
IS(AGENTCG_WHY_OUTSIDE_NAMESPACE, 2);
IS(AGENTCG_WHY_READ_ONLY, 3);
IS(AGENTCG_WHY_NOT_DELEGATED, 4);
IS(AGENTCG_WHY_NO_CONTROLLER, 5);
IS(AGENTCG_WHY_POPULATED, 6);
IS(AGENTCG_WHY_THREADED, 7);
IS(AGENTCG_WHY_GONE, 8);
IS(AGENTCG_WHY_NESTING_LIMIT, 9);
IS(AGENTCG_WHY_NO_SYSTEMD, 10);
IS(AGENTCG_WHY_SYSTEMD_REFUSED, 11);
IS(AGENTCG_WHY_CALLER_INSIDE, 12);
IS(AGENTCG_WHY_NOT_CONTAINED, 13);
IS(AGENTCG_WHY_NO_GUARD, 14);
IS(AGENTCG_WHY_NOT_EXECUTED, 15);
IS(AGENTCG_INHERIT, -1);
IS(AGENTCG_DEVNULL, -2);
IS(AGENTCG_PIPE, -3);

BIT(AGENTCG_CONTROLLER_CPU, 0);
BIT(AGENTCG_CONTROLLER_MEMORY, 1);
BIT(AGENTCG_CONTROLLER_PIDS, 2);
BIT(AGENTCG_CONTROLLER_IO, 3);
BIT(AGENTCG_CONTROLLER_CPUSET, 4);
BIT(AGENTCG_CONTROLLER_HUGETLB, 5);

IS(AGENTCG_PLACE_GIVEN, 1);
IS(AGENTCG_PLACE_DELEGATED, 2);
IS(AGENTCG_PLACE_SIBLING, 3);
IS(AGENTCG_PLACE_ROOT, 4);
IS(AGENTCG_PLACE_SYSTEMD, 5);

BIT(AGENTCG_FEATURE_KILL, 0);
BIT(AGENTCG_FEATURE_FREEZE, 1);
BIT(AGENTCG_FEATURE_CLONE_INTO, 2);
BIT(AGENTCG_FEATURE_MEMORY_PEAK, 3);
BIT(AGENTCG_FEATURE_PIDS_PEAK, 4);
BIT(AGENTCG_FEATURE_PRESSURE, 5);
BIT(AGENTCG_FEATURE_XATTR, 6);
BIT(AGENTCG_FEATURE_NSDELEGATE, 7);
BIT(AGENTCG_FEATURE_SYSTEMD, 8);

BIT(AGENTCG_LIMIT_MEMORY_MAX, 0);
BIT(AGENTCG_LIMIT_MEMORY_HIGH, 1);
BIT(AGENTCG_LIMIT_MEMORY_LOW, 2);
BIT(AGENTCG_LIMIT_MEMORY_MIN, 3);
BIT(AGENTCG_LIMIT_SWAP_MAX, 4);
BIT(AGENTCG_LIMIT_OOM_GROUP, 5);
BIT(AGENTCG_LIMIT_CPU_MAX, 6);
BIT(AGENTCG_LIMIT_CPU_BURST, 7);
BIT(AGENTCG_LIMIT_CPU_WEIGHT, 8);
BIT(AGENTCG_LIMIT_CPU_IDLE, 9);
BIT(AGENTCG_LIMIT_PIDS_MAX, 10);
BIT(AGENTCG_LIMIT_IO_WEIGHT, 11);
BIT(AGENTCG_LIMIT_MAX_DEPTH, 12);
BIT(AGENTCG_LIMIT_MAX_DESCENDANTS, 13);

BIT(AGENTCG_NEW_GUARD, 0);
BIT(AGENTCG_NEW_SYSTEMD, 1);
BIT(AGENTCG_NEW_NO_SYSTEMD, 2);
BIT(AGENTCG_NEW_KEEP_CALLER, 3);
BIT(AGENTCG_OPEN_OWN, 0);
BIT(AGENTCG_DESTROY_IF_EMPTY, 0);
BIT(AGENTCG_SET_FORCE, 0);

BIT(AGENTCG_SPAWN_SEARCH_PATH, 0);
BIT(AGENTCG_SPAWN_NEW_SESSION, 1);
BIT(AGENTCG_SPAWN_CONTAIN, 2);
BIT(AGENTCG_SPAWN_UID, 3);
BIT(AGENTCG_SPAWN_GID, 4);
BIT(AGENTCG_SPAWN_GROUPS, 5);
BIT(AGENTCG_SPAWN_UMASK, 6);
BIT(AGENTCG_SPAWN_NICE, 7);
BIT(AGENTCG_SPAWN_OOM_SCORE_ADJ, 8);
BIT(AGENTCG_SPAWN_NO_NEW_PRIVS, 9);
BIT(AGENTCG_SPAWN_PGROUP, 10);
BIT(AGENTCG_SPAWN_CONTROLLING_TERMINAL, 11);
BIT(AGENTCG_SPAWN_FOREGROUND, 12);
BIT(AGENTCG_SPAWN_FILE_FD, 13);
BIT(AGENTCG_SPAWN_ASYNC, 14);
BIT(AGENTCG_EVENT_EMPTY, 0);
BIT(AGENTCG_EVENT_POPULATED, 1);
BIT(AGENTCG_EVENT_FROZEN, 2);
BIT(AGENTCG_EVENT_THAWED, 3);
BIT(AGENTCG_EVENT_OOM_KILL, 4);
BIT(AGENTCG_EVENT_MEMORY_HIGH, 5);
BIT(AGENTCG_EVENT_MEMORY_MAX, 6);
BIT(AGENTCG_EVENT_PIDS_MAX, 7);
BIT(AGENTCG_EVENT_GONE, 8);
BIT(AGENTCG_EVENT_STALLED, 9);
IS(AGENTCG_STALL_CPU, 1);
IS(AGENTCG_STALL_MEMORY, 2);
IS(AGENTCG_STALL_IO, 3);
IS(AGENTCG_STALL_SOME, 4);
IS(AGENTCG_STALL_FULL, 5);

BIT(AGENTCG_CAUSE_EXITED, 0);
BIT(AGENTCG_CAUSE_SIGNAL_INSIDE, 1);
BIT(AGENTCG_CAUSE_SIGNAL_OUTSIDE, 2);
BIT(AGENTCG_CAUSE_KILLED, 3);
BIT(AGENTCG_CAUSE_GUARD, 4);
BIT(AGENTCG_CAUSE_MEMORY_LIMIT, 5);
BIT(AGENTCG_CAUSE_MEMORY_LIMIT_ABOVE, 6);
BIT(AGENTCG_CAUSE_MACHINE, 7);
BIT(AGENTCG_CAUSE_OOMD, 8);
BIT(AGENTCG_CAUSE_RUNNING, 9);
IS(AGENTCG_CAUSE_SIGNAL, 6);
IS(AGENTCG_CAUSE_UNKNOWN, 0);
IS(AGENTCG_CALL_NONE, 0);
IS(AGENTCG_CALL_KILL_ALL, 1);
IS(AGENTCG_CALL_KILL_ALL_OF, 2);
IS(AGENTCG_CALL_TERMINATE, 3);
IS(AGENTCG_CALL_DESTROY, 4);
IS(AGENTCG_CALL_SIGNAL_ALL, 5);
IS(AGENTCG_CALL_REAP, 6);
IS(AGENTCG_NO_WAIT_STATUS, -1);
BIT(AGENTCG_VERDICT_OOM_KILLS, 0);
BIT(AGENTCG_VERDICT_FORKS_REFUSED, 1);
BIT(AGENTCG_VERDICT_FORKS_REFUSED_OWN, 2);
BIT(AGENTCG_VERDICT_FORKS_REFUSED_ABOVE, 3);
BIT(AGENTCG_VERDICT_MEMORY_PEAK, 4);
BIT(AGENTCG_VERDICT_MEMORY_MAX, 5);
BIT(AGENTCG_VERDICT_CPU_THROTTLED, 6);

BIT(AGENTCG_STAT_CPU, 0);
BIT(AGENTCG_STAT_MEMORY, 1);
BIT(AGENTCG_STAT_CPU_THROTTLE, 2);
BIT(AGENTCG_STAT_MEMORY_PEAK, 3);
BIT(AGENTCG_STAT_SWAP, 4);
BIT(AGENTCG_STAT_MEMORY_EVENTS, 5);
BIT(AGENTCG_STAT_MEMORY_DETAIL, 6);
BIT(AGENTCG_STAT_PIDS, 7);
BIT(AGENTCG_STAT_PIDS_PEAK, 8);
BIT(AGENTCG_STAT_PIDS_EVENTS, 9);
BIT(AGENTCG_STAT_IO, 10);
BIT(AGENTCG_STAT_CPU_PRESSURE, 11);
BIT(AGENTCG_STAT_MEMORY_PRESSURE, 12);
BIT(AGENTCG_STAT_IO_PRESSURE, 13);
BIT(AGENTCG_STAT_STATE, 14);
IS(AGENTCG_STAT_BASIC, 7);
IS(AGENTCG_STAT_ALL, UINT64_MAX);

/* The functions, by the types that callers were compiled with. */
static const struct functions {
	uint32_t (*version_number)(void);
	const char *(*version_string)(void);
	int (*is_available)(void);
	int (*discover_parent)(char *, size_t, agentcg_error *);
	int (*diagnose)(agentcg_diagnosis *, size_t, char *, size_t);
	int (*diagnose_new)(const agentcg_limits *, size_t, uint64_t, agentcg_diagnosis *, size_t, char *, size_t,
	                    agentcg_error *);
	int (*new)(const char *, const char *, const agentcg_limits *, size_t, uint64_t, agentcg **,
	           agentcg_error *);
	int (*new_with)(const agentcg_new_options *, size_t, agentcg **, agentcg_error *);
	int (*new_in)(agentcg *, const agentcg_new_options *, size_t, agentcg **, agentcg_error *);
	int (*open)(const char *, const char *, uint64_t, agentcg **, agentcg_error *);
	int (*open_tagged)(const char *, const char *, const char *, uint64_t, agentcg **, agentcg_error *);
	int (*list)(const char *, agentcg_entry *, size_t, size_t, agentcg_error *);
	int (*list_tagged)(const char *, const char *, agentcg_entry *, size_t, size_t, agentcg_error *);
	int (*reap)(const char *, int, agentcg_error *);
	int (*reap_tagged)(const char *, const char *, int, agentcg_error *);
	int (*find)(pid_t, agentcg_found *, size_t, char *, size_t, agentcg_error *);
	int (*find_pidfd)(int, agentcg_found *, size_t, char *, size_t, agentcg_error *);
	int (*destroy)(agentcg *, uint64_t, int, agentcg_stats *, size_t, agentcg_error *);
	int (*explain)(agentcg *, int, agentcg_verdict *, size_t, agentcg_error *);
	int (*destroy_explained)(agentcg *, uint64_t, int, int, agentcg_stats *, size_t, agentcg_verdict *, size_t,
	                         agentcg_error *);
	void (*free)(agentcg *);
	int (*uuid)(agentcg *, char *, size_t);
	int (*path)(agentcg *, char *, size_t);
	int (*fd)(agentcg *);
	int (*get_info)(agentcg *, agentcg_info *, size_t, agentcg_error *);
	int (*set_label)(agentcg *, const char *, agentcg_error *);
	int (*move_pid)(agentcg *, pid_t, agentcg_error *);
	int (*move_pidfd)(agentcg *, int, agentcg_error *);
	int (*move_out)(agentcg *, pid_t, agentcg_error *);
	int (*move_out_pidfd)(agentcg *, int, agentcg_error *);
	int (*spawn)(agentcg *, const char *, char *const *, char *const *, const agentcg_spawn_options *, size_t,
	             pid_t *, int *, agentcg_error *);
	int (*spawn_result)(agentcg *, int, agentcg_error *);
	int (*move_self)(agentcg *);
	int (*read_stats)(agentcg *, uint64_t, agentcg_stats *, size_t, agentcg_error *);
	int (*read_file)(agentcg *, const char *, char *, size_t, agentcg_error *);
	int (*write_file)(agentcg *, const char *, const char *, agentcg_error *);
	int (*wait_empty)(agentcg *, int, agentcg_error *);
	int (*kill_all)(agentcg *, int, agentcg_error *);
	int (*kill_all_of)(agentcg *const *, size_t, int *, int, agentcg_error *);
	int (*freeze)(agentcg *, int, agentcg_error *);
	int (*thaw)(agentcg *, int, agentcg_error *);
	int (*signal_all)(agentcg *, int, agentcg_error *);
	int (*terminate)(agentcg *, int, int, agentcg_error *);
	int (*pids)(agentcg *, pid_t *, size_t, agentcg_error *);
	int (*contains)(agentcg *, pid_t, agentcg_error *);
	int (*event_fd)(agentcg *, uint64_t, agentcg_error *);
	int (*next_events)(agentcg *, int, uint64_t *, agentcg_error *);
	int (*watch_stall)(agentcg *, uint32_t, uint32_t, uint64_t, uint64_t, agentcg_error *);
	int (*set_limits)(agentcg *, const agentcg_limits *, size_t, uint64_t, agentcg_error *);
	int (*get_limits)(agentcg *, agentcg_limits *, size_t, agentcg_error *);
	int (*set_place_limits)(const char *, const agentcg_limits *, size_t, uint64_t, agentcg_error *);
	int (*get_place_limits)(const char *, agentcg_limits *, size_t, agentcg_error *);
} functions = {
	agentcg_version_number, agentcg_version_string, agentcg_is_available, agentcg_discover_parent,
	agentcg_diagnose, agentcg_diagnose_new, agentcg_new, agentcg_new_with, agentcg_new_in, agentcg_open, agentcg_open_tagged,
	agentcg_list, agentcg_list_tagged, agentcg_reap, agentcg_reap_tagged,
	agentcg_find, agentcg_find_pidfd, agentcg_destroy, agentcg_explain, agentcg_destroy_explained, agentcg_free,
	agentcg_uuid, agentcg_path, agentcg_fd, agentcg_get_info, agentcg_set_label,
	agentcg_move_pid, agentcg_move_pidfd, agentcg_move_out, agentcg_move_out_pidfd, agentcg_spawn, agentcg_spawn_result, agentcg_move_self, agentcg_read_stats,
	agentcg_read_file, agentcg_write_file, agentcg_wait_empty, agentcg_kill_all, agentcg_kill_all_of,
	agentcg_freeze, agentcg_thaw, agentcg_signal_all, agentcg_terminate, agentcg_pids, agentcg_contains,
	agentcg_event_fd, agentcg_next_events, agentcg_watch_stall,
	agentcg_set_limits, agentcg_get_limits, agentcg_set_place_limits, agentcg_get_place_limits,
};

int main(void)
{
	char version[32];

	IS(AGENTCG_VERSION_NUMBER,
	   AGENTCG_VERSION_MAJOR * 1000000 + AGENTCG_VERSION_MINOR * 1000 + AGENTCG_VERSION_PATCH);
	CHECK_EQ(functions.version_number(), AGENTCG_VERSION_NUMBER);

	snprintf(version, sizeof(version), "%d.%d.%d", AGENTCG_VERSION_MAJOR, AGENTCG_VERSION_MINOR,
	         AGENTCG_VERSION_PATCH);
	CHECK_STR(functions.version_string(), version);
	return 0;
}
