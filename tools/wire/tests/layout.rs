// SPDX-License-Identifier: GPL-2.0

//! The layouts and codes that the module has by heart, compared with `linux/virtio_scsi.h`.

#![allow(clippy::all, missing_docs)]

#[allow(
    dead_code,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unsafe_code
)]
mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

use std::mem::{offset_of, size_of};
use virtio_scsi_wire::protocol::{
    address::Address,
    byte_order::ByteOrder,
    command::{
        padded_cdb, CommandRequest, CommandResponse, Layout, Protection, ResponseHeader, CDB_MAX,
        SENSE_MAX, SENSE_WANTED,
    },
    config::offset,
    control::{
        NotificationRequest, NotificationRequestKind, NotificationResponse, TaskManagement,
        TaskManagementRequest,
    },
    event::{Event, EventInfo},
    features,
    response::{code, Outcome},
};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// Returns the bytes of a field of a C structure.
macro_rules! field {
    ($bytes:expr, $type:ident . $field:ident) => {{
        let all: &[u8] = $bytes;
        let field: uapi::$type = uapi::$type {
            ..Default::default()
        };
        let len = std::mem::size_of_val(&{ field.$field });
        let start = offset_of!(uapi::$type, $field);
        &all[start..start + len]
    }};
}

#[test]
fn command_request() {
    for order in ORDERS {
        let cdb: Vec<u8> = (100..132).collect();
        let lun = [1, 2, 0x40, 3, 0, 0, 0, 0];
        let mut request = CommandRequest::default();

        request.fill(order, lun, 0x0102_0304_0506_0708, None, &padded_cdb(&cdb));
        let bytes = request.bytes(Layout::WANTED);

        assert_eq!(bytes.len(), size_of::<uapi::virtio_scsi_cmd_req>());
        assert_eq!(field!(bytes, virtio_scsi_cmd_req.lun), lun);
        assert_eq!(
            field!(bytes, virtio_scsi_cmd_req.tag),
            order.from_u64(0x0102_0304_0506_0708)
        );
        assert_eq!(field!(bytes, virtio_scsi_cmd_req.task_attr), [0]);
        assert_eq!(field!(bytes, virtio_scsi_cmd_req.prio), [0]);
        assert_eq!(field!(bytes, virtio_scsi_cmd_req.crn), [0]);
        assert_eq!(field!(bytes, virtio_scsi_cmd_req.cdb), cdb);
    }
    assert_eq!(
        CommandRequest::HEADER,
        offset_of!(uapi::virtio_scsi_cmd_req, cdb)
    );
}

#[test]
fn command_request_with_protection_information() {
    for order in ORDERS {
        let cdb: Vec<u8> = (100..132).collect();
        let lun = [1, 2, 0x40, 3, 0, 0, 0, 0];
        let protection = Protection {
            bytes_out: 0x1122_3344,
            bytes_in: 0x5566_7788,
        };
        let mut request = CommandRequest::default();

        request.fill(
            order,
            lun,
            0x0102_0304_0506_0708,
            Some(protection),
            &padded_cdb(&cdb),
        );
        let bytes = request.bytes(Layout {
            protection: true,
            ..Layout::WANTED
        });

        assert_eq!(bytes.len(), size_of::<uapi::virtio_scsi_cmd_req_pi>());
        assert_eq!(field!(bytes, virtio_scsi_cmd_req_pi.lun), lun);
        assert_eq!(
            field!(bytes, virtio_scsi_cmd_req_pi.tag),
            order.from_u64(0x0102_0304_0506_0708)
        );
        assert_eq!(field!(bytes, virtio_scsi_cmd_req_pi.task_attr), [0]);
        assert_eq!(field!(bytes, virtio_scsi_cmd_req_pi.prio), [0]);
        assert_eq!(field!(bytes, virtio_scsi_cmd_req_pi.crn), [0]);
        assert_eq!(
            field!(bytes, virtio_scsi_cmd_req_pi.pi_bytesout),
            order.from_u32(0x1122_3344)
        );
        assert_eq!(
            field!(bytes, virtio_scsi_cmd_req_pi.pi_bytesin),
            order.from_u32(0x5566_7788)
        );
        assert_eq!(field!(bytes, virtio_scsi_cmd_req_pi.cdb), cdb);
    }
    assert_eq!(
        CommandRequest::HEADER_PI,
        offset_of!(uapi::virtio_scsi_cmd_req_pi, cdb)
    );
}

#[test]
fn a_short_cdb_leaves_nothing_of_the_one_before() {
    let mut request = CommandRequest::default();

    request.fill(ByteOrder::Little, [0xff; 8], u64::MAX, None, &[0xff; 32]);
    request.fill(
        ByteOrder::Little,
        [1, 0, 0x40, 0, 0, 0, 0, 0],
        7,
        None,
        &padded_cdb(&[0x12, 1, 2, 3, 4, 5]),
    );

    let bytes = request.bytes(Layout::WANTED);
    assert_eq!(&bytes[..8], [1, 0, 0x40, 0, 0, 0, 0, 0]);
    assert_eq!(&bytes[8..16], 7_u64.to_le_bytes());
    assert_eq!(&bytes[16..19], [0; 3]);
    assert_eq!(&bytes[19..25], [0x12, 1, 2, 3, 4, 5]);
    assert_eq!(&bytes[25..], [0; 26]);
}

#[test]
fn command_response() {
    assert_eq!(CDB_MAX, uapi::VIRTIO_SCSI_CDB_DEFAULT_SIZE as usize);
    assert_eq!(SENSE_WANTED, uapi::VIRTIO_SCSI_SENSE_DEFAULT_SIZE);
    assert_eq!(
        ResponseHeader::SIZE,
        offset_of!(uapi::virtio_scsi_cmd_resp, sense)
    );
    assert_eq!(Layout::WANTED.cdb_size as usize, CDB_MAX);
    assert_eq!(Layout::WANTED.sense_size as u32, SENSE_WANTED);
    assert_eq!(
        size_of::<CommandResponse>(),
        offset_of!(uapi::virtio_scsi_cmd_resp, sense) + SENSE_MAX
    );
    assert!(size_of::<CommandResponse>() >= size_of::<uapi::virtio_scsi_cmd_resp>());

    for order in ORDERS {
        let mut bytes = [0; ResponseHeader::SIZE];
        let mut put = |offset: usize, field: &[u8]| {
            bytes[offset..offset + field.len()].copy_from_slice(field);
        };

        put(
            offset_of!(uapi::virtio_scsi_cmd_resp, sense_len),
            &order.from_u32(0x11223344),
        );
        put(
            offset_of!(uapi::virtio_scsi_cmd_resp, resid),
            &order.from_u32(0x55667788),
        );
        put(
            offset_of!(uapi::virtio_scsi_cmd_resp, status_qualifier),
            &order.from_u16(0x99aa),
        );
        put(offset_of!(uapi::virtio_scsi_cmd_resp, status), &[0xbb]);
        put(offset_of!(uapi::virtio_scsi_cmd_resp, response), &[0xcc]);

        assert_eq!(
            ResponseHeader::decode(order, bytes),
            ResponseHeader {
                sense_len: 0x11223344,
                residual: 0x55667788,
                status: 0xbb,
                response: 0xcc,
            }
        );
    }
}

#[test]
fn nothing_written_is_no_response() {
    for order in ORDERS {
        let header = ResponseHeader::decode(order, ResponseHeader::PRESET);

        assert_eq!(
            Outcome::of_command(header.response, true),
            Outcome::Violation
        );
        assert_eq!(
            (header.sense_len, header.residual, header.status),
            (0, 0, 0)
        );
    }
}

#[test]
fn success_is_nothing_but_zeroes() {
    let qualifier = offset_of!(uapi::virtio_scsi_cmd_resp, status_qualifier);

    assert!(ResponseHeader::is_success(&[0; ResponseHeader::SIZE]));
    assert!(!ResponseHeader::is_success(&ResponseHeader::PRESET));
    for offset in 0..ResponseHeader::SIZE {
        for bit in 0..8 {
            let mut bytes = [0; ResponseHeader::SIZE];

            bytes[offset] = 1 << bit;
            assert_eq!(
                ResponseHeader::is_success(&bytes),
                (qualifier..qualifier + 2).contains(&offset),
                "bit {bit} of byte {offset}"
            );
        }
    }
}

#[test]
fn task_management() {
    for order in ORDERS {
        for (function, code) in [
            (
                TaskManagement::AbortTask,
                uapi::VIRTIO_SCSI_T_TMF_ABORT_TASK,
            ),
            (
                TaskManagement::NexusReset,
                uapi::VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET,
            ),
            (
                TaskManagement::LogicalUnitReset,
                uapi::VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET,
            ),
        ] {
            let lun = [1, 9, 0x40, 8, 0, 0, 0, 0];
            let mut request = TaskManagementRequest::default();

            request.fill(order, function, lun, 0x1122_3344_5566_7788);
            let bytes = request.bytes();

            assert_eq!(bytes.len(), size_of::<uapi::virtio_scsi_ctrl_tmf_req>());
            assert_eq!(
                field!(bytes, virtio_scsi_ctrl_tmf_req.type_),
                order.from_u32(uapi::VIRTIO_SCSI_T_TMF)
            );
            assert_eq!(
                field!(bytes, virtio_scsi_ctrl_tmf_req.subtype),
                order.from_u32(code)
            );
            assert_eq!(field!(bytes, virtio_scsi_ctrl_tmf_req.lun), lun);
            assert_eq!(
                field!(bytes, virtio_scsi_ctrl_tmf_req.tag),
                order.from_u64(0x1122_3344_5566_7788)
            );
        }
    }
    assert_eq!(size_of::<uapi::virtio_scsi_ctrl_tmf_resp>(), 1);
}

#[test]
fn notifications() {
    for order in ORDERS {
        for (what, code) in [
            (NotificationRequestKind::Query, uapi::VIRTIO_SCSI_T_AN_QUERY),
            (
                NotificationRequestKind::Subscribe,
                uapi::VIRTIO_SCSI_T_AN_SUBSCRIBE,
            ),
        ] {
            let lun = [1, 9, 0x40, 8, 0, 0, 0, 0];
            let mut request = NotificationRequest::default();

            request.fill(order, what, lun, 0x1122_3344);
            let bytes = request.bytes();

            assert_eq!(bytes.len(), size_of::<uapi::virtio_scsi_ctrl_an_req>());
            assert_eq!(
                field!(bytes, virtio_scsi_ctrl_an_req.type_),
                order.from_u32(code)
            );
            assert_eq!(field!(bytes, virtio_scsi_ctrl_an_req.lun), lun);
            assert_eq!(
                field!(bytes, virtio_scsi_ctrl_an_req.event_requested),
                order.from_u32(0x1122_3344)
            );
        }

        let [e0, e1, e2, e3] = order.from_u32(0x5566_7788);
        assert_eq!(
            NotificationResponse::decode(order, [e0, e1, e2, e3, 9]),
            NotificationResponse {
                events: 0x5566_7788,
                response: 9,
            }
        );
    }
    assert_eq!(
        size_of::<uapi::virtio_scsi_ctrl_an_resp>(),
        NotificationResponse::SIZE
    );
    assert_eq!(offset_of!(uapi::virtio_scsi_ctrl_an_resp, response), 4);
}

#[test]
fn configuration_space() {
    macro_rules! same {
        ($($ours:ident $theirs:ident,)*) => {
            $(assert_eq!(offset::$ours as usize, offset_of!(uapi::virtio_scsi_config, $theirs));)*
        };
    }
    same! {
        NUM_QUEUES num_queues,
        SEG_MAX seg_max,
        MAX_SECTORS max_sectors,
        CMD_PER_LUN cmd_per_lun,
        EVENT_INFO_SIZE event_info_size,
        SENSE_SIZE sense_size,
        CDB_SIZE cdb_size,
        MAX_TARGET max_target,
        MAX_LUN max_lun,
    }
    assert_eq!(
        size_of::<uapi::virtio_scsi_config>(),
        offset::MAX_LUN as usize + 4
    );
}

#[test]
fn response_codes() {
    macro_rules! same {
        ($($ours:ident $theirs:ident,)*) => {
            $(assert_eq!(u32::from(code::$ours), uapi::$theirs);)*
        };
    }
    same! {
        OK VIRTIO_SCSI_S_OK,
        OVERRUN VIRTIO_SCSI_S_OVERRUN,
        ABORTED VIRTIO_SCSI_S_ABORTED,
        BAD_TARGET VIRTIO_SCSI_S_BAD_TARGET,
        RESET VIRTIO_SCSI_S_RESET,
        BUSY VIRTIO_SCSI_S_BUSY,
        TRANSPORT_FAILURE VIRTIO_SCSI_S_TRANSPORT_FAILURE,
        TARGET_FAILURE VIRTIO_SCSI_S_TARGET_FAILURE,
        NEXUS_FAILURE VIRTIO_SCSI_S_NEXUS_FAILURE,
        FAILURE VIRTIO_SCSI_S_FAILURE,
        FUNCTION_SUCCEEDED VIRTIO_SCSI_S_FUNCTION_SUCCEEDED,
        FUNCTION_REJECTED VIRTIO_SCSI_S_FUNCTION_REJECTED,
        INCORRECT_LUN VIRTIO_SCSI_S_INCORRECT_LUN,
    }
    for code in 13..=255 {
        assert_eq!(Outcome::of_command(code, false), Outcome::Violation);
    }
}

#[test]
fn feature_bits() {
    assert_eq!(features::VIRTIO_SCSI_F_HOTPLUG, uapi::VIRTIO_SCSI_F_HOTPLUG);
    assert_eq!(features::VIRTIO_SCSI_F_CHANGE, uapi::VIRTIO_SCSI_F_CHANGE);
    assert_eq!(features::VIRTIO_SCSI_F_T10_PI, uapi::VIRTIO_SCSI_F_T10_PI);
}

#[test]
fn events() {
    let address = Address { target: 3, lun: 7 };

    for order in ORDERS {
        for (event, reason, expected) in [
            (uapi::VIRTIO_SCSI_T_NO_EVENT, 0, Event::NoEvent),
            (
                uapi::VIRTIO_SCSI_T_TRANSPORT_RESET,
                uapi::VIRTIO_SCSI_EVT_RESET_HARD,
                Event::HardReset(address),
            ),
            (
                uapi::VIRTIO_SCSI_T_TRANSPORT_RESET,
                uapi::VIRTIO_SCSI_EVT_RESET_RESCAN,
                Event::Rescan(address),
            ),
            (
                uapi::VIRTIO_SCSI_T_TRANSPORT_RESET,
                uapi::VIRTIO_SCSI_EVT_RESET_REMOVED,
                Event::Removed(address),
            ),
            (
                uapi::VIRTIO_SCSI_T_ASYNC_NOTIFY,
                16,
                Event::AsyncNotify {
                    address,
                    events: 16,
                },
            ),
            (
                uapi::VIRTIO_SCSI_T_PARAM_CHANGE,
                0x092a,
                Event::ParameterChange {
                    address,
                    asc: 0x2a,
                    ascq: 0x09,
                },
            ),
        ] {
            for missed in [0, uapi::VIRTIO_SCSI_T_EVENTS_MISSED] {
                let mut bytes = [0; size_of::<uapi::virtio_scsi_event>()];
                let mut put = |offset: usize, field: &[u8]| {
                    bytes[offset..offset + field.len()].copy_from_slice(field);
                };

                put(
                    offset_of!(uapi::virtio_scsi_event, event),
                    &order.from_u32(event | missed),
                );
                put(
                    offset_of!(uapi::virtio_scsi_event, lun),
                    &[1, 3, 0, 7, 0, 0, 0, 0],
                );
                put(
                    offset_of!(uapi::virtio_scsi_event, reason),
                    &order.from_u32(reason),
                );

                assert_eq!(
                    EventInfo::decode(order, bytes),
                    EventInfo {
                        missed: missed != 0,
                        event: expected,
                    }
                );
            }
        }
    }
}
