// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identity of a directory by statx(2).

use super::retry::retry_on_eintr;
use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Identifies a file of a mount. Two paths with the same identity lead to the same file by the same mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountedFile {
    inode: u64,
    mount: u64,
}

/// Returns the identity of the file at an absolute path. Fails with `ENOSYS` before Linux 5.8.
pub fn identity_of_path(path: &CStr) -> nix::Result<MountedFile> {
    identity(libc::AT_FDCWD, path, 0)
}

/// Returns the identity of an open file. Fails with `ENOSYS` before Linux 5.8.
pub fn identity_of(fd: BorrowedFd<'_>) -> nix::Result<MountedFile> {
    identity(fd.as_raw_fd(), c"", libc::AT_EMPTY_PATH)
}

/// Returns the id of the mount on which an absolute path leads to a file. Fails with `ENOSYS` before Linux 5.8.
pub fn mount_of_path(path: &CStr) -> nix::Result<u64> {
    identity_of_path(path).map(|file| file.mount)
}

fn identity(dir: RawFd, path: &CStr, flags: libc::c_int) -> nix::Result<MountedFile> {
    let wanted = libc::STATX_INO | libc::STATX_MNT_ID;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    retry_on_eintr(|| {
        // SAFETY: the kernel reads the path and writes one struct.
        Errno::result(unsafe { libc::statx(dir, path.as_ptr(), flags, wanted, found.as_mut_ptr()) })
    })?;
    // SAFETY: zeros are a valid struct, and so is what the kernel has written.
    let found = unsafe { found.assume_init() };
    if found.stx_mask & wanted != wanted {
        return Err(Errno::ENOSYS);
    }
    Ok(MountedFile { inode: found.stx_ino, mount: found.stx_mnt_id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_path_and_an_open_file_have_the_same_identity_and_other_files_do_not() {
        let root = File::open("/").unwrap();
        match identity_of(root.as_fd()) {
            Err(e) => assert_eq!(e, Errno::ENOSYS),
            Ok(identity) => {
                assert_eq!(identity_of_path(c"/"), Ok(identity));
                assert_eq!(identity_of_path(c"/proc/.."), Ok(identity));
                assert_ne!(identity_of_path(c"/proc"), Ok(identity));
            }
        }
        assert_eq!(identity_of_path(c"/nowhere"), Err(Errno::ENOENT));
    }
}
