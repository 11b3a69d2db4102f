/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the driver. docs/seeing-inside.md says what they tell.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM virtio_scsi_rs

#if !defined(TRACE_GLUE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TRACE_GLUE_TRACE_H

#include <linux/string.h>
#include <linux/tracepoint.h>

#include "helpers.h"

/* clang-format takes these macros for calls of functions. */
/* clang-format off */

DECLARE_EVENT_CLASS(virtio_scsi_command,
	TP_PROTO(const struct trace_helper_command *command),
	TP_ARGS(command),
	TP_STRUCT__entry(
		__string(device, command->device)
		__field(u32, host)
		__field(u32, target)
		__field(u64, lun)
		__field(u32, queue)
		__field(u32, cdb_len)
		__field(u64, tag)
		__array(u8, cdb, TRACE_HELPER_CDB_SIZE)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->host = command->host;
		__entry->target = command->target;
		__entry->lun = command->lun;
		__entry->queue = command->queue;
		__entry->cdb_len = command->cdb_len;
		__entry->tag = command->tag;
		memcpy(__entry->cdb, command->cdb, TRACE_HELPER_CDB_SIZE);
	),
	TP_printk("device=%s host=%u target=%u lun=%llu queue=%u tag=%llx cdb=%s",
		  __get_str(device), __entry->host, __entry->target, __entry->lun,
		  __entry->queue, __entry->tag,
		  __print_hex_str(__entry->cdb, __entry->cdb_len))
);

/* A command is about to be put on a request queue. */
DEFINE_EVENT(virtio_scsi_command, virtio_scsi_queue_command,
	TP_PROTO(const struct trace_helper_command *command),
	TP_ARGS(command)
);

/* A command goes back to the midlayer, which sends it again. */
DEFINE_EVENT(virtio_scsi_command, virtio_scsi_requeue_command,
	TP_PROTO(const struct trace_helper_command *command),
	TP_ARGS(command)
);

/* The time of a command is over. */
DEFINE_EVENT(virtio_scsi_command, virtio_scsi_time_out_command,
	TP_PROTO(const struct trace_helper_command *command),
	TP_ARGS(command)
);

/* A command leaves its request queue, because the device has used it or was reset. */
TRACE_EVENT(virtio_scsi_complete_command,
	TP_PROTO(const struct trace_helper_command *command, const struct trace_helper_end *end),
	TP_ARGS(command, end),
	TP_STRUCT__entry(
		__string(device, command->device)
		__field(u32, host)
		__field(u32, target)
		__field(u64, lun)
		__field(u32, queue)
		__field(u32, cdb_len)
		__field(u64, tag)
		__array(u8, cdb, TRACE_HELPER_CDB_SIZE)
		__field(u32, residual)
		__field(u32, sense_len)
		__field(bool, used)
		__field(u8, response)
		__field(u8, status)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->host = command->host;
		__entry->target = command->target;
		__entry->lun = command->lun;
		__entry->queue = command->queue;
		__entry->cdb_len = command->cdb_len;
		__entry->tag = command->tag;
		memcpy(__entry->cdb, command->cdb, TRACE_HELPER_CDB_SIZE);
		__entry->residual = end->residual;
		__entry->sense_len = end->sense_len;
		__entry->used = end->used;
		__entry->response = end->response;
		__entry->status = end->status;
	),
	TP_printk("device=%s host=%u target=%u lun=%llu queue=%u tag=%llx cdb=%s used=%d response=%u status=%u residual=%u sense_len=%u",
		  __get_str(device), __entry->host, __entry->target, __entry->lun,
		  __entry->queue, __entry->tag,
		  __print_hex_str(__entry->cdb, __entry->cdb_len), __entry->used,
		  __entry->response, __entry->status, __entry->residual, __entry->sense_len)
);

/* The device is sent a task management function. */
TRACE_EVENT(virtio_scsi_send_function,
	TP_PROTO(const char *device, const struct trace_helper_unit *unit,
		 const struct trace_helper_text *function, u64 tag),
	TP_ARGS(device, unit, function, tag),
	TP_STRUCT__entry(
		__string(device, device)
		__field(u32, target)
		__field(u64, lun)
		__string_len(function, function->bytes, function->len)
		__field(u64, tag)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->target = unit->target;
		__entry->lun = unit->lun;
		__assign_str(function);
		__entry->tag = tag;
	),
	TP_printk("device=%s target=%u lun=%llu function=%s tag=%llx", __get_str(device),
		  __entry->target, __entry->lun, __get_str(function), __entry->tag)
);

/* The device has answered a task management function, or has not in its time. */
TRACE_EVENT(virtio_scsi_answer_function,
	TP_PROTO(const char *device, const struct trace_helper_unit *unit,
		 const struct trace_helper_text *function,
		 const struct trace_helper_text *outcome, u64 tag),
	TP_ARGS(device, unit, function, outcome, tag),
	TP_STRUCT__entry(
		__string(device, device)
		__field(u32, target)
		__field(u64, lun)
		__string_len(function, function->bytes, function->len)
		__string_len(outcome, outcome->bytes, outcome->len)
		__field(u64, tag)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->target = unit->target;
		__entry->lun = unit->lun;
		__assign_str(function);
		__assign_str(outcome);
		__entry->tag = tag;
	),
	TP_printk("device=%s target=%u lun=%llu function=%s outcome=%s tag=%llx",
		  __get_str(device), __entry->target, __entry->lun, __get_str(function),
		  __get_str(outcome), __entry->tag)
);

DECLARE_EVENT_CLASS(virtio_scsi_event,
	TP_PROTO(const char *device, const struct trace_helper_unit *unit,
		 const struct trace_helper_text *event, u32 detail),
	TP_ARGS(device, unit, event, detail),
	TP_STRUCT__entry(
		__string(device, device)
		__field(u32, target)
		__field(u64, lun)
		__string_len(event, event->bytes, event->len)
		__field(u32, detail)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->target = unit->target;
		__entry->lun = unit->lun;
		__assign_str(event);
		__entry->detail = detail;
	),
	TP_printk("device=%s target=%u lun=%llu event=%s detail=%x", __get_str(device),
		  __entry->target, __entry->lun, __get_str(event), __entry->detail)
);

/* The device has reported an event. */
DEFINE_EVENT(virtio_scsi_event, virtio_scsi_receive_event,
	TP_PROTO(const char *device, const struct trace_helper_unit *unit,
		 const struct trace_helper_text *event, u32 detail),
	TP_ARGS(device, unit, event, detail)
);

/* An event was handled. */
DEFINE_EVENT(virtio_scsi_event, virtio_scsi_handle_event,
	TP_PROTO(const char *device, const struct trace_helper_unit *unit,
		 const struct trace_helper_text *event, u32 detail),
	TP_ARGS(device, unit, event, detail)
);

/* A device has got into another state: a reset has begun or ended, or the device was given up. */
TRACE_EVENT(virtio_scsi_change_state,
	TP_PROTO(const char *device, const struct trace_helper_text *state),
	TP_ARGS(device, state),
	TP_STRUCT__entry(
		__string(device, device)
		__string_len(state, state->bytes, state->len)
	),
	TP_fast_assign(
		__assign_str(device);
		__assign_str(state);
	),
	TP_printk("device=%s state=%s", __get_str(device), __get_str(state))
);

/* The device has violated the protocol. */
TRACE_EVENT(virtio_scsi_violate,
	TP_PROTO(const char *device, const struct trace_helper_text *what),
	TP_ARGS(device, what),
	TP_STRUCT__entry(
		__string(device, device)
		__string_len(what, what->bytes, what->len)
	),
	TP_fast_assign(
		__assign_str(device);
		__assign_str(what);
	),
	TP_printk("device=%s what=%s", __get_str(device), __get_str(what))
);

/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace

/* This part must be outside of the protection. */
#include <trace/define_trace.h>
