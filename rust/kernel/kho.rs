// SPDX-License-Identifier: GPL-2.0

//! Kexec Handover (KHO): memory that outlives the kernel that allocated it.
//!
//! Before the kexec, memory is *preserved*. [`PreservedFolio`], [`PreservedBytes`],
//! [`PreservedPages`] and [`Preserved`] own preserved memory; dropping them unpreserves and frees
//! it. Their `into_phys()` gives it to the next kernel. The physical address has to reach that
//! kernel in a state structure of the caller, for example through the live update orchestrator.
//!
//! After the kexec, [`PreservedRef`] reads preserved memory where it lies. To free or reuse it, it
//! is *restored*: [`RestoredFolio`], [`RestoredBytes`], [`RestoredPages`] and [`Restored`] own
//! memory that has become ordinary memory of this kernel; dropping them frees it. Memory has to be
//! restored as the counterpart of the type that preserved it. The kernel that preserved it cannot
//! restore it.
//!
//! What the previous kernel says is not trusted: an address at which nothing or too little was
//! preserved, or that was restored already, is an error and raises no warning.
//!
//! # Context
//!
//! Preserving and unpreserving take a mutex and allocate memory: process context, may sleep. They
//! work from `fs_initcall` on. Preserved memory can be read and restored once the page allocator is
//! up.
//!
//! C header: [`include/linux/kexec_handover.h`](srctree/include/linux/kexec_handover.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    io::PhysAddr,
    page::PAGE_SIZE,
    prelude::*, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
    slice, //
};

/// Tells whether this kernel hands memory over to the next one (`kho=on`).
///
/// If not, memory cannot be preserved.
#[inline]
pub fn is_enabled() -> bool {
    // SAFETY: The function has no preconditions.
    unsafe { bindings::kho_is_enabled() }
}

/// Tells whether the previous kernel handed memory over to this one.
#[inline]
pub fn is_kho_boot() -> bool {
    // SAFETY: The function has no preconditions.
    unsafe { bindings::is_kho_boot() }
}

/// Returns the order of the folio at `phys` that the previous kernel preserved and that has not
/// been restored yet.
///
/// KHO splits a range of pages into naturally aligned chunks; for pages, it is the order of the
/// chunk that starts at `phys`.
///
/// `phys` may be any value. Does not sleep.
///
/// # Errors
///
/// `ENOENT` if no preserved folio or chunk of pages starts at `phys`.
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// // Neither an address within a page nor one beyond memory can be a preserved folio.
/// assert_eq!(kho::preserved_order(1), Err(ENOENT));
/// assert_eq!(kho::preserved_order(!0xfff), Err(ENOENT));
/// ```
#[inline]
pub fn preserved_order(phys: PhysAddr) -> Result<u32> {
    // SAFETY: The function accepts any address.
    let order = unsafe { bindings::kho_preserved_order(phys) };

    to_result(order)?;
    u32::try_from(order).map_err(|_| EINVAL)
}

/// Returns the size in bytes of what [`preserved_order`] finds at `phys`.
fn preserved_size(phys: PhysAddr) -> Result<usize> {
    folio_size(preserved_order(phys)?).ok_or(EINVAL)
}

/// Returns the size in bytes of a folio of the given order, [`None`] if it overflows.
fn folio_size(order: u32) -> Option<usize> {
    1usize.checked_shl(order)?.checked_mul(PAGE_SIZE)
}

/// Returns the address of `phys` in the direct map, whether or not there is memory.
fn phys_to_ptr(phys: PhysAddr) -> Result<NonNull<u8>> {
    // SAFETY: This only computes an address.
    let ptr = unsafe { bindings::phys_to_virt(phys) };

    NonNull::new(ptr.cast()).ok_or(EINVAL)
}

/// Returns the physical address of memory.
///
/// # Safety
///
/// `ptr` must be in the direct map.
unsafe fn ptr_to_phys(ptr: NonNull<u8>) -> PhysAddr {
    // SAFETY: `ptr` is in the direct map by the safety requirement.
    unsafe { bindings::virt_to_phys(ptr.as_ptr().cast()) }
}

/// A folio that is handed over to the next kernel.
///
/// Dereferences to its bytes, which are zero at first. Dropping it unpreserves and frees it.
///
/// # Invariants
///
/// `ptr` is the first byte of a folio of `size` bytes that `kho_alloc_preserve()` allocated and
/// that this value owns.
///
/// # Examples
///
/// ```
/// use kernel::{
///     kho,
///     page::PAGE_SIZE, //
/// };
///
/// if kho::is_enabled() {
///     let mut folio = kho::PreservedFolio::new(1)?;
///     assert_eq!(folio.len(), 2 * PAGE_SIZE);
///     assert!(folio.iter().all(|&byte| byte == 0));
///     folio[PAGE_SIZE] = 0x5a;
///
///     let phys = folio.into_phys();
///     // No folio of the previous kernel, so this kernel cannot restore it.
///     assert_eq!(kho::preserved_order(phys), Err(ENOENT));
///
///     // The kexec was called off.
///     // SAFETY: `phys` comes from `into_phys()` and is used once.
///     let folio = unsafe { kho::PreservedFolio::from_phys(phys) }?;
///     assert_eq!(folio.phys(), phys);
///     assert_eq!(folio.len(), 2 * PAGE_SIZE);
///     assert_eq!(folio[PAGE_SIZE], 0x5a);
///
///     assert_eq!(kho::PreservedFolio::new(64).err(), Some(E2BIG));
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct PreservedFolio {
    ptr: NonNull<u8>,
    size: usize,
}

impl PreservedFolio {
    /// Allocates, zeroes and preserves a folio of `1 << order` pages.
    ///
    /// # Errors
    ///
    /// `E2BIG` if the order is beyond what the page allocator supports, `ENOMEM` if memory is
    /// short.
    pub fn new(order: u32) -> Result<Self> {
        Self::with_size(folio_size(order).ok_or(E2BIG)?)
    }

    /// Allocates, zeroes and preserves a folio of at least `size` bytes.
    fn with_size(size: usize) -> Result<Self> {
        // SAFETY: The function accepts any size.
        let ptr = from_err_ptr(unsafe { bindings::kho_alloc_preserve(size) })?;
        let ptr = NonNull::new(ptr.cast()).ok_or(ENOMEM)?;

        // SAFETY: `kho_alloc_preserve()` returns a folio of its own for each call.
        unsafe { Self::from_ptr(ptr) }
    }

    /// Takes over a folio from its address.
    ///
    /// # Safety
    ///
    /// `ptr` must be the first byte of a folio from `kho_alloc_preserve()` that the caller owns and
    /// gives away.
    unsafe fn from_ptr(ptr: NonNull<u8>) -> Result<Self> {
        // SAFETY: `ptr` is the address of a folio by the safety requirement.
        let order = unsafe { bindings::folio_order(bindings::virt_to_folio(ptr.as_ptr().cast())) };

        // INVARIANT: By the safety requirement.
        Ok(Self {
            ptr,
            size: folio_size(order).ok_or(EINVAL)?,
        })
    }

    /// Takes back a folio that [`into_phys`](Self::into_phys) gave away, when the kexec is not to
    /// happen or the state that names it is torn down.
    ///
    /// # Errors
    ///
    /// None for an address that fulfills the safety requirement.
    ///
    /// # Safety
    ///
    /// `phys` must come from a call of [`PreservedFolio::into_phys`] in this kernel, and may be
    /// used only once for each such call.
    pub unsafe fn from_phys(phys: PhysAddr) -> Result<Self> {
        // SAFETY: The folio was owned by the value that `into_phys()` consumed.
        unsafe { Self::from_ptr(phys_to_ptr(phys)?) }
    }

    /// Returns the physical address of the folio, a multiple of its size.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: Folios are allocated from the direct map.
        unsafe { ptr_to_phys(self.ptr) }
    }

    /// Gives the folio to the next kernel and returns its physical address.
    #[inline]
    pub fn into_phys(self) -> PhysAddr {
        ManuallyDrop::new(self).phys()
    }
}

// SAFETY: The folio is plain memory that is not tied to a thread.
unsafe impl Send for PreservedFolio {}

// SAFETY: A shared reference allows only reading.
unsafe impl Sync for PreservedFolio {}

impl Deref for PreservedFolio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, this value owns `size` initialised bytes at `ptr`.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.size) }
    }
}

impl DerefMut for PreservedFolio {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, this value owns `size` initialised bytes at `ptr`.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.size) }
    }
}

impl Drop for PreservedFolio {
    fn drop(&mut self) {
        // SAFETY: By the invariants, the memory comes from `kho_alloc_preserve()` and is not used
        // after this.
        unsafe { bindings::kho_unpreserve_free(self.ptr.as_ptr().cast()) };
    }
}

/// A byte buffer that is handed over to the next kernel, physically contiguous and page-aligned.
///
/// Dereferences to its bytes, which are zero at first. Dropping it unpreserves and frees it. The
/// memory behind it is a folio, so a size just above a power of two wastes almost half of it; see
/// [`PreservedPages`].
///
/// # Invariants
///
/// `len` is at most the size of `folio`.
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// if kho::is_enabled() {
///     let mut bytes = kho::PreservedBytes::new(5000)?;
///     assert_eq!(bytes.len(), 5000);
///     assert!(bytes.iter().all(|&byte| byte == 0));
///     bytes[4999] = 1;
///     let phys = bytes.into_phys();
///
///     // SAFETY: `phys` comes from `into_phys()` and is used once.
///     let bytes = unsafe { kho::PreservedBytes::from_phys(phys, 5000) }?;
///     assert_eq!(bytes[4999], 1);
///
///     assert_eq!(kho::PreservedBytes::new(0).err(), Some(EINVAL));
///     assert_eq!(kho::PreservedBytes::new(usize::MAX).err(), Some(E2BIG));
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct PreservedBytes {
    folio: PreservedFolio,
    len: usize,
}

impl PreservedBytes {
    /// Allocates, zeroes and preserves `len` bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `len` is zero, `E2BIG` if it is more than the page allocator can give in one
    /// piece, `ENOMEM` if memory is short.
    pub fn new(len: usize) -> Result<Self> {
        let folio = PreservedFolio::with_size(len)?;

        // INVARIANT: `with_size()` returns at least `len` bytes.
        Ok(Self { folio, len })
    }

    /// Takes back a buffer that [`into_phys`](Self::into_phys) gave away.
    ///
    /// # Errors
    ///
    /// `EINVAL`, after freeing the buffer, if `len` is larger than it.
    ///
    /// # Safety
    ///
    /// `phys` must come from a call of [`PreservedBytes::into_phys`] in this kernel, and may be
    /// used only once for each such call.
    pub unsafe fn from_phys(phys: PhysAddr, len: usize) -> Result<Self> {
        // SAFETY: `PreservedBytes::into_phys()` is `PreservedFolio::into_phys()`.
        let folio = unsafe { PreservedFolio::from_phys(phys) }?;

        if len > folio.len() {
            return Err(EINVAL);
        }
        // INVARIANT: Just checked.
        Ok(Self { folio, len })
    }

    /// Returns the physical address of the buffer, which is page-aligned.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.folio.phys()
    }

    /// Gives the buffer to the next kernel and returns its physical address.
    #[inline]
    pub fn into_phys(self) -> PhysAddr {
        self.folio.into_phys()
    }
}

impl Deref for PreservedBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, `len` is at most the size of the folio.
        unsafe { self.folio.get_unchecked(..self.len) }
    }
}

impl DerefMut for PreservedBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, `len` is at most the size of the folio.
        unsafe { self.folio.get_unchecked_mut(..self.len) }
    }
}

/// A value that is handed over to the next kernel.
///
/// Dereferences to the value, which lies at the start of a page. Dropping it unpreserves and frees
/// the memory and does not drop the value: in the next kernel, nothing of it would be left but its
/// bytes. For the same reason it has to consist of bytes ([`IntoBytes`]) of which none can be wrong
/// ([`FromBytes`]).
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// #[derive(FromBytes, IntoBytes)]
/// #[repr(C)]
/// struct State {
///     version: u64,
///     count: u64,
/// }
///
/// if kho::is_enabled() {
///     let mut state = kho::Preserved::new(State { version: 1, count: 0 })?;
///     state.count += 2;
///     let phys = state.into_phys();
///
///     // SAFETY: `phys` comes from `into_phys()` of the same type and is used once.
///     let state = unsafe { kho::Preserved::<State>::from_phys(phys) }?;
///     assert_eq!((state.version, state.count), (1, 2));
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct Preserved<T: FromBytes + IntoBytes> {
    folio: PreservedFolio,
    _value: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes> Preserved<T> {
    /// Moves `value` to preserved memory.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `T` has no size, `E2BIG` if it is too large, `ENOMEM` if memory is short.
    pub fn new(value: T) -> Result<Self> {
        const_assert!(align_of::<T>() <= PAGE_SIZE);

        let folio = PreservedFolio::with_size(size_of::<T>())?;

        // SAFETY: The folio is page-aligned, has at least the size of `T` and is ours.
        unsafe { folio.ptr.cast::<T>().write(value) };

        Ok(Self {
            folio,
            _value: PhantomData,
        })
    }

    /// Takes back a value that [`into_phys`](Self::into_phys) gave away.
    ///
    /// # Errors
    ///
    /// None for an address that fulfills the safety requirement.
    ///
    /// # Safety
    ///
    /// `phys` must come from a call of [`Preserved::into_phys`] for the same `T` in this kernel,
    /// and may be used only once for each such call.
    pub unsafe fn from_phys(phys: PhysAddr) -> Result<Self> {
        Ok(Self {
            // SAFETY: `Preserved::into_phys()` is `PreservedFolio::into_phys()`.
            folio: unsafe { PreservedFolio::from_phys(phys) }?,
            _value: PhantomData,
        })
    }

    /// Returns the physical address of the value, which is page-aligned.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.folio.phys()
    }

    /// Gives the value to the next kernel and returns its physical address.
    #[inline]
    pub fn into_phys(self) -> PhysAddr {
        self.folio.into_phys()
    }
}

impl<T: FromBytes + IntoBytes> Deref for Preserved<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The folio was made large enough for `T`, starts on a page boundary and was
        // initialised with a `T`.
        unsafe { self.folio.ptr.cast().as_ref() }
    }
}

impl<T: FromBytes + IntoBytes> DerefMut for Preserved<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref()`; this value owns the folio.
        unsafe { self.folio.ptr.cast().as_mut() }
    }
}

/// Physically contiguous pages that are handed over to the next kernel.
///
/// Dereferences to their bytes, which are zero at first. Dropping them unpreserves and frees them.
/// Unlike a folio, they can be any number and each of them is a page of its own.
///
/// # Invariants
///
/// `ptr` is the first byte of `size` bytes from `alloc_pages_exact()`, which are preserved with
/// `kho_preserve_pages()` and owned by this value. `size` is a multiple of [`PAGE_SIZE`].
///
/// # Examples
///
/// ```
/// use kernel::{
///     kho,
///     page::PAGE_SIZE, //
/// };
///
/// if kho::is_enabled() {
///     let mut pages = kho::PreservedPages::new(3)?;
///     assert_eq!(pages.len(), 3 * PAGE_SIZE);
///     assert!(pages.iter().all(|&byte| byte == 0));
///     pages[2 * PAGE_SIZE] = 7;
///     let phys = pages.into_phys();
///
///     // SAFETY: `phys` comes from `into_phys()` of as many pages and is used once.
///     let pages = unsafe { kho::PreservedPages::from_phys(phys, 3) }?;
///     assert_eq!(pages[2 * PAGE_SIZE], 7);
///
///     assert_eq!(kho::PreservedPages::new(0).err(), Some(EINVAL));
///     assert_eq!(kho::PreservedPages::new(usize::MAX).err(), Some(E2BIG));
/// }
/// # Ok::<(), Error>(())
/// ```
pub struct PreservedPages {
    ptr: NonNull<u8>,
    size: usize,
}

impl PreservedPages {
    /// Allocates, zeroes and preserves `count` pages.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `count` is zero, `E2BIG` if it is more than the page allocator can give in one
    /// piece, `ENOMEM` if memory is short.
    pub fn new(count: usize) -> Result<Self> {
        if count == 0 {
            return Err(EINVAL);
        }
        let size = count.checked_mul(PAGE_SIZE).ok_or(E2BIG)?;
        if size > folio_size(bindings::MAX_PAGE_ORDER).ok_or(EINVAL)? {
            return Err(E2BIG);
        }

        // SAFETY: The function accepts any size that the page allocator supports.
        let ptr = unsafe { bindings::alloc_pages_exact(size, (GFP_KERNEL | __GFP_ZERO).as_raw()) };
        let ptr = NonNull::<u8>::new(ptr.cast()).ok_or(ENOMEM)?;

        // SAFETY: The pages were just allocated.
        let ret = unsafe {
            bindings::kho_preserve_pages(bindings::virt_to_page(ptr.as_ptr().cast()), count)
        };
        if let Err(err) = to_result(ret) {
            // SAFETY: The pages were just allocated with this size and are used by nobody.
            unsafe { bindings::free_pages_exact(ptr.as_ptr().cast(), size) };
            return Err(err);
        }

        // INVARIANT: Allocated and preserved above.
        Ok(Self { ptr, size })
    }

    /// Takes back pages that [`into_phys`](Self::into_phys) gave away.
    ///
    /// # Errors
    ///
    /// None for values that fulfill the safety requirement.
    ///
    /// # Safety
    ///
    /// `phys` must come from a call of [`PreservedPages::into_phys`] in this kernel for as many
    /// pages, and may be used only once for each such call.
    pub unsafe fn from_phys(phys: PhysAddr, count: usize) -> Result<Self> {
        // INVARIANT: By the safety requirement.
        Ok(Self {
            ptr: phys_to_ptr(phys)?,
            size: count.checked_mul(PAGE_SIZE).ok_or(EINVAL)?,
        })
    }

    /// Returns the physical address of the first page.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: `alloc_pages_exact()` allocates from the direct map.
        unsafe { ptr_to_phys(self.ptr) }
    }

    /// Gives the pages to the next kernel and returns the physical address of the first.
    #[inline]
    pub fn into_phys(self) -> PhysAddr {
        ManuallyDrop::new(self).phys()
    }
}

// SAFETY: The pages are plain memory that is not tied to a thread.
unsafe impl Send for PreservedPages {}

// SAFETY: A shared reference allows only reading.
unsafe impl Sync for PreservedPages {}

impl Deref for PreservedPages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, this value owns `size` initialised bytes at `ptr`.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.size) }
    }
}

impl DerefMut for PreservedPages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, this value owns `size` initialised bytes at `ptr`.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.size) }
    }
}

impl Drop for PreservedPages {
    fn drop(&mut self) {
        let ptr = self.ptr.as_ptr().cast();

        // SAFETY: By the invariants, `kho_preserve_pages()` preserved this number of pages here.
        unsafe {
            bindings::kho_unpreserve_pages(bindings::virt_to_page(ptr), self.size / PAGE_SIZE)
        };

        // SAFETY: By the invariants, the pages come from `alloc_pages_exact()` and are not used
        // after this.
        unsafe { bindings::free_pages_exact(ptr, self.size) };
    }
}

/// Memory that the previous kernel preserved as a folio, to be read where it lies.
///
/// Dereferences to its bytes. It owns nothing: dropping it leaves the memory preserved.
///
/// # Invariants
///
/// The previous kernel preserved at least `len` bytes at `ptr`, and they do not change.
///
/// # Examples
///
/// ```
/// use kernel::{
///     io::PhysAddr,
///     kho, //
/// };
///
/// fn version(phys: PhysAddr) -> Result<u8> {
///     // SAFETY: The state belongs to this code, which restores it only in `finish()`.
///     let state = unsafe { kho::PreservedRef::from_phys(phys, 16) }?;
///     state.first().copied().ok_or(EINVAL)
/// }
///
/// // The previous kernel preserved no state here.
/// assert_eq!(version(0x123), Err(ENOENT));
/// ```
pub struct PreservedRef {
    ptr: NonNull<u8>,
    len: usize,
}

impl PreservedRef {
    /// Gives access to `len` bytes at `phys`, which have to be the start of a preserved folio.
    ///
    /// `phys` and `len` may come from the previous kernel. Does not sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no preserved folio starts at `phys` or if it was restored already, `EINVAL` if
    /// it has less than `len` bytes.
    ///
    /// # Safety
    ///
    /// If there is such a folio, nothing may restore it or write to it, devices included, while the
    /// returned value exists.
    pub unsafe fn from_phys(phys: PhysAddr, len: usize) -> Result<Self> {
        if len > preserved_size(phys)? {
            return Err(EINVAL);
        }

        // INVARIANT: The size was just checked; the rest holds by the safety requirement.
        Ok(Self {
            ptr: phys_to_ptr(phys)?,
            len,
        })
    }
}

// SAFETY: It allows only reading memory that is not tied to a thread.
unsafe impl Send for PreservedRef {}

// SAFETY: It allows only reading memory that does not change.
unsafe impl Sync for PreservedRef {}

impl Deref for PreservedRef {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, there are `len` bytes at `ptr`, which do not change. KHO keeps
        // preserved memory in the direct map and away from the page allocator.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

/// A folio that the previous kernel preserved and that belongs to this kernel now.
///
/// Dereferences to its bytes. Dropping it frees it.
///
/// # Invariants
///
/// `ptr` is the first byte of a folio of `size` bytes, of which this value owns the only reference.
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// // SAFETY: No folio is preserved at this address.
/// let folio = unsafe { kho::RestoredFolio::from_phys(0x123) };
/// assert_eq!(folio.err(), Some(ENOENT));
/// ```
pub struct RestoredFolio {
    ptr: NonNull<u8>,
    size: usize,
}

impl RestoredFolio {
    /// Restores the folio at `phys`.
    ///
    /// `phys` may come from the previous kernel.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no preserved folio starts at `phys` or if it was restored already.
    ///
    /// # Safety
    ///
    /// If there is such a folio, it must have been preserved for this caller, and nothing else may
    /// access it, devices included, while the returned value exists.
    pub unsafe fn from_phys(phys: PhysAddr) -> Result<Self> {
        // `kho_restore_folio()` warns where nothing is preserved.
        let size = preserved_size(phys)?;

        // SAFETY: A folio is preserved at `phys`, and it is the caller's to restore.
        let folio = unsafe { bindings::kho_restore_folio(phys) };
        if folio.is_null() {
            return Err(ENOENT);
        }

        // SAFETY: `kho_restore_folio()` returned a folio.
        let ptr = unsafe { bindings::folio_address(folio) };

        // INVARIANT: A restored folio has the preserved order and a single reference.
        Ok(Self {
            ptr: NonNull::new(ptr.cast()).ok_or(EINVAL)?,
            size,
        })
    }

    /// Returns the physical address of the folio.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: Preserved folios are in the direct map.
        unsafe { ptr_to_phys(self.ptr) }
    }
}

// SAFETY: The folio is plain memory that is not tied to a thread.
unsafe impl Send for RestoredFolio {}

// SAFETY: A shared reference allows only reading.
unsafe impl Sync for RestoredFolio {}

impl Deref for RestoredFolio {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, this value owns `size` bytes at `ptr`.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.size) }
    }
}

impl DerefMut for RestoredFolio {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, this value owns `size` bytes at `ptr`.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.size) }
    }
}

impl Drop for RestoredFolio {
    fn drop(&mut self) {
        // SAFETY: By the invariants, `ptr` is the address of a folio and this value owns a
        // reference to it.
        unsafe { bindings::folio_put(bindings::virt_to_folio(self.ptr.as_ptr().cast())) };
    }
}

/// A byte buffer that the previous kernel preserved as [`PreservedBytes`] and that belongs to this
/// kernel now.
///
/// Dereferences to its bytes. Dropping it frees it.
///
/// # Invariants
///
/// `len` is at most the size of `folio`.
pub struct RestoredBytes {
    folio: RestoredFolio,
    len: usize,
}

impl RestoredBytes {
    /// Restores a buffer of `len` bytes at `phys`.
    ///
    /// `phys` and `len` may come from the previous kernel. On error, the memory stays preserved.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no preserved folio starts at `phys` or if it was restored already, `EINVAL` if
    /// it has less than `len` bytes.
    ///
    /// # Safety
    ///
    /// As for [`RestoredFolio::from_phys`].
    pub unsafe fn from_phys(phys: PhysAddr, len: usize) -> Result<Self> {
        if len > preserved_size(phys)? {
            return Err(EINVAL);
        }

        // SAFETY: By the safety requirement.
        let folio = unsafe { RestoredFolio::from_phys(phys) }?;

        // INVARIANT: The folio has the preserved size.
        Ok(Self { folio, len })
    }

    /// Returns the physical address of the buffer.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.folio.phys()
    }
}

impl Deref for RestoredBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, `len` is at most the size of the folio.
        unsafe { self.folio.get_unchecked(..self.len) }
    }
}

impl DerefMut for RestoredBytes {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, `len` is at most the size of the folio.
        unsafe { self.folio.get_unchecked_mut(..self.len) }
    }
}

/// A value that the previous kernel preserved as [`Preserved`] and that belongs to this kernel now.
///
/// Dereferences to the value. Dropping it frees the memory and does not drop the value.
///
/// # Invariants
///
/// `folio` is at least as large as `T`.
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// // SAFETY: No value is preserved at this address.
/// let value = unsafe { kho::Restored::<u64>::from_phys(0x123) };
/// assert_eq!(value.err(), Some(ENOENT));
/// ```
pub struct Restored<T: FromBytes + IntoBytes> {
    folio: RestoredFolio,
    _value: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes> Restored<T> {
    /// Restores a value at `phys`.
    ///
    /// `phys` may come from the previous kernel, and the value is whatever that kernel left there.
    /// On error, the memory stays preserved.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no preserved folio starts at `phys` or if it was restored already, `EINVAL` if
    /// it is smaller than `T`.
    ///
    /// # Safety
    ///
    /// As for [`RestoredFolio::from_phys`].
    pub unsafe fn from_phys(phys: PhysAddr) -> Result<Self> {
        const_assert!(align_of::<T>() <= PAGE_SIZE);

        if size_of::<T>() > preserved_size(phys)? {
            return Err(EINVAL);
        }

        // INVARIANT: The folio has the preserved size.
        Ok(Self {
            // SAFETY: By the safety requirement.
            folio: unsafe { RestoredFolio::from_phys(phys) }?,
            _value: PhantomData,
        })
    }

    /// Returns the physical address of the value.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        self.folio.phys()
    }
}

impl<T: FromBytes + IntoBytes> Deref for Restored<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the invariants, the folio is large enough, and it starts on a page boundary.
        // Any bytes are a `T`.
        unsafe { self.folio.ptr.cast().as_ref() }
    }
}

impl<T: FromBytes + IntoBytes> DerefMut for Restored<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: As in `deref()`; this value owns the folio.
        unsafe { self.folio.ptr.cast().as_mut() }
    }
}

/// Pages that the previous kernel preserved as [`PreservedPages`] and that belong to this kernel
/// now.
///
/// Dereferences to their bytes. Dropping them frees them.
///
/// # Invariants
///
/// `ptr` is the first byte of `size` bytes in pages of order 0, of which this value owns the only
/// reference each. `size` is a multiple of [`PAGE_SIZE`].
///
/// # Examples
///
/// ```
/// use kernel::kho;
///
/// // SAFETY: No pages are preserved at this address.
/// let pages = unsafe { kho::RestoredPages::from_phys(0x123, 3) };
/// assert_eq!(pages.err(), Some(ENOENT));
/// ```
pub struct RestoredPages {
    ptr: NonNull<u8>,
    size: usize,
}

impl RestoredPages {
    /// Restores `count` pages from `phys` on.
    ///
    /// `phys` and `count` may come from the previous kernel. On error, the pages stay preserved. A
    /// `count` that ends between two chunks (see [`preserved_order`]) passes for the right one; the
    /// pages behind it stay preserved.
    ///
    /// # Errors
    ///
    /// `ENOENT` if one of the pages is not preserved or was restored already, `EINVAL` if `count`
    /// is zero or ends within a chunk.
    ///
    /// # Safety
    ///
    /// If there are such pages, they must have been preserved for this caller, and nothing else may
    /// access them, devices included, while the returned value exists.
    pub unsafe fn from_phys(phys: PhysAddr, count: usize) -> Result<Self> {
        let size = count.checked_mul(PAGE_SIZE).ok_or(EINVAL)?;
        if size == 0 {
            return Err(EINVAL);
        }

        // `kho_restore_pages()` warns where nothing is preserved and stops half-way.
        for_each_chunk(phys, size, |_, _| Ok(()))?;

        // INVARIANT: Owns nothing yet.
        let mut pages = Self {
            ptr: phys_to_ptr(phys)?,
            size: 0,
        };
        for_each_chunk(phys, size, |chunk, chunk_size| {
            // SAFETY: A chunk of pages of this size is preserved here, and it is the caller's to
            // restore.
            let page = unsafe { bindings::kho_restore_pages(chunk, chunk_size / PAGE_SIZE) };
            if page.is_null() {
                return Err(ENOENT);
            }
            // INVARIANT: The chunk follows those before it. The sum cannot exceed `size`.
            pages.size += chunk_size;
            Ok(())
        })?;

        Ok(pages)
    }

    /// Returns the physical address of the first page.
    #[inline]
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: Preserved pages are in the direct map.
        unsafe { ptr_to_phys(self.ptr) }
    }
}

/// Calls `f` with the address and the size of every preserved chunk of `size` bytes from `phys` on.
///
/// # Errors
///
/// `ENOENT` if one of them is not preserved, `EINVAL` if the last one reaches beyond `size`.
fn for_each_chunk(
    phys: PhysAddr,
    size: usize,
    mut f: impl FnMut(PhysAddr, usize) -> Result,
) -> Result {
    let mut chunk = phys;
    let mut left = size;

    while left != 0 {
        let chunk_size = preserved_size(chunk)?;
        left = left.checked_sub(chunk_size).ok_or(EINVAL)?;
        f(chunk, chunk_size)?;
        chunk = chunk
            .checked_add(PhysAddr::try_from(chunk_size)?)
            .ok_or(EINVAL)?;
    }
    Ok(())
}

// SAFETY: The pages are plain memory that is not tied to a thread.
unsafe impl Send for RestoredPages {}

// SAFETY: A shared reference allows only reading.
unsafe impl Sync for RestoredPages {}

impl Deref for RestoredPages {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: By the invariants, this value owns `size` bytes at `ptr`.
        unsafe { slice::from_raw_parts(self.ptr.as_ptr(), self.size) }
    }
}

impl DerefMut for RestoredPages {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: By the invariants, this value owns `size` bytes at `ptr`.
        unsafe { slice::from_raw_parts_mut(self.ptr.as_ptr(), self.size) }
    }
}

impl Drop for RestoredPages {
    fn drop(&mut self) {
        // SAFETY: By the invariants, `size` bytes of pages of order 0 belong to this value.
        unsafe { bindings::free_pages_exact(self.ptr.as_ptr().cast(), self.size) };
    }
}
