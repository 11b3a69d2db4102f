// SPDX-License-Identifier: GPL-2.0

//! Lists and groups of the attributes of a host in sysfs.
//!
//! This file does not import the trait of a driver, because the trait names these types.
//!
//! C header: [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use super::bindings;
use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::bindings::{
    attribute,
    attribute_group, //
};

/// A pointer to an attribute of the hosts of `T`, or null: an element of a list of attributes of C.
#[repr(transparent)]
pub struct AttributePointer<T>(*mut attribute, PhantomData<fn() -> T>);

// SAFETY: It points to a static [`HostAttribute`](super::HostAttribute), which is `Sync`.
unsafe impl<T> Sync for AttributePointer<T> {}

impl<T> AttributePointer<T> {
    /// Makes a pointer to a static `HostAttribute` of `T`.
    pub(super) const fn to(attribute: *mut attribute) -> Self {
        Self(attribute, PhantomData)
    }

    /// Ends a list.
    pub const END: Self = Self(ptr::null_mut(), PhantomData);
}

/// A group of attributes of the hosts of `T`: `struct attribute_group`.
#[repr(transparent)]
pub struct AttributeGroup<T>(
    bindings::scsi_helper_attribute_group,
    PhantomData<fn() -> T>,
);

// SAFETY: C only reads the group, which points to statics that are `Sync`.
unsafe impl<T> Sync for AttributeGroup<T> {}

impl<T> AttributeGroup<T> {
    /// Makes a group of a list, whose last element is [`AttributePointer::END`].
    pub const fn new(list: &'static [AttributePointer<T>]) -> Self {
        assert!(
            matches!(list.last(), Some(last) if last.0.is_null()),
            "a list of attributes does not end"
        );

        let mut group: bindings::scsi_helper_attribute_group = pin_init::zeroed();

        // A pointer is all that an `AttributePointer` is. C does not write the list.
        group.attrs = list.as_ptr().cast_mut().cast();
        Self(group, PhantomData)
    }
}

/// The attributes of all hosts of `T`.
pub struct HostAttributes<T> {
    groups: [*const bindings::scsi_helper_attribute_group; 2],
    _driver: PhantomData<fn() -> T>,
}

// SAFETY: C only reads the list of groups, which points to a static that is `Sync`.
unsafe impl<T> Sync for HostAttributes<T> {}

impl<T> HostAttributes<T> {
    /// Makes the attributes of one group.
    pub const fn new(group: &'static AttributeGroup<T>) -> Self {
        Self {
            groups: [&raw const group.0, ptr::null()],
            _driver: PhantomData,
        }
    }

    /// Returns the list of groups for C, which is valid for ever.
    pub(super) fn as_raw(&'static self) -> *const *const attribute_group {
        // The helper structure has the layout of the C one: see `helpers.c`.
        self.groups.as_ptr().cast()
    }
}
