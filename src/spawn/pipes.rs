// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pipes between the caller and the standard descriptors of a program.

use super::command::PIPE;
use crate::sys::descriptors;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// The two sides of the pipes of a program.
#[derive(Debug, Default)]
pub struct Pipes {
    /// The caller's ends, for standard input, output and error, of those that are pipes.
    pub callers: [Option<OwnedFd>; 3],
    /// The ends of the pipes that the program gets.
    programs: [Option<OwnedFd>; 3],
}

impl Pipes {
    /// Creates a pipe for each of these standard descriptors that is [`PIPE`].
    pub fn create(stdio: [RawFd; 3]) -> nix::Result<Self> {
        let mut pipes = Self::default();
        let ends = pipes.callers.iter_mut().zip(&mut pipes.programs);
        for (number, (kind, (callers, programs))) in stdio.into_iter().zip(ends).enumerate() {
            if kind == PIPE {
                let (reads, writes) = descriptors::pipe_ends()?;
                let is_input = number == 0;
                let (own, far) = if is_input { (writes, reads) } else { (reads, writes) };
                (*callers, *programs) = (Some(own), Some(far));
            }
        }
        Ok(pipes)
    }

    /// Returns the standard descriptors with the program's ends in place of [`PIPE`].
    pub fn connect(&self, mut stdio: [RawFd; 3]) -> [RawFd; 3] {
        for (fd, end) in stdio.iter_mut().zip(&self.programs) {
            *fd = end.as_ref().map_or(*fd, AsRawFd::as_raw_fd);
        }
        stdio
    }
}
