// SPDX-License-Identifier: MIT OR Apache-2.0
//! The part that is common to the adapters of Rust libraries: the protocol of bench/peers/README.md.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt::Display;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::exit;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The limits of every group, as in bench/bench.h.
pub const MEMORY_MAX_BYTES: u64 = 64 << 20;
/// The CPU time in 100 ms.
pub const CPU_MAX_US: i64 = 150_000;
/// The period of the CPU limit.
pub const CPU_PERIOD_US: u64 = 100_000;
/// The number of processes.
pub const PIDS_MAX: u32 = 8000;

/// The reason why the library cannot do the operation.
pub type Answer<T> = Result<T, String>;

/// Makes the message of an error.
pub fn because(error: impl Display) -> String {
    error.to_string()
}

/// What the adapter was started with.
pub struct Setting {
    /// The directory in which groups are made.
    pub groups: PathBuf,
    /// If true, each group gets three limits.
    pub limits: bool,
}

/// A library, in the best way in which it does each operation.
pub trait Library {
    /// What a program keeps for each group.
    type Group;
    /// Called once.
    fn start(setting: &Setting) -> Self;
    /// Makes a group.
    fn make(&mut self) -> Answer<Self::Group>;
    /// Returns the group's directory. Not measured.
    fn path(&self, group: &Self::Group) -> PathBuf;
    /// Returns the CPU time in ns.
    fn read(&self, group: &Self::Group) -> Answer<u64>;
    /// Moves a process.
    fn migrate(&self, group: &Self::Group, pid: c_int) -> Answer<()>;
    /// Starts the program in the group and waits for its end.
    fn spawn(&self, group: &Self::Group, program: &Path) -> Answer<()>;
    /// Kills all processes and returns when the group is empty.
    fn kill(&self, group: &Self::Group) -> Answer<()>;
    /// Removes an empty group.
    fn remove(&self, group: Self::Group) -> Answer<()>;
}

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

fn last_error(call: &str) -> String {
    format!("{call}: {}", std::io::Error::last_os_error())
}

/// Reads cgroup.events until the group is empty, as the floor does, for libraries that do not wait.
pub fn wait_until_empty(directory: &Path) -> Answer<()> {
    let file = std::fs::File::open(directory.join("cgroup.events")).map_err(because)?;
    let events = OwnedFd::from(file);
    let mut text = [0u8; 128];
    for reads in 0.. {
        // SAFETY: the buffer is valid for its length.
        let n = unsafe { libc::pread(events.as_raw_fd(), text.as_mut_ptr().cast::<c_void>(), text.len(), 0) };
        let n = usize::try_from(n).map_err(|_| last_error("pread cgroup.events"))?;
        if text[..n].windows(11).any(|word| word == b"populated 0") {
            break;
        }
        if reads < 100 {
            // SAFETY: it takes no argument.
            unsafe { libc::sched_yield() };
        } else {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

fn arguments(program: &Path) -> CString {
    CString::new(program.as_os_str().as_bytes()).expect("a path contains no NUL")
}

fn wait_for(pid: c_int) -> Answer<()> {
    let mut status = 0;
    // SAFETY: status is valid.
    if unsafe { libc::waitpid(pid, &mut status, 0) } != pid || status != 0 {
        return Err(format!("the program ended with wait status {status:#x}"));
    }
    Ok(())
}

/// Starts the program, for libraries that do not: the child calls `enter`, which moves it, and then execve(2).
pub fn fork_and_enter(program: &Path, enter: impl FnOnce() -> Answer<()>) -> Answer<()> {
    let program = arguments(program);
    let argv = [program.as_ptr(), ptr::null()];
    let envp: [*const c_char; 1] = [ptr::null()];
    // SAFETY: no other thread exists that could hold a lock that the child needs.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(last_error("fork"));
    }
    if pid == 0 {
        if enter().is_ok() {
            // SAFETY: the strings and arrays are valid and terminated.
            unsafe { libc::execve(argv[0], argv.as_ptr(), envp.as_ptr()) };
        }
        // SAFETY: it ends the child.
        unsafe { libc::_exit(127) };
    }
    wait_for(pid)
}

/// The same for libraries that the child of a program with threads cannot call: the parent moves the child, which waits
/// for it.
pub fn fork_and_migrate(program: &Path, migrate: impl FnOnce(c_int) -> Answer<()>) -> Answer<()> {
    let program = arguments(program);
    let argv = [program.as_ptr(), ptr::null()];
    let envp: [*const c_char; 1] = [ptr::null()];
    let (waiting, go) = std::io::pipe().map_err(because)?;
    // SAFETY: the child makes system calls only.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(last_error("fork"));
    }
    if pid == 0 {
        let mut byte = 0u8;
        // SAFETY: the buffer is one byte; the strings and arrays are valid and terminated.
        unsafe {
            if libc::read(waiting.as_raw_fd(), ptr::from_mut(&mut byte).cast::<c_void>(), 1) == 1 {
                libc::execve(argv[0], argv.as_ptr(), envp.as_ptr());
            }
            libc::_exit(127);
        }
    }
    migrate(pid)?;
    let byte = 1u8;
    // SAFETY: the buffer is one byte.
    if unsafe { libc::write(go.as_raw_fd(), ptr::from_ref(&byte).cast::<c_void>(), 1) } != 1 {
        return Err(last_error("write to the child"));
    }
    wait_for(pid)
}

fn fail(message: &str) -> ! {
    eprintln!("adapter: {message}");
    exit(2)
}

/// Reads a line without a buffer, so that the trace of an operation contains only its own system calls between the read
/// of the command and the write of the answer.
fn read_command(line: &mut [u8; 256]) -> Option<&str> {
    // SAFETY: the buffer is valid for its length.
    let n = unsafe { libc::read(0, line.as_mut_ptr().cast::<c_void>(), line.len()) };
    if n <= 0 {
        return None;
    }
    let line = line[..n as usize].strip_suffix(b"\n").unwrap_or_else(|| fail("an incomplete line"));
    std::str::from_utf8(line).ok()
}

fn answer(text: &str) {
    // SAFETY: the buffer is valid for its length.
    if unsafe { libc::write(1, text.as_ptr().cast::<c_void>(), text.len()) } != text.len() as isize {
        exit(2);
    }
}

struct Runner<L: Library> {
    library: L,
    groups: Vec<L::Group>,
    program: PathBuf,
}

impl<L: Library> Runner<L> {
    /// Returns the time, or the text of the answer.
    fn run(&mut self, verb: &str, arguments: &[i64]) -> Answer<String> {
        let argument = |i: usize| *arguments.get(i).unwrap_or_else(|| fail("an argument is missing"));
        let start;
        let mut more = String::new();
        match verb {
            "new" => {
                self.groups.reserve(argument(0) as usize);
                start = Instant::now();
                for _ in 0..argument(0) {
                    let group = self.library.make()?;
                    self.groups.push(group);
                }
            }
            "read" => {
                let mut cpu_ns = 0;
                start = Instant::now();
                for _ in 0..argument(0) {
                    cpu_ns = self.library.read(&self.groups[0])?;
                }
                more = format!(" {cpu_ns}");
            }
            "move" => {
                start = Instant::now();
                for i in 0..argument(1) {
                    self.library.migrate(&self.groups[(i as usize + 1) % 2], argument(0) as c_int)?;
                }
            }
            "spawn" => {
                start = Instant::now();
                for _ in 0..argument(0) {
                    self.library.spawn(&self.groups[0], &self.program)?;
                }
            }
            "kill" => {
                start = Instant::now();
                for group in &self.groups {
                    self.library.kill(group)?;
                }
            }
            "destroy" => {
                start = Instant::now();
                for group in self.groups.drain(..) {
                    self.library.remove(group)?;
                }
            }
            "paths" => {
                let paths = self.groups.iter().map(|group| self.library.path(group).display().to_string());
                return Ok(paths.collect::<Vec<_>>().join(" "));
            }
            "allocations" => return Ok(ALLOCATIONS.load(Relaxed).to_string()),
            "settle" => {
                // SAFETY: it takes no pointer.
                unsafe { libc::malloc_trim(0) };
                return Ok(String::new());
            }
            _ => fail("an unknown command"),
        }
        let elapsed = start.elapsed();
        Ok(format!("{}{more}", elapsed.as_nanos()))
    }
}

/// Serves commands until the end of the standard input.
pub fn run<L: Library>() {
    let arguments: Vec<_> = std::env::args_os().collect();
    let [_, groups, mode, program] = arguments.as_slice() else {
        fail("usage: GROUPS-DIRECTORY plain|limits PROGRAM");
    };
    let setting = Setting { groups: groups.into(), limits: mode == "limits" };
    let library = L::start(&setting);
    let mut runner = Runner { library, groups: Vec::new(), program: program.into() };
    answer("ready\n");
    let mut line = [0; 256];
    while let Some(command) = read_command(&mut line) {
        let mut words = command.split(' ');
        let (tag, verb) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let numbers: Vec<i64> = words.filter_map(|word| word.parse().ok()).collect();
        match runner.run(verb, &numbers) {
            Ok(text) => answer(&format!("{tag} ok {text}\n")),
            Err(reason) => answer(&format!("{tag} no {}\n", reason.replace('\n', " "))),
        }
    }
}
