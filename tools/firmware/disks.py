# SPDX-License-Identifier: GPL-2.0
"""Disks to boot from: a boot sector for a BIOS, and a FAT file system with a program for UEFI."""

import re
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SECTOR = 512
SIZE = 16 << 20
CODES = {
    name: int(value, 16)
    for name, value in re.findall(r"^#define (\w+)\s+(0x\w+)$", (HERE / "result.h").read_text(), re.M)
}
EFI_ALIGNMENT = 4096
# Of FAT16: sectors of a cluster, of a FAT, and entries of the root directory.
PER_CLUSTER, FAT_SECTORS, ROOT_ENTRIES = 4, 32, 512


def pattern(words: int) -> bytes:
    return struct.pack(f"<{words}I", *(word * CODES["STEP"] & 0xFFFFFFFF for word in range(words)))


def assembled(name: str, folder: Path, start: int) -> bytes:
    """The bytes of a program that begins at this address."""
    made, flat = folder / f"{name}.elf", folder / f"{name}.bin"
    source = HERE / f"{name}.S"
    command = ["gcc", "-nostdlib", "-static", "-no-pie", f"-Wl,-Ttext={start:#x},--build-id=none", "-o", made]
    subprocess.run([*command, source], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", made, flat], check=True)
    return flat.read_bytes()


def bios_disk(folder: Path) -> Path:
    disk = folder / "bios.img"
    with open(disk, "wb") as out:
        out.write(assembled("bios", folder, 0x7C00))
        out.seek(CODES["PATTERN_AT"] * SECTOR)
        out.write(pattern(64 * SECTOR // 4))
        out.truncate(SIZE)
    return disk


def efi_program(code: bytes) -> bytes:
    """A PE32+ file of one section, which can be at any address."""
    code += bytes(-len(code) % EFI_ALIGNMENT)
    size = EFI_ALIGNMENT + len(code)
    file_header = struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 112 + 8 * 6, 0x22)
    standard = struct.pack("<HBBIIIII", 0x20B, 1, 0, len(code), 0, 0, EFI_ALIGNMENT, EFI_ALIGNMENT)
    windows = struct.pack("<QIIHHHHHHIIIIHH", 0, EFI_ALIGNMENT, 512, *[0] * 6, 0, size, 512, 0, 10, 0)
    stack = struct.pack("<QQQQII", 0, 0, 0, 0, 0, 6) + bytes(8 * 6)
    section = struct.pack(
        "<8sIIIIIIHHI", b".text", len(code), EFI_ALIGNMENT, len(code), 512, 0, 0, 0, 0, 0xE0000020
    )
    dos = b"MZ" + bytes(58) + struct.pack("<I", 64)
    head = dos + b"PE\0\0" + file_header + standard + windows + stack + section
    return head.ljust(512, b"\0") + code


def _entry(name: bytes, attribute: int, cluster: int, size: int = 0) -> bytes:
    return struct.pack("<11sB14xHI", name, attribute, cluster, size)


def efi_disk(folder: Path) -> Path:
    """FAT16 without partitions, with \\EFI\\BOOT\\BOOTX64.EFI."""
    program = efi_program(assembled("efi", folder, 0) + pattern(CODES["PATTERN_WORDS"]))
    cluster = PER_CLUSTER * SECTOR
    clusters = -(-len(program) // cluster)
    boot = struct.pack("<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"MSDOS5.0", SECTOR, PER_CLUSTER, 1, 2,
                       ROOT_ENTRIES, SIZE // SECTOR, 0xF8, FAT_SECTORS, 63, 255, 0, 0)  # fmt: skip
    boot += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 1, b"BOOT       ", b"FAT16   ")
    # Clusters 2 and 3 are the directories, the program begins at 4.
    chain = [0xFFF8, 0xFFFF, 0xFFFF, 0xFFFF, *range(5, 4 + clusters), 0xFFFF]
    fat = struct.pack(f"<{len(chain)}H", *chain).ljust(FAT_SECTORS * SECTOR, b"\0")
    root = _entry(b"EFI        ", 0x10, 2).ljust(ROOT_ENTRIES * 32, b"\0")
    efi = (_entry(b".          ", 0x10, 2) + _entry(b"..         ", 0x10, 0)
           + _entry(b"BOOT       ", 0x10, 3)).ljust(cluster, b"\0")  # fmt: skip
    inner = (_entry(b".          ", 0x10, 3) + _entry(b"..         ", 0x10, 2)
             + _entry(b"BOOTX64 EFI", 0x20, 4, len(program))).ljust(cluster, b"\0")  # fmt: skip
    disk = folder / "efi.img"
    with open(disk, "wb") as out:
        out.write(boot.ljust(510, b"\0") + b"\x55\xaa" + fat + fat + root + efi + inner + program)
        out.truncate(SIZE)
    return disk
