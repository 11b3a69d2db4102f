# SPDX-License-Identifier: GPL-2.0
"""Patterns of lines that the kernel may log because of a test, for a guest's `allow`."""

# Our driver, of a device that misbehaves.
OUR_DRIVER = r"virtio_scsi_rs virtio\d+: "
# The midlayer and the drivers above it, of a unit or a disk.
UNIT = r"(sd|sr|scsi) \d+:\d+:\d+:\d+: "
DISK = r"sd \d+:\d+:\d+:\d+: "
# The block layer, of I/O that was lost.
IO_ERROR = r"I/O error,? (on )?dev s[dr]"
OFFLINE = r"device offline error, dev sd"

MISBEHAVING = (OUR_DRIVER, UNIT, IO_ERROR, OFFLINE)
# Units that go while they are looked at.
COMES_AND_GOES = (UNIT, IO_ERROR, OFFLINE)


# What the midlayer says of targets that are not there, when two look for them at the same time.
TWO_SCANS = r"scsi .*: rejecting I/O to (offline|dead) device"


# What the block layer and sd say of a unit that goes while it is used or looked at.
GOING = (
    r"I/O error,? (on )?dev sd",
    r"Synchronize Cache\(10\) failed",
    r"Read Capacity.*failed",
    r"Asking for cache data failed",
    r"Assuming drive cache",
    r"access beyond end of device",
    r"rejecting I/O to",
    r"device offline error, dev sd",
    r"Unexpected response from lun \d+ while scanning",
)
