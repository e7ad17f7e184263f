#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Measures the adapters in turn and writes the result as JSON. bench/peers/run starts it; README.md has the protocol."""
import argparse
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

MOUNT = "/sys/fs/cgroup"
LIMITS = ("cpu", "memory", "pids")
YOUKI = LIMITS + ("hugetlb", "io")   # Its statistics are an error without them.
BURN_MS = 60
HANDLES = 4000

# In the order of the tables. The floor is first: the ratios are to it.
ADAPTERS = ("floor", "agentcg", "libcgroup", "cgroups-rs", "libcgroups", "synwire-sandbox", "processkit",
            "opencontainers", "containerd")


class No(Exception):
    """The library cannot do the operation. The text says why."""


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def enable(directory, controllers):
    """Enables the controllers that the directory has, and returns those that were not enabled before."""
    new = []
    for name in controllers:
        if name not in read(f"{directory}/cgroup.controllers").split():
            continue
        if name not in read(f"{directory}/cgroup.subtree_control").split():
            try:
                write(f"{directory}/cgroup.subtree_control", f"+{name}")
                new.append(name)
            except OSError:
                pass  # It has processes. Operations with limits are not measured then.
    return new


def remove(directory):
    """Kills and removes what is in the directory, and the directory."""
    if not os.path.isdir(directory):
        return
    write(f"{directory}/cgroup.kill", "1")
    for path, _, _ in os.walk(directory, topdown=False):
        for tries in range(3000):
            try:
                os.rmdir(path)
                break
            except FileNotFoundError:
                break
            except OSError:
                if tries == 2999:
                    raise
                time.sleep(0.01)


class Ground:
    """The cgroup of the benchmark. On exit, everything is as before."""

    def __init__(self, parent):
        self.parent = parent
        self.path = f"{parent}/agentcg-bench-peers.{os.getpid()}"

    def __enter__(self):
        self.before = read("/proc/self/cgroup").split("0::")[1].splitlines()[0]
        self.saved = {}
        try:
            self.prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def prepare(self):
        os.mkdir(self.path)
        os.mkdir(f"{self.path}/driver")
        write(f"{self.path}/driver/cgroup.procs", "0")
        # Some libraries enable controllers from the root on.
        path = self.parent
        while path.startswith(MOUNT):
            self.saved[path] = read(f"{path}/cgroup.subtree_control").split()
            path = os.path.dirname(path)
        available = read(f"{self.parent}/cgroup.controllers").split()
        # libcgroup makes no group without a controller.
        wanted = [name for name in LIMITS if name in available] or available[:1]
        enable(self.parent, wanted)
        enable(self.path, wanted)
        enabled = read(f"{self.path}/cgroup.subtree_control").split()
        self.has_limits = all(name in enabled for name in LIMITS)
        if self.has_limits:
            enable(self.parent, YOUKI)
            enable(self.path, YOUKI)

    def __exit__(self, *_):
        write(f"{MOUNT}{self.before}/cgroup.procs", "0")
        remove(self.path)
        for path, controllers in self.saved.items():
            for name in read(f"{path}/cgroup.subtree_control").split():
                if name not in controllers:
                    try:
                        write(f"{path}/cgroup.subtree_control", f"-{name}")
                    except OSError as error:
                        print(f"{path}: cannot disable {name}: {error}", file=sys.stderr)


class Line:
    """A program that answers lines."""

    def __init__(self, command, cgroup):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, bufsize=0,
            preexec_fn=lambda: write(f"{cgroup}/cgroup.procs", "0"))
        self.rest = b""

    def get(self):
        while b"\n" not in self.rest:
            text = os.read(self.process.stdout.fileno(), 1 << 20)
            if not text:
                self.process.wait()
                self.errors.seek(0)
                raise No(self.errors.read().decode().strip().replace("\n", " ") or "the adapter ended")
            self.rest += text
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def put(self, text):
        try:
            os.write(self.process.stdin.fileno(), text.encode() + b"\n")
        except BrokenPipeError:
            pass  # get() reports it.

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()


class Members:
    """The processes in the groups."""

    def __init__(self, build, cgroup):
        self.line = Line([f"{build}/peers/members"], cgroup)

    def start(self, paths, count, burn_ms=0):
        """Returns the pid of the last process."""
        pid = 0
        for path in paths:
            self.line.put(f"start {path} {count} {burn_ms}")
            pid = int(self.line.get())
        return pid

    def end(self):
        self.line.put("end")
        self.line.get()


class Adapter:
    def __init__(self, name, build, ground, mode, tracer=()):
        self.name, self.build, self.mode, self.tracer = name, build, mode, tracer
        self.home = f"{ground.path}/{mode}-{name}"
        self.agents = f"{self.home}/synwire/agents"
        # processkit makes its groups in its own cgroup. They are as deep as the others' then.
        own_groups = name == "processkit" and mode == "plain"
        self.own = self.agents if own_groups else f"{self.home}/worker"
        for path in (self.home, f"{self.home}/worker", f"{self.home}/synwire", self.agents):
            if not os.path.isdir(path):
                os.mkdir(path)
            if mode == "limits" and not path.endswith("worker"):
                enable(path, YOUKI if name == "libcgroups" else LIMITS)
        self.line = None
        self.start()

    def start(self):
        program = f"{self.build}/bench/agentcg-bench-nothing"
        command = [*self.tracer, f"{self.build}/peers/{self.name}", self.agents, self.mode, program]
        self.line = Line(command, self.own)
        try:
            self.line.get()
        except No as no:
            sys.exit(f"{self.name} does not start: {no}")
        self.resident = self.directories()

    def directories(self):
        with os.scandir(self.agents) as entries:
            return {entry.name for entry in entries if entry.is_dir()}

    def call(self, verb, *arguments, tag="-"):
        self.line.put(" ".join(map(str, (tag, verb, *arguments))))
        answer = self.line.get().split(" ", 2)
        if answer[1] != "ok":
            raise No(answer[2])
        return answer[2].split()

    def ns(self, verb, *arguments, tag="-"):
        return int(self.call(verb, *arguments, tag=tag)[0])

    def clean(self):
        """Removes the groups that the library has left, and returns their number."""
        left = self.directories() - self.resident
        for name in left:
            remove(f"{self.agents}/{name}")
        return len(left)

    def restart(self):
        """After a failed operation."""
        self.line.process.kill()
        self.line.close()
        for name in self.directories():
            remove(f"{self.agents}/{name}")
        self.start()

    def close(self):
        self.line.close()
        remove(self.home)


def populated(path):
    try:
        return "populated 1" in read(f"{path}/cgroup.events")
    except FileNotFoundError:
        return False  # The library's kill also removes the group.


# Each block is one setup, one measurement and one check. It returns the time of one operation in ns, or of several.

def block_new(adapter, _members, batch, tag="-"):
    new = adapter.ns("new", batch, tag=f"{tag}.new")
    destroy = adapter.ns("destroy", tag=f"{tag}.destroy")
    return {"new": new / batch, "destroy": destroy / batch}


def block_read(adapter, members, batch, tag="-"):
    adapter.call("new", 1)
    members.start(adapter.call("paths"), 1, BURN_MS)
    adapter.call("read", 1)  # Opens the files that the library keeps open.
    answer = adapter.call("read", batch, tag=f"{tag}.read")
    if int(answer[1]) < BURN_MS * 1000000 / 2:
        raise No(f"it reports {answer[1]} ns of CPU time after {BURN_MS} ms of work")
    members.end()
    adapter.call("destroy")
    return {"read": int(answer[0]) / batch}


def block_move(adapter, members, batch, tag="-"):
    adapter.call("new", 2)
    paths = adapter.call("paths")
    pid = members.start(paths[:1], 1)
    adapter.call("move", pid, 2)
    elapsed = adapter.ns("move", pid, batch, tag=f"{tag}.move")
    where = f"{MOUNT}{read(f'/proc/{pid}/cgroup').split('0::')[1].splitlines()[0]}"
    if where != paths[batch % 2]:
        raise No(f"the process is in {where}")
    members.end()
    adapter.call("destroy")
    return {"move": elapsed / batch}


def block_spawn(adapter, _members, batch, tag="-"):
    adapter.call("new", 1)
    adapter.call("spawn", 1)
    elapsed = adapter.ns("spawn", batch, tag=f"{tag}.spawn")
    adapter.call("destroy")
    return {"spawn": elapsed / batch}


def block_kill(processes):
    def block(adapter, members, batch, tag="-"):
        adapter.call("new", batch)
        paths = adapter.call("paths")
        members.start(paths, processes)
        result = {f"kill-{processes}": adapter.ns("kill", tag=f"{tag}.kill-{processes}") / batch}
        if any(map(populated, paths)):
            raise No("its kill returned before all processes were dead")
        try:
            elapsed = adapter.ns("destroy", tag=f"{tag}.destroy-killed")
            if processes == 1:
                result["destroy-killed"] = elapsed / batch
        except No as no:
            result["destroy-killed"] = no
        members.end()
        return result
    return block


# name, function, operations in a block, rounds, mode
BLOCKS = (
    ("new", block_new, 20, 51, "plain"),
    ("new", block_new, 20, 51, "limits"),
    ("read", block_read, 200, 51, "plain"),
    ("read", block_read, 200, 51, "limits"),
    ("move", block_move, 100, 51, "plain"),
    ("spawn", block_spawn, 10, 101, "plain"),
    ("kill-1", block_kill(1), 10, 51, "plain"),
    ("kill-100", block_kill(100), 2, 25, "plain"),
    ("kill-1000", block_kill(1000), 1, 11, "plain"),
)


def quartiles(values):
    values = sorted(values)
    n = len(values)
    return [values[n // 4], values[n // 2], values[n - 1 - n // 4]]


def try_block(adapter, members, block, batch):
    """Returns the times, or the reason why there are none, and the number of groups that the library has left."""
    try:
        times = block(adapter, members, batch)
        return times, adapter.clean()
    except No as no:
        members.end()
        adapter.restart()
        return no, 0


def pin(adapters, members, cpus):
    """A move to another CPU's process takes an interrupt, which would hide the rest: see bench/operations.c."""
    for pid in [members.line.process.pid] + [adapter.line.process.pid for adapter in adapters]:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), cpus)


def measure(name, block, batch, rounds, adapters, members):
    times, left, reasons = {}, {}, {}
    cpus = os.sched_getaffinity(0)
    if name == "move":
        pin(adapters, members, {min(cpus)})
    active = list(adapters)
    for turn in range(-1, rounds):  # The first is a warm-up.
        shift = turn % len(active)
        order = active[shift:] + active[:shift]
        for adapter in order if turn % 2 == 0 else order[::-1]:
            result, dirs = try_block(adapter, members, block, batch)
            if isinstance(result, No):
                if adapter.name == "floor":
                    sys.exit(f"{name}: the floor failed: {result}")
                reasons[adapter.name] = str(result)
                active.remove(adapter)
                continue
            for operation, ns in result.items():
                if isinstance(ns, No):
                    reasons[f"{adapter.name} {operation}"] = str(ns)
                elif turn >= 0:
                    times.setdefault(operation, {}).setdefault(adapter.name, {})[turn] = ns
            left[adapter.name] = left.get(adapter.name, 0) + (dirs if turn >= 0 else 0)
    if name == "move":
        pin(adapters, members, cpus)
    results = {}
    for operation, of in times.items():
        results[operation] = {}
        for adapter in adapters:
            mine = of.get(adapter.name, {})
            if adapter.name in reasons or not mine:
                reason = reasons.get(adapter.name) or reasons.get(f"{adapter.name} {operation}", "")
                results[operation][adapter.name] = {"no": reason}
                continue
            results[operation][adapter.name] = {
                "ns": quartiles(mine.values()),
                "ratio": quartiles(ns / of["floor"][turn] for turn, ns in mine.items()),
                "left": left.get(adapter.name, 0) if operation.startswith("destroy") else 0,
                "made": batch * len(mine),
            }
    return results


def count_calls(name, build, ground, mode, members):
    """Traces three operations of each kind, and returns the minimum and the maximum of the numbers of calls."""
    counts = {}
    with tempfile.NamedTemporaryFile() as trace:
        tracer = ("strace", "-f", "-qq", "-s", "64", "-e", "signal=none", "-A", "-o", trace.name)
        adapter = Adapter(name, build, ground, mode, tracer)
        for _, block, _, _, block_mode in BLOCKS[:7]:
            if block_mode != mode:
                continue
            for turn in range(4):  # The first one also starts up the library.
                try:
                    block(adapter, members, 2 if block is block_move else 1, tag=f"t{turn}")
                    adapter.clean()
                except No:
                    members.end()
                    break
            else:
                continue
            adapter.restart()
        adapter.close()
        inside, calls = None, 0
        with open(trace.name, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                begin = re.search(r'read.*"t([0-9])\.([a-z0-9-]+) ', line)
                end = re.search(r'write\(1, "t[0-9]\.([a-z0-9-]+) ', line)
                if begin:
                    inside, calls = begin.groups(), 0
                elif end and inside:
                    if inside[0] != "0":
                        calls //= 2 if inside[1] == "move" else 1
                        counts.setdefault(inside[1], []).append(calls)
                    inside = None
                elif inside and re.match(r"\d+ +(?!clock_gettime)\w+\(", line):
                    calls += 1
    return {operation: [min(found), max(found)] for operation, found in counts.items()}


def count_allocations(adapter, members, block, batch):
    """Returns the number of allocations of one operation, by operation."""
    counts = {}
    call = adapter.call

    def counting(verb, *arguments, tag="-"):
        before = int(call("allocations")[0])
        own = int(call("allocations")[0]) - before
        answer = call(verb, *arguments, tag=tag)
        after = int(call("allocations")[0])
        if "." in tag:
            counts[tag.split(".")[1]] = max(after - before - 2 * own, 0) / batch
        return answer

    adapter.call = counting
    try:
        block(adapter, members, batch, tag="a")
        adapter.clean()
    except No:
        members.end()
        adapter.restart()
    finally:
        del adapter.call
    return counts


def memory_of(adapter):
    """Returns the memory of a thousand groups, and the descriptors of one, that the program has just made."""
    def state():
        adapter.call("settle")
        pid = adapter.line.process.pid
        rollup = read(f"/proc/{pid}/smaps_rollup")
        return int(re.search(r"Anonymous: +(\d+) kB", rollup)[1]), len(os.listdir(f"/proc/{pid}/fd"))

    try:
        adapter.call("new", 100)
        adapter.call("destroy")
        adapter.clean()
        before = state()
        adapter.call("new", HANDLES)
        after = state()
        adapter.call("destroy")
        adapter.clean()
    except No as no:
        adapter.restart()
        return {"no": str(no)}
    return {"kib": round((after[0] - before[0]) * 1000 / HANDLES), "descriptors": (after[1] - before[1]) / HANDLES}


def machine():
    model = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    return {
        "cpu": model[1] if model else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": re.match(r"[0-9.]+", platform.release())[0],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=1000, help="at most so many rounds")
    options.add_argument("--most", type=int, default=1000, help="at most so many processes in a group")
    options.add_argument("--only", default="", help="the blocks whose names begin so")
    options.add_argument("--modes", default="plain,limits", help="groups without limits, with limits, or both")
    options.add_argument("build")
    options.add_argument("parent")
    options.add_argument("output")
    options = options.parse_args()
    names = [name for name in ADAPTERS if os.access(f"{options.build}/peers/{name}", os.X_OK)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    output = {"machine": machine(), "operations": {}, "memory": {}}
    with Ground(options.parent) as ground:
        os.mkdir(f"{ground.path}/members")
        members = Members(options.build, f"{ground.path}/members")
        for mode in options.modes.split(","):
            if mode == "limits" and not ground.has_limits:
                continue
            adapters = [Adapter(name, options.build, ground, mode) for name in names]
            for name, block, batch, rounds, block_mode in BLOCKS:
                processes = int(name.split("-")[1]) if name.startswith("kill") else 0
                if block_mode != mode or not name.startswith(options.only) or processes > options.most:
                    continue
                print(f"{mode}: {name}", file=sys.stderr)
                results = measure(name, block, batch, min(rounds, options.rounds), adapters, members)
                for operation, of in results.items():
                    output["operations"].setdefault(f"{operation} {mode}", {}).update(of)
                if processes > 100:
                    continue
                for adapter in adapters:
                    for operation, count in count_allocations(adapter, members, block, min(batch, 20)).items():
                        row = output["operations"].get(f"{operation} {mode}", {}).get(adapter.name, {})
                        if "ns" in row:
                            row["allocations"] = count
            if mode == "plain":
                print("plain: memory", file=sys.stderr)
                output["memory"] = {adapter.name: memory_of(adapter) for adapter in adapters}
            for adapter in adapters:
                adapter.close()
            print(f"{mode}: system calls", file=sys.stderr)
            for name in names:
                for operation, calls in count_calls(name, options.build, ground, mode, members).items():
                    row = output["operations"].get(f"{operation} {mode}", {}).get(name, {})
                    if "ns" in row:
                        row["calls"] = calls
        members.line.close()
    with open(options.output, "w", encoding="ascii") as file:
        json.dump(output, file, indent=1)


main()
