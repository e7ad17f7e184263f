// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why systemd has not done it: which failures are its no, and which are those of the way to it.

use crate::error::words;
use nix::errno::Errno;

/// Why systemd has not done it. The words are one line and leave room for what the caller adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There is none to talk to, or it went away: which socket, and what happened there.
    Unreachable(String),
    /// It said no, in its own words, or its job ended otherwise than done.
    Refused(String),
    /// It was reached, but gave no answer in time. What was asked for may yet be done.
    TimedOut(String),
    /// The caller's exhaustion: `EMFILE`, `ENFILE`, `ENOMEM`.
    Errno(Errno),
}

pub type Result<T> = std::result::Result<T, Failure>;

/// What sd-bus or the kernel has said on our end.
impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Self::Errno(errno),
            Errno::ETIMEDOUT => Self::TimedOut("systemd gave no answer in time".into()),
            Errno::ECONNRESET | Errno::ENOTCONN | Errno::EPIPE => {
                Self::Unreachable("the connection to systemd broke".into())
            }
            e => Self::Unreachable(format!("the connection to systemd failed: {}", words(e))),
        }
    }
}

/// An error for an answer.
pub struct Denial {
    name: Vec<u8>,
    words: String,
}

impl Denial {
    pub fn new(name: &[u8], said: &[u8]) -> Self {
        let words = line(if said.is_empty() { name } else { said });
        Self { name: name.to_vec(), words }
    }

    /// What the manager of a version that does not know a property says of it.
    pub fn of_property(&self) -> bool {
        matches!(
            self.name.strip_prefix(b"org.freedesktop.DBus.Error."),
            Some(b"PropertyReadOnly" | b"UnknownProperty")
        )
    }
}

/// The bus answers in the manager's place when that is not there, or dies during the call.
impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        match denial.name.strip_prefix(b"org.freedesktop.DBus.Error.") {
            Some(b"ServiceUnknown" | b"NameHasNoOwner" | b"NoReply" | b"Disconnected") => {
                Self::Unreachable(denial.words)
            }
            Some(name) if name.starts_with(b"Spawn.") => Self::Unreachable(denial.words),
            Some(b"Timeout" | b"TimedOut") => Self::TimedOut(denial.words),
            _ => Self::Refused(denial.words),
        }
    }
}

/// Foreign words as one line of moderate length.
pub fn line(words: &[u8]) -> String {
    const MOST: usize = 120;
    let mut text: String =
        String::from_utf8_lossy(words).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.len() > MOST {
        let end = (0..=MOST - 3).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.push_str("...");
    }
    text
}
