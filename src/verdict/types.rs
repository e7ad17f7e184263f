// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verdict and its parts.

/// The causes: the bits of [`Verdict::candidates`].
pub mod cause {
    /// The main program exited.
    pub const EXITED: u64 = 1 << 0;
    /// A signal that the kernel sent for a fault or a limit of the program, or that a process of the group sent.
    pub const SIGNAL_INSIDE: u64 = 1 << 1;
    /// A signal of a process outside the group.
    pub const SIGNAL_OUTSIDE: u64 = 1 << 2;
    /// A call of this library.
    pub const KILLED: u64 = 1 << 3;
    /// The guard, because the owner ended.
    pub const GUARD: u64 = 1 << 4;
    /// The OOM killer, because of a memory limit of the group or of a cgroup below it.
    pub const MEMORY_LIMIT: u64 = 1 << 5;
    /// The OOM killer, because of a memory limit of a cgroup above the group.
    pub const MEMORY_LIMIT_ABOVE: u64 = 1 << 6;
    /// The OOM killer, because the machine had no memory left.
    pub const MACHINE: u64 = 1 << 7;
    /// systemd-oomd.
    pub const OOMD: u64 = 1 << 8;
    /// Nothing: processes live in the group.
    pub const RUNNING: u64 = 1 << 9;
    /// A signal, whose sender no kernel shows.
    pub const SIGNAL: u64 = SIGNAL_INSIDE | SIGNAL_OUTSIDE;
    /// The OOM killer.
    pub const OOM: u64 = MEMORY_LIMIT | MEMORY_LIMIT_ABOVE | MACHINE;
}

/// The counts that are known: the bits of [`Verdict::mask`].
pub mod known {
    /// `oom_kills`.
    pub const OOM_KILLS: u64 = 1 << 0;
    /// `forks_refused`.
    pub const FORKS: u64 = 1 << 1;
    /// `forks_refused_own`.
    pub const FORKS_OWN: u64 = 1 << 2;
    /// `forks_refused_above`.
    pub const FORKS_ABOVE: u64 = 1 << 3;
    /// `memory_peak_bytes`.
    pub const MEMORY_PEAK: u64 = 1 << 4;
    /// `memory_max_bytes`.
    pub const MEMORY_MAX: u64 = 1 << 5;
    /// `cpu_throttled_ns`.
    pub const CPU_THROTTLED: u64 = 1 << 6;
}

/// How the main program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(u32),
    /// This signal ended it.
    Signalled(u32),
    /// The caller does not know.
    Unknown,
}

impl End {
    /// Decodes a wait status. Returns `None` for that of a stopped or continued process, and for other numbers.
    pub fn of(wait_status: i32) -> Option<Self> {
        match wait_status {
            // 0x80 says that there is a core dump.
            status @ 0..=0xffff if status & 0xff == 0 => u32::try_from(status >> 8).ok().map(Self::Exited),
            status @ 1..=0xff if (1..=libc::SIGRTMAX()).contains(&(status & 0x7f)) => {
                u32::try_from(status & 0x7f).ok().map(Self::Signalled)
            }
            _ => None,
        }
    }
}

/// Why an agent ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One bit of [`cause`], [`cause::SIGNAL`], or 0 if the kernel does not show which candidate it was.
    pub cause: u64,
    /// All possible causes.
    pub candidates: u64,
    /// Bits of [`known`].
    pub mask: u64,
    /// The exit code, after [`cause::EXITED`].
    pub exit_code: u32,
    /// The signal that ended the main program, 0 for none or if it is unknown.
    pub signal: u32,
    /// The call of this library that has sent the signal.
    pub call: Call,
    /// The number of levels from the group up to the cgroup whose memory limit was reached, 0 if it is not known.
    pub levels_up: u32,
    /// Processes that the OOM killer has killed.
    pub oom_kills: u64,
    /// Forks that were refused in the group.
    pub forks_refused: u64,
    /// Those refused by limits of the group and of cgroups below it.
    pub forks_refused_own: u64,
    /// Those refused by limits of cgroups above it.
    pub forks_refused_above: u64,
    /// The most memory in use.
    pub memory_peak_bytes: u64,
    /// The group's memory limit; [`crate::parse::UNLIMITED`] for none.
    pub memory_max_bytes: u64,
    /// The time for which the CPU quota throttled the group.
    pub cpu_throttled_ns: u64,
}

/// A call of this library that signals all processes of an agent. The values are part of the C interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names of the functions")]
pub enum Call {
    #[default]
    None = 0,
    KillAll = 1,
    KillAllOf = 2,
    Terminate = 3,
    Destroy = 4,
    SignalAll = 5,
    Reap = 6,
}

/// The remover of a group, as it has recorded itself. The numbers are in an attribute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Remover {
    /// Unknown, or no process lived in the group.
    #[default]
    Unknown,
    /// The guard killed it.
    Guard,
    /// `agentcg_reap` killed it.
    Reap,
    /// `agentcg_destroy` killed it.
    Destroy,
}

impl Remover {
    /// Returns the number for the attribute.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// Returns the remover of a number. Later versions may have others.
    pub fn from_number(number: u64) -> Self {
        [Self::Guard, Self::Reap, Self::Destroy]
            .into_iter()
            .find(|remover| remover.number() == number)
            .unwrap_or_default()
    }
}
