// SPDX-License-Identifier: GPL-2.0

//! The table of devices that a driver serves.
//!
//! C reads a table up to an entry of zeroes. [`IdArray`] has it behind the entries of the driver,
//! and a driver can only offer an [`IdTable`], which is made of one.
//!
//! # Misuse that does not compile
//!
//! In `examples/virtio_rng/misuse/`: a slice in place of a table (E0308), and a table that ends
//! with another entry (E0451).
//!
//! # The kernel crate
//!
//! [`kernel::device_id::IdArray`] does the same, but 7.2 and 7.3 differ in its constructors and in
//! the syntax of `module_device_table!`. Both take the place of this file when 7.2 is dropped.
//!
//! C header: [`include/linux/mod_devicetable.h`](srctree/include/linux/mod_devicetable.h)

use super::bindings;

/// An entry of the table: `struct virtio_device_id`.
#[repr(transparent)]
pub struct DeviceId(bindings::virtio_device_id);

// SAFETY: A `DeviceId` is numbers that never change.
unsafe impl Sync for DeviceId {}

impl DeviceId {
    /// A device of type `device` (`VIRTIO_ID_*`) of any vendor.
    pub const fn any_vendor(device: u32) -> Self {
        Self(bindings::virtio_device_id {
            device,
            vendor: bindings::VIRTIO_DEV_ANY_ID,
        })
    }
}

/// A table of `N` entries, and the entry of zeroes. `virtio_device_table!` declares it.
#[repr(C)]
pub struct IdArray<const N: usize> {
    ids: [DeviceId; N],
    end: DeviceId,
}

impl<const N: usize> IdArray<N> {
    /// Makes a table of entries.
    pub const fn new(ids: [DeviceId; N]) -> Self {
        Self {
            ids,
            end: DeviceId(bindings::virtio_device_id {
                device: 0,
                vendor: 0,
            }),
        }
    }

    /// Returns the table for [`Driver::ID_TABLE`](super::Driver::ID_TABLE).
    pub const fn table(&'static self) -> IdTable {
        // INVARIANT: `self` is an `IdArray` that is valid for ever.
        IdTable(core::ptr::from_ref(self).cast())
    }
}

/// A table that ends with an entry of zeroes.
///
/// # Invariants
///
/// `0` points to the first entry of an [`IdArray`] that is valid for ever.
#[derive(Clone, Copy)]
pub struct IdTable(*const bindings::virtio_device_id);

impl IdTable {
    /// Returns the first entry.
    pub(super) fn as_ptr(self) -> *const bindings::virtio_device_id {
        self.0
    }
}

/// Declares the table of devices that a driver serves, with its aliases for module loading.
///
/// modpost finds the table by the name of its symbol. Use it at the root of the crate.
macro_rules! virtio_device_table {
    ($name:ident, [$($id:expr),* $(,)?]) => {
        #[export_name = concat!(
            "__mod_device_table__kmod_",
            module_path!(),
            "__virtio__",
            stringify!($name)
        )]
        static $name: $crate::virtio_glue::IdArray<{ [$($id),*].len() }> =
            $crate::virtio_glue::IdArray::new([$($id),*]);
    };
}
pub(crate) use virtio_device_table;
