/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers of the virtio glue: functions that the kernel has only as macros or
 * inlines, and those that need fields of structures of the PCI core.
 */
#ifndef VIRTIO_GLUE_HELPERS_H
#define VIRTIO_GLUE_HELPERS_H

#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/sched/mm.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

int virtio_helper_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
			   struct virtqueue_info infos[], struct irq_affinity *affinity);

/* The interrupts of virtqueues: a vector for each, one for all, or the interrupt line. */
enum virtio_helper_interrupt_kind {
	VIRTIO_HELPER_OWN,
	VIRTIO_HELPER_SHARED,
	VIRTIO_HELPER_LINE,
};

enum virtio_helper_interrupt_kind virtio_helper_interrupts(struct virtio_device *vdev);
int virtio_helper_hold_line(struct virtio_device *vdev, const char *name, void *cookie);
void virtio_helper_device_ready(struct virtio_device *vdev);
void virtio_helper_synchronize_cbs(struct virtio_device *vdev);
bool virtio_helper_has_feature(const struct virtio_device *vdev, unsigned int bit);
bool virtio_helper_is_little_endian(struct virtio_device *vdev);
u16 virtio_helper_cread16(struct virtio_device *vdev, unsigned int offset);
u32 virtio_helper_cread32(struct virtio_device *vdev, unsigned int offset);
void virtio_helper_cwrite32(struct virtio_device *vdev, unsigned int offset, u32 value);

unsigned int virtio_helper_noio_save(void);
void virtio_helper_noio_restore(unsigned int flags);

#endif
