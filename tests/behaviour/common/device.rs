// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices in memory, which root makes with the modules of the lab's kernel. They are removed at the end of
//! the test.

use super::lab;
use super::member::role;
use std::alloc::{Layout, alloc_zeroed};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The kernel is shared: only one test at a time loads a module or has swap enabled.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn lock_devices() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command in a shell, where `$modules` is the directory of the kernel's modules for block devices: the one that
/// tests/lab/uml-kernel has unpacked beside the kernel, or that of Debian's package.
fn run(command: &str) -> String {
    const MODULES: &str = "modules=$0/build/lab/modules/$(uname -r)
        [ -d $modules ] || modules=/usr/lib/uml/modules/$(uname -r)/kernel/drivers/block";
    let script = format!("{MODULES}; {command}");
    let done = Command::new("sh").args(["-ec", &script, env!("CARGO_MANIFEST_DIR")]).output().expect("sh");
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// Runs a command in a `drop`, which must not panic: a panic may already be in progress.
fn try_run(command: &str) {
    let _the_test_has_failed_before = Command::new("sh").args(["-c", command]).status();
}

/// A loop device, by its path.
pub struct Loop(pub String);

impl Loop {
    /// Creates a device of so many MiB.
    pub fn of_memory(mib: u32) -> Self {
        lab::needs(&["unified", "systemd-oomd"]);
        let _alone = lock_devices();
        run("[ -e /dev/loop-control ] || busybox insmod $modules/loop.ko");
        Self(run(&format!(
            "file=$(mktemp); chmod 600 $file; truncate -s {mib}M $file; losetup --show -f $file"
        )))
    }
}

impl Loop {
    /// Returns the device numbers in the form of the kernel's files.
    pub fn numbers(&self) -> String {
        let file = self.0.replace("/dev/", "/sys/class/block/") + "/dev";
        fs::read_to_string(&file).unwrap_or_else(|e| panic!("read {file}: {e}")).trim_end().to_owned()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        try_run(&format!("losetup -d {}", self.0));
    }
}

/// 64 MiB of swap, enabled as long as the value lives.
pub struct Swap(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Swap {
    /// Enables the swap. Its device is a RAM disk: the memory of a loop device would be charged to the group
    /// that swaps.
    pub fn on() -> Self {
        lab::needs(&["unified"]);
        let alone = lock_devices();
        run("[ -e /dev/ram0 ] || busybox insmod $modules/brd.ko rd_nr=1 rd_size=65536");
        run("mkswap /dev/ram0; swapon /dev/ram0");
        Self(alone)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        try_run("swapoff /dev/ram0");
    }
}

/// The size of one read or write, in bytes.
pub const BLOCK: usize = 64 << 10;

/// Opens a device for direct I/O and allocates an aligned block for it.
pub fn direct(device: &str) -> (File, &'static mut [u8]) {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(device);
    let layout = Layout::from_size_align(BLOCK, 4096).expect("a layout");
    // SAFETY: the block has BLOCK bytes, all 0, and nothing else refers to it.
    #[allow(unsafe_code, reason = "see SAFETY")]
    let block = unsafe { std::slice::from_raw_parts_mut(alloc_zeroed(layout), BLOCK) };
    (device.expect("open"), block)
}

/// A role that reads from a device with direct I/O, without end.
pub fn reads_on(args: &[String]) {
    role::receive();
    let (device, block) = direct(&args[0]);
    loop {
        device.read_exact_at(block, 0).expect("read");
    }
}
