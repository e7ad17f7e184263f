// SPDX-License-Identifier: MIT OR Apache-2.0
//! The label and the tag of an agent.

use super::Agent;
use crate::error::{Error, Result, out_of_memory, shown};
use crate::owner;
use crate::parse::{Label, OwnerNote, Tag};
use crate::sys::try_alloc;
use nix::errno::Errno;

/// The note that the owner has written. It is on the heap if it has a label or a tag, which take 128 bytes.
#[derive(Debug)]
pub(super) struct Written {
    created_unix_ns: u64,
    named: Option<Box<OwnerNote>>,
}

impl Written {
    pub fn of(note: &OwnerNote) -> nix::Result<Self> {
        let is_named = note.label.is_some() || note.tag.is_some();
        let named = if is_named { Some(try_alloc::boxed(*note)?) } else { None };
        Ok(Self { created_unix_ns: note.created_unix_ns, named })
    }

    fn note(&self) -> OwnerNote {
        let without_names = OwnerNote { created_unix_ns: self.created_unix_ns, ..OwnerNote::default() };
        self.named.as_deref().copied().unwrap_or(without_names)
    }
}

impl Agent {
    /// Returns the label and the tag. To the owner they are what it has given or adopted. A non-owner reads them from the group,
    /// where the agent may have changed or removed them.
    pub fn label_and_tag(&self) -> Result<(Option<Label>, Option<Tag>)> {
        let known = self.note.lock().as_ref().map(Written::note);
        let note = match known.filter(|_| self.is_owned()) {
            Some(note) => note,
            None => owner::read_note(&self.dir).map_err(|e| self.failed("read", owner::NOTE_NAME, e))?,
        };
        Ok((note.label, note.tag))
    }

    /// Changes the label, or removes it. Only the owner may.
    pub fn set_label(&self, label: Option<&str>) -> Result<()> {
        let label = label.map(owner::label).transpose()?.flatten();
        if !self.is_owned() {
            let group = shown(&self.path());
            return Err(Error::new(
                Errno::EPERM,
                format_args!("this handle is not the owner's: only that changes the label of {group}"),
            ));
        }
        // Held during the writing: of two changes, the handle and the group keep the same one.
        let mut known = self.note.lock();
        let mut note = known.as_ref().map(Written::note).unwrap_or_default();
        note.label = label;
        let written = Written::of(&note).map_err(out_of_memory)?;
        match owner::write_note(&self.dir, &note) {
            Ok(()) => {}
            // Where no label can be kept, there is none to remove.
            Err(Errno::EOPNOTSUPP) if label.is_none() => {}
            Err(e) => return Err(self.not_labelled(e)),
        }
        // The kernel accepts attributes of a directory that was removed.
        if !self.dir.is_alive() {
            return Err(self.not_labelled(Errno::ENODEV));
        }
        *known = Some(written);
        Ok(())
    }

    fn not_labelled(&self, errno: Errno) -> Error {
        if self.dir.is_alive() {
            owner::not_kept(errno, &shown(&self.path()))
        } else {
            self.failed("write", owner::NOTE_NAME, Errno::ENODEV)
        }
    }
}
