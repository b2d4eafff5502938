// SPDX-License-Identifier: GPL-2.0
//! QEMU's plugin interface, version 1 (QEMU 4.2 to 8.1): include/qemu/qemu-plugin.h there.

use crate::calls::{Block, BlockId, Calls, Executed};
use protocol::CountConfig;
use std::cell::UnsafeCell;
use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

type PluginId = u64;

/// `struct qemu_plugin_tb`.
#[repr(C)]
struct TranslationBlock {
    _opaque: [u8; 0],
}

/// `struct qemu_plugin_insn`.
#[repr(C)]
struct Instruction {
    _opaque: [u8; 0],
}

/// `qemu_info_t`.
#[repr(C)]
pub struct Info {
    target_name: *const c_char,
    min_version: c_int,
    current_version: c_int,
    system_emulation: bool,
    smp_vcpus: c_int,
    max_vcpus: c_int,
}

/// `QEMU_PLUGIN_CB_NO_REGS`.
const NO_REGISTERS: c_int = 0;
/// `QEMU_PLUGIN_INLINE_ADD_U64`.
const ADD: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(
        id: PluginId,
        callback: extern "C" fn(PluginId, *mut TranslationBlock),
    );
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut TranslationBlock,
        callback: extern "C" fn(c_uint, *mut c_void),
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_tb_exec_inline(
        block: *mut TranslationBlock,
        operation: c_int,
        number: *mut c_void,
        operand: u64,
    );
    fn qemu_plugin_register_atexit_cb(
        id: PluginId,
        callback: extern "C" fn(PluginId, *mut c_void),
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const TranslationBlock) -> usize;
    fn qemu_plugin_tb_vaddr(block: *const TranslationBlock) -> u64;
    fn qemu_plugin_tb_get_insn(block: *const TranslationBlock, index: usize) -> *mut Instruction;
    fn qemu_plugin_insn_vaddr(instruction: *const Instruction) -> u64;
    fn qemu_plugin_insn_size(instruction: *const Instruction) -> usize;
    fn qemu_plugin_insn_data(instruction: *const Instruction) -> *const c_void;
}

/// The version of the interface.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = 1;

struct State {
    calls: Calls,
    /// All instructions. QEMU's code adds to this number and to those below.
    all: &'static AtomicU64,
    /// The same by function.
    by_function: &'static [AtomicU64],
    output: String,
}

impl State {
    fn new(config: CountConfig) -> Result<Self, Box<dyn Error>> {
        let output = config.output.clone();
        let calls = Calls::new(config).map_err(|name| format!("there is no function {name}"))?;
        let numbers = (0..calls.functions()).map(|_| AtomicU64::new(0));
        // For ever: QEMU's code knows their addresses.
        Ok(Self {
            all: Box::leak(Box::new(AtomicU64::new(0))),
            by_function: Vec::leak(numbers.collect()),
            calls,
            output,
        })
    }

    fn executed(&mut self, id: BlockId) {
        let (all, by_function) = (self.all, self.by_function);
        self.calls.executed(id, all.load(Ordering::Relaxed), || {
            snapshot(all, by_function)
        });
    }

    fn write(&mut self) {
        let counts = self.calls.counts(&snapshot(self.all, self.by_function));
        let file = File::create(&self.output).map(BufWriter::new);
        let written = file.map_err(serde_json::Error::io);
        let written = written.and_then(|file| serde_json::to_writer(file, &counts));
        if let Err(error) = written {
            eprintln!("liveupdate_plugin: {}: {error}", self.output);
        }
    }
}

fn snapshot(all: &AtomicU64, by_function: &[AtomicU64]) -> Executed {
    let number = |number: &AtomicU64| number.load(Ordering::Relaxed);
    Executed {
        all: number(all),
        by_function: by_function.iter().map(number).collect(),
    }
}

/// What only the processor's thread touches. A lock would take more time than all the rest, in every
/// block that is executed.
struct Exclusive(UnsafeCell<State>);

// SAFETY: `with_state` gives it to one thread at a time.
unsafe impl Sync for Exclusive {}
// SAFETY: a `State` is ordinary data.
unsafe impl Send for Exclusive {}

static STATE: OnceLock<Exclusive> = OnceLock::new();

/// # Safety
///
/// Only for callbacks: QEMU calls those about blocks from the thread of the one processor, one after
/// the other, and the one at exit when that thread has stopped.
unsafe fn with_state<T>(action: impl FnOnce(&mut State) -> T) -> Option<T> {
    // SAFETY: no other reference exists, as this function demands; `action` cannot call it again, as
    // it calls nothing of QEMU's.
    STATE
        .get()
        .map(|state| action(unsafe { &mut *state.0.get() }))
}

/// QEMU calls this when it loads the plugin.
///
/// # Safety
///
/// `info` is valid, and `arguments` are `count` strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    info: *const Info,
    count: c_int,
    arguments: *const *const c_char,
) -> c_int {
    // SAFETY: valid, by the contract of this function.
    let info = unsafe { &*info };
    if !info.system_emulation || info.smp_vcpus != 1 || info.max_vcpus != 1 {
        eprintln!("liveupdate_plugin: the machine must have one processor");
        return -1;
    }
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: `count` strings, by the contract of this function.
    let arguments = (0..count).map(|index| unsafe { CStr::from_ptr(*arguments.add(index)) });
    match load(arguments) {
        Ok(state) => {
            if STATE.set(Exclusive(UnsafeCell::new(state))).is_err() {
                eprintln!("liveupdate_plugin: loaded twice");
                return -1;
            }
            // SAFETY: the id that QEMU gave us, and functions with the signatures that it wants.
            unsafe {
                qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
                qemu_plugin_register_atexit_cb(id, at_exit, std::ptr::null_mut());
            }
            0
        }
        Err(error) => {
            eprintln!("liveupdate_plugin: {error}");
            -1
        }
    }
}

fn load<'a>(arguments: impl Iterator<Item = &'a CStr>) -> Result<State, Box<dyn Error>> {
    let mut arguments = arguments.filter_map(|argument| argument.to_str().ok());
    let path = arguments.find_map(|argument| argument.strip_prefix("config="));
    let file = File::open(path.ok_or("config=FILE is missing")?)?;
    let config: CountConfig = serde_json::from_reader(BufReader::new(file))?;
    State::new(config)
}

extern "C" fn translated(_id: PluginId, block: *mut TranslationBlock) {
    // SAFETY: QEMU passes a block that is valid until this function returns.
    let Some(described) = (unsafe { describe(block) }) else {
        return;
    };
    let translated = |state: &mut State| {
        let (function, id) = state.calls.translated(described);
        let own = state.by_function.get(function);
        ([Some(state.all), own], id)
    };
    // SAFETY: a callback.
    let Some((numbers, id)) = (unsafe { with_state(translated) }) else {
        return;
    };
    // Callbacks come before additions, whatever the order here.
    if let Some(BlockId(id)) = id {
        let data = std::ptr::without_provenance_mut(id);
        // SAFETY: as above; the data is a number that nobody takes for a pointer.
        unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, data) };
    }
    for number in numbers.into_iter().flatten() {
        let number = number.as_ptr().cast();
        // SAFETY: as above; the number is there for ever, and the processor's thread alone uses it.
        unsafe {
            qemu_plugin_register_vcpu_tb_exec_inline(block, ADD, number, described.instructions);
        }
    }
}

/// What there is to know about a block that is being translated.
///
/// # Safety
///
/// The block is valid.
unsafe fn describe(block: *const TranslationBlock) -> Option<Block> {
    // SAFETY: the block is valid, the index below the number of its instructions, and an instruction
    // has as many bytes as it says.
    unsafe {
        let count = qemu_plugin_tb_n_insns(block);
        let last = qemu_plugin_tb_get_insn(block, count.checked_sub(1)?);
        let size = qemu_plugin_insn_size(last);
        let bytes = std::slice::from_raw_parts(qemu_plugin_insn_data(last).cast(), size);
        Some(Block {
            start: qemu_plugin_tb_vaddr(block),
            end: qemu_plugin_insn_vaddr(last) + size as u64,
            instructions: count as u64,
            ends_in_call: crate::calls::is_call(bytes),
        })
    }
}

extern "C" fn executed(_vcpu: c_uint, data: *mut c_void) {
    // SAFETY: a callback.
    unsafe { with_state(|state| state.executed(BlockId(data.addr()))) };
}

extern "C" fn at_exit(_id: PluginId, _data: *mut c_void) {
    // SAFETY: a callback.
    unsafe { with_state(State::write) };
}
