// SPDX-License-Identifier: MIT OR Apache-2.0
//! Each parser on the files of real kernels in tests/kernels, against what a person reads there.

use super::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const KERNELS: [&str; 2] = ["6.1", "6.12"];

fn home(kernel: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels").join(kernel)
}

fn shown(text: &[u8]) -> String {
    format!("\"{}\"", text.escape_ascii())
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn limit_shown(value: u64) -> String {
    if value == UNLIMITED { "max".to_owned() } else { value.to_string() }
}

fn joined<T: ToString>(values: impl Iterator<Item = T>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(" ")
}

fn mount_shown(mount: &Mount) -> String {
    let rights = if mount.read_only { "ro" } else { "rw" };
    let border = if mount.nsdelegate { " nsdelegate" } else { "" };
    format!("{} {} {rights}{border}", shown(&mount.root), shown(&mount.point))
}

/// What `parser` makes of `text`, in the form of a row of the table. For a file with keys, the row names those that matter.
fn read_by(parser: &str, text: &[u8], row: &str) -> String {
    match parser {
        "number" => or_none(number(text)),
        "limit" => or_none(limit(text).map(limit_shown)),
        "cpu_max" => or_none(cpu_max(text).map(|(quota, period)| format!("{} {period}", limit_shown(quota)))),
        "pairs" => joined(row.split(' ').map(|wanted| {
            let key = wanted.split('=').next().unwrap();
            format!("{key}={}", or_none(value(text, key.as_bytes())))
        })),
        "io_stat" => {
            let IoStat { rbytes, wbytes, rios, wios } = io_stat(text);
            format!("rbytes={rbytes} wbytes={wbytes} rios={rios} wios={wios}")
        }
        "pressure" => {
            let Pressure { some_us, full_us } = pressure(text);
            format!("some={} full={}", or_none(some_us), or_none(full_us))
        }
        "words" => joined(words(text).map(|word| word.escape_ascii())),
        "ids" => joined(ids(text)),
        "own_cgroup" => or_none(own_cgroup(text).map(shown)),
        "v1_controllers" => joined(v1_controllers(text).map(|name| name.escape_ascii())),
        "cgroup2_mount" => {
            let mounts = text.split(|&b| b == b'\n').filter_map(cgroup2_mount);
            mounts.map(|mount| mount_shown(&mount)).collect::<Vec<_>>().join(", ")
        }
        "proc_stat" => or_none(proc_stat(text).map(|ProcStat { state, flags, threads, start_ticks }| {
            format!("state={} flags={flags} threads={threads} start={start_ticks}", state.escape_ascii())
        })),
        "task" => or_none(
            task(text).map(|task| format!("pid={} {}", task.pid, if task.lives { "lives" } else { "dead" })),
        ),
        other => panic!("no parser {other}"),
    }
}

/// FILE PARSER the values that it reads
fn rows(kernel: &str) -> Vec<(String, String, String)> {
    let table = std::fs::read_to_string(home(kernel).join("table")).unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (file, rest) = line.split_once(' ').expect(line);
            let (parser, values) = rest.trim_start().split_once(' ').unwrap_or((rest.trim_start(), ""));
            (file.to_owned(), parser.to_owned(), values.trim_start().to_owned())
        })
        .collect()
}

#[test]
fn the_files_of_real_kernels_tell_what_a_person_reads_there() {
    for kernel in KERNELS {
        for (file, parser, row) in rows(kernel) {
            let text = std::fs::read(home(kernel).join(&file)).expect(&file);
            assert_eq!(read_by(&parser, &text, &row), row, "{kernel}/{file} by {parser}");
        }
    }
}

#[test]
fn each_file_of_a_real_kernel_has_a_row() {
    for kernel in KERNELS {
        let entries = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let groups = entries(&home(kernel)).filter(|path| path.is_dir());
        let found: BTreeSet<_> = groups
            .flat_map(|group| entries(&group))
            .map(|path| path.strip_prefix(home(kernel)).unwrap().to_str().unwrap().to_owned())
            .collect();
        let listed: BTreeSet<_> = rows(kernel).into_iter().map(|(file, ..)| file).collect();
        assert!(found.len() > 90, "{kernel}: only {} files", found.len());
        assert_eq!(found, listed, "{kernel}");
    }
}
