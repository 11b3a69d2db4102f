// SPDX-License-Identifier: GPL-2.0

//! What goes over the request queues and the controlq, byte by byte.
//!
//! Virtio 1.3, section 5.6.6. Where the listing there and
//! [`include/uapi/linux/virtio_scsi.h`](srctree/include/uapi/linux/virtio_scsi.h) disagree (the
//! place of the protection information lengths), the header is right: it is what devices do.
//!
//! This file uses `core` alone, because it is also compiled for the host, and tested there.

/// The order of the bytes in a field.
///
/// Little-endian for a device of virtio 1.0 or later; that of the CPU for a legacy one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteOrder {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

macro_rules! byte_order {
    ($($to:ident, $from:ident, $type:ty, $len:literal;)*) => {
        impl ByteOrder {
            $(
                /// Returns the bytes of a field.
                #[inline]
                pub fn $to(self, value: $type) -> [u8; $len] {
                    match self {
                        Self::Little => value.to_le_bytes(),
                        Self::Big => value.to_be_bytes(),
                    }
                }

                /// Returns the value of a field.
                #[inline]
                pub fn $from(self, bytes: [u8; $len]) -> $type {
                    match self {
                        Self::Little => <$type>::from_le_bytes(bytes),
                        Self::Big => <$type>::from_be_bytes(bytes),
                    }
                }
            )*
        }
    };
}

byte_order! {
    from_u16, to_u16, u16, 2;
    from_u32, to_u32, u32, 4;
    from_u64, to_u64, u64, 8;
}

/// The longest CDB, in bytes: what the midlayer has room for.
pub const CDB_MAX: usize = 32;

/// The length of the sense data that the driver asks for, in bytes: what the midlayer has room
/// for.
pub const SENSE_WANTED: u32 = 96;

/// The longest sense data, in bytes: the most that SPC allows.
pub const SENSE_MAX: usize = 252;

/// The highest logical unit number of the single level formats.
pub const LUN_MAX: u16 = 0x3fff;

/// What the midlayer adds to the number of a logical unit that it knows by the flat format.
pub const LUN_FLAT: u64 = 0x4000;

/// A logical unit of a target, as the midlayer numbers them.
///
/// The midlayer makes the number of the first two bytes of the LUN structure. So a unit below 256
/// that is reported in the peripheral format has its own number, and one that is reported in the
/// flat format has its own number and [`LUN_FLAT`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The target.
    pub target: u8,
    /// The logical unit.
    pub lun: u64,
}

impl Address {
    /// Returns the LUN field of a request, or [`None`] if there is no such number.
    ///
    /// Requests always use the flat format, whatever the format that the unit was reported in.
    #[inline]
    pub fn encode(self) -> Option<[u8; 8]> {
        let number = if self.lun < LUN_FLAT {
            self.lun
        } else {
            self.lun - LUN_FLAT
        };
        let number = u16::try_from(number).ok().filter(|lun| *lun <= LUN_MAX)?;
        let [high, low] = (number | LUN_FLAT as u16).to_be_bytes();

        Some([1, self.target, high, low, 0, 0, 0, 0])
    }

    /// Returns what the LUN field of an event says, or [`None`] if it is not in one of the two
    /// formats that a device may use.
    ///
    /// The number is what the midlayer knows the unit by: units below 256 without [`LUN_FLAT`],
    /// whichever format the device has used.
    pub fn decode(field: [u8; 8]) -> Option<Self> {
        let [1, target, high, low, 0, 0, 0, 0] = field else {
            return None;
        };

        let number = match high >> 6 {
            // Peripheral device addressing, of bus 0.
            0 if high == 0 => low.into(),
            // Flat space addressing.
            1 => u16::from_be_bytes([high & 0x3f, low]),
            _ => return None,
        };

        Some(Self {
            target,
            lun: match number {
                0..=255 => number.into(),
                _ => LUN_FLAT | u64::from(number),
            },
        })
    }
}

/// How many bytes of protection information (T10 PI) go with the data of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Protection {
    /// From the initiator to the target.
    pub bytes_out: u32,
    /// From the target to the initiator.
    pub bytes_in: u32,
}

/// `struct virtio_scsi_cmd_req`, or `struct virtio_scsi_cmd_req_pi` if T10 PI was negotiated: what
/// the device reads of a command.
///
/// The task attribute is SIMPLE, and priority and CRN are not used: all three are 0.
#[derive(Clone, Copy)]
pub struct CommandRequest([u8; Self::HEADER_PI + CDB_MAX]);

impl CommandRequest {
    /// Where the CDB is without T10 PI. What is before it has this length.
    pub const HEADER: usize = 19;

    /// Where the CDB is with T10 PI. What is before it has this length.
    pub const HEADER_PI: usize = 27;

    /// Fills it in, all of it: nothing of an earlier command stays.
    ///
    /// `protection` is there if T10 PI was negotiated, whether or not the command has any. A CDB
    /// that is longer than there is room for is cut off.
    #[inline]
    pub fn fill(
        &mut self,
        order: ByteOrder,
        lun: [u8; 8],
        tag: u64,
        protection: Option<Protection>,
        cdb: &[u8],
    ) {
        let [l0, l1, l2, l3, l4, l5, l6, l7] = lun;
        let [t0, t1, t2, t3, t4, t5, t6, t7] = order.from_u64(tag);
        let header: [u8; Self::HEADER] = [
            l0, l1, l2, l3, l4, l5, l6, l7, t0, t1, t2, t3, t4, t5, t6, t7, 0, 0, 0,
        ];

        let Some((to_header, room)) = self.0.split_first_chunk_mut() else {
            return;
        };
        *to_header = header;

        let room = match protection {
            None => room,
            Some(protection) => {
                let [o0, o1, o2, o3] = order.from_u32(protection.bytes_out);
                let [i0, i1, i2, i3] = order.from_u32(protection.bytes_in);
                let Some((to_protection, rest)) = room.split_first_chunk_mut() else {
                    return;
                };

                *to_protection = [o0, o1, o2, o3, i0, i1, i2, i3];
                rest
            }
        };

        // The CDB is copied to an array of its full length first: that takes a few moves, where a
        // copy of any length would be a call.
        let mut padded = [0; CDB_MAX];
        for (to, from) in padded.iter_mut().zip(cdb) {
            *to = *from;
        }
        if let Some((to_cdb, _)) = room.split_first_chunk_mut() {
            *to_cdb = padded;
        }
    }

    /// Returns the bytes to send if the device takes CDBs of `cdb_size` bytes. `protection` is
    /// whether T10 PI was negotiated.
    #[inline]
    pub fn bytes(&self, protection: bool, cdb_size: usize) -> &[u8] {
        let header = if protection {
            Self::HEADER_PI
        } else {
            Self::HEADER
        };

        self.0.get(..header + cdb_size).unwrap_or(&self.0)
    }
}

impl Default for CommandRequest {
    fn default() -> Self {
        Self([0; Self::HEADER_PI + CDB_MAX])
    }
}

/// `struct virtio_scsi_cmd_resp`: what the device writes of a command, less its data.
#[repr(C)]
pub struct CommandResponse {
    /// See [`ResponseHeader`].
    pub header: [u8; ResponseHeader::SIZE],
    /// Sense data.
    pub sense: [u8; SENSE_MAX],
}

/// The fixed part of `struct virtio_scsi_cmd_resp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHeader {
    /// How many bytes of sense data there are, as the device says.
    pub sense_len: u32,
    /// How many bytes of data were not transferred, as the device says.
    pub residual: u32,
    /// Status qualifier (SAM).
    pub status_qualifier: u16,
    /// Status (SAM).
    pub status: u8,
    /// `VIRTIO_SCSI_S_*`
    pub response: u8,
}

impl ResponseHeader {
    /// The length of the fixed part, in bytes.
    pub const SIZE: usize = 12;

    /// What the fixed part is set to before the device gets it.
    ///
    /// It has a response that does not exist. A device that completes a command without writing a
    /// response is not taken to have done the command.
    pub const PRESET: [u8; Self::SIZE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff];

    /// Returns what the bytes say.
    #[inline]
    pub fn decode(order: ByteOrder, bytes: [u8; Self::SIZE]) -> Self {
        let [s0, s1, s2, s3, r0, r1, r2, r3, q0, q1, status, response] = bytes;

        Self {
            sense_len: order.to_u32([s0, s1, s2, s3]),
            residual: order.to_u32([r0, r1, r2, r3]),
            status_qualifier: order.to_u16([q0, q1]),
            status,
            response,
        }
    }
}

/// A task management function: `VIRTIO_SCSI_T_TMF_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskManagement {
    /// Abort one command.
    AbortTask,
    /// Reset a target: all its logical units.
    NexusReset,
    /// Reset a logical unit.
    LogicalUnitReset,
    /// Say whether the device has one command.
    QueryTask,
}

impl TaskManagement {
    /// Returns its code.
    pub const fn code(self) -> u32 {
        match self {
            Self::AbortTask => 0,
            Self::NexusReset => 4,
            Self::LogicalUnitReset => 5,
            Self::QueryTask => 6,
        }
    }

    /// Returns its name in SAM.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AbortTask => "ABORT TASK",
            Self::NexusReset => "I_T NEXUS RESET",
            Self::LogicalUnitReset => "LOGICAL UNIT RESET",
            Self::QueryTask => "QUERY TASK",
        }
    }
}

/// `struct virtio_scsi_ctrl_tmf_req`: what the device reads of a task management function.
#[derive(Clone, Copy, Default)]
pub struct TaskManagementRequest([u8; Self::SIZE]);

impl TaskManagementRequest {
    /// Its length, in bytes.
    pub const SIZE: usize = 24;

    /// Fills it in. `tag` is the identifier of the command that it is about, or 0.
    pub fn fill(&mut self, order: ByteOrder, function: TaskManagement, lun: [u8; 8], tag: u64) {
        // `VIRTIO_SCSI_T_TMF` is 0.
        let [t0, t1, t2, t3] = order.from_u32(0);
        let [s0, s1, s2, s3] = order.from_u32(function.code());
        let [l0, l1, l2, l3, l4, l5, l6, l7] = lun;
        let [i0, i1, i2, i3, i4, i5, i6, i7] = order.from_u64(tag);

        self.0 = [
            t0, t1, t2, t3, s0, s1, s2, s3, l0, l1, l2, l3, l4, l5, l6, l7, i0, i1, i2, i3, i4, i5,
            i6, i7,
        ];
    }

    /// Returns the bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What the driver does about asynchronous notifications: `VIRTIO_SCSI_T_AN_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notifications {
    /// Ask which a logical unit has.
    Query,
    /// Ask to be told of some.
    Subscribe,
}

/// The medium of an MMC unit has changed: `VIRTIO_SCSI_EVT_ASYNC_MEDIA_CHANGE`.
pub const ASYNC_MEDIA_CHANGE: u32 = 16;

/// An MMC unit has changed: `VIRTIO_SCSI_EVT_ASYNC_OPERATIONAL_CHANGE`.
pub const ASYNC_OPERATIONAL_CHANGE: u32 = 2;

/// `struct virtio_scsi_ctrl_an_req`: what the device reads of a query or a subscription.
#[derive(Clone, Copy, Default)]
pub struct NotificationRequest([u8; Self::SIZE]);

impl NotificationRequest {
    /// Its length, in bytes.
    pub const SIZE: usize = 16;

    /// Fills it in. `events` is which notifications it is about.
    pub fn fill(&mut self, order: ByteOrder, what: Notifications, lun: [u8; 8], events: u32) {
        let [t0, t1, t2, t3] = order.from_u32(match what {
            Notifications::Query => 1,
            Notifications::Subscribe => 2,
        });
        let [l0, l1, l2, l3, l4, l5, l6, l7] = lun;
        let [e0, e1, e2, e3] = order.from_u32(events);

        self.0 = [
            t0, t1, t2, t3, l0, l1, l2, l3, l4, l5, l6, l7, e0, e1, e2, e3,
        ];
    }

    /// Returns the bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// `struct virtio_scsi_ctrl_an_resp`: what the device writes of a query or a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotificationResponse {
    /// Which of the notifications the logical unit has, or sends from now on.
    pub events: u32,
    /// `VIRTIO_SCSI_S_*`
    pub response: u8,
}

impl NotificationResponse {
    /// Its length, in bytes.
    pub const SIZE: usize = 5;

    /// Returns what the bytes say.
    pub fn decode(order: ByteOrder, bytes: [u8; Self::SIZE]) -> Self {
        let [e0, e1, e2, e3, response] = bytes;

        Self {
            events: order.to_u32([e0, e1, e2, e3]),
            response,
        }
    }
}
