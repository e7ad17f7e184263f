// SPDX-License-Identifier: MIT OR Apache-2.0
//! What went wrong, made where it is understood: the errno that decides the control flow, the
//! reason where an errno is too coarse, the interface file at fault, and one line for people.

use nix::errno::Errno;
use std::borrow::Cow;
use std::fmt;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why, where the errno alone does not tell. The values are part of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Reason {
    /// No cgroup2 mount holds our own cgroup.
    NoCgroup2 = 1,
    /// Our cgroup is outside our cgroup namespace.
    OutsideNamespace = 2,
    /// cgroupfs is mounted read-only.
    ReadOnly = 3,
    /// No directory that we may create in, or no right to migrate.
    NotDelegated = 4,
    /// A limit needs a controller that is not to be had.
    NoController = 5,
    /// The parent holds processes, which the kernel forbids beside limited children.
    Populated = 6,
    /// A threaded or invalid domain.
    Threaded = 7,
    /// The cgroup was removed under us.
    Gone = 8,
    /// `cgroup.max.depth` or `cgroup.max.descendants` of an ancestor.
    NestingLimit = 9,
    /// systemd was needed and could not be reached.
    NoSystemd = 10,
    /// systemd said no; the message carries its words.
    SystemdRefused = 11,
    /// The caller itself is in the cgroup that it wants killed.
    CallerInside = 12,
    /// User namespaces are forbidden, or the hierarchy is not mounted nsdelegate.
    NotContained = 13,
    /// The guard's program is missing, or is not the one of this library.
    NoGuard = 14,
}

/// What of a message reaches a C caller: its array has one byte more.
const MESSAGE_MAX: usize = 183;

/// One failure, told so that a program can branch and a person can act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    reason: Option<Reason>,
    file: Cow<'static, str>,
    message: Cow<'static, str>,
}

impl Error {
    /// `message` is one line: what failed, on which path, and what to do. 183 bytes reach a C caller.
    pub(crate) fn new(errno: Errno, message: impl Into<Cow<'static, str>>) -> Self {
        Self { errno, reason: None, file: Cow::Borrowed(""), message: message.into() }
    }

    /// The same with another code.
    pub(crate) fn coded(self, errno: Errno) -> Self {
        Self { errno, ..self }
    }

    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(crate) fn on(mut self, file: impl Into<Cow<'static, str>>) -> Self {
        self.file = file.into();
        self
    }

    /// The same failure, with these words before its message, or `alone` where both do not fit into what C gets.
    pub(crate) fn preceded_by(mut self, words: &str, alone: &str) -> Self {
        if words.len() + self.message.len() > MESSAGE_MAX {
            self.message.to_mut().clear();
            self.message.to_mut().push_str(alone);
        }
        self.message.to_mut().insert_str(0, words);
        self
    }

    /// The errno that a C caller gets, negated.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Why, where the errno is too coarse.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The interface file at fault, such as `memory.max`, or nothing.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// One line for people and logs.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// A path as it fits into one line of text: control characters and stray bytes made visible, and of
/// a long one only the end, so that the advice behind it is not what gets cut.
pub(crate) fn shown(path: &[u8]) -> String {
    const MOST: usize = 64;
    // No character has more than four bytes: of a longer path no more than this is looked at.
    let end = path.get(path.len().saturating_sub(4 * MOST)..).unwrap_or(path);
    let mut text: String =
        String::from_utf8_lossy(end).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.len() > MOST {
        let cut = (text.len() - MOST + 3..text.len()).find(|&at| text.is_char_boundary(at));
        text = format!("...{}", text.split_off(cut.unwrap_or(text.len())));
    }
    text
}

/// Memory that grows with what the agent or the caller has could not be allocated.
pub(crate) fn out_of_memory(errno: Errno) -> Error {
    Error::new(errno, "no memory: malloc(3) failed in this process")
}

/// What the system calls an errno, such as "Permission denied".
pub(crate) fn words(errno: Errno) -> &'static str {
    errno.desc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_path_is_shown_as_it_is() {
        assert_eq!(shown(b"/sys/fs/cgroup"), "/sys/fs/cgroup");
    }

    #[test]
    fn of_a_long_path_the_end_is_shown() {
        let path = [b"/head/".as_slice(), &[b'x'; 300], b"/tail"].concat();
        let text = shown(&path);
        assert!(text.starts_with("...") && text.ends_with("/tail"), "{text}");
        assert!(text.len() <= 64, "{}", text.len());
    }

    #[test]
    fn a_path_never_breaks_the_line_nor_the_encoding() {
        assert_eq!(shown(b"/a\nb\x07"), "/a?b?");
        let wild = [0xc3u8, 0xa9].repeat(100);
        assert!(shown(&wild).len() <= 64);
        assert!(shown(b"\xff\xfe").chars().count() == 2);
    }
}
