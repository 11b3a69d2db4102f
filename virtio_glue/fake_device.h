/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtio device for KUnit tests, with no transport and no bus: its virtqueues
 * are split rings in memory, and the tests decide how it answers.
 */
#ifndef VIRTIO_GLUE_FAKE_DEVICE_H
#define VIRTIO_GLUE_FAKE_DEVICE_H

#include <linux/virtio.h>

/* How the device answers a notification. */
enum virtio_helper_fake_manner {
	/* Not at all. */
	VIRTIO_HELPER_FAKE_HOLD,
	/* It uses all buffers and interrupts. */
	VIRTIO_HELPER_FAKE_USE,
	/* It uses all buffers, and the interrupt is lost. */
	VIRTIO_HELPER_FAKE_USE_SILENTLY,
};

/* How often the driver has asked for virtqueues, and how often it has reset the device. */
struct virtio_helper_fake_seen {
	unsigned int finds, resets;
};

/* Returns a device with one reference, or NULL. */
struct virtio_device *virtio_helper_fake_create(void);

/* Has the next @times requests for virtqueues fail. */
void virtio_helper_fake_fail(struct virtio_device *vdev, unsigned int times, int error);

/*
 * The device writes @byte to the first buffer that it uses after a notification,
 * the next higher one to the second, and so on; nothing if @byte is negative.
 */
void virtio_helper_fake_behave(struct virtio_device *vdev, enum virtio_helper_fake_manner manner,
			       int byte);

/* Uses the next buffer, or the last one again. Returns whether there was one. */
bool virtio_helper_fake_use(struct virtio_device *vdev, unsigned int index, int byte);
bool virtio_helper_fake_use_again(struct virtio_device *vdev, unsigned int index);

/* Returns how many buffers the device has not used. */
unsigned int virtio_helper_fake_held(struct virtio_device *vdev, unsigned int index);

void virtio_helper_fake_interrupt(struct virtio_device *vdev, unsigned int index);
void virtio_helper_fake_pull_out(struct virtio_device *vdev);
struct virtio_helper_fake_seen virtio_helper_fake_seen(struct virtio_device *vdev);

#endif
