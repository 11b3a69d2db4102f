// SPDX-License-Identifier: GPL-2.0
/*
 * A virtio device for KUnit tests. See fake_device.h.
 */

#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "fake_device.h"

#define QUEUES 4
#define DESCRIPTORS 64
/* The status that is read from a PCI device which is not there. */
#define STATUS_GONE 0xff

struct fake {
	struct virtio_device vdev;
	/* For the virtqueues, what was used of them, and the used rings. */
	spinlock_t lock;
	struct virtqueue *vqs[QUEUES];
	/* How many buffers of each virtqueue the device has used, and the last one of them. */
	u16 used[QUEUES], last[QUEUES];
	struct virtio_helper_fake_seen seen;
	enum virtio_helper_fake_manner manner;
	int byte;
	unsigned int failures;
	int error;
	u8 status;
};

static struct fake *to_fake(struct virtio_device *vdev)
{
	return container_of(vdev, struct fake, vdev);
}

/* Returns the ring, or NULL if there is no virtqueue. */
static const struct vring *ring_of(struct fake *fake, unsigned int index)
{
	return index < QUEUES && fake->vqs[index] ? virtqueue_get_vring(fake->vqs[index]) : NULL;
}

static u16 available(struct fake *fake, unsigned int index)
{
	const struct vring *ring = ring_of(fake, index);

	return ring ? virtio16_to_cpu(&fake->vdev, READ_ONCE(ring->avail->idx)) - fake->used[index]
		    : 0;
}

/* Writes a byte to the writable memory of a buffer. Returns how many bytes were written. */
static u32 write_buffer(struct fake *fake, const struct vring *ring, u16 head, int byte)
{
	const struct vring_desc *desc = &ring->desc[head];

	while (virtio16_to_cpu(&fake->vdev, desc->flags) & VRING_DESC_F_NEXT &&
	       !(virtio16_to_cpu(&fake->vdev, desc->flags) & VRING_DESC_F_WRITE))
		desc = &ring->desc[virtio16_to_cpu(&fake->vdev, desc->next)];
	if (byte < 0 || !(virtio16_to_cpu(&fake->vdev, desc->flags) & VRING_DESC_F_WRITE))
		return 0;
	*(u8 *)phys_to_virt(virtio64_to_cpu(&fake->vdev, desc->addr)) = byte;
	return 1;
}

static void put_used(struct fake *fake, const struct vring *ring, u16 head, u32 len)
{
	u16 index = virtio16_to_cpu(&fake->vdev, ring->used->idx);
	vring_used_elem_t *element = &ring->used->ring[index % ring->num];

	element->id = cpu_to_virtio32(&fake->vdev, head);
	element->len = cpu_to_virtio32(&fake->vdev, len);
	virtio_wmb(true);
	WRITE_ONCE(ring->used->idx, cpu_to_virtio16(&fake->vdev, index + 1));
}

bool virtio_helper_fake_use(struct virtio_device *vdev, unsigned int index, int byte)
{
	struct fake *fake = to_fake(vdev);
	const struct vring *ring;
	unsigned long flags;
	bool found;
	u16 head;

	spin_lock_irqsave(&fake->lock, flags);
	found = available(fake, index) > 0;
	if (found) {
		ring = ring_of(fake, index);
		virtio_rmb(true);
		head = virtio16_to_cpu(vdev, ring->avail->ring[fake->used[index]++ % ring->num]);
		fake->last[index] = head;
		put_used(fake, ring, head, write_buffer(fake, ring, head, byte));
	}
	spin_unlock_irqrestore(&fake->lock, flags);
	return found;
}

bool virtio_helper_fake_use_again(struct virtio_device *vdev, unsigned int index)
{
	struct fake *fake = to_fake(vdev);
	unsigned long flags;
	bool found;

	spin_lock_irqsave(&fake->lock, flags);
	found = ring_of(fake, index) && fake->used[index];
	if (found)
		put_used(fake, ring_of(fake, index), fake->last[index], 0);
	spin_unlock_irqrestore(&fake->lock, flags);
	return found;
}

unsigned int virtio_helper_fake_held(struct virtio_device *vdev, unsigned int index)
{
	struct fake *fake = to_fake(vdev);
	unsigned long flags;
	u16 held;

	spin_lock_irqsave(&fake->lock, flags);
	held = available(fake, index);
	spin_unlock_irqrestore(&fake->lock, flags);
	return held;
}

/* As those of a transport, it comes with interrupts disabled. */
void virtio_helper_fake_interrupt(struct virtio_device *vdev, unsigned int index)
{
	struct fake *fake = to_fake(vdev);
	unsigned long flags;

	local_irq_save(flags);
	if (index < QUEUES && fake->vqs[index])
		vring_interrupt(0, fake->vqs[index]);
	local_irq_restore(flags);
}

static bool notify(struct virtqueue *vq)
{
	struct fake *fake = to_fake(vq->vdev);
	int byte = fake->byte;

	if (fake->manner == VIRTIO_HELPER_FAKE_HOLD)
		return true;
	while (virtio_helper_fake_use(vq->vdev, vq->index, byte))
		byte += byte >= 0;
	if (fake->manner == VIRTIO_HELPER_FAKE_USE)
		virtio_helper_fake_interrupt(vq->vdev, vq->index);
	return true;
}

static u8 get_status(struct virtio_device *vdev)
{
	return to_fake(vdev)->status;
}

static void set_status(struct virtio_device *vdev, u8 status)
{
	to_fake(vdev)->status = status;
}

static void reset(struct virtio_device *vdev)
{
	to_fake(vdev)->seen.resets++;
	to_fake(vdev)->status = 0;
}

static void del_vqs(struct virtio_device *vdev)
{
	struct fake *fake = to_fake(vdev);
	struct virtqueue *vqs[QUEUES];
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&fake->lock, flags);
	memcpy(vqs, fake->vqs, sizeof(vqs));
	memset(fake->vqs, 0, sizeof(fake->vqs));
	memset(fake->used, 0, sizeof(fake->used));
	spin_unlock_irqrestore(&fake->lock, flags);
	for (i = 0; i < QUEUES; i++)
		if (vqs[i])
			vring_del_virtqueue(vqs[i]);
}

static int find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
		    struct virtqueue_info infos[], struct irq_affinity *affinity)
{
	struct fake *fake = to_fake(vdev);
	unsigned int i;

	fake->seen.finds++;
	if (fake->failures) {
		fake->failures--;
		return fake->error;
	}
	if (nvqs > QUEUES)
		return -ENOENT;
	for (i = 0; i < nvqs; i++) {
		vqs[i] = vring_create_virtqueue(i, DESCRIPTORS, SMP_CACHE_BYTES, vdev, true, false,
						false, notify, infos[i].callback, infos[i].name);
		fake->vqs[i] = vqs[i];
		if (!vqs[i]) {
			del_vqs(vdev);
			return -ENOMEM;
		}
	}
	return 0;
}

static const struct virtio_config_ops operations = {
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.find_vqs = find_vqs,
	.del_vqs = del_vqs,
};

static void release(struct device *dev)
{
	kfree(to_fake(dev_to_virtio(dev)));
}

struct virtio_device *virtio_helper_fake_create(void)
{
	struct fake *fake = kzalloc_obj(*fake);

	if (!fake)
		return NULL;
	spin_lock_init(&fake->lock);
	spin_lock_init(&fake->vdev.vqs_list_lock);
	INIT_LIST_HEAD(&fake->vdev.vqs);
	fake->vdev.config = &operations;
	__virtio_set_bit(&fake->vdev, VIRTIO_F_VERSION_1);
	device_initialize(&fake->vdev.dev);
	fake->vdev.dev.release = release;
	if (dev_set_name(&fake->vdev.dev, "fake")) {
		put_device(&fake->vdev.dev);
		return NULL;
	}
	return &fake->vdev;
}

void virtio_helper_fake_fail(struct virtio_device *vdev, unsigned int times, int error)
{
	to_fake(vdev)->failures = times;
	to_fake(vdev)->error = error;
}

void virtio_helper_fake_behave(struct virtio_device *vdev, enum virtio_helper_fake_manner manner,
			       int byte)
{
	to_fake(vdev)->manner = manner;
	to_fake(vdev)->byte = byte;
}

/* A transport breaks the virtqueues when it finds the device missing. */
void virtio_helper_fake_pull_out(struct virtio_device *vdev)
{
	to_fake(vdev)->status = STATUS_GONE;
	virtio_break_device(vdev);
}

struct virtio_helper_fake_seen virtio_helper_fake_seen(struct virtio_device *vdev)
{
	return to_fake(vdev)->seen;
}
