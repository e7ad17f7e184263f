// SPDX-License-Identifier: MIT OR Apache-2.0
//! The properties of each parser, for any input. If there is a short second implementation, its result must be
//! the same. Otherwise the parser must read its own result, written in the kernel's format, as the same value.

use crate::parse::{self, UNLIMITED};

pub type Target = fn(&[u8]);

pub const TARGETS: &[(&str, Target)] = &[
    ("own_cgroup", own_cgroup),
    ("v1_controllers", v1_controllers),
    ("leads_out", leads_out),
    ("cgroup2_mount", cgroup2_mount),
    ("below", below),
    ("split_last", split_last),
    ("levels_to_common", levels_to_common),
    ("holds", holds),
    ("number", number),
    ("limit", limit),
    ("cpu_max", cpu_max),
    ("pairs", pairs),
    ("value", value),
    ("io_stat", io_stat),
    ("pressure", pressure),
    ("words", words),
    ("ids", ids),
    ("proc_stat", proc_stat),
    ("owner_note", owner_note),
    ("label", label),
    ("tag", tag),
    ("lives", lives),
    ("task", task),
    ("pidfd", pidfd),
    ("mount_root", mount_root),
    ("mount_id", mount_id),
    ("release", release),
    ("namespace", namespace),
    ("is_numbered_once", is_numbered_once),
];

/// Splits one input into two: the text before the first newline, and the rest.
fn two(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|&b| b == b'\n').unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn own_cgroup(text: &[u8]) {
    match parse::own_cgroup(text) {
        Some(path) => {
            assert!(contains(text, &[b"0::", path].concat()) && !path.contains(&b'\n'));
            assert_eq!(parse::own_cgroup(&[b"1:name=systemd:/\n0::", path, b"\n"].concat()), Some(path));
        }
        None => assert!(!text.starts_with(b"0::") && !contains(text, b"\n0::")),
    }
}

fn v1_controllers(text: &[u8]) {
    for name in parse::v1_controllers(text) {
        assert!(!name.is_empty() && !name.iter().any(|b| b":,\n".contains(b)));
        assert!(parse::v1_controllers(&[b"7:cpu,", name, b":/"].concat()).eq([b"cpu".as_slice(), name]));
    }
}

fn leads_out(path: &[u8]) {
    assert_eq!(parse::leads_out(path), path == b"/.." || path.starts_with(b"/../"));
}

fn levels_to_common(paths: &[u8]) {
    let (path, other) = two(paths);
    let parts = |path: &'_ [u8]| -> Vec<Vec<u8>> {
        path.split(|&b| b == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (own, others) = (parts(path), parts(other));
    let common = own.iter().zip(&others).take_while(|(one, other)| one == other).count();
    let inside = !parse::leads_out(path) && !parse::leads_out(other);
    assert_eq!(parse::levels_to_common(path, other), inside.then_some(own.len() - common));
}

fn cgroup2_mount(line: &[u8]) {
    let Some(mount) = parse::cgroup2_mount(line) else { return };
    let fields: Vec<_> = line.split(|&b| b == b' ').collect();
    for (field, plain) in [(fields[3], &mount.root), (fields[4], &mount.point)] {
        let same = field.iter().position(|&b| b == b'\\').unwrap_or(field.len());
        assert!(plain.len() <= field.len() && plain.starts_with(&field[..same]));
    }
    let escaped = |plain: &[u8]| -> String {
        let bytes: Vec<String> = plain.iter().map(|b| format!("\\{b:03o}")).collect();
        bytes.concat()
    };
    let has = |has: bool, option| if has { option } else { "" };
    let again = format!(
        "1 2 0:3 {} {} x,{} shared:4 - cgroup2 none y,{},{},{}",
        escaped(&mount.root),
        escaped(&mount.point),
        has(mount.read_only, "ro"),
        has(mount.nsdelegate, "nsdelegate"),
        has(mount.memory_localevents, "memory_localevents"),
        has(mount.pids_localevents, "pids_localevents"),
    );
    assert_eq!(parse::cgroup2_mount(again.as_bytes()), Some(mount));
}

fn below(bytes: &[u8]) {
    let (root, path) = two(bytes);
    let found = parse::below(root, path);
    let plain = root.strip_suffix(b"/").unwrap_or(root);
    match found {
        Some(rest) => assert!(path == plain || path == [plain, b"/", rest].concat()),
        None => assert!(path != plain && !path.starts_with(&[plain, b"/"].concat())),
    }
    assert_eq!(parse::below(root, &[plain, b"/", path].concat()), Some(path));
}

fn split_last(path: &[u8]) {
    let (above, name) = parse::split_last(path);
    assert!(!name.contains(&b'/'));
    assert!(path == [above, b"/", name].concat() || (above.is_empty() && path == name));
}

fn holds(bytes: &[u8]) {
    let (name, path) = two(bytes);
    let inside = contains(&[path, b"/"].concat(), &[name, b"/"].concat());
    assert_eq!(parse::has_component(path, name), inside && !name.is_empty());
}

fn number(text: &[u8]) {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let plain = std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
    // A number of 39 digits or more without leading zeros exceeds 64 bits.
    let expected = plain.filter(|text| !text.is_empty()).map(|text| {
        let short = text.trim_start_matches('0');
        if short.len() > 38 {
            u64::MAX
        } else {
            short.parse::<u128>().unwrap_or(0).try_into().unwrap_or(u64::MAX)
        }
    });
    assert_eq!(parse::number(text), expected);
}

fn limit(text: &[u8]) {
    let expected = if matches!(text, b"max" | b"max\n") { Some(UNLIMITED) } else { parse::number(text) };
    assert_eq!(parse::limit(text), expected);
    let Some(limit) = expected else { return };
    assert_eq!(parse::limit(written(limit).as_bytes()), Some(limit));
}

fn written(limit: u64) -> String {
    if limit == UNLIMITED { "max\n".to_owned() } else { format!("{limit}\n") }
}

fn cpu_max(text: &[u8]) {
    let Some((quota, period)) = parse::cpu_max(text) else { return };
    let again = format!("{} {period}\n", written(quota).trim_end());
    assert_eq!(parse::cpu_max(again.as_bytes()), Some((quota, period)));
    let (blanks, newlines) = (text.split(|&b| b == b' ').count(), text.split(|&b| b == b'\n').count());
    assert!(blanks == 2 && (newlines == 1 || newlines == 2 && text.ends_with(b"\n")));
}

fn pairs(text: &[u8]) {
    let lines: Vec<_> = text.split(|&b| b == b'\n').collect();
    let read: Vec<_> = parse::pairs(text).collect();
    // The last blank of a line separates key and value.
    let expected = lines.iter().filter_map(|line| {
        let blank = line.iter().rposition(|&b| b == b' ')?;
        Some((&line[..blank], parse::number(&line[blank + 1..])?))
    });
    assert!(read.iter().copied().eq(expected));
    let stalls: Vec<u64> =
        read.iter().filter(|(key, _)| key.starts_with(b"allocstall")).map(|(_, value)| *value).collect();
    let sum = stalls.iter().fold(0u64, |sum, value| sum.saturating_add(*value));
    assert_eq!(parse::allocation_stalls(text), (!stalls.is_empty()).then_some(sum));
}

fn value(bytes: &[u8]) {
    let (key, text) = two(bytes);
    let found = parse::value(text, key);
    assert_eq!(found, parse::pairs(text).find(|pair| pair.0 == key).map(|pair| pair.1));
    assert_eq!(parse::value(&[key, b" 7\n", text].concat(), key), Some(7));
}

fn io_stat(bytes: &[u8]) {
    let (one, rest) = two(bytes);
    let (all, one, rest) = (parse::io_stat(bytes), parse::io_stat(one), parse::io_stat(rest));
    for (all, one, rest) in [
        (all.rbytes, one.rbytes, rest.rbytes),
        (all.wbytes, one.wbytes, rest.wbytes),
        (all.rios, one.rios, rest.rios),
        (all.wios, one.wios, rest.wios),
    ] {
        assert_eq!(all, one.saturating_add(rest));
    }
}

fn pressure(text: &[u8]) {
    let read = parse::pressure(text);
    let first = parse::pressure(&[b"some avg10=0.00 total=5\n", text].concat());
    assert_eq!((first.some_us, first.full_us), (Some(5), read.full_us));
    let first = parse::pressure(&[b"full total=6\n", text].concat());
    assert_eq!((first.some_us, first.full_us), (read.some_us, Some(6)));
    assert!(read.some_us.is_none() || contains(text, b"some "));
    assert!(read.full_us.is_none() || contains(text, b"full "));
}

fn words(text: &[u8]) {
    let words: Vec<_> = parse::words(text).collect();
    assert!(words.iter().all(|word| !word.is_empty() && !word.iter().any(u8::is_ascii_whitespace)));
    assert!(parse::words(&words.join(&b' ')).eq(words.iter().copied()));
    let letters = |text: &[u8]| text.iter().filter(|b| !b.is_ascii_whitespace()).count();
    assert_eq!(letters(text), words.iter().map(|word| word.len()).sum());
}

fn ids(text: &[u8]) {
    let ids: Vec<_> = parse::ids(text).collect();
    assert!(ids.iter().all(|&id| id >= 0));
    let lines: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let again = lines.join("\n");
    assert!(parse::ids(again.as_bytes()).eq(ids));
}

fn proc_stat(text: &[u8]) {
    let read = parse::proc_stat(text);
    let Some(read) = read else { return };
    assert_eq!(parse::proc_stat(&[b"1 (a) Z 1 (", text].concat()).as_ref(), Some(&read));
    assert!(!read.state.is_ascii_whitespace() && read.state != b')');
    // The kernel writes only letters.
    let state = if read.state.is_ascii() { read.state } else { b'?' };
    let again = format!(
        "1 (x) {} 4 5 6 7 8 {} 10 11 12 13 14 15 16 17 18 19 {} 21 {}",
        char::from(state),
        read.flags,
        read.threads,
        read.start_ticks,
    );
    assert_eq!(parse::proc_stat(again.as_bytes()), Some(parse::ProcStat { state, ..read }));
}

fn owner_note(text: &[u8]) {
    let note = parse::owner_note(text);
    let mut again = format!("created_ns={} pid={}", note.created_unix_ns, note.pid);
    if let Some(tag) = note.tag {
        assert!(contains(text, format!("tag={}", tag.as_str()).as_bytes()));
        again += &format!(" tag={}", tag.as_str());
    }
    if let Some(label) = note.label {
        assert!(text.ends_with(format!(" label={}", label.as_str()).as_bytes()));
        again += &format!(" label={}", label.as_str());
    }
    assert_eq!(parse::owner_note(again.as_bytes()), note);
}

fn label(text: &[u8]) {
    const DIRECTION_AND_LINES: &str =
        "\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
    let valid = |text: &str| !text.contains(|c: char| c.is_control() || DIRECTION_AND_LINES.contains(c));
    match parse::Label::parse(text) {
        Some(label) => assert_eq!(label.as_str().as_bytes(), text),
        None => assert!(text.is_empty() || text.len() > 63 || !std::str::from_utf8(text).is_ok_and(valid)),
    }
}

fn tag(text: &[u8]) {
    let valid = |b: &u8| b.is_ascii_graphic() && !b"!\"#$%&'()*+,;<=>?@[\\]^`{|}~".contains(b);
    match parse::Tag::parse(text) {
        Some(tag) => assert_eq!(tag.as_str().as_bytes(), text),
        None => assert!(text.is_empty() || text.len() > 63 || !text.iter().all(valid)),
    }
}

fn lives(bytes: &[u8]) {
    let (Some((&state, rest)), mut threads) = (bytes.split_first(), [0; 8]) else { return };
    rest.iter().zip(&mut threads).for_each(|(from, to)| *to = *from);
    let threads = u64::from_le_bytes(threads);
    let expected = match state {
        b'Z' => threads >= 2,
        b'X' | b'x' => false,
        _ => true,
    };
    assert_eq!(parse::lives(state, threads), expected);
}

fn task(text: &[u8]) {
    let task = parse::task(text);
    assert!(task.as_ref().is_none_or(|task| task.pid >= 0));
    assert_eq!(parse::task(&[b"Name:\tx\n", text].concat()), task);
    let dead = parse::task(&[b"State:\tX\nTgid:\t3\n", text].concat());
    assert_eq!(dead, Some(parse::Task { pid: 3, lives: false }));
}

fn pidfd(text: &[u8]) {
    if let Some(pid) = parse::pidfd(text) {
        assert!(pid >= 0 && contains(text, b"Pid:"));
        assert_eq!(parse::pidfd(format!("pos:\t0\nPid:\t{pid}\n").as_bytes()), Some(pid));
    }
}

fn mount_root(line: &[u8]) {
    let id = line.split(|&b| b == b' ').next().and_then(parse::number);
    let root = id.and_then(|id| parse::mount_root(line, id));
    assert_eq!(root, id.and_then(|_| line.split(|&b| b == b' ').nth(3)));
}

fn mount_id(text: &[u8]) {
    let Some(id) = parse::mount_id(text) else { return };
    assert_eq!(parse::mount_id(format!("pos:\t0\nmnt_id:\t{id}\n").as_bytes()), Some(id));
}

fn release(text: &[u8]) {
    let Some(release) = parse::release(text) else { return };
    let (version, patch, sub) = release.version;
    let candidate = if release.candidate > 0 { format!("-rc{}", release.candidate) } else { String::new() };
    let again = format!("{version}.{patch}.{sub}{candidate}");
    assert_eq!(parse::release(again.as_bytes()), Some(release));
}

fn namespace(link: &[u8]) {
    if let Some(number) = parse::namespace(link) {
        assert_eq!(parse::namespace(format!("cgroup:[{number}]").as_bytes()), Some(number));
    }
}

fn is_numbered_once(text: &[u8]) {
    let line = text.split(|&b| b == b'\n').find(|line| line.starts_with(b"NSpid:"));
    let pids =
        line.map_or(0, |line| line[6..].split(u8::is_ascii_whitespace).filter(|pid| !pid.is_empty()).count());
    assert_eq!(parse::is_numbered_once(text), pids == 1);
}
