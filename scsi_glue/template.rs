// SPDX-License-Identifier: GPL-2.0

//! The C host template of a [`Driver`].
//!
//! C header: [`include/scsi/scsi_host.h`](srctree/include/scsi/scsi_host.h)

use super::{
    bindings,
    driver::Driver,
    pdu::Pdu, //
};
use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::prelude::*;

/// The C host template of a driver, and the functions in it.
///
/// The midlayer alone calls these, with a host that [`Host`] has made for `T`, or with a command or
/// a device of one. Unless its safety section says otherwise, a function is called after the host
/// was added and before its removal has ended, so the `Host` is there.
///
/// [`Host`]: super::Host
pub(super) struct Template<T: Driver>(PhantomData<T>);

impl<T: Driver> Template<T> {
    // `CStr::as_char_ptr()` cannot be called in a constant.
    #[expect(clippy::disallowed_methods)]
    const TEMPLATE: bindings::scsi_host_template = bindings::scsi_host_template {
        // 7.2 has no `Driver::OwnerModule`, by which 7.3 leads from the implementation to its
        // module.
        module: (&raw const kernel::bindings::__this_module).cast_mut(),
        name: T::NAME.as_ptr().cast(),
        info: None,
        proc_name: T::PROC_NAME.as_ptr().cast(),
        show_info: None,
        write_info: None,
        vendor_id: 0,
        shost_groups: ptr::null_mut(),
        sdev_groups: ptr::null_mut(),

        // Commands.
        cmd_size: Pdu::<T::CommandData>::SIZE,
        init_cmd_priv: Some(Self::init_cmd_priv_callback),
        exit_cmd_priv: None,
        queuecommand: Some(Self::queue_command_callback),
        queue_reserved_command: None,
        nr_reserved_cmds: 0,
        commit_rqs: if T::HAS_COMMIT_RQS {
            Some(Self::commit_rqs_callback)
        } else {
            None
        },
        mq_poll: if T::HAS_MQ_POLL {
            Some(Self::mq_poll_callback)
        } else {
            None
        },
        map_queues: Some(Self::map_queues_callback),
        dma_need_drain: None,

        // Targets and devices.
        target_alloc: None,
        target_destroy: None,
        scan_start: None,
        scan_finished: None,
        sdev_init: Some(Self::sdev_init_callback),
        sdev_destroy: Some(Self::sdev_destroy_callback),
        sdev_configure: if T::HAS_SDEV_CONFIGURE {
            Some(Self::sdev_configure_callback)
        } else {
            None
        },
        change_queue_depth: if T::HAS_CHANGE_QUEUE_DEPTH {
            Some(Self::change_queue_depth_callback)
        } else {
            None
        },
        bios_param: None,
        unlock_native_capacity: None,
        ioctl: None,
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: None,

        // Error handling.
        eh_timed_out: if T::HAS_EH_TIMED_OUT {
            Some(Self::eh_timed_out_callback)
        } else {
            None
        },
        eh_should_retry_cmd: if T::HAS_EH_SHOULD_RETRY_CMD {
            Some(Self::eh_should_retry_cmd_callback)
        } else {
            None
        },
        eh_abort_handler: if T::HAS_EH_ABORT {
            Some(Self::eh_abort_callback)
        } else {
            None
        },
        eh_device_reset_handler: if T::HAS_EH_DEVICE_RESET {
            Some(Self::eh_device_reset_callback)
        } else {
            None
        },
        eh_target_reset_handler: if T::HAS_EH_TARGET_RESET {
            Some(Self::eh_target_reset_callback)
        } else {
            None
        },
        eh_bus_reset_handler: if T::HAS_EH_BUS_RESET {
            Some(Self::eh_bus_reset_callback)
        } else {
            None
        },
        // After this step the midlayer takes all commands, so the glue always has one.
        eh_host_reset_handler: Some(Self::eh_host_reset_callback),
        host_reset: if T::HAS_HOST_RESET {
            Some(Self::host_reset_callback)
        } else {
            None
        },

        // Limits: `HostLimits` sets those of the host.
        can_queue: 0,
        this_id: T::THIS_ID,
        sg_tablesize: 0,
        sg_prot_tablesize: 0,
        max_sectors: 0,
        max_segment_size: 0,
        dma_alignment: 0,
        dma_boundary: T::DMA_BOUNDARY,
        virt_boundary_mask: 0,
        cmd_per_lun: 0,
        max_host_blocked: 0,
        _bitfield_align_1: [],
        _bitfield_1: Self::FLAGS,
    };

    /// The one-bit fields. bindgen's setters cannot be called in a constant; [`Template::get`]
    /// checks the positions.
    const FLAGS: bindings::__BindgenBitfieldUnit<[u8; 2usize]> =
        bindings::__BindgenBitfieldUnit::new([
            Self::flag(1, T::TRACK_QUEUE_DEPTH) | Self::flag(5, T::SKIP_SETTLE_DELAY),
            0,
        ]);

    /// Returns the one-bit field at a position of the first byte.
    const fn flag(position: u32, set: bool) -> u8 {
        let bit = if cfg!(target_endian = "little") {
            1 << position
        } else {
            0x80 >> position
        };

        if set {
            bit
        } else {
            0
        }
    }

    /// Returns the template.
    ///
    /// Fails with [`EINVAL`] if the one-bit fields of the C structure are not where `FLAGS` has
    /// them.
    pub(super) fn get() -> Result<&'static bindings::scsi_host_template> {
        let template = &Self::TEMPLATE;
        let mut expected: bindings::scsi_host_template = pin_init::zeroed();

        expected.set_track_queue_depth(T::TRACK_QUEUE_DEPTH.into());
        expected.set_skip_settle_delay(T::SKIP_SETTLE_DELAY.into());
        if template._bitfield_1 != expected._bitfield_1 {
            return Err(EINVAL);
        }
        Ok(template)
    }
}
