// SPDX-License-Identifier: GPL-2.0
/*
 * `insmod failfast.ko node=/dev/sda` reads the beginning of a disk with REQ_FAILFAST_TRANSPORT, as multipath
 * and RAID do, which have another path. No program can set this flag. insmod fails with the error of the read.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/gfp.h>
#include <linux/module.h>

static char *node = "";
module_param(node, charp, 0444);
MODULE_PARM_DESC(node, "the disk");

static int __init failfast_init(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	struct bio_vec vector;
	struct file *file;
	struct bio bio;
	int err;

	if (!page)
		return -ENOMEM;
	file = bdev_file_open_by_path(node, BLK_OPEN_READ, NULL, NULL);
	if (IS_ERR(file)) {
		__free_page(page);
		return PTR_ERR(file);
	}
	bio_init(&bio, file_bdev(file), &vector, 1, REQ_OP_READ | REQ_SYNC | REQ_FAILFAST_TRANSPORT);
	__bio_add_page(&bio, page, PAGE_SIZE, 0);
	err = submit_bio_wait(&bio);
	bio_uninit(&bio);
	bdev_fput(file);
	__free_page(page);
	return err;
}
module_init(failfast_init);

static void __exit failfast_exit(void)
{
}
module_exit(failfast_exit);

MODULE_DESCRIPTION("A read that is not to be waited for");
MODULE_LICENSE("GPL");
