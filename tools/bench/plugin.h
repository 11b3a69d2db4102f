/* SPDX-License-Identifier: GPL-2.0 */
/*
 * QEMU's interface for plugins, version 7 (QEMU 11), as far as it is used here: Debian packages no header for it.
 */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_plugin_register;

typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

enum qemu_plugin_op {
	QEMU_PLUGIN_INLINE_ADD_U64,
};

enum qemu_plugin_cb_flags {
	QEMU_PLUGIN_CB_NO_REGS,
	QEMU_PLUGIN_CB_R_REGS,
};

enum qemu_plugin_mem_rw {
	QEMU_PLUGIN_MEM_RW = 3,
};

/* Of glib, which QEMU is linked with. */
typedef struct {
	uint8_t *data;
	unsigned int len;
} GByteArray;
typedef struct {
	char *data;
	unsigned int len;
} GArray;

GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int length);
char *g_array_free(GArray *array, int free_segment);

typedef struct {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
	bool is_readonly;
} qemu_plugin_reg_descriptor;

typedef void (*plugin_vcpu_callback)(unsigned int vcpu, void *userdata);

void qemu_plugin_register_vcpu_init_cb(uint64_t id, plugin_vcpu_callback callback, void *userdata);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
					   void (*callback)(struct qemu_plugin_tb *, void *),
					   void *userdata);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, plugin_vcpu_callback callback,
					  enum qemu_plugin_cb_flags flags, void *userdata);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb,
						       enum qemu_plugin_op op,
						       qemu_plugin_u64 entry, uint64_t value);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    plugin_vcpu_callback callback,
					    enum qemu_plugin_cb_flags flags, void *userdata);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*callback)(unsigned int, uint32_t, uint64_t, void *),
				      enum qemu_plugin_cb_flags flags, enum qemu_plugin_mem_rw rw,
				      void *userdata);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *data, size_t size);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
unsigned int qemu_plugin_mem_size_shift(uint32_t info);
bool qemu_plugin_mem_is_store(uint32_t info);
GArray *qemu_plugin_get_registers(void);
bool qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *bytes);
bool qemu_plugin_read_memory_vaddr(uint64_t address, GByteArray *bytes, size_t length);
int qemu_plugin_num_vcpus(void);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
uint64_t qemu_plugin_u64_get(qemu_plugin_u64 entry, unsigned int vcpu);
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

/* The kernel has the upper half of the addresses. */
#define KERNEL (1ULL << 63)

static inline void put(FILE *file, uint64_t word)
{
	fwrite(&word, sizeof(word), 1, file);
}

/* Writes PATH.NUMBER; whoever waits for the file finds it whole. */
static inline void write_whole(const char *path, unsigned int number, void (*write)(FILE *))
{
	char name[4096], temporary[4096 + 4];
	FILE *file;

	snprintf(name, sizeof(name), "%s.%u", path, number);
	snprintf(temporary, sizeof(temporary), "%s.new", name);
	file = fopen(temporary, "wb");
	if (file)
		write(file);
	if (!file || ferror(file) || fclose(file) || rename(temporary, name)) {
		perror(name);
		abort();
	}
}

static inline bool is(const struct qemu_plugin_insn *insn, const uint8_t *code, size_t size)
{
	uint8_t found[16];

	return qemu_plugin_insn_data(insn, found, size) == size && !memcmp(found, code, size);
}

#endif
