// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entries of a directory, by getdents64(2). opendir(3) is not used because it allocates its buffer by the host's malloc.

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Offsets of the fields of `struct linux_dirent64`.
const LENGTH: usize = 16;
const KIND: usize = 18;
const NAME: usize = 19;

/// Calls `each` with the name of every subdirectory, except `.` and `..`, until `each` fails. `dir` is opened for this call
/// only: the call moves its position.
pub fn for_each_directory(
    dir: BorrowedFd<'_>,
    each: impl FnMut(&CStr) -> nix::Result<()>,
) -> nix::Result<()> {
    for_each_entry(dir, libc::DT_DIR, each)
}

/// The same as [`for_each_directory`] for symbolic links, such as those in /proc/self/fd. It allocates nothing.
pub fn for_each_symlink(dir: BorrowedFd<'_>, each: impl FnMut(&CStr) -> nix::Result<()>) -> nix::Result<()> {
    for_each_entry(dir, libc::DT_LNK, each)
}

fn for_each_entry(
    dir: BorrowedFd<'_>,
    wanted: u8,
    mut each: impl FnMut(&CStr) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut buf = [0u8; 4096];
    loop {
        // SAFETY: the kernel writes at most the buffer's length. nix has no function without an allocation.
        let read = retry_on_eintr(|| unsafe {
            Errno::result(libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buf.as_mut_ptr(), buf.len()))
        });
        let read = usize::try_from(read?).unwrap_or_default();
        if read == 0 {
            return Ok(());
        }
        let mut rest = buf.get(..read).unwrap_or_default();
        while let Some((kind, name, after)) = parse_entry(rest) {
            if kind == wanted && !matches!(name.to_bytes(), b"." | b"..") {
                each(name)?;
            }
            rest = after;
        }
    }
}

/// Returns the type and the name of the first entry, and the bytes after it.
fn parse_entry(bytes: &[u8]) -> Option<(u8, &CStr, &[u8])> {
    let length = bytes.get(LENGTH..LENGTH + 2)?.try_into().ok().map(u16::from_ne_bytes)?;
    let (entry, after) = bytes.split_at_checked(usize::from(length))?;
    Some((*entry.get(KIND)?, CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn only_directories_are_listed_and_each_once_however_many_there_are() {
        let top = std::env::temp_dir().join(format!("agentcg-getdents-{}", std::process::id()));
        std::fs::create_dir(&top).expect("mkdir");
        std::fs::write(top.join("a file"), b"").expect("a file");
        let expected: Vec<String> = (0..500).map(|n| format!("directory-{n:03}")).collect();
        for name in &expected {
            std::fs::create_dir(top.join(name)).expect("mkdir");
        }
        let mut names = Vec::new();
        let dir = std::fs::File::open(&top).expect("open");
        let listed = for_each_directory(dir.as_fd(), |name| {
            names.push(name.to_string_lossy().into_owned());
            Ok(())
        });
        std::fs::remove_dir_all(&top).expect("rm -r");
        assert_eq!(listed, Ok(()));
        names.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_truncated_entry_is_no_entry() {
        let mut bytes = vec![0; 24];
        bytes[LENGTH] = 24;
        bytes[KIND] = libc::DT_DIR;
        bytes[NAME] = b'x';
        assert_eq!(parse_entry(&bytes), Some((libc::DT_DIR, c"x", &[][..])));
        for end in 0..24 {
            assert_eq!(parse_entry(&bytes[..end]), None, "{end}");
        }
        bytes[LENGTH] = 0;
        assert_eq!(parse_entry(&bytes), None);
    }
}
