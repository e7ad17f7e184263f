// SPDX-License-Identifier: MIT OR Apache-2.0
//! Allocations that fail with `ENOMEM` instead of aborting the process.
//!
//! They are for memory whose size depends on the kernel, the agent or the caller. In the C library they never use the reserve
//! ([`super::reserve_allocator`]), which is small and meant for allocations of bounded size.

use nix::errno::Errno;
use std::alloc::Layout;
use std::ffi::{CStr, CString};

#[cfg(feature = "c-library")]
use super::reserve_allocator::ReserveAllocator;

/// The smallest capacity of a vector that grows.
const MIN_CAPACITY: usize = 4;

/// Returns an empty vector with this capacity.
pub fn with_capacity<T>(capacity: usize) -> nix::Result<Vec<T>> {
    let layout = Layout::array::<T>(capacity).map_err(|_| Errno::ENOMEM)?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { allocate(layout) };
    if memory.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: the memory is of the global allocator and fits an array of `capacity` elements. The length is 0.
    Ok(unsafe { Vec::from_raw_parts(memory.cast::<T>(), 0, capacity) })
}

/// Grows the capacity so that `more` elements fit.
pub fn reserve<T>(vec: &mut Vec<T>, more: usize) -> nix::Result<()> {
    if vec.capacity() - vec.len() >= more {
        return Ok(());
    }
    let needed = vec.len().checked_add(more).ok_or(Errno::ENOMEM)?;
    let mut larger = with_capacity(needed.max(vec.capacity().saturating_mul(2)).max(MIN_CAPACITY))?;
    larger.append(vec);
    *vec = larger;
    Ok(())
}

/// Fallible [`Vec::push`].
pub fn push<T>(vec: &mut Vec<T>, element: T) -> nix::Result<()> {
    reserve(vec, 1)?;
    vec.push(element);
    Ok(())
}

/// Fallible [`Vec::extend`].
pub fn extend<T>(vec: &mut Vec<T>, elements: impl IntoIterator<Item = T>) -> nix::Result<()> {
    let elements = elements.into_iter();
    reserve(vec, elements.size_hint().0)?;
    elements.into_iter().try_for_each(|element| push(vec, element))
}

/// Fallible [`Vec::extend_from_slice`].
pub fn append<T: Copy>(vec: &mut Vec<T>, elements: &[T]) -> nix::Result<()> {
    reserve(vec, elements.len())?;
    vec.extend_from_slice(elements);
    Ok(())
}

/// Returns a copy of a slice.
pub fn copy<T: Copy>(elements: &[T]) -> nix::Result<Vec<T>> {
    let mut copy = with_capacity(elements.len())?;
    copy.extend_from_slice(elements);
    Ok(copy)
}

/// Returns a copy of a string.
pub fn copy_str(text: &str) -> nix::Result<String> {
    // It cannot fail: the bytes of a string are valid UTF-8.
    String::from_utf8(copy(text.as_bytes())?).map_err(|_| Errno::EILSEQ)
}

/// Returns a copy of a C string.
pub fn copy_cstr(text: &CStr) -> nix::Result<CString> {
    // The vector includes the NUL and has an exact capacity, so that `CString` does not allocate.
    CString::from_vec_with_nul(copy(text.to_bytes_with_nul())?).map_err(|_| Errno::EILSEQ)
}

/// Fallible [`Box::new`].
pub fn boxed<T>(value: T) -> nix::Result<Box<T>> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(value));
    }
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { allocate(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: the memory is of the global allocator and fits the value, which is written before the box is created.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

/// Allocates memory of the global allocator. Returns null if there is none.
///
/// # Safety
/// The layout's size is not 0.
unsafe fn allocate(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    #[cfg(feature = "c-library")]
    return unsafe { ReserveAllocator::alloc_from_system(layout) };
    // SAFETY: the caller's promise.
    #[cfg(not(feature = "c-library"))]
    return unsafe { std::alloc::alloc(layout) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_grows_and_keeps_its_elements() {
        let mut vec = Vec::new();
        (0..1000).try_for_each(|n| push(&mut vec, n)).expect("push");
        extend(&mut vec, (1000..1500).filter(|n| n % 2 == 0)).expect("extend");
        append(&mut vec, &[7, 8]).expect("append");
        assert!(vec.iter().take(1000).copied().eq(0..1000));
        assert_eq!((vec.len(), &vec[1249..]), (1252, &[1498, 7, 8][..]));
    }

    #[test]
    fn copies_are_equal() {
        assert_eq!(copy(&[1, 2, 3]), Ok(vec![1, 2, 3]));
        assert_eq!(copy_str("text"), Ok("text".to_owned()));
        assert_eq!(copy_cstr(c"text"), Ok(c"text".to_owned()));
        assert_eq!(boxed(7), Ok(Box::new(7)));
        assert_eq!(copy::<u8>(&[]), Ok(Vec::new()));
    }

    #[test]
    fn an_impossible_size_is_enomem() {
        assert_eq!(with_capacity::<u64>(usize::MAX), Err(Errno::ENOMEM));
        assert_eq!(with_capacity::<u8>(isize::MAX as usize - 4096), Err(Errno::ENOMEM));
        let mut vec = vec![1u8];
        assert_eq!(reserve(&mut vec, usize::MAX), Err(Errno::ENOMEM));
        assert_eq!(vec, [1]);
    }
}
