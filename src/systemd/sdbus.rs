// SPDX-License-Identifier: MIT OR Apache-2.0
//! A D-Bus connection and its messages, as sd-bus keeps them. Used without its callbacks and without
//! `sd_bus_call`: that waits for the connection to come up without end, and gives up at a signal of the host's.
//! So `Hello` is ours to say, too; sd-bus takes any connection for one to a peer.

#![allow(unsafe_code)]

use super::library::{Library, SdBus, SdMessage};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::{NonNull, null, null_mut};
use std::time::Duration;

/// Where a method is called.
pub struct Method {
    pub destination: &'static CStr,
    pub path: &'static CStr,
    pub interface: &'static CStr,
    pub name: &'static CStr,
}

/// The connection. Not of use in a forked child: sd-bus answers `ECHILD` there.
pub struct Bus {
    bus: NonNull<SdBus>,
    library: Library,
}

/// What sd-bus returns: a negative errno, or not.
fn check(returned: c_int) -> nix::Result<c_int> {
    if returned < 0 { Err(Errno::from_raw(returned.saturating_neg())) } else { Ok(returned) }
}

impl Bus {
    /// Take over a connected socket. Nothing has been said on it yet when this returns.
    pub fn start(library: Library, socket: OwnedFd) -> nix::Result<Self> {
        let mut bus = null_mut();
        // SAFETY: the one argument is where the new object's address goes.
        check(unsafe { (library.new)(&raw mut bus) })?;
        let bus = Self { bus: NonNull::new(bus).ok_or(Errno::ENOMEM)?, library };
        let (raw, fd) = (bus.bus.as_ptr(), socket.as_raw_fd());
        // SAFETY: `raw` is the live object in each of these. The timeout is one that we do not use; sd-bus
        // would look for another in an environment variable.
        unsafe {
            check((bus.library.negotiate_fds)(raw, 1))?;
            check((bus.library.set_method_call_timeout)(raw, u64::MAX))?;
            check((bus.library.set_fd)(raw, fd, fd))?;
        }
        let _owned_by_the_bus = socket.into_raw_fd();
        // SAFETY: as before. It makes the socket non-blocking and queues the authentication.
        check(unsafe { (bus.library.start)(raw) })?;
        Ok(bus)
    }

    /// Whether descriptors can be passed. Known once an answer has come; before that it would wait.
    pub fn passes_descriptors(&self) -> bool {
        // SAFETY: the object is live.
        check(unsafe { (self.library.can_send)(self.bus.as_ptr(), ascii(b'h')) }).is_ok_and(|can| can > 0)
    }

    /// A call, to be filled with its arguments.
    pub fn method(&self, method: &Method) -> nix::Result<Message<'_>> {
        let Method { destination, path, interface, name } = method;
        let mut raw = null_mut();
        // SAFETY: the object is live, the strings end with NUL and are copied.
        check(unsafe {
            (self.library.message_new_method_call)(
                self.bus.as_ptr(),
                &raw mut raw,
                destination.as_ptr(),
                path.as_ptr(),
                interface.as_ptr(),
                name.as_ptr(),
            )
        })?;
        Ok(Message { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)?, bus: self })
    }

    /// Send it, or queue it to be sent by `next`. The cookie is what its answer will bear.
    pub fn send(&self, message: &Message<'_>) -> nix::Result<u64> {
        let mut cookie = 0;
        // SAFETY: both objects are live.
        check(unsafe { (self.library.send)(self.bus.as_ptr(), message.raw.as_ptr(), &raw mut cookie) })?;
        Ok(cookie)
    }

    /// The next message that comes, whatever it is; `ETIMEDOUT` if none does.
    pub fn next(&self, deadline: Deadline) -> nix::Result<Message<'_>> {
        while !deadline.passed() {
            let mut raw = null_mut();
            // SAFETY: the object is live. It never blocks, and gives us the message to own, or null.
            let worked = match check(unsafe { (self.library.process)(self.bus.as_ptr(), &raw mut raw) }) {
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                worked => worked?,
            };
            match NonNull::new(raw) {
                Some(raw) => return Ok(Message { raw, bus: self }),
                None if worked > 0 => {}
                None => self.wait(deadline)?,
            }
        }
        Err(Errno::ETIMEDOUT)
    }

    /// Until there is something to do, or a signal came. sd-bus has no timers that would need us
    /// sooner: none of our calls is known to it, and it allows 90 s for the authentication.
    fn wait(&self, deadline: Deadline) -> nix::Result<()> {
        // SAFETY: the object is live.
        let (fd, events) = unsafe {
            (
                check((self.library.get_fd)(self.bus.as_ptr()))?,
                check((self.library.get_events)(self.bus.as_ptr()))?,
            )
        };
        let events = i16::try_from(events).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the object keeps the descriptor open, and lives longer than this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // Rounded up, or the last millisecond would be spent in a busy loop.
        let left = deadline.left().map(|left| left.saturating_add(Duration::from_millis(1)));
        let left = left.map_or(PollTimeout::NONE, |left| left.try_into().unwrap_or(PollTimeout::MAX));
        match poll(&mut [PollFd::new(fd, PollFlags::from_bits_retain(events))], left) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // SAFETY: the object is live and its messages, which borrow us, are gone: this was its last
        // user. Closing drops what is queued, which refers to it, and the socket.
        unsafe {
            (self.library.close)(self.bus.as_ptr());
            (self.library.unref)(self.bus.as_ptr());
        }
    }
}

/// A message that we make or have been given.
pub struct Message<'a> {
    raw: NonNull<SdMessage>,
    bus: &'a Bus,
}

impl Message<'_> {
    /// Append a string.
    pub fn string(&self, text: &CStr) -> nix::Result<()> {
        self.append(b's', text.as_ptr().cast())
    }

    /// Append a `u`.
    pub fn number(&self, number: u32) -> nix::Result<()> {
        self.append(b'u', (&raw const number).cast())
    }

    /// Append a boolean.
    pub fn boolean(&self, truth: bool) -> nix::Result<()> {
        let truth = c_int::from(truth);
        self.append(b'b', (&raw const truth).cast())
    }

    /// Append a descriptor, of which sd-bus makes a duplicate.
    pub fn descriptor(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        let fd = fd.as_raw_fd();
        self.append(b'h', (&raw const fd).cast())
    }

    /// Append a container (`a`rray, `v`ariant, st`r`uct) with what `fill` puts in it.
    pub fn within(
        &self,
        kind: u8,
        contents: &CStr,
        fill: impl FnOnce(&Self) -> nix::Result<()>,
    ) -> nix::Result<()> {
        // SAFETY: the message is live, the string ends with NUL.
        check(unsafe {
            (self.bus.library.message_open_container)(self.raw.as_ptr(), ascii(kind), contents.as_ptr())
        })?;
        fill(self)?;
        // SAFETY: the message is live.
        check(unsafe { (self.bus.library.message_close_container)(self.raw.as_ptr()) }).map(drop)
    }

    /// `value` points to what sd-bus expects for the type.
    fn append(&self, kind: u8, value: *const c_void) -> nix::Result<()> {
        // SAFETY: the message is live; the callers above give the types that sd_bus_message_append_basic(3) lists.
        check(unsafe { (self.bus.library.message_append_basic)(self.raw.as_ptr(), ascii(kind), value) })
            .map(drop)
    }

    /// Read on inside of the variant that comes next.
    pub fn enter_variant(&self, contents: &CStr) -> nix::Result<()> {
        // SAFETY: the message is live, the string ends with NUL.
        let entered = check(unsafe {
            (self.bus.library.message_enter_container)(self.raw.as_ptr(), ascii(b'v'), contents.as_ptr())
        })?;
        if entered > 0 { Ok(()) } else { Err(Errno::EBADMSG) }
    }

    /// Read a `u`.
    pub fn read_number(&self) -> nix::Result<u32> {
        let mut number = 0u32;
        self.read(b'u', (&raw mut number).cast())?;
        Ok(number)
    }

    /// Read a string (`s`) or an object path (`o`).
    pub fn read_text(&self, kind: Text) -> nix::Result<Vec<u8>> {
        let mut text: *const c_char = null();
        self.read(kind as u8, (&raw mut text).cast())?;
        self.text(text).map(<[u8]>::to_vec).ok_or(Errno::EBADMSG)
    }

    /// `value` points to room for what sd-bus writes for the type. The end of the message is an error.
    fn read(&self, kind: u8, value: *mut c_void) -> nix::Result<()> {
        // SAFETY: the message is live; the callers above give the types that sd_bus_message_read_basic(3) lists.
        let read =
            check(unsafe { (self.bus.library.message_read_basic)(self.raw.as_ptr(), ascii(kind), value) })?;
        if read > 0 { Ok(()) } else { Err(Errno::EBADMSG) }
    }

    /// The cookie of the call that it answers.
    pub fn reply_cookie(&self) -> Option<u64> {
        let mut cookie = 0;
        // SAFETY: the message is live.
        check(unsafe { (self.bus.library.message_get_reply_cookie)(self.raw.as_ptr(), &raw mut cookie) })
            .is_ok()
            .then_some(cookie)
    }

    /// If it says no: the error's name and words.
    pub fn error(&self) -> Option<(&[u8], &[u8])> {
        // SAFETY: the message is live; the error belongs to it.
        let error = unsafe { (self.bus.library.message_get_error)(self.raw.as_ptr()).as_ref() }?;
        Some((self.text(error.name)?, self.text(error.message).unwrap_or_default()))
    }

    /// Who it is from; a peer has no name.
    pub fn sender(&self) -> Option<&[u8]> {
        // SAFETY: the message is live; the name belongs to it.
        self.text(unsafe { (self.bus.library.message_get_sender)(self.raw.as_ptr()) })
    }

    /// Whether it is this signal.
    pub fn is_signal(&self, interface: &CStr, name: &CStr) -> bool {
        // SAFETY: the message is live, the strings end with NUL.
        let is = unsafe {
            (self.bus.library.message_is_signal)(self.raw.as_ptr(), interface.as_ptr(), name.as_ptr())
        };
        is > 0
    }

    /// A string of the message's, or null.
    fn text(&self, text: *const c_char) -> Option<&[u8]> {
        // SAFETY: sd-bus gives null or a string that ends with NUL and stays as long as the message.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: each Message owns one reference.
        unsafe { (self.bus.library.message_unref)(self.raw.as_ptr()) };
    }
}

/// The D-Bus types that are texts to us.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Text {
    /// `s`
    String = b's',
    /// `o`
    ObjectPath = b'o',
}

/// C's `char`, which is signed on some machines.
fn ascii(letter: u8) -> c_char {
    c_char::from_ne_bytes([letter])
}
