// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ways into a group, and how one of them is closed.

use crate::common::group::Group;
use crate::common::member::role;
use crate::common::patience;
use crate::common::program::{self, How};
use agentcg::{Agent, Errno};
use nix::sys::wait::WaitStatus;

/// Exits with the status that it is told.
pub fn ends(args: &[String]) {
    role::exit(args[0].parse().unwrap());
}

/// What stands between us and a birth in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Born,
    /// A seccomp filter that says ENOSYS to clone3(2), as containers have it.
    Refused,
    /// The kernel, which kills what is born in a group after cgroup.kill was used in it: 6.1.176 does.
    KilledAtBirth,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Born, Self::Refused, Self::KilledAtBirth];

    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|way| format!("{way:?}") == name).expect("one of the ways")
    }

    /// From now on, for the calling thread and those that it starts.
    pub fn close(self, agent: &Agent) {
        match self {
            Self::Born => {}
            Self::Refused => refuse_clone3(),
            Self::KilledAtBirth => agent.kill_all(patience()).unwrap(),
        }
    }
}

fn refuse_clone3() {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let number_in_call = 0;
    let mut same = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_clone3 as u32);
    same.jf = 1;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, number_in_call),
        same,
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: the filter is live while the kernel copies it.
    #[allow(unsafe_code, reason = "nix has no filters")]
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        let refused = libc::syscall(libc::SYS_clone3, std::ptr::null::<u8>(), 0);
        assert_eq!((refused, Errno::last()), (-1, Errno::ENOSYS), "the filter refuses");
    }
}

/// On a thread of its own, since a filter stays.
fn on_each_way(test: impl Fn(Way, &Group) + Copy + Send + 'static) {
    for way in Way::ALL {
        let alone = std::thread::spawn(move || {
            let group = Group::plain();
            way.close(&group);
            test(way, &group);
            group.destroy();
        });
        alone.join().unwrap_or_else(|_| panic!("on the way {way:?}"));
    }
}

#[test]
fn a_program_ends_as_it_likes_on_each_way() {
    on_each_way(|_, group| {
        for status in [0, 7] {
            let how = How { args: &[&status.to_string()], ..How::default() };
            let child = program::start(group, "ends", how).unwrap();
            assert!(child.pidfd.is_none());
            assert!(matches!(program::wait(&child), WaitStatus::Exited(_, code) if code == status));
        }
    });
}

/// Those that open it anew do not know what others have seen.
#[test]
fn what_is_killed_at_birth_is_started_once_and_by_each_handle() {
    let group = Group::plain();
    Way::KilledAtBirth.close(&group);
    for _ in 0..20 {
        let guest = Agent::open(None, group.uuid(), false).unwrap();
        let how = How { args: &["3"], ..How::default() };
        let child = program::start(&guest, "ends", how).unwrap();
        assert!(matches!(program::wait(&child), WaitStatus::Exited(_, 3)));
    }
    group.destroy();
}

#[test]
fn a_program_that_is_not_there_leaves_no_child_on_each_way() {
    on_each_way(|_, group| {
        let words = [c"x"];
        let program = agentcg::Program {
            files: agentcg::Strings::new([c"/nowhere", c"/proc/self/exe/nowhere"]),
            argv: agentcg::Strings::new(words),
            envp: agentcg::Strings::new([]),
            new_session: false,
            directory: None,
            stdio: [agentcg::INHERIT; 3],
        };
        let e = group.spawn(&program, agentcg::Spawn { pidfd: true, contain: false }).unwrap_err();
        assert_eq!((e.errno(), e.reason()), (Errno::ENOENT, None), "{e}");
        assert!(group.cgroup.members().is_empty() && program::no_child_is_left());
    });
}
