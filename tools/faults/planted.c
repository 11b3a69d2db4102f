// SPDX-License-Identifier: GPL-2.0
/*
 * One fault of each kind that a sanitizer has to catch: `insmod planted.ko fault=NAME`. That the kernel's log
 * is clean proves something only if a fault like these was seen in it before.
 */
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *fault = "";
module_param(fault, charp, 0444);

static int use_after_free(void)
{
	volatile char *memory = kmalloc(100, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	kfree((void *)memory);
	return memory[50] == 7;
}

static int out_of_bounds(void)
{
	volatile char *memory = kmalloc(100, GFP_KERNEL);
	volatile int end = 100;

	if (!memory)
		return -ENOMEM;
	memory[end] = 1;
	kfree((void *)memory);
	return 0;
}

static int leak(void)
{
	int i;

	/* Some pointers may stay in a register or on the stack by chance. */
	for (i = 0; i < 32; i++) {
		char *memory = kmalloc(333, GFP_KERNEL);

		if (!memory)
			return -ENOMEM;
		/* The report shows how it begins; names of functions are gone with the module. */
		strscpy(memory, "planted leak", 333);
	}
	return 0;
}

static int list(void)
{
	LIST_HEAD(head);
	struct list_head entry;

	list_add(&entry, &head);
	list_add(&entry, &head);
	return 0;
}

static DEFINE_SPINLOCK(spin);

static int sleep(void)
{
	guard(spinlock)(&spin);
	kfree(kmalloc(100, GFP_KERNEL));
	msleep(20);
	return 0;
}

static void nothing(struct timer_list *timer)
{
}

static int timer(void)
{
	struct timer_list *timer = kmalloc_obj(*timer);

	if (!timer)
		return -ENOMEM;
	timer_setup(timer, nothing, 0);
	mod_timer(timer, jiffies + 3600 * HZ);
	kfree(timer);
	return 0;
}

static void no_work(struct work_struct *work)
{
}

static int work(void)
{
	struct delayed_work *work = kmalloc_obj(*work);

	if (!work)
		return -ENOMEM;
	INIT_DELAYED_WORK(work, no_work);
	schedule_delayed_work(work, 3600 * HZ);
	kfree(work);
	return 0;
}

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);

static int order(void)
{
	scoped_guard(mutex, &first) {
		guard(mutex)(&second);
	}
	scoped_guard(mutex, &second) {
		guard(mutex)(&first);
	}
	return 0;
}

static void take(struct timer_list *timer)
{
	guard(spinlock)(&spin);
}

static DEFINE_TIMER(taker, take);

static int context(void)
{
	scoped_guard(spinlock, &spin)
		cpu_relax();
	mod_timer(&taker, jiffies + 1);
	msleep(100);
	timer_delete_sync(&taker);
	return 0;
}

static int __rcu *pointer;

static int rcu(void)
{
	return rcu_dereference(pointer) != NULL;
}

static int hang(void)
{
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(4 * HZ);
	return 0;
}

/* For fault injection: fails if, and only if, its one allocation does. */
static int allocate(void)
{
	void *memory = kmalloc(500, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	kfree(memory);
	return 0;
}

static int __init planted_init(void)
{
	static const struct {
		const char *name;
		int (*plant)(void);
	} faults[] = {
		{ "use_after_free", use_after_free },
		{ "out_of_bounds", out_of_bounds },
		{ "leak", leak },
		{ "list", list },
		{ "sleep", sleep },
		{ "timer", timer },
		{ "work", work },
		{ "order", order },
		{ "context", context },
		{ "rcu", rcu },
		{ "hang", hang },
		{ "allocate", allocate },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(faults); i++)
		if (!strcmp(fault, faults[i].name))
			return faults[i].plant();
	pr_err("no fault is called \"%s\"\n", fault);
	return -EINVAL;
}
module_init(planted_init);

static void __exit planted_exit(void)
{
}
module_exit(planted_exit);

MODULE_DESCRIPTION("Faults for sanitizers to catch");
MODULE_LICENSE("GPL");
