// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of a virtio transport that no front-end lets a back-end cause. `insmod transport.ko device=virtio0`
 * puts operations of its own in front of those of that device, and rmmod removes them. The other parameters
 * choose the faults, and can be written at any time in /sys/module/transport/parameters. One that counts is
 * how often the fault has still to happen, less than 0 meaning always. Each fault that happens is logged.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/errno.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>

/* What is read of a device that is not there. */
#define GONE 0xff

static char *device = "";
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "name of the device on the virtio bus");

static int refuse_features;
module_param(refuse_features, int, 0644);
MODULE_PARM_DESC(refuse_features, "how many negotiations end with FEATURES_OK cleared");

static int fail_finalize;
module_param(fail_finalize, int, 0644);
MODULE_PARM_DESC(fail_finalize, "how many negotiations fail with EIO before the device hears of them");

static int fail_find_vqs;
module_param(fail_find_vqs, int, 0644);
MODULE_PARM_DESC(fail_find_vqs, "how often the virtqueues cannot be made");

static unsigned int slow_reset_ms;
module_param(slow_reset_ms, uint, 0644);
MODULE_PARM_DESC(slow_reset_ms, "how many milliseconds a reset takes before it does anything");

static unsigned int resets;
module_param(resets, uint, 0444);
MODULE_PARM_DESC(resets, "how often the device was reset");

static struct virtio_device *target;
static const struct virtio_config_ops *original;
static struct virtio_config_ops wrapped;

/* How many tasks are in one of the operations below. */
static atomic_t users;

DEFINE_LOCK_GUARD_0(inside, atomic_inc(&users), atomic_dec(&users))

/* Says whether a fault is to happen now, and counts it. */
static bool happens(int *count)
{
	int left = READ_ONCE(*count);

	while (left > 0)
		if (try_cmpxchg(count, &left, left - 1))
			return true;
	return left < 0;
}

static int set_errno(const char *value, const struct kernel_param *param)
{
	return param_set_uint_minmax(value, param, 1, MAX_ERRNO);
}

static const struct kernel_param_ops errno_ops = {
	.set = set_errno,
	.get = param_get_uint,
};
static unsigned int find_vqs_errno = EIO;
module_param_cb(find_vqs_errno, &errno_ops, &find_vqs_errno, 0644);
MODULE_PARM_DESC(find_vqs_errno, "with which errno they cannot; default EIO");

/* Asks for a reset, as a device does. */
static void ask_for_reset(void)
{
	dev_info(&target->dev, "transport: the device needs to be reset\n");
	virtio_config_changed(target);
}

/* Takes the device away. It is reset, as one that is gone does not touch memory that its driver has freed. */
static void take_away(void)
{
	dev_info(&target->dev, "transport: the device is gone\n");
	original->reset(target);
}

/* What a parameter that changes to true does, if there is a device yet. */
static int set_flag(const char *value, const struct kernel_param *param, void (*happen)(void))
{
	bool *flag = param->arg, before = *flag;
	int err = param_set_bool(value, param);

	if (!err && *flag && !before && target)
		happen();
	return err;
}

static int set_needs_reset(const char *value, const struct kernel_param *param)
{
	return set_flag(value, param, ask_for_reset);
}

static const struct kernel_param_ops needs_reset_ops = {
	.set = set_needs_reset,
	.get = param_get_bool,
};
static bool needs_reset;
module_param_cb(needs_reset, &needs_reset_ops, &needs_reset, 0644);
MODULE_PARM_DESC(needs_reset, "the status has DEVICE_NEEDS_RESET until the device is reset");

static int set_status_gone(const char *value, const struct kernel_param *param)
{
	return set_flag(value, param, take_away);
}

static const struct kernel_param_ops status_gone_ops = {
	.set = set_status_gone,
	.get = param_get_bool,
};
static bool status_gone;
module_param_cb(status_gone, &status_gone_ops, &status_gone, 0644);
MODULE_PARM_DESC(status_gone, "the status and the configuration read as those of a device that is not there");

static u8 get_status(struct virtio_device *vdev)
{
	guard(inside)();
	if (READ_ONCE(status_gone))
		return GONE;
	return original->get_status(vdev) | (READ_ONCE(needs_reset) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

static void set_status(struct virtio_device *vdev, u8 status)
{
	guard(inside)();
	if (READ_ONCE(status_gone))
		return;
	/* The bit is the device's, which does not have it. */
	status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;
	if (status & VIRTIO_CONFIG_S_FEATURES_OK &&
	    !(original->get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK) && happens(&refuse_features)) {
		dev_info(&vdev->dev, "transport: the features are refused\n");
		status &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	original->set_status(vdev, status);
}

static void get(struct virtio_device *vdev, unsigned int offset, void *buf, unsigned int len)
{
	guard(inside)();
	if (READ_ONCE(status_gone))
		memset(buf, GONE, len);
	else
		original->get(vdev, offset, buf, len);
}

static void reset(struct virtio_device *vdev)
{
	unsigned int delay = READ_ONCE(slow_reset_ms);

	guard(inside)();
	if (delay) {
		dev_info(&vdev->dev, "transport: a reset takes %u ms\n", delay);
		msleep(delay);
	}
	original->reset(vdev);
	WRITE_ONCE(needs_reset, false);
	WRITE_ONCE(resets, resets + 1);
}

static int finalize_features(struct virtio_device *vdev)
{
	guard(inside)();
	if (happens(&fail_finalize)) {
		dev_info(&vdev->dev, "transport: the negotiation fails\n");
		return -EIO;
	}
	return original->finalize_features(vdev);
}

static int find_vqs(struct virtio_device *vdev, unsigned int count, struct virtqueue *vqs[],
		    struct virtqueue_info infos[], struct irq_affinity *affinity)
{
	guard(inside)();
	/* As the PCI transport says of queues that read as all ones. */
	if (READ_ONCE(status_gone))
		return -ENOENT;
	if (happens(&fail_find_vqs)) {
		dev_info(&vdev->dev, "transport: no virtqueues, errno %u\n", find_vqs_errno);
		return -(int)find_vqs_errno;
	}
	return original->find_vqs(vdev, count, vqs, infos, affinity);
}

/* A delay at the start of a function, to open the window of a race. */

static unsigned int delay_ms = 100;
module_param(delay_ms, uint, 0644);
MODULE_PARM_DESC(delay_ms, "how many milliseconds it takes to get to the function delay_at");

static int delay_count = -1;
module_param(delay_count, int, 0644);
MODULE_PARM_DESC(delay_count, "how many calls of it take so long; default -1");

static char delay_symbol[KSYM_NAME_LEN];
static struct kprobe probe;

static int delay(struct kprobe *at, struct pt_regs *regs)
{
	if (happens(&delay_count)) {
		pr_info("a delay of %u ms at %s\n", delay_ms, delay_symbol);
		/* A probe may not sleep. */
		mdelay(delay_ms);
	}
	return 0;
}

static void remove_probe(void)
{
	if (probe.pre_handler)
		unregister_kprobe(&probe);
	memset(&probe, 0, sizeof(probe));
}

static int place_probe(void)
{
	int err;

	if (!*delay_symbol)
		return 0;
	if (!IS_ENABLED(CONFIG_KPROBES)) {
		pr_err("this kernel has no kprobes (CONFIG_KPROBES), so nothing can be delayed\n");
		return -EOPNOTSUPP;
	}
	probe.symbol_name = delay_symbol;
	probe.pre_handler = delay;
	err = register_kprobe(&probe);
	if (err) {
		pr_err("nothing can be delayed at \"%s\": error %d\n", delay_symbol, err);
		memset(&probe, 0, sizeof(probe));
	}
	return err;
}

static int set_delay_at(const char *value, const struct kernel_param *param)
{
	struct kparam_string text = { .maxlen = sizeof(delay_symbol), .string = delay_symbol };
	struct kernel_param copy = { .name = param->name, .str = &text };
	int err;

	remove_probe();
	err = param_set_copystring(value, &copy);
	if (err)
		return err;
	strim(delay_symbol);
	/* While the module is loaded, it may still fail for another reason. */
	if (target)
		err = place_probe();
	if (err)
		*delay_symbol = '\0';
	return err;
}

static int get_delay_at(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n", delay_symbol);
}

static const struct kernel_param_ops delay_at_ops = {
	.set = set_delay_at,
	.get = get_delay_at,
};
module_param_cb(delay_at, &delay_at_ops, NULL, 0644);
MODULE_PARM_DESC(delay_at, "a function, MODULE:FUNCTION for one of a module; empty: none");

/* The bus is exported to its drivers only, so one that takes no device asks for it. */
static struct device *find(const char *name)
{
	static const struct virtio_device_id nothing[] = { {} };
	static struct virtio_driver driver = {
		.driver.name = KBUILD_MODNAME,
		.id_table = nothing,
	};
	struct device *dev;
	int err = register_virtio_driver(&driver);

	if (err)
		return ERR_PTR(err);
	dev = bus_find_device(driver.driver.bus, NULL, name, device_match_name);
	unregister_virtio_driver(&driver);
	return dev ?: ERR_PTR(-ENODEV);
}

static int __init transport_init(void)
{
	struct device *dev = find(device);
	int err;

	if (IS_ERR(dev)) {
		pr_err("there is no device \"%s\" on the virtio bus\n", device);
		return PTR_ERR(dev);
	}
	err = place_probe();
	if (err) {
		put_device(dev);
		return err;
	}
	target = dev_to_virtio(dev);
	original = target->config;
	wrapped = *original;
	wrapped.get_status = get_status;
	wrapped.set_status = set_status;
	wrapped.reset = reset;
	wrapped.find_vqs = find_vqs;
	wrapped.finalize_features = finalize_features;
	if (original->get)
		wrapped.get = get;
	WRITE_ONCE(target->config, &wrapped);
	if (status_gone)
		take_away();
	if (needs_reset)
		ask_for_reset();
	return 0;
}
module_init(transport_init);

static void __exit transport_exit(void)
{
	remove_probe();
	WRITE_ONCE(target->config, original);
	/* Who has read the old pointer is counted after that, or is through, */
	synchronize_rcu_tasks();
	while (atomic_read(&users))
		msleep(10);
	/* and who is counted no more may still have to return. */
	synchronize_rcu_tasks();
	put_device(&target->dev);
}
module_exit(transport_exit);

MODULE_DESCRIPTION("Faults of a virtio transport");
MODULE_LICENSE("GPL");
