// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

#[test]
fn a_namespace_has_the_number_in_its_link() {
    assert_eq!(namespace(b"cgroup:[4026531835]"), Some(4_026_531_835));
    assert_eq!(namespace(b"net:[4026531835]"), None);
    assert_eq!(namespace(b"cgroup:[4026531835"), None);
    assert_eq!(namespace(b"cgroup:[]"), None);
}

#[test]
fn our_own_cgroup_is_the_line_of_hierarchy_zero() {
    let hybrid = b"12:cpu:/x\n1:name=systemd:/y\n0::/user.slice/a.scope\n";
    assert_eq!(own_cgroup(hybrid), Some(b"/user.slice/a.scope".as_slice()));
    assert_eq!(own_cgroup(b"0::/\n"), Some(b"/".as_slice()));
    assert_eq!(own_cgroup(b"10::/x\n3:pids:/a\n"), None);
    assert_eq!(own_cgroup(b""), None);
}

#[test]
fn names_keep_their_blanks_colons_and_stray_bytes() {
    assert_eq!(own_cgroup(b"0::/a b: \xff \n"), Some(b"/a b: \xff ".as_slice()));
    assert_eq!(own_cgroup(b"0::/x (deleted)\n"), Some(b"/x (deleted)".as_slice()));
}

#[test]
fn the_levels_to_a_common_cgroup_are_counted_from_the_first_path() {
    let levels = |path: &str, other: &str| levels_to_common(path.as_bytes(), other.as_bytes());
    assert_eq!([levels("/", "/a/b"), levels("/a", "/a/b"), levels("/a", "/a")], [Some(0); 3]);
    assert_eq!(levels("/a/b/c", "/a"), Some(2));
    assert_eq!(levels("/a/b/c", "/a/bc/c"), Some(2));
    assert_eq!(levels("/a/b", "/"), Some(2));
    assert_eq!([levels("/..", "/a"), levels("/a", "/../b")], [None; 2]);
}

#[test]
fn a_path_leads_out_only_by_a_whole_dot_dot() {
    assert!(leads_out(b"/..") && leads_out(b"/../a"));
    assert!(!leads_out(b"/..x") && !leads_out(b"/") && !leads_out(b"/a/.."));
}

#[test]
fn a_mount_line_is_read_with_its_escapes_and_optional_fields() {
    let line =
        br"28 23 0:19 /ns/sp\040ace /tmp/b\134i rw,relatime shared:4 master:1 - cgroup2 none rw,nsdelegate";
    assert_eq!(
        cgroup2_mount(line),
        Some(Mount {
            root: b"/ns/sp ace".into(),
            point: br"/tmp/b\i".into(),
            read_only: false,
            nsdelegate: true,
            memory_localevents: false,
            pids_localevents: false,
        })
    );
    let local = br"28 23 0:19 / /sys/fs/cgroup rw - cgroup2 none rw,memory_localevents,pids_localevents";
    let mount = cgroup2_mount(local).unwrap();
    assert!(mount.memory_localevents && mount.pids_localevents && !mount.nsdelegate);
}

#[test]
fn the_allocation_stalls_of_all_zones_are_summed() {
    let text = b"pgalloc_dma 1\nallocstall_dma 2\nallocstall_normal 3\nallocstall_movable 40\npgskip_dma 5\n";
    assert_eq!(allocation_stalls(text), Some(45));
    assert_eq!(allocation_stalls(b"pgalloc_dma 1\n"), None);
}

#[test]
fn a_mount_is_read_only_by_its_own_or_its_superblocks_options() {
    let by_mount = b"28 23 0:19 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw";
    let by_super = b"28 23 0:19 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 ro";
    let errors_ro = b"28 23 0:19 / /sys/fs/cgroup rw,errors=ro - cgroup2 cgroup2 rw";
    assert!(cgroup2_mount(by_mount).unwrap().read_only);
    assert!(cgroup2_mount(by_super).unwrap().read_only);
    assert!(!cgroup2_mount(errors_ro).unwrap().read_only);
}

#[test]
fn other_file_systems_and_broken_lines_are_no_cgroup2_mount() {
    assert_eq!(cgroup2_mount(b"28 23 0:19 / /sys/fs/cgroup rw - cgroup cgroup rw"), None);
    assert_eq!(cgroup2_mount(b"28 23 0:19 / /sys/fs/cgroup rw"), None);
    assert_eq!(cgroup2_mount(b"28 23 0:19 / /sys/fs/cgroup rw - cgroup2"), None);
    assert_eq!(cgroup2_mount(b""), None);
}

#[test]
fn an_escape_needs_three_octal_digits_of_one_byte() {
    assert_eq!(unescape(br"\040\011\012\134\043"), b" \t\n\\#");
    assert_eq!(unescape(br"\04\9\400\"), br"\04\9\400\");
}

#[test]
fn below_respects_component_borders() {
    assert_eq!(below(b"/", b"/a/b"), Some(b"a/b".as_slice()));
    assert_eq!(below(b"/", b"/"), Some(b"".as_slice()));
    assert_eq!(below(b"/a", b"/a"), Some(b"".as_slice()));
    assert_eq!(below(b"/a", b"/a/b"), Some(b"b".as_slice()));
    assert_eq!(below(b"/a", b"/ab"), None);
    assert_eq!(below(b"/a/b", b"/a"), None);
}

#[test]
fn the_last_component_is_split_off() {
    assert_eq!(split_last(b"a/b/c"), (b"a/b".as_slice(), b"c".as_slice()));
    assert_eq!(split_last(b"c"), (b"".as_slice(), b"c".as_slice()));
}

#[test]
fn a_path_holds_a_name_only_up_to_a_component_border() {
    assert!(has_component(b"/p/synwire/agents/x", b"/agents/x"));
    assert!(has_component(b"/p/agents/xy/agents/x/y", b"/agents/x"));
    assert!(!has_component(b"/p/agents/xy", b"/agents/x"));
    assert!(!has_component(b"/p", b"/agents/x") && !has_component(b"/p", b""));
}

#[test]
fn numbers_saturate_and_take_nothing_but_digits() {
    assert_eq!(number(b"0\n"), Some(0));
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(number(b"99999999999999999999999"), Some(u64::MAX));
    for junk in [b"".as_slice(), b"\n", b"-1", b"+1", b"1 ", b" 1", b"0x1", b"1\n\n"] {
        assert_eq!(number(junk), None, "{junk:?}");
    }
}

#[test]
fn max_is_no_number_but_no_limit() {
    assert_eq!(limit(b"max\n"), Some(UNLIMITED));
    assert_eq!(limit(b"4096\n"), Some(4096));
    assert_eq!(limit(b"maximum\n"), None);
    assert_eq!(cpu_max(b"max 100000\n"), Some((UNLIMITED, 100_000)));
    assert_eq!(cpu_max(b"50000 100000\n"), Some((50_000, 100_000)));
    assert_eq!(cpu_max(b"50000\n"), None);
    for junk in [b"0\n\n".as_slice(), b"max\n\n"] {
        assert_eq!(limit(junk), None, "{junk:?}");
    }
    for junk in [b"1 2\n\n".as_slice(), b"1\n 2", b"1 2 3", b"max\n 2\n"] {
        assert_eq!(cpu_max(junk), None, "{junk:?}");
    }
}

#[test]
fn flat_keyed_files_give_known_keys_and_pass_over_the_rest() {
    let text = b"usage_usec 17\nuser_usec 9\nodd\nnew_key x\nsystem_usec 8\n";
    assert_eq!(value(text, b"usage_usec"), Some(17));
    assert_eq!(value(text, b"system_usec"), Some(8));
    assert_eq!(value(text, b"usage"), None);
    assert_eq!(pairs(text).count(), 3);
}

#[test]
fn ids_keep_the_zero_of_an_unnameable_process() {
    assert_eq!(ids(b"1\n0\n4194304\n").collect::<Vec<_>>(), [1, 0, 4_194_304]);
    assert_eq!(ids(b"").count(), 0);
    assert_eq!(ids(b"99999999999\n-4\n").count(), 0);
}

#[test]
fn an_owners_note_is_read_as_far_as_it_goes() {
    let text = b"pid=412 start=98765 created_ns=1700000000000000000 boot=0b4e";
    let note = OwnerNote { pid: 412, created_unix_ns: 1_700_000_000_000_000_000, ..OwnerNote::default() };
    assert_eq!(owner_note(text), note);
    assert_eq!(owner_note(b"created_ns=5"), OwnerNote { created_unix_ns: 5, ..OwnerNote::default() });
    assert_eq!(owner_note(b"pid=99999999999 created_ns=x\xff"), OwnerNote::default());
    assert_eq!(owner_note(b""), OwnerNote::default());
}

#[test]
fn the_label_is_the_rest_of_the_note_and_holds_no_other_field() {
    let note = owner_note(b"pid=1 start=2 created_ns=3 tag=ci/x:1 label=tag=other pid=9 label=again ");
    assert_eq!((note.pid, note.created_unix_ns), (1, 3));
    assert_eq!(note.tag, Tag::parse(b"ci/x:1"));
    assert_eq!(note.label, Label::parse(b"tag=other pid=9 label=again "));
    let without_tag = owner_note(b"pid=1 label=tag=other");
    assert_eq!((without_tag.tag, without_tag.label), (None, Label::parse(b"tag=other")));
}

#[test]
fn a_tag_or_label_that_no_program_can_have_given_is_none() {
    for text in [
        b"pid=1 tag= label=".as_slice(),
        b"pid=1 tag=a,b label=a\nb",
        b"pid=1 tag=\xff label=\xff",
        b"tag label=",
    ] {
        let note = owner_note(text);
        assert_eq!((note.tag, note.label), (None, None), "{}", text.escape_ascii());
    }
    let long = [b"pid=1 tag=".as_slice(), &[b'x'; 64], b" label=", &[b'y'; 64]].concat();
    assert_eq!(owner_note(&long), OwnerNote { pid: 1, ..OwnerNote::default() });
    assert_eq!(owner_note(b"tag=a,b tag=c").tag, None, "the first one decides");
}

#[test]
fn a_process_is_read_whatever_its_name_holds() {
    let text = b"42 (a) S (b) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 98765 0 0\n";
    assert_eq!(
        proc_stat(text),
        Some(ProcStat { state: b'Z', flags: 4_194_560, threads: 3, start_ticks: 98_765 })
    );
    assert_eq!(proc_stat(b"42 (a"), None);
    assert_eq!(proc_stat(b"42 (a) S 1"), None);
}

#[test]
fn any_bytes_are_taken_without_a_panic() {
    // A small generator in place of a fuzzer: every parser sees every prefix of noise and of real text.
    let mut seed = 0x2545_f491_4f6c_dd1du64;
    let real = b"28 23 0:19 /a\\040 /b rw - cgroup2 c rw\n0::/x\nusage_usec 1\nmax 1\n1 (a) S 1 2\n";
    for _ in 0..2_000 {
        let noise: Vec<u8> = (0..64)
            .map(|at| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let byte = real.get(at % real.len()).copied().unwrap_or_default();
                if seed & 3 == 0 { (seed >> 8) as u8 } else { byte }
            })
            .collect();
        for end in 0..=noise.len() {
            let text = noise.get(..end).unwrap();
            let _ = (own_cgroup(text), leads_out(text), cgroup2_mount(text), number(text));
            let _ = (limit(text), cpu_max(text), pairs(text).count(), words(text).count());
            let _ = (ids(text).count(), proc_stat(text), below(text, &noise), split_last(text));
            let _ = (has_component(&noise, text), unescape(text));
        }
    }
}

#[test]
fn a_thread_tells_its_process_and_whether_that_lives() {
    let status = |state: &str, threads: &str| {
        format!(
            "Name:\tx\\nTgid:\t9\nUmask:\t0022\nState:\t{state}\nTgid:\t42\nNgid:\t0\nPid:\t43\n{threads}SigQ:\t0/1\n"
        )
    };
    let parsed = |state, threads| task(status(state, threads).as_bytes());
    assert_eq!(parsed("S (sleeping)", "Threads:\t1\n"), Some(Task { pid: 42, lives: true }));
    assert_eq!(parsed("Z (zombie)", "Threads:\t2\n"), Some(Task { pid: 42, lives: true }));
    for (state, threads) in
        [("Z (zombie)", "Threads:\t1\n"), ("Z (zombie)", ""), ("X (dead)", "Threads:\t1\n")]
    {
        assert_eq!(parsed(state, threads), Some(Task { pid: 42, lives: false }), "{state}");
    }
    assert_eq!(task(b""), None);
    assert_eq!(task(b"State:\t\nTgid:\t1\n"), None);
    assert_eq!(task(b"State:\tS\nTgid:\t99999999999\n"), None);
}

#[test]
fn io_is_summed_over_devices_and_what_is_not_understood_passes() {
    let text = b"8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n\
        253:0 cost.usage=3 rbytes=1 wbytes=18446744073709551615 rios=x wios= odd\n8:16 \n";
    assert_eq!(io_stat(text), IoStat { rbytes: 4097, wbytes: u64::MAX, rios: 1, wios: 2 });
    assert_eq!(io_stat(b""), IoStat::default());
}

#[test]
fn pressure_is_the_total_of_each_line_that_there_is() {
    let some = b"some avg10=0.00 avg60=1.50 avg300=0.25 total=1234\n";
    assert_eq!(pressure(some), Pressure { some_us: Some(1234), full_us: None });
    let both = b"some avg10=0.00 total=18446744073709551616\nfull avg10=0.00 total=7";
    assert_eq!(pressure(both), Pressure { some_us: Some(u64::MAX), full_us: Some(7) });
    assert_eq!(pressure(b"something total=1\nfull total=-1\n"), Pressure::default());
}

#[test]
fn releases_are_ordered_with_candidates_before_the_final_one() {
    let ordered = [
        "5.10.46",
        "6.1.0-44-amd64",
        "6.1.176",
        "6.18.44-foo",
        "6.19.0-rc1",
        "6.19.0",
        "6.19.11",
        "7.0.5-arch1",
        "7.1.0-rc2+",
        "7.1.0-rc3",
        "7.1.0-rc10",
        "7.1",
        "7.2.7",
        "10.0.0",
    ];
    let parsed: Vec<Release> = ordered.iter().filter_map(|text| release(text.as_bytes())).collect();
    assert_eq!(parsed.len(), ordered.len());
    for pair in parsed.windows(2) {
        assert!(pair[0] < pair[1], "{pair:?}");
    }
    assert_eq!(release(b"7.1.0").unwrap(), release(b"7.1").unwrap());
    assert_eq!(release(b"Linux"), None);
    assert_eq!(release(b""), None);
}

#[test]
fn a_mount_is_found_by_its_id() {
    assert_eq!(mount_id(b"pos:\t0\nflags:\t02100000\nmnt_id:\t28\nino:\t1\n"), Some(28));
    assert_eq!(mount_id(b"pos:\t0\n"), None);
    let line = b"28 23 0:19 /.. /sys/fs/cgroup rw - cgroup2 none rw";
    assert_eq!(mount_root(line, 28), Some(&b"/.."[..]));
    assert_eq!(mount_root(line, 23), None);
    assert_eq!(mount_root(b"28 23", 28), None);
}

#[test]
fn a_process_has_one_pid_for_each_pid_namespace() {
    assert!(is_numbered_once(b"Name:\tx\nNSpid:\t12\nNSpgid:\t1\t2\n"));
    for text in [&b"Name:\tx\nNSpid:\t12\t1\n"[..], b"NSpid:\t\n", b"Name:\tx\n", b""] {
        assert!(!is_numbered_once(text), "{text:?}");
    }
}
