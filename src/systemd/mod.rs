// SPDX-License-Identifier: MIT OR Apache-2.0
//! What we ask of systemd: a scope of our own, and moves that the kernel refuses to us. A manager is
//! reached on its sockets, over libsystemd's sd-bus, which is loaded only once a socket took us.
//! Nothing here outlives the connection: no thread, no cache; no environment variable is asked.

mod failure;
mod library;
mod reach;
mod scope;
mod sdbus;
mod socket;
#[cfg(test)]
mod tests;

use crate::sys::deadline::Deadline;
pub use failure::Failure;
use failure::{Denial, Result, line};
use nix::errno::Errno;
pub use reach::NEEDS_LIBRARY;
use scope::{JobEnd, ScopeUnit, property};
use sdbus::{Bus, Message, Method, Text};
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What D-Bus calls are commonly given.
const CALL: Duration = Duration::from_secs(25);
/// For a job, which begins when the call has been answered.
const JOB: Duration = Duration::from_secs(25);

const SYSTEMD: &CStr = c"org.freedesktop.systemd1";
const OBJECT: &CStr = c"/org/freedesktop/systemd1";
const MANAGER: &CStr = c"org.freedesktop.systemd1.Manager";
const JOB_REMOVED: &CStr = c"type='signal',sender='org.freedesktop.systemd1',\
    path='/org/freedesktop/systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection to a manager. It serves the process that made it, not a forked child.
pub struct Manager {
    bus: Bus,
    /// Whether there is a message bus between us.
    on_bus: bool,
}

impl Manager {
    /// The manager's own cgroup: empty for the system manager, whose is the root.
    pub fn control_group(&self) -> Result<Vec<u8>> {
        let get = self.method(c"org.freedesktop.DBus.Properties", c"Get")?;
        get.string(MANAGER)?;
        get.string(c"ControlGroup")?;
        let answer = self.ask(&get)?;
        answer.enter_variant(c"s")?;
        Ok(answer.read_text(Text::String)?)
    }

    /// A transient scope, delegated to us, that holds the process. On return the process is in the
    /// scope's cgroup, and systemd removes the scope when its last process has ended. `slice` may be
    /// empty for the manager's own choice. A failure other than `Refused` may come too early to tell:
    /// the scope can then still be made, and goes when the process ends.
    pub fn start_scope(
        &self,
        name: &str,
        slice: &str,
        description: &str,
        pid: i32,
        pidfd: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let scope = ScopeUnit { name: text(name)?, slice: text(slice)?, description: text(description)? };
        let pid = number(pid)?;
        if self.on_bus {
            let add_match = self.bus.method(&dbus(c"AddMatch"))?;
            add_match.string(JOB_REMOVED)?;
            self.ask(&add_match)?;
        }
        if let Some(pidfd) = pidfd.filter(|_| self.bus.passes_descriptors()) {
            let done = self.run(&scope, &|list| {
                property(list, c"PIDFDs", c"ah", |m| m.within(b'a', c"h", |m| m.descriptor(pidfd)))
            })?;
            match done {
                Ok(()) => return Ok(()),
                Err(denial) if denial.of_property() => {} // it knows processes by their pids only
                Err(denial) => return Err(denial.into()),
            }
        }
        let done = self.run(&scope, &|list| {
            property(list, c"PIDs", c"au", |m| m.within(b'a', c"u", |m| m.number(pid)))
        })?;
        Ok(done?)
    }

    /// Start the scope and wait for the end of its job.
    fn run(
        &self,
        scope: &ScopeUnit,
        members: &dyn Fn(&Message<'_>) -> nix::Result<()>,
    ) -> Result<std::result::Result<(), Denial>> {
        let start = self.method(MANAGER, c"StartTransientUnit")?;
        scope.describe(&start, members)?;
        // The job may end before we have read what it is called.
        let mut ended = Vec::new();
        let answer = self.call(&start, Deadline::after(CALL), |signal| {
            ended.extend(JobEnd::read(signal)?);
            Ok(())
        })?;
        let answer = match answer {
            Ok(answer) => answer,
            Err(denial) => return Ok(Err(denial)),
        };
        let job = answer.read_text(Text::ObjectPath)?;
        let deadline = Deadline::after(JOB);
        loop {
            if let Some(end) = ended.iter().find(|end| end.is_of(&job, &answer)) {
                return end.judge(scope).map(Ok);
            }
            let message = self.bus.next(deadline).map_err(|e| match e {
                Errno::ETIMEDOUT => Failure::TimedOut(format!(
                    "systemd has accepted {}, but not made it within {} s",
                    scope.shown(),
                    JOB.as_secs()
                )),
                e => e.into(),
            })?;
            ended.clear();
            ended.extend(JobEnd::read(&message)?);
        }
    }

    /// Have the process moved to `subgroup` (such as `/a/b`, which must be there) below the unit's cgroup:
    /// for moves that the kernel refuses to us with EACCES. The user manager asks the system's in turn.
    pub fn attach(&self, unit: &str, subgroup: &str, pid: i32) -> Result<()> {
        let attach = self.method(MANAGER, c"AttachProcessesToUnit")?;
        attach.string(&text(unit)?)?;
        attach.string(&text(subgroup)?)?;
        let pid = number(pid)?;
        attach.within(b'a', c"u", |list| list.number(pid))?;
        self.ask(&attach).map(drop)
    }

    /// A call of the manager's object.
    fn method(&self, interface: &'static CStr, name: &'static CStr) -> nix::Result<Message<'_>> {
        self.bus.method(&Method { destination: SYSTEMD, path: OBJECT, interface, name })
    }

    /// Send it, and wait for the answer.
    fn ask(&self, message: &Message<'_>) -> Result<Message<'_>> {
        Ok(self.call(message, Deadline::after(CALL), |_| Ok(()))??)
    }

    /// Send it, and wait for the answer, or the error in its place; `aside` is shown what comes before.
    fn call(
        &self,
        message: &Message<'_>,
        deadline: Deadline,
        mut aside: impl FnMut(&Message<'_>) -> nix::Result<()>,
    ) -> Result<std::result::Result<Message<'_>, Denial>> {
        let cookie = self.bus.send(message)?;
        loop {
            let next = self.bus.next(deadline)?;
            if next.reply_cookie() != Some(cookie) {
                aside(&next)?;
                continue;
            }
            let denial = next.error().map(|(name, said)| Denial::new(name, said));
            return Ok(denial.map_or(Ok(next), Err));
        }
    }
}

/// A call of the bus itself.
fn dbus(name: &'static CStr) -> Method {
    const DBUS: &CStr = c"org.freedesktop.DBus";
    Method { destination: DBUS, path: c"/org/freedesktop/DBus", interface: DBUS, name }
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Failure::Refused(format!("a name holds a NUL: {}", line(text.as_bytes()))))
}

/// As D-Bus carries a pid. 0 would be ourselves.
fn number(pid: i32) -> Result<u32> {
    match u32::try_from(pid) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Failure::Refused(format!("{pid} is not the pid of a process"))),
    }
}
