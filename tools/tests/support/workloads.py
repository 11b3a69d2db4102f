# SPDX-License-Identifier: GPL-2.0
"""Jobs of fio that several test files have, and what must be so after them."""

from guest import Guest

# For as long as a test lasts.
RANDOM_READS = {
    "rw": "randread",
    "bs": "4k",
    "ioengine": "libaio",
    "direct": 1,
    "time_based": True,
    "runtime": 600,
}


VERIFIED = {
    "rw": "randwrite",
    "bsrange": "4k-64k",
    "iodepth": 16,
    "ioengine": "libaio",
    "direct": 1,
    "size": "24m",
    "loops": 4,
    "verify": "crc32c",
    "verify_fatal": 1,
    "do_verify": 1,
}


def nobody_is_stuck(guest: Guest, timeout: float = 120) -> None:
    guest.wait_until("! ps -eo stat,comm | grep -E '^D'", timeout)
