// SPDX-License-Identifier: GPL-2.0
/*
 * Watches the locks that modules take and the memory that a driver touches, as a plugin of QEMU's
 * emulator.
 *
 * -plugin watch.so,out=PATH,locks=A:B:...,unlocks=C:D:...: each time a program in the guest executes
 * MARK, what was seen since the one before goes to PATH.0, PATH.1 and so on. Such a file is a sequence of
 * 64-bit words: the cache lines of the stack, of the kernel's image and modules, and of all other memory
 * that the driver touched, those that it wrote to in the same order, and for each place in a module that
 * called a function of A, B, ... its address, its calls, the instructions up to the call of a
 * function of C, D, ... for the same lock, and the most of them at once.
 *
 * A cache line is counted once between one TURN and the next. The driver is what has its code between the
 * two addresses that MARK comes with; what it calls elsewhere does not count.
 */
#include <pthread.h>

#include "plugin.h"

EXPORT int qemu_plugin_version = 7;

static const uint8_t MARK[] = {MARK_BYTES}, TURN[] = {TURN_BYTES};

/* Where the kernel's image is and, above it, modules, with nokaslr. */
#define IMAGE 0xffffffff80000000ULL
#define MODULES 0xffffffffc0000000ULL
#define STACK_SIZE (16UL << 10)
#define LINE 64

#define MAX_FUNCTIONS 16
#define MAX_VCPUS 64
#define MAX_HELD 16
#define MAX_CALLERS 1024
#define LINES (1U << 16)

enum kind { STACK, STATIC, HEAP, KINDS };

struct held {
	uint64_t lock, caller, since;
};

struct caller {
	uint64_t address, calls, insns, longest;
};

struct line {
	uint64_t address;
	/* The turn it was last touched and written in. */
	uint64_t touched, written;
};

static const char *out;
static unsigned int marks;
static uint64_t locks[MAX_FUNCTIONS], unlocks[MAX_FUNCTIONS];
static struct qemu_plugin_register *rax, *rdx, *rsp, *rdi;
/* The instructions that each processor has executed. */
static struct qemu_plugin_scoreboard *clocks;
static struct held held[MAX_VCPUS][MAX_HELD];

/* Held for all of the following. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct caller callers[MAX_CALLERS];
static uint64_t text_start, text_end, turns = 1;
static struct line lines[LINES];
static unsigned int used;
static uint64_t touched[KINDS], written[KINDS];

static _Noreturn void fail(const char *why)
{
	fprintf(stderr, "watch: %s\n", why);
	abort();
}

static uint64_t word_of(const GByteArray *bytes)
{
	uint64_t word;

	if (bytes->len < sizeof(word))
		fail("a register or the stack cannot be read");
	memcpy(&word, bytes->data, sizeof(word));
	return word;
}

static GByteArray *empty(void)
{
	static __thread GByteArray *bytes;

	bytes = bytes ? bytes : g_byte_array_new();
	return g_byte_array_set_size(bytes, 0);
}

static uint64_t value_of(struct qemu_plugin_register *handle)
{
	GByteArray *bytes = empty();

	qemu_plugin_read_register(handle, bytes);
	return word_of(bytes);
}

static uint64_t word_at(uint64_t address)
{
	GByteArray *bytes = empty();

	qemu_plugin_read_memory_vaddr(address, bytes, sizeof(uint64_t));
	return word_of(bytes);
}

static uint64_t now(unsigned int vcpu)
{
	return qemu_plugin_u64_get((qemu_plugin_u64){clocks, 0}, vcpu);
}

/* At the first instruction of a function: the caller is on the stack, the lock is the first argument. */
static void at_lock(unsigned int vcpu, void *userdata)
{
	uint64_t lock = value_of(rdi);
	struct held *place = NULL;
	uint64_t caller = word_at(value_of(rsp));

	(void)userdata;
	if (caller < MODULES)
		return;
	/* A trylock that failed left its entry. */
	for (unsigned int i = 0; i < MAX_HELD; i++)
		if (held[vcpu][i].lock == lock || (!place && !held[vcpu][i].lock))
			place = &held[vcpu][i];
	if (!place)
		fail("too many locks are held");
	*place = (struct held){lock, caller, now(vcpu)};
}

static void at_unlock(unsigned int vcpu, void *userdata)
{
	uint64_t lock = value_of(rdi), insns;
	struct held *place = held[vcpu];

	(void)userdata;
	while (place < held[vcpu] + MAX_HELD && place->lock != lock)
		place++;
	if (place == held[vcpu] + MAX_HELD)
		return;
	insns = now(vcpu) - place->since;
	pthread_mutex_lock(&mutex);
	for (struct caller *caller = callers;; caller++) {
		if (caller == callers + MAX_CALLERS)
			fail("too many places take locks");
		if (caller->address && caller->address != place->caller)
			continue;
		caller->address = place->caller;
		caller->calls++;
		caller->insns += insns;
		caller->longest = insns > caller->longest ? insns : caller->longest;
		break;
	}
	pthread_mutex_unlock(&mutex);
	place->lock = 0;
}

static struct line *line_at(uint64_t address)
{
	for (uint64_t slot = address * 0x9e3779b97f4a7c15ULL >> 48;; slot++) {
		struct line *line = &lines[slot % LINES];

		if (line->address == address)
			return line;
		if (line->address)
			continue;
		if (used++ > LINES / 2)
			fail("the driver touches too much memory");
		line->address = address;
		return line;
	}
}

static void touch(uint64_t address, enum kind kind, bool writes)
{
	struct line *line = line_at(address);

	touched[kind] += line->touched != turns;
	line->touched = turns;
	if (!writes)
		return;
	written[kind] += line->written != turns;
	line->written = turns;
}

static void at_memory(unsigned int vcpu, uint32_t info, uint64_t address, void *insn)
{
	uint64_t end = address + (1ULL << qemu_plugin_mem_size_shift(info));
	enum kind kind = address >= IMAGE ? STATIC : HEAP;

	(void)vcpu;
	if ((uintptr_t)insn < text_start || (uintptr_t)insn >= text_end)
		return;
	/* Stacks are aligned to their size. */
	if (!((address ^ value_of(rsp)) & ~(STACK_SIZE - 1)))
		kind = STACK;
	pthread_mutex_lock(&mutex);
	for (address &= -LINE; address < end; address += LINE)
		touch(address, kind, qemu_plugin_mem_is_store(info));
	pthread_mutex_unlock(&mutex);
}

static void at_turn(unsigned int vcpu, void *userdata)
{
	(void)vcpu;
	(void)userdata;
	pthread_mutex_lock(&mutex);
	turns++;
	pthread_mutex_unlock(&mutex);
}

static void write_seen(FILE *file)
{
	for (enum kind kind = 0; kind < KINDS; kind++)
		put(file, touched[kind]);
	for (enum kind kind = 0; kind < KINDS; kind++)
		put(file, written[kind]);
	for (struct caller *caller = callers; caller < callers + MAX_CALLERS && caller->address;
	     caller++) {
		put(file, caller->address);
		put(file, caller->calls);
		put(file, caller->insns);
		put(file, caller->longest);
	}
}

static void at_mark(unsigned int vcpu, void *userdata)
{
	(void)vcpu;
	(void)userdata;
	pthread_mutex_lock(&mutex);
	write_whole(out, marks++, write_seen);
	text_start = value_of(rax);
	text_end = value_of(rdx);
	turns++;
	memset(touched, 0, sizeof(touched));
	memset(written, 0, sizeof(written));
	memset(callers, 0, sizeof(callers));
	memset(lines, 0, sizeof(lines));
	used = 0;
	pthread_mutex_unlock(&mutex);
}

static bool among(const uint64_t *functions, uint64_t address)
{
	for (unsigned int i = 0; i < MAX_FUNCTIONS && functions[i]; i++)
		if (functions[i] == address)
			return true;
	return false;
}

static void at_translation(struct qemu_plugin_tb *tb, void *userdata)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	size_t insns = qemu_plugin_tb_n_insns(tb);

	(void)userdata;
	if (among(locks, address))
		qemu_plugin_register_vcpu_tb_exec_cb(tb, at_lock, QEMU_PLUGIN_CB_R_REGS, NULL);
	if (among(unlocks, address))
		qemu_plugin_register_vcpu_tb_exec_cb(tb, at_unlock, QEMU_PLUGIN_CB_R_REGS, NULL);
	for (size_t i = 0; i < insns; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (address >= MODULES)
			qemu_plugin_register_vcpu_mem_cb(
				insn, at_memory, QEMU_PLUGIN_CB_R_REGS, QEMU_PLUGIN_MEM_RW,
				(void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
		else if (!(address & KERNEL) && is(insn, MARK, sizeof(MARK)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_mark, QEMU_PLUGIN_CB_R_REGS,
							       NULL);
		else if (!(address & KERNEL) && is(insn, TURN, sizeof(TURN)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_turn,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, QEMU_PLUGIN_INLINE_ADD_U64,
							  (qemu_plugin_u64){clocks, 0}, insns);
}

static void at_init(unsigned int vcpu, void *userdata)
{
	GArray *registers = qemu_plugin_get_registers();
	const qemu_plugin_reg_descriptor *found = (void *)registers->data;
	struct {
		const char *name;
		struct qemu_plugin_register **handle;
	} wanted[] = {{"rax", &rax}, {"rdx", &rdx}, {"rsp", &rsp}, {"rdi", &rdi}};

	(void)userdata;
	if (vcpu >= MAX_VCPUS)
		fail("too many processors");
	for (unsigned int i = 0; i < registers->len; i++)
		for (unsigned int j = 0; j < sizeof(wanted) / sizeof(*wanted); j++)
			if (!strcmp(found[i].name, wanted[j].name))
				*wanted[j].handle = found[i].handle;
	if (!rax || !rdx || !rsp || !rdi)
		fail("QEMU names the registers differently");
	g_array_free(registers, true);
}

static void read_functions(const char *text, uint64_t *functions)
{
	char *end = (char *)text;

	for (unsigned int i = 0; *end; i++) {
		if (i == MAX_FUNCTIONS - 1)
			fail("too many functions");
		functions[i] = strtoull(text, &end, 16);
		text = end + 1;
	}
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = argv[i] + 4;
		else if (!strncmp(argv[i], "locks=", 6))
			read_functions(argv[i] + 6, locks);
		else if (!strncmp(argv[i], "unlocks=", 8))
			read_functions(argv[i] + 8, unlocks);
	}
	if (!out || !*locks || !*unlocks) {
		fprintf(stderr,
			"watch: the arguments are out=PATH, locks=ADDRESS:..., unlocks=...\n");
		return -1;
	}
	clocks = qemu_plugin_scoreboard_new(sizeof(uint64_t));
	qemu_plugin_register_vcpu_init_cb(id, at_init, NULL);
	qemu_plugin_register_vcpu_tb_trans_cb(id, at_translation, NULL);
	return 0;
}
