// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the virtio glue.
 */

#include "helpers.h"

int virtio_helper_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			   struct virtqueue *vqs[], struct virtqueue_info infos[],
			   struct irq_affinity *affinity)
{
	return virtio_find_vqs(vdev, nvqs, vqs, infos, affinity);
}

/* Returns the PCI function that a device is, or NULL. */
static struct pci_dev *function_of(struct virtio_device *vdev)
{
	struct device *parent = vdev->dev.parent;

	return parent && dev_is_pci(parent) ? to_pci_dev(parent) : NULL;
}

/*
 * The virtio core does not tell. It takes as many vectors as there are queues,
 * and one for the configuration, or two in all, or none.
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

/* The interrupt is some other handler's to serve. */
static irqreturn_t held_line(int irq, void *cookie)
{
	return IRQ_NONE;
}

/* Returns the number of the interrupt, for free_irq(), or an error. */
int virtio_helper_hold_line(struct virtio_device *vdev, const char *name, void *cookie)
{
	struct pci_dev *function = function_of(vdev);
	int err;

	if (!function || !function->irq)
		return -ENODEV;
	/* That somebody does not share the line is no error to be logged. */
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

unsigned long virtio_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool virtio_helper_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void virtio_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void virtio_helper_reinit_completion(struct completion *done)
{
	reinit_completion(done);
}

/*
 * The kernel would tell how many messages were suppressed under the name of a
 * function. With this flag it does so only on release, which never comes.
 */
void virtio_helper_ratelimit_init(struct ratelimit_state *state, unsigned int seconds,
				  unsigned int most)
{
	ratelimit_state_init(state, seconds * HZ, most);
	ratelimit_set_flags(state, RATELIMIT_MSG_ON_RELEASE);
}

void virtio_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void virtio_helper_queue_bh_work(struct work_struct *work)
{
	queue_work(system_bh_wq, work);
}

void virtio_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

static struct workqueue_struct *recovery_queue, *awake_queue;

/*
 * What recovers a disk may be what memory is waiting for, so both have a task
 * that is there already when no other can be made.
 */
int virtio_helper_create_queues(const char *name)
{
	recovery_queue = alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, name);
	awake_queue = alloc_workqueue("%s_awake", WQ_MEM_RECLAIM | WQ_UNBOUND | WQ_FREEZABLE, 0,
				      name);
	if (recovery_queue && awake_queue)
		return 0;
	virtio_helper_destroy_queues();
	return -ENOMEM;
}

void virtio_helper_destroy_queues(void)
{
	if (recovery_queue)
		destroy_workqueue(recovery_queue);
	if (awake_queue)
		destroy_workqueue(awake_queue);
	recovery_queue = NULL;
	awake_queue = NULL;
}

static struct workqueue_struct *workqueue_of(enum virtio_helper_queue queue)
{
	struct workqueue_struct *wq = NULL;

	switch (queue) {
	case VIRTIO_HELPER_RECOVERY:
		wq = recovery_queue;
		break;
	case VIRTIO_HELPER_AWAKE:
		wq = awake_queue;
		break;
	case VIRTIO_HELPER_EVENTS:
		break;
	}
	return wq ?: system_freezable_wq;
}

void virtio_helper_queue_work(enum virtio_helper_queue queue, struct delayed_work *work,
			      unsigned long delay)
{
	mod_delayed_work(workqueue_of(queue), work, delay);
}

void virtio_helper_queue_work_if_idle(enum virtio_helper_queue queue, struct delayed_work *work,
				      unsigned long delay)
{
	queue_delayed_work(workqueue_of(queue), work, delay);
}

unsigned long virtio_helper_jiffies(void)
{
	return jiffies;
}

unsigned int virtio_helper_noio_save(void)
{
	return memalloc_noio_save();
}

void virtio_helper_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}
