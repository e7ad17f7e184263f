#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""report.py RESULTS-DIRECTORY DOCS-DIRECTORY: writes the tables of benchmarks.md, between its markers, and draws a plot for
each operation with gnuplot, in benchmarks/ beside it."""
import json
import os
import subprocess
import sys

BEGIN, END = "<!-- bench/peers/report.py: begin -->\n", "<!-- bench/peers/report.py: end -->\n"

LABELS = {"floor": "the floor", "agentcg": "agentcg", "libcgroup": "libcgroup", "cgroups-rs": "cgroups-rs",
          "libcgroups": "youki's libcgroups", "synwire-sandbox": "synwire-sandbox", "processkit": "processkit",
          "opencontainers": "opencontainers/cgroups", "containerd": "containerd/cgroups"}

# Operation, title, what is measured.
OPERATIONS = (
    ("new plain", "new, without limits", "Makes a group."),
    ("new limits", "new, with three limits", "Makes a group with `memory.max`, `cpu.max` and `pids.max`."),
    ("read plain", "read_stats, CPU", "Reads `cpu.stat` of a group with one process."),
    ("read limits", "read_stats, CPU and memory", "Reads `cpu.stat` and the memory in use."),
    ("move plain", "move", "Moves a process into another group."),
    ("spawn plain", "spawn", "Starts a program that is one system call in a group, and waits for its end."),
    ("kill-1 plain", "kill of 1", "Kills one process and waits until the group is empty."),
    ("kill-100 plain", "kill of 100", "Kills a hundred processes and waits until the group is empty."),
    ("kill-1000 plain", "kill of 1,000", "Kills a thousand processes and waits until the group is empty."),
    ("destroy plain", "destroy, empty", "Removes a group that never held a process."),
    ("destroy limits", "destroy, empty, with controllers", "The same with the controllers of three limits."),
    ("destroy-killed plain", "destroy after a kill", "Removes a group immediately after the kill of its one process."),
)


def time_of(ns):
    for unit, size in (("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            value = ns / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
    return f"{ns:.0f} ns"


def ratio_of(ratio):
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 10 else f"{ratio:.2f}"


def calls_of(row):
    if "calls" not in row:
        return ""
    low, high = row["calls"]
    return str(low) if low == high else f"{low}-{high}"


def table(of):
    lines = ["| library | time | times the floor (quartiles) | system calls | allocations |",
             "| --- | ---: | ---: | ---: | ---: |"]
    notes = []
    for name in filter(of.__contains__, LABELS):
        row = of[name]
        if "no" in row:
            lines.append(f"| {LABELS[name]} | - | | | |")
            notes.append(f"{LABELS[name]}: {reason_of(row['no'])}.")
            continue
        low, middle, high = map(ratio_of, row["ratio"])
        ratio = "1" if name == "floor" else f"{middle} ({low}-{high})"
        allocations = f"{row['allocations']:.0f}" if "allocations" in row else ""
        lines.append(f"| {LABELS[name]} | {time_of(row['ns'][1])} | {ratio} | {calls_of(row)} | {allocations} |")
        if row.get("left"):
            notes.append(f"{LABELS[name]} left {row['left']} of {row['made']} groups behind.")
    return lines + ([""] + [" ".join(notes)] if notes else [])


def reason_of(text):
    """Without the paths of the machine and the numbers of the run."""
    words = [os.path.basename(word) if word.startswith("/") else word for word in text.split()]
    return " ".join(words).rstrip(".") or "not measured"


def plot(of, title, file):
    """Horizontal bars, the fastest at the top, with the quartiles as whiskers."""
    rows = sorted(((row["ratio"], row["ns"][1], name) for name, row in of.items() if "ratio" in row and name != "floor"),
                  key=lambda row: row[0][1])
    data, tics = [], []
    for i, (ratio, ns, name) in enumerate(rows):
        y = len(rows) - i
        colour = 1 if name == "agentcg" else 2
        data.append(f'{ratio[1]} {y} {ratio[0]} {ratio[2]} {colour} "{ratio_of(ratio[1])} x, {time_of(ns)}"')
        tics.append(f'"{LABELS[name]}" {y}')
    least = min([1.0] + [row[0][0] for row in rows])
    most = max([2.0] + [row[0][2] for row in rows])
    script = f"""
set terminal svg size 720,{90 + 34 * len(rows)} font "sans-serif,13" background "white"
set output "{file}"
set title "{title}: times the floor" noenhanced
set logscale x
set xrange [{least * 0.8}:{most * 4}]
set yrange [0.4:{len(rows) + 0.6}]
set ytics ({", ".join(tics)}) noenhanced
set grid xtics
set tics scale 0.5
set style fill solid 0.8 noborder
set linetype 1 linecolor rgb "#1b6ca8"
set linetype 2 linecolor rgb "#9aa5b1"
set arrow from 1, graph 0 to 1, graph 1 nohead linecolor rgb "#333333"
$data << EOD
{chr(10).join(data)}
EOD
plot $data using 1:2:(1):1:($2-0.3):($2+0.3):5 with boxxyerror linecolor variable notitle, \\
     $data using 1:2:3:4 with xerrorbars linecolor rgb "#333333" pointtype 0 notitle, \\
     $data using 4:2:6 with labels left offset 1, 0 notitle
"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def summary(result):
    """The ratios at a glance, and the fastest of the other libraries."""
    lines = ["| operation | the floor | agentcg, times the floor | the fastest other, times the floor | system calls of both |",
             "| --- | ---: | ---: | --- | --- |"]
    for operation, title, _ in OPERATIONS:
        rows = {name: row for name, row in result["operations"].get(operation, {}).items() if "ratio" in row}
        others = [(row["ratio"][1], name) for name, row in rows.items() if name not in ("floor", "agentcg")]
        if "agentcg" not in rows or not others:
            continue
        ratio, fastest = min(others)
        calls = f"{calls_of(rows['agentcg'])}, {calls_of(rows[fastest])}" if "calls" in rows["agentcg"] else ""
        lines.append(f"| {title} | {time_of(rows['floor']['ns'][1])} | {ratio_of(rows['agentcg']['ratio'][1])} | "
                     f"{LABELS[fastest]}: {ratio_of(ratio)} | {calls} |")
    return lines + [""]


def operations(result, where, plots):
    lines = []
    for operation, title, what in OPERATIONS:
        of = result["operations"].get(operation)
        if not of:
            continue
        lines += [f"#### {title}", "", what, "", *table(of), ""]
        if plots:
            file = f"{operation.replace(' ', '-')}{'' if where == 'native' else '-lab'}.svg"
            plot(of, title + ("" if where == "native" else ", in the lab"), f"{plots}/{file}")
            lines += [f"![{title}: times the floor](benchmarks/{file})", ""]
    return lines


def load_times(path):
    """Reads the lines `./NAME.so NS`. There are none if only the lab was measured."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="ascii") as file:
        pairs = map(str.split, file)
        return {os.path.basename(library).removesuffix(".so"): int(ns) for library, ns in pairs}


def libraries(facts, memory, loads):
    lines = ["| library | version | on disk, stripped | dlopen | dependencies | memory of 1,000 groups | descriptors of a group |",
             "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for name in LABELS:
        fact, of = facts.get(name, {}), memory.get(name, {})
        if not fact and not of:
            continue
        size = f"{fact['size'] / 1024:,.0f} KiB" if fact else ""
        load = time_of(loads[name]) if name in loads else ""
        kib = f"{of['kib']:,} KiB" if "kib" in of else "-"
        descriptors = f"{of['descriptors']:.0f}" if "descriptors" in of else "-"
        lines.append(f"| {LABELS[name]} | {fact.get('version', '')} | {size} | {load} | {fact.get('dependencies', '')} | {kib} | "
                     f"{descriptors} |")
    return lines + [""]


def main():
    results, docs = sys.argv[1:]
    plots = f"{docs}/benchmarks"
    os.makedirs(plots, exist_ok=True)
    for name in os.listdir(plots):
        os.remove(f"{plots}/{name}")
    loaded = {}
    for where in ("native", "lab"):
        if os.path.exists(f"{results}/{where}.json"):
            with open(f"{results}/{where}.json", encoding="ascii") as file:
                loaded[where] = json.load(file)
    with open(f"{results}/facts.json", encoding="ascii") as file:
        facts = json.load(file)
    lines = []
    if "native" in loaded:
        of = loaded["native"]["machine"]
        lines += ["### On a host", "",
                  f"{of['cpu']}, {of['cpus']} CPUs, Linux {of['kernel']}, measured on {of['date']}.", ""]
        lines += summary(loaded["native"]) + operations(loaded["native"], "native", plots)
    if "lab" in loaded:
        of = loaded["lab"]["machine"]
        lines += ["### In the lab, with all controllers", "",
                  f"Linux {of['kernel']} in QEMU without KVM, measured on {of['date']}. Every instruction takes 10 to 50 "
                  "times as long there, and not each by the same factor: compare the numbers of system calls. The "
                  "ratios are too favourable to libraries that make many cheap system calls.", ""]
        lines += summary(loaded["lab"]) + operations(loaded["lab"], "lab", plots)
    memory = (loaded.get("native") or loaded["lab"])["memory"]
    lines += ["### Size", "", *libraries(facts, memory, load_times(f"{results}/load.times"))]
    path = f"{docs}/benchmarks.md"
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + BEGIN + "\n" + "\n".join(lines) + END + after)


main()
