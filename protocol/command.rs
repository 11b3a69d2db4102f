// SPDX-License-Identifier: GPL-2.0

//! Requests and responses of the request queues.
//!
//! Virtio 1.3, section 5.6.6.1. Its listing and
//! [`include/uapi/linux/virtio_scsi.h`](srctree/include/uapi/linux/virtio_scsi.h) disagree about
//! the place of the protection information lengths. Devices do as the header says.

use super::{
    adjustments::{
        Adjustments,
        Refusal, //
    },
    byte_order::ByteOrder, //
};

/// The longest CDB, in bytes: `MAX_COMMAND_SIZE`, the room in a command of the midlayer.
pub const CDB_MAX: usize = 32;

/// Returns a CDB with zeroes behind it. A CDB of more than [`CDB_MAX`] bytes is cut off.
pub fn padded_cdb(cdb: &[u8]) -> [u8; CDB_MAX] {
    let mut padded = [0; CDB_MAX];

    for (to, from) in padded.iter_mut().zip(cdb) {
        *to = *from;
    }
    padded
}

/// The length of sense data that the driver asks for, in bytes: `SCSI_SENSE_BUFFERSIZE`.
pub const SENSE_WANTED: u32 = 96;

/// The longest sense data that SPC allows, in bytes.
pub const SENSE_MAX: usize = 252;

/// The negotiated sizes of request and response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// How many bytes of CDB the device reads. At least 6.
    pub cdb_size: u8,
    /// How many bytes of sense data the device may write.
    pub sense_size: u8,
    /// Whether requests have the lengths of protection information (T10 PI).
    pub protection: bool,
}

impl Layout {
    /// The layout that the driver asks for, without protection information.
    pub const WANTED: Self = Self {
        cdb_size: CDB_MAX as u8,
        sense_size: SENSE_WANTED as u8,
        protection: false,
    };

    /// Checks the sizes that the device has after the driver has written [`Layout::WANTED`].
    ///
    /// A device that keeps other sizes is served with those: it would find the buffers too short
    /// otherwise.
    pub fn new(
        cdb_size: u32,
        sense_size: u32,
        protection: bool,
        adjustments: &mut Adjustments,
    ) -> Result<Self, Refusal> {
        let cdb = u8::try_from(cdb_size)
            .ok()
            .filter(|size| (6..=CDB_MAX).contains(&usize::from(*size)))
            .ok_or(Refusal {
                field: "cdb_size",
                offered: cdb_size,
                reason: "it was set to 32, and the driver can serve 6 to 32",
            })?;
        let sense = u8::try_from(sense_size)
            .ok()
            .filter(|size| usize::from(*size) <= SENSE_MAX)
            .ok_or(Refusal {
                field: "sense_size",
                offered: sense_size,
                reason: "it was set to 96, and the driver can serve 0 to 252",
            })?;

        adjustments.note("cdb_size", Self::WANTED.cdb_size.into(), cdb.into());
        adjustments.note("sense_size", Self::WANTED.sense_size.into(), sense.into());

        Ok(Self {
            cdb_size: cdb,
            sense_size: sense,
            protection,
        })
    }

    /// Returns the length of a request, in bytes.
    pub fn request_len(self) -> usize {
        let header = if self.protection {
            CommandRequest::HEADER_PI
        } else {
            CommandRequest::HEADER
        };

        header + usize::from(self.cdb_size)
    }

    /// Returns the most that the device may write of a response, in bytes.
    pub fn response_len(self) -> usize {
        ResponseHeader::SIZE + usize::from(self.sense_size)
    }
}

/// The lengths of the protection information (T10 PI) of a command, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Protection {
    /// From the initiator to the target.
    pub bytes_out: u32,
    /// From the target to the initiator.
    pub bytes_in: u32,
}

/// The request of a command: `struct virtio_scsi_cmd_req`, or `struct virtio_scsi_cmd_req_pi` if
/// T10 PI was negotiated.
///
/// The task attribute is SIMPLE, and priority and CRN are not used: all three are 0.
#[derive(Clone, Copy)]
pub struct CommandRequest([u8; Self::SIZE]);

/// Writes a field to the start of `room`, and returns what follows. Without room nothing is
/// written.
#[inline]
fn put<const N: usize>(room: &mut [u8], field: [u8; N]) -> &mut [u8] {
    match room.split_first_chunk_mut() {
        Some((to, rest)) => {
            *to = field;
            rest
        }
        None => &mut [],
    }
}

impl CommandRequest {
    /// The offset of the CDB without T10 PI, in bytes.
    pub const HEADER: usize = 19;

    /// The offset of the CDB with T10 PI, in bytes.
    pub const HEADER_PI: usize = 27;

    /// The size of the longest request, in bytes.
    pub const SIZE: usize = Self::HEADER_PI + CDB_MAX;

    /// Writes all fields: see [`CommandRequest::write`].
    pub fn fill(
        &mut self,
        order: ByteOrder,
        lun: [u8; 8],
        tag: u64,
        protection: Option<Protection>,
        cdb: &[u8; CDB_MAX],
    ) {
        Self::write(&mut self.0, order, lun, tag, protection, cdb);
    }

    /// Writes all fields of a request to `room`, so that no byte of an earlier command stays.
    ///
    /// `protection` must be given if T10 PI was negotiated, with lengths of 0 for a command
    /// without. The CDB must be followed by zeroes.
    #[inline]
    pub fn write(
        room: &mut [u8; Self::SIZE],
        order: ByteOrder,
        lun: [u8; 8],
        tag: u64,
        protection: Option<Protection>,
        cdb: &[u8; CDB_MAX],
    ) {
        // Each field is stored by itself: put together first, they would be stored byte by byte. A
        // copy of constant length compiles to a few moves, a copy of variable length to a call.
        let room = put(room, lun);
        let room = put(room, order.from_u64(tag));
        let room = put(room, [0; 3]);
        let room = match protection {
            None => room,
            Some(protection) => {
                let room = put(room, order.from_u32(protection.bytes_out));

                put(room, order.from_u32(protection.bytes_in))
            }
        };

        put(room, *cdb);
    }

    /// Returns the bytes to send.
    pub fn bytes(&self, layout: Layout) -> &[u8] {
        self.0.get(..layout.request_len()).unwrap_or(&self.0)
    }
}

impl Default for CommandRequest {
    fn default() -> Self {
        Self([0; Self::SIZE])
    }
}

/// Room for the response to a command: `struct virtio_scsi_cmd_resp` with the longest sense data.
pub type CommandResponse = [u8; ResponseHeader::SIZE + SENSE_MAX];

/// The fixed part of `struct virtio_scsi_cmd_resp`. Sense data follow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHeader {
    /// The length of the sense data in bytes, unchecked.
    pub sense_len: u32,
    /// How many bytes of data were not transferred, unchecked.
    pub residual: u32,
    /// The status byte: see [`status`](super::status).
    pub status: u8,
    /// The response code: see [`response`](super::response).
    pub response: u8,
}

impl ResponseHeader {
    /// The length of the fixed part, in bytes.
    pub const SIZE: usize = 12;

    /// The value before the command is sent. Its response code does not exist, so that a device
    /// that writes no response does not complete the command with success.
    pub const PRESET: [u8; Self::SIZE] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff];

    /// Returns whether the command has succeeded and has transferred all of its data: its status,
    /// its response code and both lengths are 0, in either byte order.
    #[inline]
    pub fn is_success(bytes: &[u8; Self::SIZE]) -> bool {
        // The status qualifier may be anything.
        const CODES: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

        let [lengths @ .., q0, q1, status, response] = *bytes;

        u64::from_ne_bytes(lengths) == 0
            && u32::from_ne_bytes([q0, q1, status, response]) & CODES == 0
    }

    /// Decodes the fixed part. The status qualifier is left out: the midlayer has no use for it.
    #[inline]
    pub fn decode(order: ByteOrder, bytes: [u8; Self::SIZE]) -> Self {
        let [s0, s1, s2, s3, r0, r1, r2, r3, _, _, status, response] = bytes;

        Self {
            sense_len: order.to_u32([s0, s1, s2, s3]),
            residual: order.to_u32([r0, r1, r2, r3]),
            status,
            response,
        }
    }
}
