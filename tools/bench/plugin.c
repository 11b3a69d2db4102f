// SPDX-License-Identifier: GPL-2.0
/*
 * Counts how often a guest executes each block of its kernel, as a plugin of QEMU's emulator.
 *
 * -plugin plugin.so,out=PATH: each time a program in the guest executes MARK, the counts go to
 * PATH.0, PATH.1 and so on. Such a file is a sequence of 64-bit words: the number of processors, and
 * for each block that was executed its address, its instructions, its bytes, and its executions by
 * each processor. What programs execute is one block with address 0 and one instruction.
 */
#include <pthread.h>

#include "plugin.h"

EXPORT int qemu_plugin_version = 7;

static const uint8_t MARK[] = {MARK_BYTES};

/* A kernel that boots and does I/O has some 100000 blocks. */
#define BLOCKS (1U << 20)
#define SLOTS (2 * BLOCKS)

struct block {
	uint64_t address;
	uint64_t insns;
	uint64_t bytes;
};

/* Block 0 is that of the programs. */
static struct block blocks[BLOCKS];
static unsigned int used = 1;
/* Where a block is in `blocks`, by a hash of it; 0 for a free slot. */
static uint32_t slots[SLOTS];
/* Held while blocks are looked up or written out: processors translate at the same time. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct qemu_plugin_scoreboard *executions;
static const char *out;
static unsigned int marks;

static qemu_plugin_u64 counter(unsigned int index)
{
	return (qemu_plugin_u64){executions, index * sizeof(uint64_t)};
}

/* The same code is translated more than once, and is the same block each time. */
static unsigned int index_of(uint64_t address, uint64_t insns, uint64_t bytes)
{
	uint64_t slot = (address ^ insns << 48) * 0x9e3779b97f4a7c15ULL >> 43;

	for (;; slot++) {
		unsigned int index = slots[slot % SLOTS];

		if (index && blocks[index].address == address && blocks[index].insns == insns)
			return index;
		if (index)
			continue;
		if (used == BLOCKS) {
			fprintf(stderr, "plugin: more than %u blocks\n", BLOCKS);
			abort();
		}
		blocks[used] = (struct block){address, insns, bytes};
		slots[slot % SLOTS] = used;
		return used++;
	}
}

static void write_counts(FILE *file)
{
	unsigned int vcpus = qemu_plugin_num_vcpus();

	put(file, vcpus);
	for (unsigned int index = 0; index < used; index++) {
		uint64_t sum = 0;

		for (unsigned int vcpu = 0; vcpu < vcpus; vcpu++)
			sum += qemu_plugin_u64_get(counter(index), vcpu);
		if (!sum)
			continue;
		put(file, blocks[index].address);
		put(file, blocks[index].insns);
		put(file, blocks[index].bytes);
		for (unsigned int vcpu = 0; vcpu < vcpus; vcpu++)
			put(file, qemu_plugin_u64_get(counter(index), vcpu));
	}
}

static void at_mark(unsigned int vcpu, void *userdata)
{
	(void)vcpu;
	(void)userdata;
	pthread_mutex_lock(&lock);
	write_whole(out, marks++, write_counts);
	pthread_mutex_unlock(&lock);
}

static void look_for_mark(struct qemu_plugin_tb *tb, size_t insns)
{
	for (size_t i = 0; i < insns; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (is(insn, MARK, sizeof(MARK)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_mark,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

/* A block lies in one piece. */
static uint64_t bytes_of(struct qemu_plugin_tb *tb, size_t insns)
{
	const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, insns - 1);

	return qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last) -
	       qemu_plugin_tb_vaddr(tb);
}

static void at_translation(struct qemu_plugin_tb *tb, void *userdata)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	size_t insns = qemu_plugin_tb_n_insns(tb);
	unsigned int index = 0;

	(void)userdata;
	if (address & KERNEL) {
		pthread_mutex_lock(&lock);
		index = index_of(address, insns, bytes_of(tb, insns));
		pthread_mutex_unlock(&lock);
	} else {
		look_for_mark(tb, insns);
	}
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64,
							  counter(index), index ? 1 : insns);
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		fprintf(stderr, "plugin: the one argument is out=PATH\n");
		return -1;
	}
	out = argv[0] + 4;
	blocks[0].insns = 1;
	executions = qemu_plugin_scoreboard_new(BLOCKS * sizeof(uint64_t));
	qemu_plugin_register_vcpu_tb_trans_cb(id, at_translation, NULL);
	return 0;
}
