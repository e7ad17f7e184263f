// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the library and its guard send each other: messages of one size, in the byte order that both have.

use crate::cgroupfs::AgentName;
use std::ffi::CStr;

/// The version of all that is here. Both sides compare it before anything else is sent.
pub const PROTOCOL: u64 = 1;

/// What the guard sends first: [`HELLO`] and its own [`PROTOCOL`].
pub const HELLO: u64 = u64::from_ne_bytes(*b"agentcg\0");

/// From the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Guard the group of this id and name; its directory comes along. Answered.
    Guard(u64, AgentName),
    /// Guard it no more.
    Release(u64),
    /// The guard is in a cgroup of this name, below the first descriptor. The others are cgroup.procs files by which
    /// it can leave. Answered.
    Leaf(&'a CStr),
    /// The guard is in a scope of systemd's, whose directory is the first descriptor, and keeps it alive. By the others
    /// it can leave. Its cgroup before is removed by the library. Answered.
    Scope,
    /// The scope is not needed.
    LeaveScope,
}

/// How long each is.
pub const LENGTH: usize = 64;
const ID: std::ops::Range<usize> = 8..16;
const NAME: usize = 16;

impl<'a> Message<'a> {
    /// As it is sent.
    pub fn bytes(self) -> [u8; LENGTH] {
        let (kind, id, name) = match self {
            Self::Guard(id, ref name) => (1, id, name.as_c_str()),
            Self::Release(id) => (2, id, c""),
            Self::Leaf(name) => (3, 0, name),
            Self::Scope => (4, 0, c""),
            Self::LeaveScope => (5, 0, c""),
        };
        let mut bytes = [0; LENGTH];
        let (head, text) = bytes.split_at_mut(NAME);
        let fields = [kind, id].map(u64::to_ne_bytes);
        head.copy_from_slice(fields.as_flattened());
        // The last byte stays a NUL.
        for (to, from) in text.iter_mut().zip(name.to_bytes().iter().take(LENGTH - NAME - 1)) {
            *to = *from;
        }
        bytes
    }

    /// As it came; nothing if it is none.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let id = u64::from_ne_bytes(bytes.get(ID)?.try_into().ok()?);
        let name = CStr::from_bytes_until_nul(bytes.get(NAME..LENGTH)?).ok()?;
        match u64::from_ne_bytes(bytes.get(..ID.start)?.try_into().ok()?) {
            1 => Some(Self::Guard(id, AgentName::parse(name.to_str().ok()?)?)),
            2 => Some(Self::Release(id)),
            3 => Some(Self::Leaf(name)),
            4 => Some(Self::Scope),
            5 => Some(Self::LeaveScope),
            _ => None,
        }
    }

    /// Tells its answer from that to another message, which may come late.
    pub fn id(self) -> u64 {
        match self {
            Self::Guard(id, _) | Self::Release(id) => id,
            Self::Leaf(_) | Self::Scope | Self::LeaveScope => 0,
        }
    }
}

/// From the guard: the id of a message, and an errno or 0.
pub type Answer = [u64; 2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_sent() {
        let name = AgentName::random();
        let all = [
            Message::Guard(u64::MAX, name),
            Message::Release(7),
            Message::Leaf(c"guard-1"),
            Message::Scope,
            Message::LeaveScope,
        ];
        for message in all {
            assert_eq!(Message::read(&message.bytes()), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        let bytes = Message::Release(7).bytes();
        for length in 0..LENGTH {
            assert_eq!(Message::read(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Message::read(&[0; LENGTH]), None);
        assert_eq!(Message::read(&[1; LENGTH]), None);
    }
}
