// SPDX-License-Identifier: GPL-2.0
/*
 * load NODES read|write|poll SIZE DEPTH TOGETHER SEGMENTS PROCESSORS FEWER MORE ROUNDS [START END]
 *
 * The guest's program whose I/O is counted. One process on each of the first PROCESSORS keeps DEPTH
 * reads or writes of SIZE bytes in flight, and submits up to TOGETHER at once; with poll, reads that
 * are polled for. NODES are disks, with commas between, that take turns. In each round they
 * do FEWER of them, and then MORE. The plugins write their counts before the first round and after each
 * part of one. START and END are where the code of the driver is that is watched.
 *
 * load mark: has the plugins write their counts, and ends.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/fs.h>
#include <unistd.h>

#include "marks.h"
#include "ring.h"

#define PAGE 4096UL
#define HUGE_PAGE (2UL << 20)
#define MAX_DEPTH 128
#define MAX_SEGMENTS 64
#define MAX_PROCESSORS 64
#define MAX_NODES 1024

struct process {
	int orders[2];
	int answers[2];
};

struct load {
	int fds[MAX_NODES];
	unsigned int nodes, node;
	int opcode;
	bool poll;
	struct ring ring;
	size_t size;
	unsigned int depth;
	unsigned int together;
	unsigned int segments;
	/* The part of the disk that is this process's. */
	uint64_t start, length, next;
	aio_context_t context;
	struct iocb iocbs[MAX_DEPTH];
	struct iovec vectors[MAX_DEPTH][MAX_SEGMENTS];
};

/* Where the driver's code is, for those who watch it. */
static uint64_t text_start, text_end;

static void mark(void)
{
	EXECUTE(MARK_BYTES, text_start, text_end);
}

static void turn(void)
{
	EXECUTE(TURN_BYTES, text_start, text_end);
}

static void run_on(unsigned int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "sched_setaffinity");
}

/*
 * Memory in huge pages lies in one piece. With a gap after each segment none can be joined with the
 * next, so their number is the same in every run.
 */
static void prepare(struct load *load)
{
	size_t piece = load->size / load->segments;
	size_t bytes = 2 * load->size * load->depth + 2 * PAGE;
	char *memory;

	bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		err(1, "mmap of %zu bytes in huge pages", bytes);
	for (unsigned int i = 0; i < load->depth; i++) {
		for (unsigned int j = 0; j < load->segments; j++) {
			load->vectors[i][j].iov_base = memory;
			load->vectors[i][j].iov_len = piece;
			memory += 2 * piece;
		}
		load->iocbs[i].aio_lio_opcode = load->opcode;
		load->iocbs[i].aio_buf = (uintptr_t)load->vectors[i];
		load->iocbs[i].aio_nbytes = load->segments;
	}
	if (load->poll)
		ring_init(&load->ring, load->depth);
	else if (syscall(SYS_io_setup, load->depth, &load->context))
		err(1, "io_setup");
}

static int next_node(struct load *load)
{
	load->node = (load->node + 1) % load->nodes;
	return load->fds[load->node];
}

/*
 * Blocks that are submitted together do not follow one another, so the block layer merges none. Those
 * that are submitted one by one do.
 */
static uint64_t next_offset(struct load *load)
{
	uint64_t offset = load->start + load->next;

	load->next = (load->next + (load->depth > 1 ? 2 : 1) * load->size) % load->length;
	return offset;
}

static void submit(struct load *load, struct iocb **these, long count)
{
	turn();
	for (long i = 0; i < count; i++) {
		these[i]->aio_fildes = next_node(load);
		these[i]->aio_offset = next_offset(load);
	}
	while (count > 0) {
		long now = count < load->together ? count : load->together;

		if (syscall(SYS_io_submit, load->context, now, these) != now)
			err(1, "io_submit");
		these += now;
		count -= now;
	}
}

static void run(struct load *load, uint64_t count)
{
	struct iocb *these[MAX_DEPTH];
	struct io_event events[MAX_DEPTH];
	uint64_t submitted = 0, done = 0;

	while (submitted < load->depth && submitted < count) {
		these[submitted] = &load->iocbs[submitted];
		submitted++;
	}
	submit(load, these, submitted);
	while (done < count) {
		long got, again = 0;

		got = syscall(SYS_io_getevents, load->context, 1, load->depth, events, NULL);
		if (got < 1)
			err(1, "io_getevents");
		done += got;
		for (long i = 0; i < got; i++) {
			if (events[i].res != (int64_t)load->size)
				errx(1, "a result is %lld", (long long)events[i].res);
			if (submitted < count) {
				these[again++] = (struct iocb *)(uintptr_t)events[i].obj;
				submitted++;
			}
		}
		if (again)
			submit(load, these, again);
	}
}

static void read_polled(struct load *load, unsigned int name)
{
	ring_read(&load->ring, name, next_node(load), load->vectors[name], load->segments,
		  next_offset(load));
}

static void run_polled(struct load *load, uint64_t count)
{
	uint64_t submitted = 0, done = 0;
	unsigned int name;
	int result;

	turn();
	for (; submitted < load->depth && submitted < count; submitted++)
		read_polled(load, submitted);
	while (done < count) {
		ring_wait(&load->ring);
		turn();
		for (; ring_take(&load->ring, &name, &result); done++) {
			if (result != (int)load->size)
				errx(1, "a result is %d", result);
			if (submitted < count) {
				read_polled(load, name);
				submitted++;
			}
		}
	}
}

static void serve(struct load *load, const struct process *process)
{
	uint64_t count;

	prepare(load);
	while (read(process->orders[0], &count, sizeof(count)) == sizeof(count)) {
		if (load->poll)
			run_polled(load, count);
		else
			run(load, count);
		if (write(process->answers[1], &count, sizeof(count)) != sizeof(count))
			err(1, "write");
	}
	exit(0);
}

static void all_do(const struct process *processes, unsigned int number, uint64_t count)
{
	uint64_t answer;

	for (unsigned int i = 0; i < number; i++)
		if (write(processes[i].orders[1], &count, sizeof(count)) != sizeof(count))
			err(1, "write");
	for (unsigned int i = 0; i < number; i++)
		if (read(processes[i].answers[0], &answer, sizeof(answer)) != sizeof(answer))
			errx(1, "process %u has ended", i);
}

/* The part of a disk that each process has is that of the smallest. */
static void open_nodes(struct load *load, char *nodes, unsigned int processes)
{
	uint64_t bytes, least = UINT64_MAX;

	for (char *node = strtok(nodes, ","); node; node = strtok(NULL, ",")) {
		if (load->nodes == MAX_NODES)
			errx(2, "more than %u nodes", MAX_NODES);
		load->fds[load->nodes] = open(node, O_RDWR | O_DIRECT);
		if (load->fds[load->nodes] < 0 ||
		    ioctl(load->fds[load->nodes], BLKGETSIZE64, &bytes))
			err(1, "%s", node);
		least = bytes < least ? bytes : least;
		load->nodes++;
	}
	load->length = least / processes / HUGE_PAGE * HUGE_PAGE;
	if (!load->nodes || !load->length)
		errx(2, "no disk, or one that is too small");
}

int main(int argc, char **argv)
{
	static struct process processes[MAX_PROCESSORS];
	static struct load load;
	unsigned int number, rounds;
	uint64_t fewer, more;

	if (argc == 2 && !strcmp(argv[1], "mark")) {
		mark();
		return 0;
	}
	if (argc != 11 && argc != 13)
		errx(2, "see load.c");
	if (argc == 13) {
		text_start = strtoull(argv[11], NULL, 0);
		text_end = strtoull(argv[12], NULL, 0);
	}
	load.opcode = strcmp(argv[2], "write") ? IOCB_CMD_PREADV : IOCB_CMD_PWRITEV;
	load.poll = !strcmp(argv[2], "poll");
	load.size = strtoul(argv[3], NULL, 0);
	load.depth = strtoul(argv[4], NULL, 0);
	load.together = strtoul(argv[5], NULL, 0);
	load.segments = strtoul(argv[6], NULL, 0);
	number = strtoul(argv[7], NULL, 0);
	fewer = strtoull(argv[8], NULL, 0);
	more = strtoull(argv[9], NULL, 0);
	rounds = strtoul(argv[10], NULL, 0);
	if (!load.depth || load.depth > MAX_DEPTH || !load.together || !load.segments ||
	    load.segments > MAX_SEGMENTS || !number || number > MAX_PROCESSORS)
		errx(2, "a number is out of range");
	open_nodes(&load, argv[1], number);

	for (unsigned int i = 0; i < number; i++) {
		if (pipe2(processes[i].orders, O_CLOEXEC) || pipe2(processes[i].answers, O_CLOEXEC))
			err(1, "pipe2");
		load.start = i * load.length;
		switch (fork()) {
		case -1:
			err(1, "fork");
		case 0:
			run_on(i);
			/* It ends with the parent, whose end of the pipe closes then. */
			for (unsigned int j = 0; j <= i; j++) {
				close(processes[j].orders[1]);
				close(processes[j].answers[0]);
			}
			serve(&load, &processes[i]);
		}
		close(processes[i].orders[0]);
		close(processes[i].answers[1]);
	}
	run_on(0);
	/* What is done for the first time only is over after that. */
	all_do(processes, number, fewer);
	mark();
	while (rounds--) {
		all_do(processes, number, fewer);
		mark();
		all_do(processes, number, more);
		mark();
	}
	for (unsigned int i = 0; i < number; i++)
		close(processes[i].orders[1]);
	for (unsigned int i = 0; i < number; i++)
		wait(NULL);
	return 0;
}
