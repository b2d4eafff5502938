// SPDX-License-Identifier: GPL-2.0
//! QEMU's plugin interface, version 1 (QEMU 4.2 to 8.1): include/qemu/qemu-plugin.h there.

use crate::calls::{Block, BlockId, Calls};
use protocol::CountConfig;
use std::cell::UnsafeCell;
use std::error::Error;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::sync::OnceLock;

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
    output: String,
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
    let output = config.output.clone();
    let calls = Calls::new(config).map_err(|name| format!("there is no function {name}"))?;
    Ok(State { calls, output })
}

extern "C" fn translated(_id: PluginId, block: *mut TranslationBlock) {
    // SAFETY: QEMU passes a block that is valid until this function returns.
    let Some(described) = (unsafe { describe(block) }) else {
        return;
    };
    // SAFETY: a callback.
    let Some(BlockId(id)) = (unsafe { with_state(|state| state.calls.translated(described)) })
    else {
        return;
    };
    let data = std::ptr::without_provenance_mut(id);
    // SAFETY: as above; the data is a number that nobody takes for a pointer.
    unsafe { qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, data) };
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
    unsafe { with_state(|state| state.calls.executed(BlockId(data.addr()))) };
}

fn write(state: &mut State) {
    let file = File::create(&state.output).map(BufWriter::new);
    let written = file.map_err(serde_json::Error::io);
    let written = written.and_then(|file| serde_json::to_writer(file, &state.calls.counts()));
    if let Err(error) = written {
        eprintln!("liveupdate_plugin: {}: {error}", state.output);
    }
}

extern "C" fn at_exit(_id: PluginId, _data: *mut c_void) {
    // SAFETY: a callback.
    unsafe { with_state(write) };
}
