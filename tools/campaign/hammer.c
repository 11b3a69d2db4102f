// SPDX-License-Identifier: GPL-2.0
/*
 * hammer STOP DEPTH SEED FOLDER...: reads and writes at random, DEPTH at once for each logical unit, until the
 * file STOP is there. Then it says how many reads it was told had succeeded, and in how many of these a block was
 * as before: nobody had read it. A unit is the folder in sysfs that has its block device, as
 * /sys/bus/scsi/devices/0:0:0:1/block; it may come and go, and whatever fails is tried again. Many requests go into
 * the kernel with one system call, as those are what is dear in User-Mode Linux.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256
#define UNITS_MAX 8
#define BLOCK 4096
#define LARGEST (16 * BLOCK)
/* What blocks begin with before they are read; it is never written. */
#define UNREAD 0x6e756e7265616421ULL

struct unit {
	const char *pattern;
	int file;
	uint64_t blocks;
	unsigned int failed; /* requests in a row */
	unsigned int flying;
};

static struct unit units[UNITS_MAX];
static struct iocb requests[UNITS_MAX * DEPTH_MAX];
static unsigned char *buffers;
static uint64_t state;

static uint64_t draw(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dULL;
}

/* Opens the unit's node, if there is one. */
static void find(struct unit *unit)
{
	char path[300];
	uint64_t bytes = 0;
	struct dirent *entry;
	glob_t found;
	DIR *folder;

	unit->file = -1;
	unit->failed = 0;
	if (glob(unit->pattern, 0, NULL, &found))
		return;
	folder = opendir(found.gl_pathv[0]);
	globfree(&found);
	if (!folder)
		return;
	while ((entry = readdir(folder)))
		if (entry->d_name[0] != '.') {
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			unit->file = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
		}
	closedir(folder);
	if (unit->file < 0)
		return;
	if (ioctl(unit->file, BLKGETSIZE64, &bytes) || bytes < 2 * LARGEST) {
		close(unit->file);
		unit->file = -1;
		return;
	}
	unit->blocks = bytes / BLOCK;
}

static void prepare(struct iocb *request, struct unit *unit)
{
	size_t size = draw() % 8 ? BLOCK : BLOCK << draw() % 5;
	unsigned char *buffer = (unsigned char *)(uintptr_t)request->aio_buf;

	request->aio_lio_opcode = draw() % 2 ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
	request->aio_fildes = unit->file;
	request->aio_nbytes = size;
	request->aio_offset = draw() % (unit->blocks - LARGEST / BLOCK) * BLOCK;
	for (size_t at = 0; at < size; at += BLOCK) {
		uint64_t first = draw() | 1ULL << 63;

		if (request->aio_lio_opcode == IOCB_CMD_PREAD)
			first = UNREAD;
		memcpy(buffer + at, &first, sizeof(first));
	}
}

/* Whether a read has left a block as it was. */
static int is_unread(const struct iocb *request)
{
	const unsigned char *buffer = (unsigned char *)(uintptr_t)request->aio_buf;

	for (size_t at = 0; at < request->aio_nbytes; at += BLOCK)
		if (*(const uint64_t *)(buffer + at) == UNREAD)
			return 1;
	return 0;
}

/* Submits what a unit may have besides what it has. Returns how many that was. */
static int submit(aio_context_t context, struct unit *unit, unsigned int number, unsigned int depth)
{
	struct iocb *ready[DEPTH_MAX];
	int count = 0, sent, done = 0;

	for (unsigned int i = 0; i < depth; i++) {
		struct iocb *request = &requests[number * DEPTH_MAX + i];

		if (request->aio_data)
			continue;
		prepare(request, unit);
		ready[count++] = request;
	}
	while (done < count) {
		sent = syscall(SYS_io_submit, context, (long)(count - done), ready + done);
		if (sent <= 0)
			break;
		for (int i = 0; i < sent; i++)
			ready[done + i]->aio_data = 1;
		done += sent;
	}
	unit->flying += done;
	if (!done && count)
		unit->failed += count;
	return done;
}

int main(int argc, char **argv)
{
	struct timespec second = {1, 0}, moment = {0, 50 * 1000 * 1000};
	struct io_event events[UNITS_MAX * DEPTH_MAX];
	unsigned int depth, count = argc > 4 ? argc - 4 : 0, flying = 0;
	unsigned long reads = 0, unread = 0;
	aio_context_t context = 0;

	if (count < 1 || count > UNITS_MAX)
		return 2;
	depth = strtoul(argv[2], NULL, 10);
	state = strtoull(argv[3], NULL, 10) | 1;
	if (depth < 1 || depth > DEPTH_MAX || syscall(SYS_io_setup, count * depth, &context))
		return 2;
	buffers = aligned_alloc(BLOCK, (size_t)count * depth * LARGEST);
	if (!buffers)
		return 2;
	for (unsigned int i = 0; i < count; i++) {
		units[i] = (struct unit){.pattern = argv[4 + i], .file = -1};
		for (unsigned int j = 0; j < depth; j++)
			requests[i * DEPTH_MAX + j].aio_buf =
				(uintptr_t)(buffers + (i * depth + j) * LARGEST);
	}

	for (;;) {
		int stop = !access(argv[1], F_OK), got, sent = 0;

		for (unsigned int i = 0; i < count && !stop; i++) {
			struct unit *unit = &units[i];

			/* A unit that only fails may have gone, and another node be its own now. */
			if (unit->file >= 0 && unit->failed > 4 * depth) {
				if (unit->flying)
					continue;
				close(unit->file);
				unit->file = -1;
			}
			/* Not while others work on: looking is dear. */
			if (unit->file < 0 && (!flying || draw() % 64 == 0))
				find(unit);
			if (unit->file >= 0)
				sent += submit(context, unit, i, depth);
		}
		flying += sent;
		if (!flying) {
			if (stop) {
				printf("%lu %lu\n", reads, unread);
				/* Not by the end of the process, which races with it. */
				syscall(SYS_io_destroy, context);
				return 0;
			}
			nanosleep(&moment, NULL);
			continue;
		}
		got = syscall(SYS_io_getevents, context, 1L, (long)(count * depth), events,
			      &second);
		for (int i = 0; i < got; i++) {
			struct iocb *request = (struct iocb *)(uintptr_t)events[i].obj;
			struct unit *unit = &units[(request - requests) / DEPTH_MAX];

			request->aio_data = 0;
			unit->flying--;
			flying--;
			if (events[i].res < 0)
				unit->failed++;
			else
				unit->failed = 0;
			if (request->aio_lio_opcode == IOCB_CMD_PREAD &&
			    events[i].res == (int64_t)request->aio_nbytes) {
				reads++;
				unread += is_unread(request);
			}
		}
	}
}
