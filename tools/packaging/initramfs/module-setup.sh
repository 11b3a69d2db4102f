#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# dracut module: what the hook for initramfs-tools does, and the rules for modprobe, which dracut leaves out
# of an image that is made for any machine.

check() { return 0; }

depends() { return 0; }

installkernel() {
	# Not only the driver that serves this machine now.
	hostonly='' instmods virtio_scsi
	# shellcheck disable=SC2154 # dracut sets it
	if grep -q '/virtio_scsi_rs\.ko' "$srcmods/modules.dep"; then
		hostonly='' instmods virtio_scsi_rs
	elif [ "$(virtio-scsi-rs-select chosen)" = rust ]; then
		dwarn "virtio-scsi-rs: this kernel has no module virtio_scsi_rs and boots with the C driver."
		dwarn "virtio-scsi-rs: install its virtio-scsi-rs-modules package if there is one, or see what dkms status says."
	fi
}

install() {
	inst_multiple -o /usr/lib/modprobe.d/virtio-scsi-rs.conf /etc/modprobe.d/virtio-scsi-rs.conf
	# shellcheck disable=SC2154 # dracut sets it
	mkdir -p "$initdir/usr/lib/virtio-scsi-rs"
	: >"$initdir/usr/lib/virtio-scsi-rs/chosen-$(virtio-scsi-rs-select chosen)"
}
