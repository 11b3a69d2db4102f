/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An io_uring whose completions are polled for: the kernel polls in no other way. As few calls as load.c needs.
 */
#ifndef RING_H
#define RING_H

#include <err.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct ring {
	int fd;
	unsigned int *sq_tail, *sq_array, sq_mask;
	unsigned int *cq_head, *cq_tail, cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	/* Entries that the kernel has not been told of. */
	unsigned int waiting;
};

static char *map(int fd, size_t size, off_t offset)
{
	char *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (memory == MAP_FAILED)
		err(1, "mmap of an io_uring");
	return memory;
}

static void ring_init(struct ring *ring, unsigned int entries)
{
	struct io_uring_params params = {.flags = IORING_SETUP_IOPOLL};
	char *sq, *cq;

	ring->fd = syscall(SYS_io_uring_setup, entries, &params);
	if (ring->fd < 0)
		err(1, "io_uring_setup");
	sq = map(ring->fd, params.sq_off.array + params.sq_entries * sizeof(unsigned int),
		 IORING_OFF_SQ_RING);
	cq = map(ring->fd, params.cq_off.cqes + params.cq_entries * sizeof(*ring->cqes),
		 IORING_OFF_CQ_RING);
	ring->sqes =
		(void *)map(ring->fd, params.sq_entries * sizeof(*ring->sqes), IORING_OFF_SQES);
	ring->sq_tail = (void *)(sq + params.sq_off.tail);
	ring->sq_array = (void *)(sq + params.sq_off.array);
	ring->sq_mask = *(unsigned int *)(sq + params.sq_off.ring_mask);
	ring->cq_head = (void *)(cq + params.cq_off.head);
	ring->cq_tail = (void *)(cq + params.cq_off.tail);
	ring->cq_mask = *(unsigned int *)(cq + params.cq_off.ring_mask);
	ring->cqes = (void *)(cq + params.cq_off.cqes);
}

static void ring_read(struct ring *ring, unsigned int name, int fd, const struct iovec *vectors,
		      unsigned int segments, uint64_t offset)
{
	unsigned int index = *ring->sq_tail & ring->sq_mask;

	memset(&ring->sqes[index], 0, sizeof(*ring->sqes));
	ring->sqes[index].opcode = IORING_OP_READV;
	ring->sqes[index].fd = fd;
	ring->sqes[index].off = offset;
	ring->sqes[index].addr = (uintptr_t)vectors;
	ring->sqes[index].len = segments;
	ring->sqes[index].user_data = name;
	ring->sq_array[index] = index;
	__atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
	ring->waiting++;
}

/* Submits what has been added, and polls until there is at least one completion. */
static void ring_wait(struct ring *ring)
{
	if (syscall(SYS_io_uring_enter, ring->fd, ring->waiting, 1, IORING_ENTER_GETEVENTS, NULL,
		    0) != (long)ring->waiting)
		err(1, "io_uring_enter");
	ring->waiting = 0;
}

/* Whether there is a completion that has not been taken, and what it is. */
static int ring_take(struct ring *ring, unsigned int *name, int *result)
{
	unsigned int head = *ring->cq_head;

	if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
		return 0;
	*name = ring->cqes[head & ring->cq_mask].user_data;
	*result = ring->cqes[head & ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return 1;
}

#endif
