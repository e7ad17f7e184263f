// SPDX-License-Identifier: MIT OR Apache-2.0
//! The path of the file from which this code was loaded: the shared library, or the program into which it is linked.

use super::{descriptors, kernfile};
use nix::fcntl::OFlag;
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

struct Search {
    address: usize,
    name: Option<Vec<u8>>,
}

/// Returns the absolute path of that file, or None if it is not known.
pub fn find() -> Option<Vec<u8>> {
    let mut search = Search { address: find as *const () as usize, name: None };
    // SAFETY: `visit` takes a `Search`, which lives during the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    match search.name {
        // dladdr(3) is not used because it names the program by argv[0].
        None => program(),
        Some(name) if name.is_empty() => program(),
        Some(name) if name.starts_with(b"/") => Some(name),
        // A relative name was valid in the working directory at the time of loading.
        Some(_) => mapped(search.address),
    }
}

fn program() -> Option<Vec<u8>> {
    let path = std::fs::read_link("/proc/self/exe").ok()?.into_os_string().into_vec();
    path.starts_with(b"/").then_some(path)
}

/// Returns the path of the file that is mapped at this address, from /proc/self/maps.
fn mapped(address: usize) -> Option<Vec<u8>> {
    let maps = descriptors::open(c"/proc/self/maps", OFlag::O_RDONLY)
        .and_then(|file| kernfile::read_all(file.into()))
        .ok()?;
    maps.split(|&b| b == b'\n').find_map(|line| {
        let line = OsStr::from_bytes(line).to_string_lossy();
        let (start, rest) = line.split_once('-')?;
        let end = rest.split(' ').next()?;
        let inside = usize::from_str_radix(start, 16).ok()? <= address
            && address < usize::from_str_radix(end, 16).ok()?;
        let path = rest.get(rest.find('/')?..)?;
        inside.then(|| path.as_bytes().to_vec())
    })
}

/// A callback of dl_iterate_phdr(3). It stores the name of the object that holds the address and stops there.
unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: the loader passes a valid entry and its program headers. `search` is the argument of `find`.
    let (info, search, headers) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        (info, &mut *search.cast::<Search>(), headers)
    };
    let holds = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
        let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        (start..start.wrapping_add(header.p_memsz as usize)).contains(&search.address)
    });
    if !holds {
        return 0;
    }
    let name = if info.dlpi_name.is_null() {
        Vec::new()
    } else {
        // SAFETY: the loader's name ends with NUL.
        unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes().to_vec()
    };
    search.name = Some(name);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_the_kernel_and_by_its_mappings() {
        let own = std::env::current_exe().expect("a path").into_os_string().into_vec();
        assert_eq!(find().as_deref(), Some(own.as_slice()));
        assert_eq!(mapped(find as *const () as usize).as_deref(), Some(own.as_slice()));
        assert_eq!(mapped(1), None);
    }
}
