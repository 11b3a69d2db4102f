// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the virtio glue.
 */

#include "helpers.h"

int virtio_helper_find_vqs(struct virtio_device *vdev, unsigned int nvqs, struct virtqueue *vqs[],
			   struct virtqueue_info infos[], struct irq_affinity *affinity)
{
	return virtio_find_vqs(vdev, nvqs, vqs, infos, affinity);
}

/* Returns the PCI function of a device, or NULL if it is on another transport. */
static struct pci_dev *function_of(struct virtio_device *vdev)
{
	struct device *parent = vdev->dev.parent;

	return parent && dev_is_pci(parent) ? to_pci_dev(parent) : NULL;
}

/*
 * The virtio core does not report it. It takes a vector for each queue that
 * interrupts and one for the configuration, or two in all, or none.
 */
enum virtio_helper_interrupt_kind virtio_helper_interrupts(struct virtio_device *vdev)
{
	struct pci_dev *function = function_of(vdev);

	if (!function)
		return VIRTIO_HELPER_OWN;
	if (!pci_dev_msi_enabled(function))
		return VIRTIO_HELPER_LINE;
	return pci_irq_vector(function, 2) < 0 ? VIRTIO_HELPER_SHARED : VIRTIO_HELPER_OWN;
}

/* Only keeps the line allocated: another handler serves the interrupt. */
static irqreturn_t held_line(int irq, void *cookie)
{
	return IRQ_NONE;
}

/* Returns the number of the interrupt, for free_irq(), or a negative error. */
int virtio_helper_hold_line(struct virtio_device *vdev, const char *name, void *cookie)
{
	struct pci_dev *function = function_of(vdev);
	int err;

	if (!function || !function->irq)
		return -ENODEV;
	/* IRQF_PROBE_SHARED: a handler that does not share the line is not logged as an error. */
	err = request_irq(function->irq, held_line, IRQF_SHARED | IRQF_PROBE_SHARED, name, cookie);
	return err ?: function->irq;
}

void virtio_helper_device_ready(struct virtio_device *vdev)
{
	virtio_device_ready(vdev);
}

void virtio_helper_synchronize_cbs(struct virtio_device *vdev)
{
	virtio_synchronize_cbs(vdev);
}

bool virtio_helper_has_feature(const struct virtio_device *vdev, unsigned int bit)
{
	return virtio_has_feature(vdev, bit);
}

bool virtio_helper_is_little_endian(struct virtio_device *vdev)
{
	return virtio_is_little_endian(vdev);
}

u16 virtio_helper_cread16(struct virtio_device *vdev, unsigned int offset)
{
	return virtio_cread16(vdev, offset);
}

u32 virtio_helper_cread32(struct virtio_device *vdev, unsigned int offset)
{
	return virtio_cread32(vdev, offset);
}

void virtio_helper_cwrite32(struct virtio_device *vdev, unsigned int offset, u32 value)
{
	virtio_cwrite32(vdev, offset, value);
}

unsigned int virtio_helper_noio_save(void)
{
	return memalloc_noio_save();
}

void virtio_helper_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}
