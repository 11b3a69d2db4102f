// SPDX-License-Identifier: GPL-2.0

//! The module's directory in debugfs.
//!
//! C header: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use super::Device;
use kernel::{
    debugfs::Dir,
    device,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full,
        Release, //
    },
};

kernel::sync::global_lock! {
    // SAFETY: `DebugDir::new` initialises it once, and nobody uses it before it has said so in
    // `STATE`.
    unsafe(uninit) static ROOT: Mutex<Option<Dir>> = None;
}

/// How far `ROOT` is: it is not initialised yet.
const FRESH: i32 = 0;

/// It is being initialised.
const BUSY: i32 = 1;

/// It is initialised.
const READY: i32 = 2;

static STATE: Atomic<i32> = Atomic::new(FRESH);

/// The module's directory in debugfs, in which each device has one. It is there until this is
/// dropped and the devices are gone.
///
/// The virtio core does not hand anything of a module to the probe of a device, so what it is made
/// in is a static.
pub struct DebugDir(());

impl DebugDir {
    /// Makes the directory. If debugfs does not work, it is as if it did.
    ///
    /// Process context. Fails with [`EEXIST`] if there was one before.
    pub fn new(name: &CStr) -> Result<Self> {
        STATE.cmpxchg(FRESH, BUSY, Full).map_err(|_: i32| EEXIST)?;

        // SAFETY: The state is fresh once only, so this is called once.
        unsafe { ROOT.init() };
        *ROOT.lock() = Some(Dir::new(name));
        STATE.store(READY, Release);
        Ok(Self(()))
    }

    /// Returns the directory of a device, which is named by it. It is there while it has files.
    ///
    /// Process context.
    pub fn of<Ctx: device::DeviceContext>(dev: &Device<Ctx>) -> Dir {
        let dev: &device::Device<Ctx> = dev.as_ref();
        let within = match STATE.load(Acquire) {
            READY => ROOT.lock().clone(),
            _ => None,
        };

        match within {
            Some(root) => root.subdir(dev.name()),
            None => Dir::new(dev.name()),
        }
    }
}

impl Drop for DebugDir {
    fn drop(&mut self) {
        // There is a `DebugDir`, so `ROOT` is initialised.
        *ROOT.lock() = None;
    }
}
