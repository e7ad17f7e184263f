// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls to a systemd manager.

use super::failure::{ErrorReply, Failure, Result, one_line};
use super::scope::{JobRemoved, MANAGER, ScopeUnit, property};
use super::sdbus::{Bus, Message, Method, Text};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long to wait for the reply to a call: the usual timeout of D-Bus.
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
/// How long to wait for the end of a job, which begins after the reply to the call.
const JOB_TIMEOUT: Duration = Duration::from_secs(25);

/// The bus name of systemd.
pub const SYSTEMD: &CStr = c"org.freedesktop.systemd1";
/// The object of a manager.
pub const OBJECT: &CStr = c"/org/freedesktop/systemd1";
const MATCH_JOB_REMOVED: &CStr = c"type='signal',sender='org.freedesktop.systemd1',\
    path='/org/freedesktop/systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";

/// A connection to a systemd manager. A forked child cannot use it.
pub struct Manager {
    /// The connection.
    pub bus: Bus,
    /// The connection goes through a message bus.
    pub on_bus: bool,
}

impl Manager {
    /// The path of the manager's own cgroup. It is empty for the system manager, which is in the root.
    pub fn control_group(&self) -> Result<Vec<u8>> {
        let get = self.method(c"org.freedesktop.DBus.Properties", c"Get")?;
        get.string(MANAGER)?;
        get.string(c"ControlGroup")?;
        let reply = self.call(&get)?;
        reply.enter_variant(c"s")?;
        Ok(reply.read_text(Text::String)?)
    }

    /// A property of a service that is a string, such as `KillMode`. None if this version of systemd does not have it.
    pub fn property_of_service(&self, unit: &[u8], property: &CStr) -> Result<Option<Vec<u8>>> {
        let path = text(&object_of_unit(unit))?;
        let interface = c"org.freedesktop.DBus.Properties";
        let get = self.bus.method(&Method { destination: SYSTEMD, path: &path, interface, name: c"Get" })?;
        get.string(c"org.freedesktop.systemd1.Service")?;
        get.string(property)?;
        match self.call_until(&get, Deadline::after(CALL_TIMEOUT), |_| Ok(()))? {
            Ok(reply) => {
                reply.enter_variant(c"s")?;
                Ok(Some(reply.read_text(Text::String)?))
            }
            Err(error) if error.is_unknown_property() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Make a transient scope that is delegated to the caller and holds the process. On return the process is in the
    /// cgroup of the scope. systemd removes the scope when its last process has ended. If `slice` is empty, the manager
    /// chooses it. After a failure other than [`Failure::Refused`] systemd may still make the scope; it is removed
    /// when the process ends.
    pub fn start_scope(
        &self,
        name: &str,
        slice: &str,
        description: &str,
        pid: i32,
        pidfd: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let scope = ScopeUnit { name: text(name)?, slice: text(slice)?, description: text(description)? };
        let pid = checked_pid(pid)?;
        if self.on_bus {
            let add_match = self.bus.method(&dbus(c"AddMatch"))?;
            add_match.string(MATCH_JOB_REMOVED)?;
            self.call(&add_match)?;
        }
        if let Some(pidfd) = pidfd.filter(|_| self.bus.passes_descriptors()) {
            let started = self.start(&scope, &|list| {
                property(list, c"PIDFDs", c"ah", |m| m.within(b'a', c"h", |m| m.descriptor(pidfd)))
            })?;
            match started {
                Ok(()) => return Ok(()),
                Err(error) if error.is_unknown_property() => {} // This version accepts only pids.
                Err(error) => return Err(error.into()),
            }
        }
        let started = self.start(&scope, &|list| {
            property(list, c"PIDs", c"au", |m| m.within(b'a', c"u", |m| m.number(pid)))
        })?;
        Ok(started?)
    }

    /// Start the scope and wait for the end of its job. `members` appends the property that names the processes.
    fn start(
        &self,
        scope: &ScopeUnit,
        members: &dyn Fn(&Message<'_>) -> nix::Result<()>,
    ) -> Result<std::result::Result<(), ErrorReply>> {
        let start = self.method(MANAGER, c"StartTransientUnit")?;
        scope.append_to(&start, members)?;
        // The job may end before the reply, which names it, has been read.
        let mut ended = Vec::new();
        let reply = self.call_until(&start, Deadline::after(CALL_TIMEOUT), |signal| {
            ended.extend(JobRemoved::read(signal)?);
            Ok(())
        })?;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => return Ok(Err(error)),
        };
        let job = reply.read_text(Text::ObjectPath)?;
        let deadline = Deadline::after(JOB_TIMEOUT);
        loop {
            if let Some(end) = ended.iter().find(|end| end.is_of(&job, &reply)) {
                return end.check(scope).map(Ok);
            }
            let message = self.bus.next(deadline).map_err(|e| match e {
                Errno::ETIMEDOUT => Failure::TimedOut(format!(
                    "systemd accepted {}, but did not make it within {} s",
                    scope.shown(),
                    JOB_TIMEOUT.as_secs()
                )),
                e => e.into(),
            })?;
            ended.clear();
            ended.extend(JobRemoved::read(&message)?);
        }
    }

    /// Have systemd move the process to the existing cgroup `subgroup`, such as `/a/b`, below the cgroup of the unit.
    /// This serves for moves that the kernel refuses to the caller with EACCES. A user manager passes the request to the
    /// system manager.
    pub fn attach(&self, unit: &str, subgroup: &str, pid: i32) -> Result<()> {
        let attach = self.method(MANAGER, c"AttachProcessesToUnit")?;
        attach.string(&text(unit)?)?;
        attach.string(&text(subgroup)?)?;
        let pid = checked_pid(pid)?;
        attach.within(b'a', c"u", |list| list.number(pid))?;
        self.call(&attach).map(drop)
    }

    /// A new call of a method of the manager.
    fn method(&self, interface: &'static CStr, name: &'static CStr) -> nix::Result<Message<'_>> {
        self.bus.method(&Method { destination: SYSTEMD, path: OBJECT, interface, name })
    }

    /// Send a call and wait for its reply.
    fn call(&self, message: &Message<'_>) -> Result<Message<'_>> {
        Ok(self.call_until(message, Deadline::after(CALL_TIMEOUT), |_| Ok(()))??)
    }

    /// Send a call and wait until `deadline` for its reply or error reply. `other` gets each message that arrives before.
    pub fn call_until(
        &self,
        message: &Message<'_>,
        deadline: Deadline,
        mut other: impl FnMut(&Message<'_>) -> nix::Result<()>,
    ) -> Result<std::result::Result<Message<'_>, ErrorReply>> {
        let cookie = self.bus.send(message)?;
        loop {
            let next = self.bus.next(deadline)?;
            if next.reply_cookie() != Some(cookie) {
                other(&next)?;
                continue;
            }
            let error = next.error().map(|(name, text)| ErrorReply::new(name, text));
            return Ok(error.map_or(Ok(next), Err));
        }
    }
}

/// The path of the object of a unit: in its name, all bytes except letters and digits are in hexadecimal.
fn object_of_unit(unit: &[u8]) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (number, &byte) in unit.iter().enumerate() {
        if byte.is_ascii_alphabetic() || (number > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path += &format!("_{byte:02x}");
        }
    }
    path
}

/// A method of the bus itself.
pub fn dbus(name: &'static CStr) -> Method<'static> {
    const DBUS: &CStr = c"org.freedesktop.DBus";
    Method { destination: DBUS, path: c"/org/freedesktop/DBus", interface: DBUS, name }
}

fn text(text: &str) -> Result<CString> {
    CString::new(text)
        .map_err(|_| Failure::Refused(format!("a name holds a NUL byte: {}", one_line(text.as_bytes()))))
}

/// The pid as D-Bus transmits it. 0, which would be the calling process, is refused.
fn checked_pid(pid: i32) -> Result<u32> {
    match u32::try_from(pid) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Failure::Refused(format!("{pid} is not the pid of a process"))),
    }
}

#[cfg(test)]
mod tests {
    use super::object_of_unit;

    #[test]
    fn the_object_of_a_unit_has_its_name_in_letters_digits_and_underscores() {
        let path = |unit: &str| object_of_unit(unit.as_bytes());
        assert_eq!(path("a-1.service"), "/org/freedesktop/systemd1/unit/a_2d1_2eservice");
        assert_eq!(path("1@\u{e9}_.service"), "/org/freedesktop/systemd1/unit/_31_40_c3_a9_5f_2eservice");
    }
}
