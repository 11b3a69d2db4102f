/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C helpers of the kernel glue: functions that the kernel has only as macros or
 * inlines.
 */
#ifndef KERNEL_GLUE_HELPERS_H
#define KERNEL_GLUE_HELPERS_H

#include <linux/completion.h>
#include <linux/crash_dump.h>
#include <linux/debugfs.h>
#include <linux/ratelimit.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

unsigned long kernel_helper_spin_lock_irqsave(spinlock_t *lock);
bool kernel_helper_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void kernel_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

void kernel_helper_reinit_completion(struct completion *done);

void kernel_helper_ratelimit_init(struct ratelimit_state *state, unsigned int seconds,
				  unsigned int most);

struct workqueue_struct *kernel_helper_alloc_workqueue(const char *name, bool freezable);
void kernel_helper_init_delayed_work(struct delayed_work *work, work_func_t func);
void kernel_helper_init_work(struct work_struct *work, work_func_t func);

bool kernel_helper_is_crash_kernel(void);

unsigned long kernel_helper_jiffies(void);
u64 kernel_helper_jiffies_to_msecs(unsigned long count);

/* The contents of a file in debugfs: the file's private data. */
struct kernel_helper_file {
	int (*show)(struct seq_file *seq, void *data);
	void *data;
};

struct dentry *kernel_helper_create_dir(const char *name, struct dentry *parent);
void kernel_helper_remove(struct dentry *dentry);
struct dentry *kernel_helper_create_file(const char *name, struct dentry *parent,
					 struct kernel_helper_file *file);

#endif
