// SPDX-License-Identifier: GPL-2.0

//! Makes Rust structures of `linux/virtio_scsi.h`, for the tests to compare with.

use std::{env, path::PathBuf};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("uapi.rs");

    println!("cargo::rerun-if-changed=build.rs");
    bindgen::Builder::default()
        .header_contents(
            "uapi.h",
            "#include <linux/virtio_scsi.h>\n#include <linux/virtio_ids.h>\n",
        )
        .derive_default(true)
        .allowlist_type("virtio_scsi_.*")
        .allowlist_var("VIRTIO_SCSI_.*|VIRTIO_ID_SCSI")
        .generate()
        .expect("linux/virtio_scsi.h of the package linux-libc-dev could not be read")
        .write_to_file(out)
        .expect("the structures could not be written");
}
