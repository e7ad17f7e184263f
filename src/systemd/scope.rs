// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transient scope: the arguments that describe it to the manager, and the end of its job.

use super::failure::{Failure, Result, one_line};
use super::sdbus::{Message, Text};
use std::ffi::{CStr, CString};

/// The interface of a manager.
pub const MANAGER: &CStr = c"org.freedesktop.systemd1.Manager";

/// The arguments of StartTransientUnit for a scope, without its processes.
pub struct ScopeUnit {
    /// The name of the unit, with `.scope`.
    pub name: CString,
    /// The slice. If it is empty, the manager chooses one.
    pub slice: CString,
    /// The description that systemctl shows.
    pub description: CString,
}

impl ScopeUnit {
    /// Append the arguments `ssa(sv)a(sa(sv))`. `members` appends the property that names the processes.
    pub fn append_to(
        &self,
        message: &Message<'_>,
        members: &dyn Fn(&Message<'_>) -> nix::Result<()>,
    ) -> nix::Result<()> {
        message.string(&self.name)?;
        // A unit of this name belongs to another program and is not replaced.
        message.string(c"fail")?;
        message.within(b'a', c"(sv)", |list| {
            property(list, c"Description", c"s", |m| m.string(&self.description))?;
            if !self.slice.is_empty() {
                property(list, c"Slice", c"s", |m| m.string(&self.slice))?;
            }
            property(list, c"Delegate", c"b", |m| m.boolean(true))?;
            property(list, c"CollectMode", c"s", |m| m.string(c"inactive-or-failed"))?;
            members(list)
        })?;
        message.within(b'a', c"(sa(sv))", |_no_auxiliary_units| Ok(()))
    }

    /// The name as it is shown in messages.
    pub fn shown(&self) -> String {
        one_line(self.name.as_bytes())
    }
}

/// Append one property, of the type `(sv)`.
pub fn property(
    list: &Message<'_>,
    name: &CStr,
    signature: &CStr,
    value: impl FnOnce(&Message<'_>) -> nix::Result<()>,
) -> nix::Result<()> {
    list.within(b'r', c"sv", |m| {
        m.string(name)?;
        m.within(b'v', signature, value)
    })
}

/// The signal JobRemoved, which says that a job has ended.
pub struct JobRemoved {
    sender: Option<Vec<u8>>,
    job: Vec<u8>,
    result: Vec<u8>,
}

impl JobRemoved {
    /// Read the signal. Returns `None` if the message is another one.
    pub fn read(message: &Message<'_>) -> nix::Result<Option<Self>> {
        if !message.is_signal(MANAGER, c"JobRemoved") {
            return Ok(None);
        }
        let _job_id = message.read_number()?;
        let job = message.read_text(Text::ObjectPath)?;
        let _unit = message.read_text(Text::String)?;
        let result = message.read_text(Text::String)?;
        Ok(Some(Self { sender: message.sender().map(<[u8]>::to_vec), job, result }))
    }

    /// Returns true if it is about this job and has the same sender as `reply`. Any program may send signals over a bus,
    /// but not under the name of another sender.
    pub fn is_of(&self, job: &[u8], reply: &Message<'_>) -> bool {
        self.job == job && self.sender.as_deref() == reply.sender()
    }

    /// Check that the job has made the scope.
    pub fn check(&self, scope: &ScopeUnit) -> Result<()> {
        if self.result == b"done" {
            return Ok(());
        }
        let result = one_line(&self.result);
        Err(Failure::Refused(format!("the job of systemd for {} ended as \"{result}\"", scope.shown())))
    }
}
