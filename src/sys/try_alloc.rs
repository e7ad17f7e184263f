// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that grows with what the kernel, the agent or the caller has: `ENOMEM` if there is none. In the C library it
//! never comes from the reserve ([`super::reserve_allocator`]), which is small and for what is bounded.

use nix::errno::Errno;
use std::alloc::Layout;
use std::ffi::{CStr, CString};

#[cfg(feature = "c-library")]
use super::reserve_allocator::ReserveAllocator;

/// The fewest elements that a vector grows to.
const FEWEST: usize = 4;

/// An empty vector with room for so many.
pub fn with_capacity<T>(capacity: usize) -> nix::Result<Vec<T>> {
    let layout = Layout::array::<T>(capacity).map_err(|_| Errno::ENOMEM)?;
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: its size is not 0.
    let memory = unsafe { allocate(layout) };
    if memory.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: the global allocator's memory, for an array of so many; none of them is there yet.
    Ok(unsafe { Vec::from_raw_parts(memory.cast::<T>(), 0, capacity) })
}

/// Make room for `more` elements.
pub fn reserve<T>(vec: &mut Vec<T>, more: usize) -> nix::Result<()> {
    if vec.capacity() - vec.len() >= more {
        return Ok(());
    }
    let needed = vec.len().checked_add(more).ok_or(Errno::ENOMEM)?;
    let mut larger = with_capacity(needed.max(vec.capacity().saturating_mul(2)).max(FEWEST))?;
    larger.append(vec);
    *vec = larger;
    Ok(())
}

/// [`Vec::push`].
pub fn push<T>(vec: &mut Vec<T>, element: T) -> nix::Result<()> {
    reserve(vec, 1)?;
    vec.push(element);
    Ok(())
}

/// [`Vec::extend`], however many there are.
pub fn extend<T>(vec: &mut Vec<T>, elements: impl IntoIterator<Item = T>) -> nix::Result<()> {
    let elements = elements.into_iter();
    reserve(vec, elements.size_hint().0)?;
    elements.into_iter().try_for_each(|element| push(vec, element))
}

/// [`Vec::extend_from_slice`].
pub fn append<T: Copy>(vec: &mut Vec<T>, elements: &[T]) -> nix::Result<()> {
    reserve(vec, elements.len())?;
    vec.extend_from_slice(elements);
    Ok(())
}

/// A copy.
pub fn copy<T: Copy>(elements: &[T]) -> nix::Result<Vec<T>> {
    let mut copy = with_capacity(elements.len())?;
    copy.extend_from_slice(elements);
    Ok(copy)
}

/// The same of a string.
pub fn copy_str(text: &str) -> nix::Result<String> {
    // The bytes of a string are one.
    String::from_utf8(copy(text.as_bytes())?).map_err(|_| Errno::EILSEQ)
}

/// The same of a C string.
pub fn copy_cstr(text: &CStr) -> nix::Result<CString> {
    // With its NUL, and as long as its capacity, so that nothing is allocated here.
    CString::from_vec_with_nul(copy(text.to_bytes_with_nul())?).map_err(|_| Errno::EILSEQ)
}

/// [`Box::new`].
pub fn boxed<T>(value: T) -> nix::Result<Box<T>> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Ok(Box::new(value));
    }
    // SAFETY: its size is not 0.
    let memory = unsafe { allocate(layout) }.cast::<T>();
    if memory.is_null() {
        return Err(Errno::ENOMEM);
    }
    // SAFETY: the global allocator's memory, for one of them, which is written before it is a box's.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

/// Memory of the global allocator's, or null.
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
    fn a_vector_grows_and_keeps_what_is_in_it() {
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
    fn what_nobody_has_is_enomem() {
        assert_eq!(with_capacity::<u64>(usize::MAX), Err(Errno::ENOMEM));
        assert_eq!(with_capacity::<u8>(isize::MAX as usize - 4096), Err(Errno::ENOMEM));
        let mut vec = vec![1u8];
        assert_eq!(reserve(&mut vec, usize::MAX), Err(Errno::ENOMEM));
        assert_eq!(vec, [1]);
    }
}
