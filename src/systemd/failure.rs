// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a request to systemd failed: systemd refused it, or it could not be reached.

use crate::error::words;
use nix::errno::Errno;

/// Why a request to systemd failed. Each text is one line, and short enough for the caller to add to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No systemd answers, or it went away. The text names the sockets and what happened there.
    Unreachable(String),
    /// systemd refused the request or its job failed. The text is that of systemd.
    Refused(String),
    /// systemd was reached, but did not reply in time. It may still do what was requested.
    TimedOut(String),
    /// The caller lacks descriptors or memory: `EMFILE`, `ENFILE` or `ENOMEM`.
    Errno(Errno),
}

/// The result of a request to systemd.
pub type Result<T> = std::result::Result<T, Failure>;

/// An error of sd-bus or of the kernel on the caller's side.
impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Self::Errno(errno),
            Errno::ETIMEDOUT => Self::TimedOut("systemd did not reply in time".into()),
            Errno::ECONNRESET | Errno::ENOTCONN | Errno::EPIPE => {
                Self::Unreachable("the connection to systemd broke".into())
            }
            e => Self::Unreachable(format!("the connection to systemd failed: {}", words(e))),
        }
    }
}

/// An error reply of D-Bus.
pub struct ErrorReply {
    name: Vec<u8>,
    text: String,
}

impl ErrorReply {
    /// The error of this name and text. If the text is empty, the name takes its place.
    pub fn new(name: &[u8], text: &[u8]) -> Self {
        let text = one_line(if text.is_empty() { name } else { text });
        Self { name: name.to_vec(), text }
    }

    /// Returns true if this version of the manager does not know a property.
    pub fn is_unknown_property(&self) -> bool {
        matches!(
            self.name.strip_prefix(b"org.freedesktop.DBus.Error."),
            Some(b"PropertyReadOnly" | b"UnknownProperty")
        )
    }
}

/// If the manager does not run or ends during the call, the bus replies in its place.
impl From<ErrorReply> for Failure {
    fn from(error: ErrorReply) -> Self {
        match error.name.strip_prefix(b"org.freedesktop.DBus.Error.") {
            Some(b"ServiceUnknown" | b"NameHasNoOwner" | b"NoReply" | b"Disconnected") => {
                Self::Unreachable(error.text)
            }
            Some(name) if name.starts_with(b"Spawn.") => Self::Unreachable(error.text),
            Some(b"Timeout" | b"TimedOut") => Self::TimedOut(error.text),
            _ => Self::Refused(error.text),
        }
    }
}

/// The text of another program as one line of at most 120 bytes.
pub fn one_line(words: &[u8]) -> String {
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
