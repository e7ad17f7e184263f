// SPDX-License-Identifier: MIT OR Apache-2.0
//! A transient scope: how it is described to the manager, and how its job ends.

use super::failure::{Failure, Result, line};
use super::sdbus::{Message, Text};
use std::ffi::{CStr, CString};

/// What StartTransientUnit is told, but for the processes.
pub struct ScopeUnit {
    pub name: CString,
    /// Empty for the manager's own choice.
    pub slice: CString,
    pub description: CString,
}

impl ScopeUnit {
    /// The arguments `ssa(sv)a(sa(sv))`; `members` adds the property that holds the processes.
    pub fn describe(
        &self,
        message: &Message<'_>,
        members: &dyn Fn(&Message<'_>) -> nix::Result<()>,
    ) -> nix::Result<()> {
        message.string(&self.name)?;
        // A unit that exists is another's, and not to be replaced.
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

    /// Its name, for people.
    pub fn shown(&self) -> String {
        line(self.name.as_bytes())
    }
}

/// One `(sv)`.
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

/// The signal JobRemoved.
pub struct JobEnd {
    sender: Option<Vec<u8>>,
    job: Vec<u8>,
    result: Vec<u8>,
}

impl JobEnd {
    /// Nothing if the message is another.
    pub fn read(message: &Message<'_>) -> nix::Result<Option<Self>> {
        if !message.is_signal(super::MANAGER, c"JobRemoved") {
            return Ok(None);
        }
        let _job_id = message.read_number()?;
        let job = message.read_text(Text::ObjectPath)?;
        let _unit = message.read_text(Text::String)?;
        let result = message.read_text(Text::String)?;
        Ok(Some(Self { sender: message.sender().map(<[u8]>::to_vec), job, result }))
    }

    /// Whether it is this job's and from the same as `answer`: anybody may send us signals over a bus,
    /// but none in another's name.
    pub fn is_of(&self, job: &[u8], answer: &Message<'_>) -> bool {
        self.job == job && self.sender.as_deref() == answer.sender()
    }

    /// Whether the scope has come to be.
    pub fn judge(&self, scope: &ScopeUnit) -> Result<()> {
        if self.result == b"done" {
            return Ok(());
        }
        let result = line(&self.result);
        Err(Failure::Refused(format!("systemd's job for {} ended as \"{result}\"", scope.shown())))
    }
}
