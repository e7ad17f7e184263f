// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages between the library and its guard. All have one size and the native byte order.

use crate::cgroupfs::AgentName;
use std::ffi::CStr;

/// The version of the protocol. Both sides compare it before they send anything else.
pub const PROTOCOL: u64 = 1;

/// The first number that the guard sends. The second is its [`PROTOCOL`].
pub const HELLO: u64 = u64::from_ne_bytes(*b"agentcg\0");

/// A message from the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Guard the agent of this id and name. The descriptor is its directory. The guard answers.
    Guard(u64, AgentName),
    /// Release the agent of this id. The guard does not answer.
    Release(u64),
    /// The guard is in the cgroup of this name in the directory of the first descriptor. The others are cgroup.procs
    /// files of its exit cgroups. The guard answers.
    Cgroup(&'a CStr),
    /// The guard is in the systemd scope whose directory is the first descriptor, and keeps it alive. The others are
    /// cgroup.procs files of its exit cgroups. The library removes the cgroup in which the guard was before. The guard
    /// answers.
    Scope,
    /// Leave the scope, which is not needed. The guard does not answer.
    LeaveScope,
}

/// The size of a message in bytes.
pub const LENGTH: usize = 64;
const ID: std::ops::Range<usize> = 8..16;
const NAME: usize = 16;

impl<'a> Message<'a> {
    /// Returns the bytes to send.
    pub fn bytes(self) -> [u8; LENGTH] {
        let (kind, id, name) = match self {
            Self::Guard(id, ref name) => (1, id, name.as_c_str()),
            Self::Release(id) => (2, id, c""),
            Self::Cgroup(name) => (3, 0, name),
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

    /// Parses received bytes. Returns `None` if they are not a message.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let id = u64::from_ne_bytes(bytes.get(ID)?.try_into().ok()?);
        let name = CStr::from_bytes_until_nul(bytes.get(NAME..LENGTH)?).ok()?;
        match u64::from_ne_bytes(bytes.get(..ID.start)?.try_into().ok()?) {
            1 => Some(Self::Guard(id, AgentName::parse(name.to_str().ok()?)?)),
            2 => Some(Self::Release(id)),
            3 => Some(Self::Cgroup(name)),
            4 => Some(Self::Scope),
            5 => Some(Self::LeaveScope),
            _ => None,
        }
    }

    /// Returns the id that the answer repeats, because a late answer to another message may arrive first.
    pub fn id(self) -> u64 {
        match self {
            Self::Guard(id, _) | Self::Release(id) => id,
            Self::Cgroup(_) | Self::Scope | Self::LeaveScope => 0,
        }
    }
}

/// The answer of the guard: the id of a message, and an errno or 0.
pub type Answer = [u64; 2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parsed_message_equals_the_sent_one() {
        let name = AgentName::random();
        let all = [
            Message::Guard(u64::MAX, name),
            Message::Release(7),
            Message::Cgroup(c"guard-1"),
            Message::Scope,
            Message::LeaveScope,
        ];
        for message in all {
            assert_eq!(Message::parse(&message.bytes()), Some(message));
        }
    }

    #[test]
    fn bytes_that_are_not_a_message_are_not_parsed() {
        let bytes = Message::Release(7).bytes();
        for length in 0..LENGTH {
            assert_eq!(Message::parse(&bytes[..length]), None, "{length}");
        }
        assert_eq!(Message::parse(&[0; LENGTH]), None);
        assert_eq!(Message::parse(&[1; LENGTH]), None);
    }
}
