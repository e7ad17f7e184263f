// SPDX-License-Identifier: MIT OR Apache-2.0
//! The way to a manager: which sockets there may be, and whether somebody answers on them.

use super::failure::{Failure, Result, line};
use super::library::{self, Library};
use super::sdbus::{Bus, Method};
use super::{Manager, OBJECT, SYSTEMD, dbus, socket};
use crate::error::words;
use crate::sys::deadline::Deadline;
use crate::sys::descriptors::hold_stdio;
use nix::errno::Errno;
use nix::unistd::{Uid, geteuid};
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

/// A manager that is alive takes a few milliseconds to accept, authenticate, and answer a ping.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the message begins where the library alone is missing.
pub const NEEDS_LIBRARY: &str = "talking to systemd needs its library";

/// A socket on which a manager may be reached.
pub struct Socket {
    pub path: PathBuf,
    /// A message bus, on which the manager is one of many, and not the manager itself.
    pub is_bus: bool,
}

/// root's manager is the system's, everybody else's the one of his own.
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

impl Manager {
    /// The user manager of the effective uid; for root the system manager.
    pub fn connect() -> Result<Self> {
        Self::connect_to(&sockets_of(geteuid()), library::FILE, PATIENCE)
    }

    /// The first of `sockets` where a manager answers; each is given as long as `patience`.
    pub(super) fn connect_to(sockets: &[Socket], library: &CStr, patience: Duration) -> Result<Self> {
        let mut obstacles = Vec::new();
        // The linker and libsystemd open files, too.
        let _held = hold_stdio()?;
        for socket in sockets {
            let path = socket.path.display();
            let deadline = Deadline::after(patience);
            let answered = match socket::connect(&socket.path, deadline) {
                Ok(fd) => Self::greet(load(library, &fd)?, fd, socket.is_bus, deadline),
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
                    obstacles.push(format!("{path}: no answer in {} s", patience.as_secs_f32()));
                }
                Err(Failure::Unreachable(why) | Failure::Refused(why)) => {
                    obstacles.push(format!("{path}: {why}"));
                }
            }
        }
        Err(Failure::Unreachable(format!("systemd was not reached: {}", obstacles.join("; "))))
    }

    /// Make sure that somebody answers, and that it is a manager: a bus may be without one.
    fn greet(library: Library, fd: OwnedFd, is_bus: bool, deadline: Deadline) -> Result<Self> {
        let manager = Self { bus: Bus::start(library, fd)?, on_bus: is_bus };
        let ping = Method {
            destination: SYSTEMD,
            path: OBJECT,
            interface: c"org.freedesktop.DBus.Peer",
            name: c"Ping",
        };
        let hello = is_bus.then(|| dbus(c"Hello"));
        for method in hello.iter().chain([&ping]) {
            manager.call(&manager.bus.method(method)?, deadline, |_| Ok(()))??;
        }
        Ok(manager)
    }
}

/// The library, now that there is somebody to talk to on `fd`.
fn load(file: &CStr, fd: &OwnedFd) -> Result<Library> {
    Library::load(file).map_err(|why| {
        // The linker tells only people that it had no descriptor left to open the file with.
        let none_left = fd.try_clone().err().and_then(|e| e.raw_os_error()).map(Errno::from_raw);
        match none_left {
            Some(e @ (Errno::EMFILE | Errno::ENFILE)) => Failure::Errno(e),
            _ => Failure::Unreachable(format!("{NEEDS_LIBRARY}: {}", line(why.as_bytes()))),
        }
    })
}
