// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads files that the kernel generates while they are read, as in procfs. Such a file has no size, and a read returns about
//! a page.

use super::try_alloc;
use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};

const CHUNK: usize = 4096;

/// Returns the first result of `find`, which is called with each line. The rest of the file is not read.
pub fn find_line<T>(file: File, mut find: impl FnMut(&[u8]) -> Option<T>) -> nix::Result<Option<T>> {
    let mut text = Vec::new();
    while read_chunk(&file, &mut text)? {
        let mut seen = 0;
        while let Some(rest) = text.get(seen..) {
            let Some(end) = rest.iter().position(|&b| b == b'\n') else { break };
            seen += end + 1;
            if let Some(found) = find(rest.get(..end).unwrap_or_default()) {
                return Ok(Some(found));
            }
        }
        text.drain(..seen);
    }
    Ok(None)
}

/// Returns the whole text.
pub fn read_all(file: File) -> nix::Result<Vec<u8>> {
    let mut text = Vec::new();
    while read_chunk(&file, &mut text)? {}
    Ok(text)
}

/// Appends the next part to `text`. Returns false at the end of the file.
fn read_chunk(mut file: &File, text: &mut Vec<u8>) -> nix::Result<bool> {
    let mut chunk = [0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(n) => {
                try_alloc::append(text, chunk.get(..n).unwrap_or_default())?;
                return Ok(n > 0);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(errno(&e)),
        }
    }
}

/// Returns the errno of an error of std.
pub fn errno(e: &io::Error) -> Errno {
    // std creates this error without an errno if it has no memory for a path.
    if e.kind() == ErrorKind::OutOfMemory {
        return Errno::ENOMEM;
    }
    Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO))
}

/// Reads a symbolic link into `buf`, which cuts it off. Allocates nothing, unlike the function of nix. In /proc it takes half the
/// time of stat(2), which follows the link.
pub fn read_link<'a>(path: &CStr, buf: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    // SAFETY: the path is NUL-terminated, and the kernel writes at most buf.len() bytes to the buffer.
    let length = Errno::result(unsafe {
        libc::readlinkat(libc::AT_FDCWD, path.as_ptr(), buf.as_mut_ptr().cast(), buf.len())
    })?;
    Ok(buf.get(..usize::try_from(length).unwrap_or_default()).unwrap_or_default())
}
