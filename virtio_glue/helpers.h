/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers of the virtio glue: functions that the kernel has only as macros or
 * inlines with configuration ifdefs or ordering rules.
 */
#ifndef VIRTIO_GLUE_HELPERS_H
#define VIRTIO_GLUE_HELPERS_H

#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/pci.h>
#include <linux/ratelimit.h>
#include <linux/spinlock.h>
#include <linux/sched/mm.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/workqueue.h>

int virtio_helper_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			   struct virtqueue *vqs[], struct virtqueue_info infos[],
			   struct irq_affinity *affinity);
/* What interrupts virtqueues have: vectors of their own, one for all, or none but the line. */
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

unsigned long virtio_helper_spin_lock_irqsave(spinlock_t *lock);
bool virtio_helper_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void virtio_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

void virtio_helper_reinit_completion(struct completion *done);

void virtio_helper_ratelimit_init(struct ratelimit_state *state, unsigned int seconds,
				  unsigned int most);

/* On which workqueue a work runs. */
enum virtio_helper_queue {
	/* The system's, which rests while the system is suspended. */
	VIRTIO_HELPER_EVENTS,
	/* One that makes progress whatever memory is short, also during suspend. */
	VIRTIO_HELPER_RECOVERY,
	/* One that makes progress whatever memory is short, but rests during suspend. */
	VIRTIO_HELPER_AWAKE,
};

int virtio_helper_create_queues(const char *name);
void virtio_helper_destroy_queues(void);
void virtio_helper_init_delayed_work(struct delayed_work *work, work_func_t func);
void virtio_helper_queue_work(enum virtio_helper_queue queue, struct delayed_work *work,
			      unsigned long delay);
void virtio_helper_queue_work_if_idle(enum virtio_helper_queue queue, struct delayed_work *work,
				      unsigned long delay);

void virtio_helper_init_work(struct work_struct *work, work_func_t func);
void virtio_helper_queue_bh_work(struct work_struct *work);

unsigned long virtio_helper_jiffies(void);

unsigned int virtio_helper_noio_save(void);
void virtio_helper_noio_restore(unsigned int flags);

#endif
