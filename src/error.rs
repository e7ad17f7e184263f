// SPDX-License-Identifier: MIT OR Apache-2.0
//! The error of every call: the errno that the caller branches on, a reason if the errno is too coarse, the interface file
//! on which the call failed, and a message of one line. The code that understands a failure makes the error.

use nix::errno::Errno;
use std::borrow::Cow;
use std::fmt;

/// The result of a call that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed, if the errno is too coarse. The values are part of the C interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum Reason {
    /// No cgroup2 mount contains the cgroup of the calling process.
    NoCgroup2 = 1,
    /// The cgroup of the calling process is outside its cgroup namespace.
    OutsideNamespace = 2,
    /// cgroupfs is mounted read-only.
    ReadOnly = 3,
    /// The caller has no right to create cgroups, or to move processes.
    NotDelegated = 4,
    /// A limit needs a controller that is not available.
    NoController = 5,
    /// The parent holds processes, which the kernel forbids beside limited children.
    Populated = 6,
    /// The cgroup is a threaded or invalid domain.
    Threaded = 7,
    /// Another process has removed the cgroup.
    Gone = 8,
    /// `cgroup.max.depth` or `cgroup.max.descendants` of an ancestor is reached.
    NestingLimit = 9,
    /// systemd was needed and could not be reached.
    NoSystemd = 10,
    /// systemd refused; the message contains its words.
    SystemdRefused = 11,
    /// The caller is in the group that it asks to kill.
    CallerInside = 12,
    /// The program cannot be contained: user namespaces are forbidden, or the hierarchy is not mounted with nsdelegate.
    NotContained = 13,
    /// The guard's program is missing, or belongs to another version of the library.
    NoGuard = 14,
    /// The child was ready, and execve(2) failed.
    NotExecuted = 15,
}

/// The bytes of a message that fit into the C struct, which has one byte more for the NUL.
const MESSAGE_MAX: usize = 183;

/// A failure: an errno for the program, a message for a person.
///
/// It has the size of two words, since almost every function of the library returns one or passes one on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    /// `None` if there was no memory for it. An array, because a slice is allocated fallibly and then converted to it.
    detail: Option<Box<[Detail; 1]>>,
}

const _: () = assert!(size_of::<Error>() == 2 * size_of::<usize>());

#[derive(Debug, Clone, PartialEq, Eq)]
struct Detail {
    reason: Option<Reason>,
    file: Cow<'static, str>,
    message: Cow<'static, str>,
}

/// The message of an error without details.
const NO_MEMORY: &str = "no memory: malloc(3) failed in this process";

/// The message of an error: a literal, or the result of `format_args!`.
pub(crate) trait Message {
    fn text(self) -> Cow<'static, str>;
}

impl Message for &'static str {
    fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(self)
    }
}

impl Message for String {
    fn text(self) -> Cow<'static, str> {
        Cow::Owned(self)
    }
}

impl Message for fmt::Arguments<'_> {
    #[inline(never)]
    fn text(self) -> Cow<'static, str> {
        self.as_str().map_or_else(|| Cow::Owned(self.to_string()), Cow::Borrowed)
    }
}

impl Error {
    /// Makes an error. `message` is one line: what failed, on which path, and what to do. C callers get 183 bytes of it.
    pub(crate) fn new(errno: Errno, message: impl Message) -> Self {
        Self::with(errno, message.text())
    }

    #[cold]
    #[inline(never)]
    fn with(errno: Errno, message: Cow<'static, str>) -> Self {
        let mut detail = Vec::new();
        let allocated = detail.try_reserve_exact(1);
        let detail = allocated.ok().and_then(|()| {
            detail.push(Detail { reason: None, file: Cow::Borrowed(""), message });
            detail.into_boxed_slice().try_into().ok()
        });
        Self { errno, detail }
    }

    /// Replaces the errno.
    pub(crate) fn coded(self, errno: Errno) -> Self {
        Self { errno, ..self }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn because(mut self, reason: Reason) -> Self {
        if let Some(detail) = self.detail_mut() {
            detail.reason = Some(reason);
        }
        self
    }

    pub(crate) fn on(self, file: impl Into<Cow<'static, str>>) -> Self {
        self.on_file(file.into())
    }

    #[cold]
    #[inline(never)]
    fn on_file(mut self, file: Cow<'static, str>) -> Self {
        if let Some(detail) = self.detail_mut() {
            detail.file = file;
        }
        self
    }

    /// Puts `words` before the message. If both do not fit into the C struct, `alone` replaces the message.
    #[cold]
    pub(crate) fn preceded_by(mut self, words: &str, alone: &str) -> Self {
        if let Some(detail) = self.detail_mut() {
            let rest = if words.len() + detail.message.len() > MESSAGE_MAX { alone } else { &detail.message };
            detail.message = Cow::Owned([words, rest].concat());
        }
        self
    }

    fn detail(&self) -> Option<&Detail> {
        self.detail.as_deref().map(|[detail]| detail)
    }

    fn detail_mut(&mut self) -> Option<&mut Detail> {
        self.detail.as_deref_mut().map(|[detail]| detail)
    }

    /// Returns the errno. C callers get it negated.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the reason, if the errno alone is too coarse.
    pub fn reason(&self) -> Option<Reason> {
        self.detail().and_then(|detail| detail.reason)
    }

    /// Returns the interface file on which the call failed, such as `memory.max`, or an empty string.
    pub fn file(&self) -> &str {
        self.detail().map_or("", |detail| &detail.file)
    }

    /// Returns the message: one line.
    pub fn message(&self) -> &str {
        self.detail().map_or(NO_MEMORY, |detail| &detail.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Error {}

/// Formats a path for a message: replaces control characters and invalid bytes, and shortens a long path to its end, so
/// that the rest of the message fits.
pub(crate) fn shown(path: &[u8]) -> String {
    const MOST: usize = 64;
    // A character has at most four bytes.
    let end = path.get(path.len().saturating_sub(4 * MOST)..).unwrap_or(path);
    let mut text: String =
        String::from_utf8_lossy(end).chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.len() > MOST {
        let cut = (text.len() - MOST + 3..text.len()).find(|&at| text.is_char_boundary(at));
        text = format!("...{}", text.split_off(cut.unwrap_or(text.len())));
    }
    text
}

/// Makes the error for an allocation that failed. Allocates nothing.
pub(crate) fn out_of_memory(errno: Errno) -> Error {
    Error { errno, detail: None }
}

/// Returns the system's text of an errno, such as "Permission denied".
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
