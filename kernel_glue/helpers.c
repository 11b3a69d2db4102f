// SPDX-License-Identifier: GPL-2.0
/*
 * C helpers of the kernel glue.
 */

#include "helpers.h"

unsigned long kernel_helper_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool kernel_helper_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void kernel_helper_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

void kernel_helper_reinit_completion(struct completion *done)
{
	reinit_completion(done);
}

/*
 * Without the flag, ___ratelimit() would log how many events were over the
 * limit. With it, only ratelimit_state_exit() does, which is never called.
 */
void kernel_helper_ratelimit_init(struct ratelimit_state *state, unsigned int seconds,
				  unsigned int most)
{
	ratelimit_state_init(state, seconds * HZ, most);
	ratelimit_set_flags(state, RATELIMIT_MSG_ON_RELEASE);
}

void kernel_helper_init_work(struct work_struct *work, work_func_t func)
{
	INIT_WORK(work, func);
}

void kernel_helper_init_delayed_work(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

/* WQ_MEM_RECLAIM: the work runs although there is no memory for a new thread. */
struct workqueue_struct *kernel_helper_alloc_workqueue(const char *name, bool freezable)
{
	return alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND | (freezable ? WQ_FREEZABLE : 0),
			       0, name);
}

bool kernel_helper_is_crash_kernel(void)
{
	return is_kdump_kernel();
}

unsigned long kernel_helper_jiffies(void)
{
	return jiffies;
}

u64 kernel_helper_jiffies_to_msecs(unsigned long count)
{
	return jiffies64_to_msecs(count);
}

/* Inlines without CONFIG_DEBUG_FS. */
struct dentry *kernel_helper_create_dir(const char *name, struct dentry *parent)
{
	return debugfs_create_dir(name, parent);
}

void kernel_helper_remove(struct dentry *dentry)
{
	debugfs_remove(dentry);
}

static int kernel_helper_file_show(struct seq_file *seq, void *unused)
{
	struct kernel_helper_file *file = seq->private;

	return file->show(seq, file->data);
}
DEFINE_SHOW_ATTRIBUTE(kernel_helper_file);

struct dentry *kernel_helper_create_file(const char *name, struct dentry *parent,
					 struct kernel_helper_file *file)
{
	return debugfs_create_file(name, 0400, parent, file, &kernel_helper_file_fops);
}
