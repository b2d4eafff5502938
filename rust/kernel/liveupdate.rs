// SPDX-License-Identifier: GPL-2.0

//! Live Update Orchestrator (LUO): files and the state behind them that outlive the kernel.
//!
//! A [`FileHandler`] preserves one type of file. Userspace puts files into a session before the
//! kexec and takes them out of it afterwards. An [`Flb`] ("file-lifecycle-bound" object) is global
//! state that several files need: it is preserved with the first of them and finished with the
//! last.
//!
//! Both are defined as statics, [`Handler`] and [`FlbDef`]. What crosses the kexec is one [`u64`]
//! for each file and each FLB, usually the physical address of memory from [`kho`](crate::kho).
//!
//! The C functions behind this module are not exported, so only built-in code can use it.
//!
//! # Context
//!
//! All functions and callbacks run in process context and may sleep, except where noted.
//!
//! C header: [`include/linux/liveupdate.h`](srctree/include/linux/liveupdate.h)

use crate::{
    bindings,
    error::{
        from_result,
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    fs::File,
    io::PhysAddr,
    module::this_module,
    prelude::*,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr, //
};

/// Tells whether live update is enabled (`liveupdate=on` and `kho=on`).
///
/// If not, handlers cannot be registered and there is no preserved state.
#[inline]
pub fn is_enabled() -> bool {
    // SAFETY: The function has no preconditions.
    unsafe { bindings::liveupdate_enabled() }
}

/// What a `preserve` callback returns.
pub struct PreservedState<P> {
    /// The handle by which the next kernel finds the state.
    pub data: u64,
    /// State that stays in this kernel.
    pub private: P,
}

/// The session of the file that a callback is for.
///
/// What can be asked depends on the callback: [`preserves`](Self::preserves) and
/// [`preserved_folio_end`](Self::preserved_folio_end) are for [`FileHandler::preserve`],
/// [`all_retrieved`](Self::all_retrieved) is for [`FileHandler::can_finish`]. Elsewhere, the answers
/// are of no use.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    args: &'a bindings::liveupdate_file_op_args,
}

impl Session<'_> {
    /// Tells whether `file` was added to this session before.
    ///
    /// If so, it stays preserved at least as long as the file that is being added. Files are
    /// compared as LUO does: a memfd is the same whichever file it was opened as.
    pub fn preserves(self, file: &File) -> bool {
        // SAFETY: LUO passed these arguments to the callback, which has not returned yet, and holds
        // the mutex of the session. The file is valid.
        unsafe { bindings::liveupdate_session_preserves_file(self.args, file.as_ptr()) }
    }

    /// Finds the page at `phys`, which may be any address, among the files that were added to this
    /// session before.
    ///
    /// Returns the physical address of the end of the folio that contains the page: all memory up
    /// to there belongs to the same file. It stays where it is, and the file stays preserved, at
    /// least as long as the file that is being added. Returns [`None`] if the page belongs to none
    /// of the files. Only finds the memory of memfds.
    pub fn preserved_folio_end(self, phys: PhysAddr) -> Option<PhysAddr> {
        let mut end = 0;

        // SAFETY: As in `preserves`; `end` is a valid out pointer. The address can be any.
        unsafe { bindings::liveupdate_session_preserves_page(self.args, phys, &raw mut end) }
            .then_some(end)
    }

    /// Tells whether every file of this session was retrieved or can never be, because
    /// [`FileHandler::retrieve`] failed for good.
    pub fn all_retrieved(self) -> bool {
        // SAFETY: As in `preserves`.
        unsafe { bindings::liveupdate_session_all_retrieved(self.args) }
    }
}

/// What has become of a file in the kernel that is to retrieve it.
pub enum Retrieved<'a> {
    /// Nobody has tried to retrieve it.
    NotAttempted,
    /// It was retrieved.
    Ok(&'a File),
    /// [`FileHandler::retrieve`] failed.
    Failed(Error),
}

impl<'a> Retrieved<'a> {
    /// Creates the value from the arguments of a C callback.
    ///
    /// # Safety
    ///
    /// `args` must be the arguments that LUO passes to `can_finish` or `finish`, valid for `'a`.
    unsafe fn from_args(args: &'a bindings::liveupdate_file_op_args) -> Self {
        match args.retrieve_status {
            0 => Self::NotAttempted,
            // SAFETY: LUO holds a reference to a file that was retrieved. The file is not subject
            // to `fdget_pos()` without lock: that needs the only reference.
            1.. => Self::Ok(unsafe { File::from_raw_file(args.file) }),
            err => Self::Failed(Error::from_errno(err)),
        }
    }
}

/// Preserves files of one type.
///
/// LUO calls [`can_preserve`](Self::can_preserve) of all registered handlers to find the one for a
/// file; then, in the kernel that ends, [`preserve`](Self::preserve), and
/// [`freeze`](Self::freeze) or [`unpreserve`](Self::unpreserve); in the kernel that starts,
/// [`retrieve`](Self::retrieve), [`can_finish`](Self::can_finish) and [`finish`](Self::finish). LUO
/// keeps a reference to the file from `preserve` on and from `retrieve` on. A file that was
/// retrieved can be preserved again, in another session, before it is finished; it can then be
/// unpreserved before or after it is finished.
///
/// `data` is the handle that `preserve` returned. In the kernel that starts it comes from the
/// previous kernel, as does everything that it leads to: an error in it must be reported and must
/// not be relied upon.
///
/// Corresponds to the C `struct liveupdate_file_ops`.
#[vtable]
pub trait FileHandler: Sized + 'static {
    /// The name of the format, by which the next kernel finds the handler.
    ///
    /// It has to be unique and shorter than `LIVEUPDATE_HNDL_COMPAT_LENGTH`, which is checked at
    /// compile time.
    const COMPATIBLE: &'static CStr;

    /// State of a preserved file that stays in this kernel.
    type Preserved: ForeignOwnable + Send;

    /// Tells whether this handler can preserve `file`.
    ///
    /// May be called under the lock under which handlers are registered, and for files that nobody
    /// is about to preserve. Should be cheap.
    fn can_preserve(file: &File) -> bool;

    /// Saves the state of `file`, which from now on must not change in a way that invalidates it.
    ///
    /// A file that depends on others can ask `session` for them. An error is returned to userspace.
    fn preserve(file: &File, session: Session<'_>) -> Result<PreservedState<Self::Preserved>>;

    /// Undoes [`preserve`](Self::preserve).
    ///
    /// Called when the session is closed before the kexec.
    fn unpreserve(file: &File, data: u64, preserved: Self::Preserved);

    /// Brings the saved state up to date just before the kexec.
    ///
    /// The handle may be changed. User threads still run. An error aborts the kexec and is returned
    /// to userspace; the change of the handle is then dropped.
    fn freeze(
        _file: &File,
        _data: &mut u64,
        _preserved: <Self::Preserved as ForeignOwnable>::Borrowed<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Undoes [`freeze`](Self::freeze), because freezing another file failed.
    fn unfreeze(
        _file: &File,
        _data: u64,
        _preserved: <Self::Preserved as ForeignOwnable>::Borrowed<'_>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Creates the file from the saved state in the new kernel.
    ///
    /// It has to be a new file that LUO does not know yet. An error is returned to userspace.
    ///
    /// Called again after it has failed with `EAGAIN`, which must leave everything as it was.
    /// Otherwise called at most once for each file: any other error is also returned for every
    /// later attempt.
    fn retrieve(data: u64) -> Result<ARef<File>>;

    /// Tells whether the session of the file may be finished.
    ///
    /// If not, finishing the session fails with `EBUSY`. Without this callback it may always be
    /// finished. A file that depends on others can ask `session` for them.
    fn can_finish(_retrieved: Retrieved<'_>, _data: u64, _session: Session<'_>) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Frees what is left of the saved state.
    ///
    /// Called when the session is finished, whether or not the file was retrieved.
    fn finish(retrieved: Retrieved<'_>, data: u64);
}

/// Global state that is preserved as long as a file that needs it is preserved.
///
/// All callbacks run under a mutex of the FLB, and all but [`retrieve`](Self::retrieve) also under
/// the lock under which handlers are registered. They must not register anything and must not call
/// [`FlbDef::incoming`] or [`FlbDef::outgoing`] of the same FLB.
///
/// Corresponds to the C `struct liveupdate_flb_ops`.
#[vtable]
pub trait Flb: Sized + 'static {
    /// The name of the format, by which the next kernel finds the state.
    ///
    /// It has to be unique and shorter than `LIVEUPDATE_FLB_COMPAT_LENGTH`, which is checked at
    /// compile time.
    const COMPATIBLE: &'static CStr;

    /// The state in the kernel that ends.
    type Outgoing: ForeignOwnable + Send + Sync;

    /// The state in the kernel that starts.
    type Incoming: ForeignOwnable + Send + Sync;

    /// Saves the state.
    ///
    /// Called for the first file, before [`FileHandler::preserve`]. An error is returned to
    /// userspace.
    fn preserve() -> Result<PreservedState<Self::Outgoing>>;

    /// Undoes [`preserve`](Self::preserve).
    ///
    /// Called when the last file has been unpreserved and the last [`OutgoingGuard`] dropped.
    fn unpreserve(data: u64, state: Self::Outgoing);

    /// Restores the state in the new kernel.
    ///
    /// Called the first time that the state is asked for, at most once whether or not it succeeds.
    /// `data` comes from the previous kernel and so does everything that it leads to: an error in
    /// it must be reported and must not be relied upon.
    fn retrieve(data: u64) -> Result<Self::Incoming>;

    /// Frees the state in the new kernel.
    ///
    /// Called when the last file has been finished and the last [`IncomingGuard`] dropped.
    fn finish(state: Self::Incoming);

    /// Tells whether the image that is about to be started can take the state over.
    ///
    /// Called for a preserved state before anything is frozen. `offer` says what the image can take
    /// over, and is 0 if that is not known; what the bits mean is up to the implementation that
    /// made the number when the image was loaded. Without this callback, every image will do.
    ///
    /// An error aborts the kexec and is returned to userspace, and everything goes on as before.
    /// After success the kexec can still be aborted, so this can be called again.
    fn preflight(_state: <Self::Outgoing as ForeignOwnable>::Borrowed<'_>, _offer: u64) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Copies a name into the fixed-size array of a C struct; fails to compile if it is too long.
const fn compatible<const N: usize>(name: &CStr) -> [c_char; N] {
    let bytes = name.to_bytes();
    let mut array = [0; N];
    let mut i = 0;

    assert!(!bytes.is_empty(), "empty name");
    // The last byte remains the terminator.
    assert!(bytes.len() < N, "name too long");
    while i < bytes.len() {
        array[i] = bytes[i];
        i += 1;
    }
    array
}

/// A file handler, the static that LUO knows it by.
///
/// # Invariants
///
/// The C object is initialised for the callbacks of `T` and, once registered, changed by LUO alone.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::File,
///     liveupdate::{
///         self,
///         FileHandler,
///         Handler,
///         PreservedState,
///         Retrieved,
///         Session, //
///     },
///     sync::aref::ARef, //
/// };
///
/// /// Preserves no file at all.
/// struct NoFile;
///
/// #[vtable]
/// impl FileHandler for NoFile {
///     const COMPATIBLE: &'static CStr = c"rust-doctest-v1";
///     type Preserved = KBox<u32>;
///
///     fn can_preserve(_file: &File) -> bool {
///         false
///     }
///
///     fn preserve(
///         _file: &File,
///         _session: Session<'_>, //
///     ) -> Result<PreservedState<Self::Preserved>> {
///         Ok(PreservedState {
///             data: 0,
///             private: KBox::new(0, GFP_KERNEL)?,
///         })
///     }
///
///     fn unpreserve(_file: &File, _data: u64, _preserved: Self::Preserved) {}
///
///     fn retrieve(_data: u64) -> Result<ARef<File>> {
///         Err(EBADMSG)
///     }
///
///     fn can_finish(_retrieved: Retrieved<'_>, _data: u64, session: Session<'_>) -> bool {
///         session.all_retrieved()
///     }
///
///     fn finish(_retrieved: Retrieved<'_>, _data: u64) {}
/// }
///
/// static HANDLER: Handler<NoFile> = Handler::new();
/// static SAME_NAME: Handler<NoFile> = Handler::new();
///
/// if liveupdate::is_enabled() {
///     let registration = HANDLER.register()?;
///     assert_eq!(SAME_NAME.register().err(), Some(EEXIST));
///
///     // The name is free again.
///     drop(registration);
///     SAME_NAME.register()?;
/// } else {
///     assert_eq!(HANDLER.register().err(), Some(EOPNOTSUPP));
/// }
/// # Ok::<(), Error>(())
/// ```
#[repr(transparent)]
pub struct Handler<T: FileHandler> {
    inner: Opaque<bindings::liveupdate_file_handler>,
    _handler: PhantomData<fn() -> T>,
}

// SAFETY: LUO changes the C object only with a lock of its own held.
unsafe impl<T: FileHandler> Sync for Handler<T> {}

impl<T: FileHandler> Handler<T> {
    /// Creates a handler, to be used as initialiser of a static.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        // INVARIANT: LUO initialises the lists when the handler is registered.
        Self {
            inner: Opaque::new(bindings::liveupdate_file_handler {
                ops: &FileOps::<T>::OPS,
                compatible: const { compatible(T::COMPATIBLE) },
                ..pin_init::zeroed()
            }),
            _handler: PhantomData,
        }
    }

    /// Registers the handler.
    ///
    /// This has to happen before userspace opens `/dev/liveupdate` for the first time: if there are
    /// preserved files then for which no handler is registered, none can be retrieved.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` if live update is disabled, `EEXIST` if a handler with the same name, for
    /// example this one, is registered.
    pub fn register(&'static self) -> Result<Registration<T>> {
        // SAFETY: The C object is initialised by the invariants and static. If it is registered
        // already, LUO finds its name and leaves it alone.
        to_result(unsafe { bindings::liveupdate_register_file_handler(self.inner.get()) })?;

        // INVARIANT: Just registered.
        Ok(Registration { handler: self })
    }
}

/// A registered [`Handler`].
///
/// Dropping it unregisters the handler and its FLBs.
///
/// # Invariants
///
/// `handler` is registered, and no other value stands for its registration.
pub struct Registration<T: FileHandler> {
    handler: &'static Handler<T>,
}

impl<T: FileHandler> Registration<T> {
    /// Makes the files of this handler depend on `flb`, until the handler is unregistered.
    ///
    /// # Errors
    ///
    /// `EEXIST` if they do already or if another FLB with the same name is registered, `ENOSPC` if
    /// there are too many FLBs, `ENOMEM` if memory is short.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use kernel::liveupdate::{
    ///     FileHandler,
    ///     Flb,
    ///     FlbDef,
    ///     Handler, //
    /// };
    ///
    /// fn register<H: FileHandler, F: Flb>(
    ///     handler: &'static Handler<H>,
    ///     flb: &'static FlbDef<F>,
    /// ) -> Result {
    ///     let registration = match handler.register() {
    ///         // Live update is off, which is no reason to fail.
    ///         Err(err) if err == EOPNOTSUPP => return Ok(()),
    ///         other => other?,
    ///     };
    ///     registration.register_flb(flb)?;
    ///
    ///     // For good.
    ///     core::mem::forget(registration);
    ///     Ok(())
    /// }
    /// ```
    pub fn register_flb<F: Flb>(&self, flb: &'static FlbDef<F>) -> Result {
        // SAFETY: The handler is registered by the invariants. The FLB is initialised by its
        // invariants and static.
        to_result(unsafe {
            bindings::liveupdate_register_flb(self.handler.inner.get(), flb.inner.get())
        })
    }
}

impl<T: FileHandler> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: The handler is registered by the invariants.
        unsafe { bindings::liveupdate_unregister_file_handler(self.handler.inner.get()) };
    }
}

/// An FLB, the static that LUO knows it by.
///
/// # Invariants
///
/// The C object is initialised for the callbacks of `T` and changed by LUO alone.
///
/// # Examples
///
/// ```
/// use kernel::liveupdate::{
///     self,
///     Flb,
///     FlbDef,
///     PreservedState, //
/// };
///
/// struct Count;
///
/// #[vtable]
/// impl Flb for Count {
///     const COMPATIBLE: &'static CStr = c"rust-doctest-count-v1";
///     type Outgoing = KBox<u64>;
///     type Incoming = KBox<u64>;
///
///     fn preserve() -> Result<PreservedState<Self::Outgoing>> {
///         Ok(PreservedState {
///             data: 3,
///             private: KBox::new(3, GFP_KERNEL)?,
///         })
///     }
///
///     fn unpreserve(_data: u64, _state: Self::Outgoing) {}
///
///     fn retrieve(data: u64) -> Result<Self::Incoming> {
///         Ok(KBox::new(data, GFP_KERNEL)?)
///     }
///
///     fn finish(_state: Self::Incoming) {}
///
///     // The lowest bit of an offer says that the next kernel can count.
///     fn preflight(_state: &u64, offer: u64) -> Result {
///         if offer & 1 == 0 {
///             return Err(EPROTONOSUPPORT);
///         }
///         Ok(())
///     }
/// }
///
/// static COUNT: FlbDef<Count> = FlbDef::new();
///
/// if liveupdate::is_enabled() {
///     // No file is preserved that needs it.
///     assert_eq!(COUNT.outgoing().err(), Some(ENOENT));
///
///     match COUNT.incoming() {
///         Ok(count) => pr_info!("the previous kernel left {}\n", *count.get()),
///         // Not a live update, or nobody used this in the previous kernel.
///         Err(err) => assert!(err == ENODATA || err == ENOENT),
///     }
/// } else {
///     assert_eq!(COUNT.outgoing().err(), Some(EOPNOTSUPP));
///     assert_eq!(COUNT.incoming().err(), Some(EOPNOTSUPP));
/// }
/// ```
#[repr(transparent)]
pub struct FlbDef<T: Flb> {
    inner: Opaque<bindings::liveupdate_flb>,
    _flb: PhantomData<fn() -> T>,
}

// SAFETY: LUO changes the C object only with locks held, and the state in it is `Send + Sync`.
unsafe impl<T: Flb> Sync for FlbDef<T> {}

impl<T: Flb> FlbDef<T> {
    /// Creates an FLB, to be used as initialiser of a static.
    #[expect(clippy::new_without_default)]
    pub const fn new() -> Self {
        // INVARIANT: LUO initialises its private part on first use.
        Self {
            inner: Opaque::new(bindings::liveupdate_flb {
                ops: &FlbOps::<T>::OPS,
                compatible: const { compatible(T::COMPATIBLE) },
                ..pin_init::zeroed()
            }),
            _flb: PhantomData,
        }
    }

    /// Returns the state that the previous kernel left, and retrieves it the first time.
    ///
    /// The FLB need not be registered. This works from `early_initcall` on, as far as
    /// [`Flb::retrieve`] does. Must not be called from a callback of the same FLB.
    ///
    /// # Errors
    ///
    /// `ENODATA` if the previous kernel left nothing at all or the state is finished, `ENOENT` if
    /// it did not preserve this FLB, `EOPNOTSUPP` if live update is disabled, otherwise what
    /// [`Flb::retrieve`] returned.
    pub fn incoming(&'static self) -> Result<IncomingGuard<T>> {
        let mut obj = ptr::null_mut();

        // SAFETY: The FLB is initialised by the invariants and static; `obj` is a valid out
        // pointer.
        to_result(unsafe {
            bindings::liveupdate_flb_get_incoming(self.inner.get(), &raw mut obj)
        })?;

        // INVARIANT: The object comes from `retrieve_callback()`, and this is the reference that
        // `liveupdate_flb_get_incoming()` took.
        Ok(IncomingGuard { flb: self, obj })
    }

    /// Returns the state that this kernel has preserved.
    ///
    /// Must not be called from a callback of the same FLB.
    ///
    /// # Errors
    ///
    /// `ENOENT` if no file is preserved that needs this FLB, `EOPNOTSUPP` if live update is
    /// disabled.
    pub fn outgoing(&'static self) -> Result<OutgoingGuard<T>> {
        let mut obj = ptr::null_mut();

        // SAFETY: The FLB is initialised by the invariants and static; `obj` is a valid out
        // pointer.
        to_result(unsafe {
            bindings::liveupdate_flb_get_outgoing(self.inner.get(), &raw mut obj)
        })?;

        // INVARIANT: The object comes from `preserve_callback()`, and this is the reference that
        // `liveupdate_flb_get_outgoing()` took.
        Ok(OutgoingGuard { flb: self, obj })
    }
}

/// A reference to the state that the previous kernel left.
///
/// It counts as if it were one more file: while it exists, the state is not finished. If it is the
/// last, dropping it calls [`Flb::finish`]. It must not be dropped in a callback of the same FLB.
///
/// # Invariants
///
/// `obj` comes from [`ForeignOwnable::into_foreign`] of `T::Incoming`, and this value owns a
/// reference to the incoming state of `flb`, which keeps it alive.
pub struct IncomingGuard<T: Flb> {
    flb: &'static FlbDef<T>,
    obj: *mut c_void,
}

impl<T: Flb> IncomingGuard<T> {
    /// Returns the state.
    #[inline]
    pub fn get(&self) -> <T::Incoming as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the invariants, the object comes from `into_foreign()` and is alive as long as
        // this value. Nobody borrows it mutably.
        unsafe { T::Incoming::borrow(self.obj) }
    }
}

// SAFETY: The state is `Send + Sync`, and the reference can be dropped by any thread.
unsafe impl<T: Flb> Send for IncomingGuard<T> {}

// SAFETY: The state is `Sync`.
unsafe impl<T: Flb> Sync for IncomingGuard<T> {}

impl<T: Flb> Drop for IncomingGuard<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants, this value owns a reference.
        unsafe { bindings::liveupdate_flb_put_incoming(self.flb.inner.get()) };
    }
}

/// A reference to the state that this kernel has preserved.
///
/// It counts as if it were one more file: if it is the last, dropping it calls [`Flb::unpreserve`].
/// It must not be dropped in a callback of the same FLB.
///
/// It must not exist at the kexec: LUO would hand over the count with it, and the next kernel,
/// which finishes one file after the other, would never finish the FLB.
///
/// # Invariants
///
/// `obj` comes from [`ForeignOwnable::into_foreign`] of `T::Outgoing`, and this value owns a
/// reference to the outgoing state of `flb`, which keeps it alive.
pub struct OutgoingGuard<T: Flb> {
    flb: &'static FlbDef<T>,
    obj: *mut c_void,
}

impl<T: Flb> OutgoingGuard<T> {
    /// Returns the state.
    #[inline]
    pub fn get(&self) -> <T::Outgoing as ForeignOwnable>::Borrowed<'_> {
        // SAFETY: By the invariants, the object comes from `into_foreign()` and is alive as long as
        // this value. Nobody borrows it mutably.
        unsafe { T::Outgoing::borrow(self.obj) }
    }
}

// SAFETY: The state is `Send + Sync`, and the reference can be dropped by any thread.
unsafe impl<T: Flb> Send for OutgoingGuard<T> {}

// SAFETY: The state is `Sync`.
unsafe impl<T: Flb> Sync for OutgoingGuard<T> {}

impl<T: Flb> Drop for OutgoingGuard<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariants, this value owns a reference.
        unsafe { bindings::liveupdate_flb_put_outgoing(self.flb.inner.get()) };
    }
}

/// The C callbacks of a [`FileHandler`].
struct FileOps<T: FileHandler>(PhantomData<T>);

impl<T: FileHandler> FileOps<T> {
    const OPS: bindings::liveupdate_file_ops = bindings::liveupdate_file_ops {
        can_preserve: Some(Self::can_preserve_callback),
        preserve: Some(Self::preserve_callback),
        unpreserve: Some(Self::unpreserve_callback),
        freeze: if T::HAS_FREEZE {
            Some(Self::freeze_callback)
        } else {
            None
        },
        unfreeze: if T::HAS_UNFREEZE {
            Some(Self::unfreeze_callback)
        } else {
            None
        },
        retrieve: Some(Self::retrieve_callback),
        can_finish: if T::HAS_CAN_FINISH {
            Some(Self::can_finish_callback)
        } else {
            None
        },
        finish: Some(Self::finish_callback),
        get_id: None,
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// Borrows the file that LUO passes to a callback.
    ///
    /// # Safety
    ///
    /// `file` must be the file that LUO passes to a callback, and `'a` must end with it.
    unsafe fn file<'a>(file: *mut bindings::file) -> &'a File {
        // SAFETY: LUO holds a reference to the file while it calls back. It took that reference
        // besides the one of the file descriptor, in an ioctl on another file, so no `fdget_pos()`
        // without lock can be active: that needs the only reference.
        unsafe { File::from_raw_file(file) }
    }

    /// # Safety
    ///
    /// LUO calls this with a valid file.
    unsafe extern "C" fn can_preserve_callback(
        _handler: *mut bindings::liveupdate_file_handler,
        file: *mut bindings::file,
    ) -> bool {
        // SAFETY: LUO passes a file.
        T::can_preserve(unsafe { Self::file(file) })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `preserve` operation.
    unsafe extern "C" fn preserve_callback(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        from_result(|| {
            // SAFETY: LUO passes a file.
            let state = T::preserve(unsafe { Self::file(args.file) }, Session { args })?;

            args.serialized_data = state.data;
            args.private_data = state.private.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `unpreserve` operation, once for each successful
    /// `preserve_callback()`.
    unsafe extern "C" fn unpreserve_callback(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        // SAFETY: The pointer comes from `into_foreign()` in `preserve_callback()`. LUO does not
        // use it again.
        let preserved = unsafe { T::Preserved::from_foreign(args.private_data) };

        // SAFETY: LUO passes a file.
        T::unpreserve(
            unsafe { Self::file(args.file) },
            args.serialized_data,
            preserved,
        );
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `freeze` operation, between
    /// `preserve_callback()` and `unpreserve_callback()`.
    unsafe extern "C" fn freeze_callback(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        from_result(|| {
            // SAFETY: The pointer comes from `into_foreign()` in `preserve_callback()`, and
            // `unpreserve_callback()` does not run at the same time.
            let preserved = unsafe { T::Preserved::borrow(args.private_data) };

            // SAFETY: LUO passes a file.
            let file = unsafe { Self::file(args.file) };

            T::freeze(file, &mut args.serialized_data, preserved)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `unfreeze` operation, between
    /// `preserve_callback()` and `unpreserve_callback()`.
    unsafe extern "C" fn unfreeze_callback(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        // SAFETY: The pointer comes from `into_foreign()` in `preserve_callback()`, and
        // `unpreserve_callback()` does not run at the same time.
        let preserved = unsafe { T::Preserved::borrow(args.private_data) };

        // SAFETY: LUO passes a file.
        T::unfreeze(
            unsafe { Self::file(args.file) },
            args.serialized_data,
            preserved,
        );
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `retrieve` operation.
    unsafe extern "C" fn retrieve_callback(args: *mut bindings::liveupdate_file_op_args) -> c_int {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        from_result(|| {
            let file = T::retrieve(args.serialized_data)?;

            // The reference goes to LUO, which passes it on to userspace.
            args.file = ARef::into_raw(file).cast::<bindings::file>().as_ptr();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `can_finish` operation.
    unsafe extern "C" fn can_finish_callback(args: *mut bindings::liveupdate_file_op_args) -> bool {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &*args };

        // SAFETY: These are the arguments of `can_finish`.
        let retrieved = unsafe { Retrieved::from_args(args) };

        T::can_finish(retrieved, args.serialized_data, Session { args })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `finish` operation.
    unsafe extern "C" fn finish_callback(args: *mut bindings::liveupdate_file_op_args) {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &*args };

        // SAFETY: These are the arguments of `finish`.
        T::finish(unsafe { Retrieved::from_args(args) }, args.serialized_data);
    }
}

/// The C callbacks of an [`Flb`].
struct FlbOps<T: Flb>(PhantomData<T>);

impl<T: Flb> FlbOps<T> {
    const OPS: bindings::liveupdate_flb_ops = bindings::liveupdate_flb_ops {
        preserve: Some(Self::preserve_callback),
        unpreserve: Some(Self::unpreserve_callback),
        retrieve: Some(Self::retrieve_callback),
        finish: Some(Self::finish_callback),
        preflight: if T::HAS_PREFLIGHT {
            Some(Self::preflight_callback)
        } else {
            None
        },
        owner: this_module::<T::OwnerModule>().as_ptr(),
    };

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `preserve` operation.
    unsafe extern "C" fn preserve_callback(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        from_result(|| {
            let state = T::preserve()?;

            args.data = state.data;
            args.obj = state.private.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `unpreserve` operation, once for each successful
    /// `preserve_callback()` and when nobody has a reference.
    unsafe extern "C" fn unpreserve_callback(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        // SAFETY: The pointer comes from `into_foreign()` in `preserve_callback()`. LUO does not
        // use it again, and no `OutgoingGuard` exists.
        let state = unsafe { T::Outgoing::from_foreign(args.obj) };

        T::unpreserve(args.data, state);
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `retrieve` operation.
    unsafe extern "C" fn retrieve_callback(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        from_result(|| {
            args.obj = T::retrieve(args.data)?.into_foreign();
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `finish` operation, once after a successful
    /// `retrieve_callback()` and when nobody has a reference.
    unsafe extern "C" fn finish_callback(args: *mut bindings::liveupdate_flb_op_args) {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        // SAFETY: The pointer comes from `into_foreign()` in `retrieve_callback()`. LUO does not
        // use it again, and no `IncomingGuard` exists.
        T::finish(unsafe { T::Incoming::from_foreign(args.obj) });
    }

    /// # Safety
    ///
    /// LUO calls this with valid arguments for the `preflight` operation, between
    /// `preserve_callback()` and `unpreserve_callback()`.
    unsafe extern "C" fn preflight_callback(args: *mut bindings::liveupdate_flb_op_args) -> c_int {
        // SAFETY: LUO passes arguments that nobody else uses.
        let args = unsafe { &mut *args };

        from_result(|| {
            // SAFETY: The pointer comes from `into_foreign()` in `preserve_callback()`, and
            // `unpreserve_callback()` does not run at the same time.
            let state = unsafe { T::Outgoing::borrow(args.obj) };

            T::preflight(state, args.offer)?;
            Ok(0)
        })
    }
}
