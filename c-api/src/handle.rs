//! Pointers of C and what they stand for in Rust: the one file that trusts a caller.
//!
//! Everything `push.h` asks of a caller (live pointers, lengths that are true, handles that came from here and were not freed)
//! is relied on here and nowhere else; what can be checked, is. Values that C gets to own are boxes.

use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::{MaybeUninit, size_of};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use push_core::channel::InvalidName;
use push_core::error::Error;
use push_core::shm::segment::Birthmark;

use crate::status::Failure;

/// Text: UTF-8 of `len` bytes, without a NUL at its end. `data` may be NULL when `len` is 0. `push_str()` makes one of a
/// C string.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct push_text {
    /// The first byte.
    pub data: *const c_char,
    /// How many bytes there are.
    pub len: usize,
}

/// Bytes of any kind, also NUL. `data` may be NULL when `len` is 0. `push_data()` makes one of a pointer and a length.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct push_bytes {
    /// The first byte.
    pub data: *const c_void,
    /// How many bytes there are.
    pub len: usize,
}

/// Borrowed from what holds the text.
pub(crate) fn lend(text: &str) -> push_text {
    push_text { data: text.as_ptr().cast(), len: text.len() }
}

/// As [`lend`]; NULL when there is none.
pub(crate) fn lend_optional(text: Option<&str>) -> push_text {
    text.map_or(push_text { data: ptr::null(), len: 0 }, lend)
}

/// Borrowed from what holds the bytes.
pub(crate) fn lend_bytes(bytes: &[u8]) -> push_bytes {
    push_bytes { data: bytes.as_ptr().cast(), len: bytes.len() }
}

/// What the pointer leads to.
///
/// # Safety
/// It is NULL or leads to a live `T` that nobody changes during `'a`.
pub(crate) unsafe fn borrow<'a, T>(name: &'static str, pointer: *const T) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or(Failure::Null(name))
}

/// As [`borrow`], for a handle that is used by one thread at a time.
///
/// # Safety
/// It is NULL or leads to a live `T` that nobody else uses during `'a`.
pub(crate) unsafe fn borrow_mut<'a, T>(name: &'static str, pointer: *mut T) -> Result<&'a mut T, Failure> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or(Failure::Null(name))
}

/// The place of a result that the caller must give.
///
/// # Safety
/// It is NULL or leads to writable memory for a `T`, during `'a`.
pub(crate) unsafe fn out<'a, T>(name: &'static str, pointer: *mut T) -> Result<&'a mut MaybeUninit<T>, Failure> {
    // SAFETY: the caller's promise; memory that is only written may be uninitialized.
    unsafe { pointer.cast::<MaybeUninit<T>>().as_mut() }.ok_or(Failure::Null(name))
}

/// The place of a result that the caller may leave out.
///
/// # Safety
/// As for [`out`].
pub(crate) unsafe fn optional_out<'a, T>(pointer: *mut T) -> Option<&'a mut MaybeUninit<T>> {
    // SAFETY: the caller's promise; memory that is only written may be uninitialized.
    unsafe { pointer.cast::<MaybeUninit<T>>().as_mut() }
}

/// Gives a value to C, which frees it with [`free`].
pub(crate) fn give<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes back what [`give`] gave.
///
/// # Safety
/// It is NULL or came from [`give`] and was not freed.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(pointer) });
    }
}

/// `len` values.
///
/// # Safety
/// It leads to `len` live values, or `len` is 0.
pub(crate) unsafe fn slice<'a, T>(name: &'static str, data: *const T, len: usize) -> Result<&'a [T], Failure> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Failure::Null(name));
    }
    // More than a slice can be is not in memory.
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Error::InvalidArgument(format!("{name}: {len} are more than any memory holds")).into());
    }
    // SAFETY: not NULL, not too long, and the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// A payload.
///
/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn bytes<'a>(name: &'static str, bytes: push_bytes) -> Result<&'a [u8], Failure> {
    // SAFETY: the caller's promise.
    unsafe { slice(name, bytes.data.cast(), bytes.len) }
}

/// A channel's name. Whether it is a valid one is for the core to say.
///
/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn name<'a>(what: &'static str, text: push_text) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(what, text.data.cast::<u8>(), text.len) }?;
    std::str::from_utf8(bytes).map_err(|_| Error::InvalidName(InvalidName::NotUtf8).into())
}

/// A channel's name that may be left out: `len` 0.
///
/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn optional_name<'a>(what: &'static str, text: push_text) -> Result<Option<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    let name = unsafe { name(what, text) }?;
    Ok((!name.is_empty()).then_some(name))
}

/// A text that may be left out: `len` 0.
///
/// # Safety
/// As for [`slice`].
pub(crate) unsafe fn optional<'a>(what: &'static str, text: push_text) -> Result<Option<&'a str>, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(what, text.data.cast::<u8>(), text.len) }?;
    let text = std::str::from_utf8(bytes).map_err(|_| Error::InvalidArgument(format!("{what} must be valid UTF-8")))?;
    Ok((!text.is_empty()).then_some(text))
}

/// A C string.
///
/// # Safety
/// It is NULL or leads to bytes of which one is NUL.
pub(crate) unsafe fn c_str<'a>(name: &'static str, text: *const c_char) -> Result<&'a CStr, Failure> {
    if text.is_null() {
        return Err(Failure::Null(name));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) })
}

/// Writes `text` and a NUL to a buffer of `size` bytes.
///
/// # Safety
/// It is NULL or leads to `size` writable bytes.
pub(crate) unsafe fn write_text(
    name: &'static str,
    buffer: *mut c_char,
    size: usize,
    text: &str,
) -> Result<(), Failure> {
    if buffer.is_null() {
        return Err(Failure::Null(name));
    }
    if size <= text.len() {
        return Err(too_small(name, size, text.len() + 1));
    }
    // SAFETY: there is room for the text and the NUL, and a text just made is not where the caller's buffer is.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len());
        buffer.add(text.len()).write(0);
    }
    Ok(())
}

pub(crate) fn too_small(name: &'static str, size: usize, least: usize) -> Failure {
    Error::InvalidArgument(format!("{name} has {size} bytes, {least} are needed")).into()
}

/// A struct that begins with its size, so that later versions can add fields at its end.
///
/// # Safety
/// It is `repr(C)`, its first field is a `usize`, and any bytes are a value of it.
pub(crate) unsafe trait Prefixed: Copy {
    /// All bytes are 0.
    const ZERO: Self;
}

/// The options a caller gives, or those of nobody. What an older caller does not know is 0; what this library does not know
/// must be.
///
/// # Safety
/// It is NULL or leads to a live struct of as many bytes as its first field says.
pub(crate) unsafe fn options<T: Prefixed>(name: &'static str, pointer: *const T) -> Result<T, Failure> {
    let mut options = T::ZERO;
    if pointer.is_null() {
        return Ok(options);
    }
    // SAFETY: the size comes first, see `Prefixed`.
    let size = unsafe { pointer.cast::<usize>().read() };
    check_size(name, size)?;
    let known = size.min(size_of::<T>());
    // SAFETY: `known` is not more than either has.
    unsafe { ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut options).cast::<u8>(), known) };
    // SAFETY: the caller's promise for the bytes behind what we know.
    let unknown = unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
    if unknown.iter().any(|byte| *byte != 0) {
        return Err(Error::InvalidArgument(format!(
            "{name} sets something that libpush {} does not know: install a newer one",
            env!("CARGO_PKG_VERSION")
        ))
        .into());
    }
    Ok(options)
}

/// Fills a struct of the caller as far as it is known there.
///
/// # Safety
/// As for [`options`], and it is writable.
pub(crate) unsafe fn fill<T: Prefixed>(name: &'static str, pointer: *mut T, mut value: T) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::Null(name));
    }
    // SAFETY: the size comes first, see `Prefixed`.
    let size = unsafe { pointer.cast::<usize>().read() };
    check_size(name, size)?;
    // SAFETY: the first field is the size; the caller keeps its own.
    unsafe { (&raw mut value).cast::<usize>().write(size) };
    // SAFETY: no more than either has.
    unsafe {
        ptr::copy_nonoverlapping((&raw const value).cast::<u8>(), pointer.cast::<u8>(), size.min(size_of::<T>()));
    }
    Ok(())
}

fn check_size(name: &'static str, size: usize) -> Result<(), Failure> {
    /// Nobody adds so much to a struct; it was not initialized.
    const MOST: usize = 4096;
    if (size_of::<usize>()..=MOST).contains(&size) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!("{name}: size is {size}; initialize it with the function for it")).into())
}

/// A value of which each process has its own: a forked child makes a new one, and leaves its parent's alone.
pub(crate) struct PerProcess<T> {
    birthmark: Birthmark,
    value: Mutex<Option<T>>,
    /// The one of the child, made when it first asks.
    child: AtomicPtr<PerProcess<T>>,
}

impl<T> PerProcess<T> {
    pub(crate) fn new(value: T) -> Result<Self, Failure> {
        let birthmark = birthmark()?;
        Ok(Self { birthmark, value: Mutex::new(Some(value)), child: AtomicPtr::new(ptr::null_mut()) })
    }

    /// Whether the process is the one that made it.
    pub(crate) fn is_ours(&self) -> bool {
        self.birthmark.is_ours()
    }

    /// Uses the value of this process, made by `make` in a child that has none yet. Other threads wait meanwhile.
    pub(crate) fn with<R>(&self, make: impl Fn() -> T, use_it: impl FnOnce(&mut T) -> R) -> Result<R, Failure> {
        let mut own = self;
        while !own.birthmark.is_ours() {
            own = own.of_child(&make)?;
        }
        let mut value = own.value.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(use_it(value.get_or_insert_with(make)))
    }

    fn of_child(&self, make: impl Fn() -> T) -> Result<&Self, Failure> {
        if self.child.load(Ordering::Acquire).is_null() {
            let new = give(Self::new(make())?);
            // Pairs with the Acquire loads: who sees the pointer sees what it leads to.
            let raced = self.child.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire).is_err();
            if raced {
                // SAFETY: made above, and nobody has seen it.
                unsafe { free(new) };
            } else if let Ok(mut parents) = self.value.try_lock() {
                // Its descriptors are duplicates, by which the hub would believe that the parent lives.
                drop(parents.take());
            }
        }
        // SAFETY: not NULL any more, and freed with `self` alone.
        Ok(unsafe { &*self.child.load(Ordering::Acquire) })
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        // A thread that the child does not have was using the value when it was forked: it may be half changed.
        if !self.birthmark.is_ours() && matches!(self.value.try_lock(), Err(TryLockError::WouldBlock)) {
            std::mem::forget(std::mem::replace(&mut self.value, Mutex::new(None)));
        }
        // SAFETY: made by `give` in `of_child`, and nobody uses it any more: it lives as long as `self`.
        unsafe { free(*self.child.get_mut()) };
    }
}

pub(crate) fn birthmark() -> Result<Birthmark, Failure> {
    Birthmark::new().map_err(|errno| {
        Error::HubUnavailable(format!("no memory for a handle: {}", std::io::Error::from(errno))).into()
    })
}

/// A C string of a text of ours, for as long as its owner lives.
pub(crate) fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

/// The value that C gave to be handed back to it. On which threads that may be is said in `push.h`.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: nothing here looks at what it leads to; `push.h` makes the caller promise that its function may be called on
// any thread with it.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    /// What C gave. A method, so that closures take the whole of it and not the pointer, which is not `Send`.
    pub(crate) fn get(self) -> *mut c_void {
        self.0
    }
}
