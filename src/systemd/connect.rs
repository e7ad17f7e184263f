// SPDX-License-Identifier: MIT OR Apache-2.0
//! Connecting to a manager: the sockets on which one may listen, and the check that it answers.

use super::failure::{Failure, Result, one_line};
use super::library::{self, Library};
use super::manager::{Manager, OBJECT, SYSTEMD, dbus};
use super::sdbus::{Bus, Method};
use super::socket;
use crate::error::words;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::occupy_stdio;
use nix::errno::Errno;
use nix::unistd::{Uid, geteuid};
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// How long a manager may take to accept, authenticate and answer a ping. A healthy one takes a few milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The first words of the message if a manager accepts connections but libsystemd is missing.
pub const NEEDS_LIBRARY: &str = "talking to systemd needs its library";

/// A socket on which a manager may be reached.
pub struct Socket {
    /// The path of the socket.
    pub path: PathBuf,
    /// It is the socket of a message bus, and not that of the manager itself.
    pub is_bus: bool,
}

/// The sockets of the manager that serves this uid: the system manager for root, else the user manager.
fn sockets_of(uid: Uid) -> [Socket; 2] {
    if uid.is_root() {
        [
            Socket { path: "/run/systemd/private".into(), is_bus: false },
            Socket { path: "/run/dbus/system_bus_socket".into(), is_bus: true },
        ]
    } else {
        [
            Socket { path: format!("/run/user/{uid}/bus").into(), is_bus: true },
            Socket { path: format!("/run/user/{uid}/systemd/private").into(), is_bus: false },
        ]
    }
}

/// The sockets of the manager of a unit.
fn sockets_of_unit(of_user: bool) -> Vec<Socket> {
    if of_user || geteuid().is_root() {
        return sockets_of(geteuid()).into();
    }
    // The private socket of the system manager is root's.
    vec![Socket { path: "/run/dbus/system_bus_socket".into(), is_bus: true }]
}

impl Manager {
    /// Connect to the system manager, which answers questions of every user, or to the user manager of the effective uid.
    pub fn connect_to_ask(of_user: bool) -> Result<Self> {
        Self::connect_to(&sockets_of_unit(of_user), library::FILE, CONNECT_TIMEOUT)
    }

    /// Connect to the user manager of the effective uid, or for root to the system manager.
    pub fn connect() -> Result<Self> {
        Self::connect_to(&sockets_of(geteuid()), library::FILE, CONNECT_TIMEOUT)
    }

    /// Connect to the first of `sockets` on which a manager answers. Each has `timeout` to do so.
    pub(super) fn connect_to(sockets: &[Socket], library: &CStr, timeout: Duration) -> Result<Self> {
        let mut obstacles = Vec::new();
        // The dynamic linker and libsystemd open files. None of these may become descriptor 0, 1 or 2.
        let _occupied = occupy_stdio()?;
        for socket in sockets {
            let path = socket.path.display();
            let deadline = Deadline::after(timeout);
            let answered = match socket::connect(&socket.path, deadline) {
                Ok(fd) => Self::handshake(load(library, &fd)?, fd, socket.is_bus, deadline),
                Err(Errno::ENOENT) => {
                    obstacles.push(format!("no {path}"));
                    continue;
                }
                Err(e @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ETIMEDOUT)) => Err(e.into()),
                Err(e) => Err(Failure::Unreachable(words(e).into())),
            };
            match answered {
                Ok(manager) => return Ok(manager),
                Err(Failure::Errno(e)) => return Err(Failure::Errno(e)),
                Err(Failure::TimedOut(_)) => {
                    // In whole numbers: the code that formats fractions would be linked for this message alone.
                    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                    obstacles.push(format!("{path}: no answer in {ms} ms"));
                }
                Err(Failure::Unreachable(why) | Failure::Refused(why)) => {
                    obstacles.push(format!("{path}: {why}"));
                }
            }
        }
        Err(Failure::Unreachable(format!("cannot reach systemd: {}", obstacles.join("; "))))
    }

    /// Check that a manager answers. A bus may run without one.
    fn handshake(library: Library, fd: OwnedFd, is_bus: bool, deadline: Deadline) -> Result<Self> {
        let manager = Self { bus: Bus::start(library, fd)?, on_bus: is_bus };
        let ping = Method {
            destination: SYSTEMD,
            path: OBJECT,
            interface: c"org.freedesktop.DBus.Peer",
            name: c"Ping",
        };
        let hello = is_bus.then(|| dbus(c"Hello"));
        for method in hello.iter().chain([&ping]) {
            manager.call_until(&manager.bus.method(method)?, deadline, |_| Ok(()))??;
        }
        Ok(manager)
    }
}

/// Load libsystemd. `fd` is the connected socket.
fn load(file: &CStr, fd: &OwnedFd) -> Result<Library> {
    Library::load(file).map_err(|why| {
        // The dynamic linker reports a lack of descriptors only as text. A duplicate of `fd` shows the errno.
        let none_left = fd.try_clone().err().and_then(|e| e.raw_os_error()).map(Errno::from_raw);
        match none_left {
            Some(e @ (Errno::EMFILE | Errno::ENFILE)) => Failure::Errno(e),
            _ => Failure::Unreachable(format!("{NEEDS_LIBRARY}: {}", one_line(why.as_bytes()))),
        }
    })
}
