// SPDX-License-Identifier: MIT OR Apache-2.0
//! sd-bus of libsystemd, loaded when a manager has accepted a connection. All symbols exist since version 221, except
//! `sd_bus_set_method_call_timeout`, since 240. Their declarations are those of systemd/sd-bus.h. While the name of the
//! library ends in `.so.0`, the header may gain functions but not change them.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

/// The file name of the library. On Debian it is in the package libsystemd0.
pub const FILE: &CStr = c"libsystemd.so.0";

/// `sd_bus`, an opaque type of libsystemd.
#[repr(C)]
pub struct SdBus([u8; 0]);

/// `sd_bus_message`, an opaque type of libsystemd.
#[repr(C)]
pub struct SdMessage([u8; 0]);

/// `sd_bus_error`, as the header declares it.
#[repr(C)]
pub struct SdError {
    /// The name of the error.
    pub name: *const c_char,
    /// The text of the error.
    pub message: *const c_char,
    _need_free: c_int,
}

macro_rules! library {
    ($($name:ident: $symbol:literal fn($($arg:ty),*) -> $ret:ty;)*) => {
        /// The functions of libsystemd that are used. Their addresses are valid as long as this value.
        pub struct Library {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> $ret,)*
            _handle: Handle,
        }

        impl Library {
            /// Load the library. The error is the text of the dynamic linker, or names the function that an old
            /// library lacks.
            pub fn load(file: &CStr) -> Result<Self, String> {
                let handle = Handle::open(file)?;
                Ok(Self {
                    $($name: {
                        let address = handle.symbol(file, $symbol)?;
                        // SAFETY: the library's header declares the function so; the address is not
                        // null, and a function pointer is as wide as any other here (dlsym(3)).
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($arg),*) -> $ret>(
                                address.as_ptr(),
                            )
                        }
                    },)*
                    _handle: handle,
                })
            }
        }
    };
}

library! {
    new: c"sd_bus_new" fn(*mut *mut SdBus) -> c_int;
    set_fd: c"sd_bus_set_fd" fn(*mut SdBus, c_int, c_int) -> c_int;
    negotiate_fds: c"sd_bus_negotiate_fds" fn(*mut SdBus, c_int) -> c_int;
    set_method_call_timeout: c"sd_bus_set_method_call_timeout" fn(*mut SdBus, u64) -> c_int;
    start: c"sd_bus_start" fn(*mut SdBus) -> c_int;
    close: c"sd_bus_close" fn(*mut SdBus) -> ();
    unref: c"sd_bus_unref" fn(*mut SdBus) -> *mut SdBus;
    can_send: c"sd_bus_can_send" fn(*mut SdBus, c_char) -> c_int;
    get_fd: c"sd_bus_get_fd" fn(*mut SdBus) -> c_int;
    get_events: c"sd_bus_get_events" fn(*mut SdBus) -> c_int;
    process: c"sd_bus_process" fn(*mut SdBus, *mut *mut SdMessage) -> c_int;
    send: c"sd_bus_send" fn(*mut SdBus, *mut SdMessage, *mut u64) -> c_int;
    message_new_method_call: c"sd_bus_message_new_method_call" fn(
        *mut SdBus, *mut *mut SdMessage, *const c_char, *const c_char, *const c_char, *const c_char
    ) -> c_int;
    message_unref: c"sd_bus_message_unref" fn(*mut SdMessage) -> *mut SdMessage;
    message_append_basic: c"sd_bus_message_append_basic" fn(*mut SdMessage, c_char, *const c_void) -> c_int;
    message_open_container: c"sd_bus_message_open_container" fn(*mut SdMessage, c_char, *const c_char) -> c_int;
    message_close_container: c"sd_bus_message_close_container" fn(*mut SdMessage) -> c_int;
    message_enter_container: c"sd_bus_message_enter_container" fn(*mut SdMessage, c_char, *const c_char) -> c_int;
    message_read_basic: c"sd_bus_message_read_basic" fn(*mut SdMessage, c_char, *mut c_void) -> c_int;
    message_get_reply_cookie: c"sd_bus_message_get_reply_cookie" fn(*mut SdMessage, *mut u64) -> c_int;
    message_get_error: c"sd_bus_message_get_error" fn(*mut SdMessage) -> *const SdError;
    message_get_sender: c"sd_bus_message_get_sender" fn(*mut SdMessage) -> *const c_char;
    message_is_signal: c"sd_bus_message_is_signal" fn(*mut SdMessage, *const c_char, *const c_char) -> c_int;
}

/// A handle of dlopen(3).
struct Handle(NonNull<c_void>);

impl Handle {
    fn open(file: &CStr) -> Result<Self, String> {
        // NODELETE: libsystemd has thread-local data, and unloading it would leak that of other threads.
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: the name ends with NUL. The initializers of the library are those that run in every program that is
        // linked to it.
        let handle = unsafe { libc::dlopen(file.as_ptr(), flags) };
        NonNull::new(handle).map(Self).ok_or_else(linker_error)
    }

    fn symbol(&self, file: &CStr, name: &CStr) -> Result<NonNull<c_void>, String> {
        // SAFETY: the handle is open until drop; the name ends with NUL.
        let address = unsafe { libc::dlsym(self.0.as_ptr(), name.as_ptr()) };
        NonNull::new(address).ok_or_else(|| {
            format!("{} is too old, it lacks {}", file.to_string_lossy(), name.to_string_lossy())
        })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is from dlopen and has no other owner. NODELETE keeps the code loaded.
        unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}

/// The text of the dynamic linker for its last error.
fn linker_error() -> String {
    // SAFETY: dlerror returns null or a string of this thread, valid until its next call of a function of dlfcn.h.
    let words = unsafe { libc::dlerror() };
    if words.is_null() {
        return "the dynamic linker does not say why".into();
    }
    // SAFETY: as above, and not null.
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}
