// SPDX-License-Identifier: MIT OR Apache-2.0
//! A D-Bus connection of sd-bus and its messages. The callbacks of sd-bus and `sd_bus_call` are not used: `sd_bus_call`
//! waits without limit for the connection to be established, and fails if the program gets a signal. sd-bus treats each
//! connection as one to a peer, so this library sends `Hello` itself.

#![allow(unsafe_code)]

use super::library::{Library, SdBus, SdMessage};
use crate::sys::deadline::Deadline;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::ptr::{NonNull, null, null_mut};
use std::time::Duration;

/// How long a lack of memory or descriptors may last until the wait for a message fails.
const LONGEST_LACK: Duration = Duration::from_secs(1);
/// How long to wait between two attempts.
const LACK_PAUSE: Duration = Duration::from_millis(10);

/// The address of a method.
pub struct Method<'a> {
    /// The bus name of the program.
    pub destination: &'static CStr,
    /// The path of the object.
    pub path: &'a CStr,
    /// The interface of the object.
    pub interface: &'static CStr,
    /// The name of the method.
    pub name: &'static CStr,
}

/// A connection. In a forked child each call returns `ECHILD`.
pub struct Bus {
    bus: NonNull<SdBus>,
    library: Library,
}

/// Convert the return value of a function of sd-bus, which is a negative errno on failure.
fn check(returned: c_int) -> nix::Result<c_int> {
    if returned < 0 { Err(Errno::from_raw(returned.saturating_neg())) } else { Ok(returned) }
}

impl Bus {
    /// Make a connection of a connected socket, without sending anything yet.
    pub fn start(library: Library, socket: OwnedFd) -> nix::Result<Self> {
        let mut bus = null_mut();
        // SAFETY: the argument is the place for the address of the new object.
        check(unsafe { (library.new)(&raw mut bus) })?;
        let bus = Self { bus: NonNull::new(bus).ok_or(Errno::ENOMEM)?, library };
        let (raw, fd) = (bus.bus.as_ptr(), socket.as_raw_fd());
        // SAFETY: `raw` is the live object in each of these. The timeout is not used. It is set because sd-bus would read
        // it from an environment variable otherwise.
        unsafe {
            check((bus.library.negotiate_fds)(raw, 1))?;
            check((bus.library.set_method_call_timeout)(raw, u64::MAX))?;
            check((bus.library.set_fd)(raw, fd, fd))?;
        }
        let _ = socket.into_raw_fd(); // The bus owns it now.
        // SAFETY: as before. This makes the socket non-blocking and queues the authentication.
        check(unsafe { (bus.library.start)(raw) })?;
        Ok(bus)
    }

    /// Returns true if the connection can pass descriptors. Before the first reply the call would wait.
    pub fn passes_descriptors(&self) -> bool {
        // SAFETY: the object is live.
        check(unsafe { (self.library.can_send)(self.bus.as_ptr(), ascii(b'h')) }).is_ok_and(|can| can > 0)
    }

    /// A new call without arguments.
    pub fn method(&self, method: &Method<'_>) -> nix::Result<Message<'_>> {
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

    /// Send a call, or queue it for [`Self::next`] to send. Returns the cookie, which its reply repeats.
    pub fn send(&self, message: &Message<'_>) -> nix::Result<u64> {
        let mut cookie = 0;
        // SAFETY: both objects are live.
        check(unsafe { (self.library.send)(self.bus.as_ptr(), message.raw.as_ptr(), &raw mut cookie) })?;
        Ok(cookie)
    }

    /// Wait for the next message of any kind. `ETIMEDOUT` if none arrives. The connection survives a lack of memory or
    /// descriptors, which may pass. If the answer to a request were given up, nobody would know if systemd did it.
    pub fn next(&self, deadline: Deadline) -> nix::Result<Message<'_>> {
        let mut lack: Option<Deadline> = None;
        while !deadline.passed() {
            match self.process(deadline) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) | Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(e @ (Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE)) => {
                    if lack.get_or_insert_with(|| Deadline::after(LONGEST_LACK)).passed() {
                        return Err(e);
                    }
                    std::thread::sleep(LACK_PAUSE);
                }
                Err(e) => return Err(e),
            }
        }
        Err(Errno::ETIMEDOUT)
    }

    /// Do one step of the connection's work, and wait if there is none. Returns a message if one was received.
    fn process(&self, deadline: Deadline) -> nix::Result<Option<Message<'_>>> {
        let mut raw = null_mut();
        // SAFETY: the object is live. The call does not block. It returns a message that the caller owns, or null.
        let worked = check(unsafe { (self.library.process)(self.bus.as_ptr(), &raw mut raw) })?;
        match NonNull::new(raw) {
            Some(raw) => Ok(Some(Message { raw, bus: self })),
            None if worked > 0 => Ok(None),
            None => self.wait(deadline).map(|()| None),
        }
    }

    /// Wait until the socket is ready or a signal has arrived. No timer of sd-bus can expire before: it does not know the
    /// calls, and it allows 90 s for the authentication.
    fn wait(&self, deadline: Deadline) -> nix::Result<()> {
        // SAFETY: the object is live.
        let (fd, events) = unsafe {
            (
                check((self.library.get_fd)(self.bus.as_ptr()))?,
                check((self.library.get_events)(self.bus.as_ptr()))?,
            )
        };
        let events = i16::try_from(events).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the object keeps the descriptor open and outlives this borrow.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        // Rounded up: the last millisecond would be a busy loop otherwise.
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
        // SAFETY: the object is live, and no message borrows it any more, so this is its last use. Closing it drops the
        // queued messages, which refer to it, and the socket.
        unsafe {
            (self.library.close)(self.bus.as_ptr());
            (self.library.unref)(self.bus.as_ptr());
        }
    }
}

/// A message that is being made or was received.
pub struct Message<'a> {
    raw: NonNull<SdMessage>,
    bus: &'a Bus,
}

impl Message<'_> {
    /// Append a string (`s`).
    pub fn string(&self, text: &CStr) -> nix::Result<()> {
        self.append(b's', text.as_ptr().cast())
    }

    /// Append an unsigned number of 32 bits (`u`).
    pub fn number(&self, number: u32) -> nix::Result<()> {
        self.append(b'u', (&raw const number).cast())
    }

    /// Append a boolean (`b`).
    pub fn boolean(&self, truth: bool) -> nix::Result<()> {
        let truth = c_int::from(truth);
        self.append(b'b', (&raw const truth).cast())
    }

    /// Append a descriptor (`h`), which sd-bus duplicates.
    pub fn descriptor(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        let fd = fd.as_raw_fd();
        self.append(b'h', (&raw const fd).cast())
    }

    /// Append a container (array `a`, variant `v` or struct `r`). `fill` appends its contents.
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

    /// Append a value. `value` points to what sd-bus expects for the type.
    fn append(&self, kind: u8, value: *const c_void) -> nix::Result<()> {
        // SAFETY: the message is live; the callers above give the types that sd_bus_message_append_basic(3) lists.
        check(unsafe { (self.bus.library.message_append_basic)(self.raw.as_ptr(), ascii(kind), value) })
            .map(drop)
    }

    /// Enter the variant that is next in the message.
    pub fn enter_variant(&self, contents: &CStr) -> nix::Result<()> {
        // SAFETY: the message is live, the string ends with NUL.
        let entered = check(unsafe {
            (self.bus.library.message_enter_container)(self.raw.as_ptr(), ascii(b'v'), contents.as_ptr())
        })?;
        if entered > 0 { Ok(()) } else { Err(Errno::EBADMSG) }
    }

    /// Read an unsigned number of 32 bits (`u`).
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

    /// Read a value. `value` points to memory for what sd-bus writes for the type. The end of the message is an error.
    fn read(&self, kind: u8, value: *mut c_void) -> nix::Result<()> {
        // SAFETY: the message is live; the callers above give the types that sd_bus_message_read_basic(3) lists.
        let read =
            check(unsafe { (self.bus.library.message_read_basic)(self.raw.as_ptr(), ascii(kind), value) })?;
        if read > 0 { Ok(()) } else { Err(Errno::EBADMSG) }
    }

    /// The cookie of the call to which this is the reply.
    pub fn reply_cookie(&self) -> Option<u64> {
        let mut cookie = 0;
        // SAFETY: the message is live.
        check(unsafe { (self.bus.library.message_get_reply_cookie)(self.raw.as_ptr(), &raw mut cookie) })
            .is_ok()
            .then_some(cookie)
    }

    /// The name and the text of the error, if this is an error reply.
    pub fn error(&self) -> Option<(&[u8], &[u8])> {
        // SAFETY: the message is live; the error belongs to it.
        let error = unsafe { (self.bus.library.message_get_error)(self.raw.as_ptr()).as_ref() }?;
        Some((self.text(error.name)?, self.text(error.message).unwrap_or_default()))
    }

    /// The bus name of the sender. A peer has none.
    pub fn sender(&self) -> Option<&[u8]> {
        // SAFETY: the message is live; the name belongs to it.
        self.text(unsafe { (self.bus.library.message_get_sender)(self.raw.as_ptr()) })
    }

    /// Returns true if the message is this signal.
    pub fn is_signal(&self, interface: &CStr, name: &CStr) -> bool {
        // SAFETY: the message is live, the strings end with NUL.
        let is = unsafe {
            (self.bus.library.message_is_signal)(self.raw.as_ptr(), interface.as_ptr(), name.as_ptr())
        };
        is > 0
    }

    /// The string at `text`, which belongs to the message. `None` for null.
    fn text(&self, text: *const c_char) -> Option<&[u8]> {
        // SAFETY: sd-bus returns null or a string that ends with NUL and lives as long as the message.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
    }
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: each Message owns one reference.
        unsafe { (self.bus.library.message_unref)(self.raw.as_ptr()) };
    }
}

/// The types of D-Bus that are read as text.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Text {
    /// A string, `s`.
    String = b's',
    /// An object path, `o`.
    ObjectPath = b'o',
}

/// A letter as C's `char`, which is signed on some machines.
fn ascii(letter: u8) -> c_char {
    c_char::from_ne_bytes([letter])
}
