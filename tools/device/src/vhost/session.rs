// SPDX-License-Identifier: GPL-2.0-or-later

//! What the front-end's messages mean to the device.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde_json::json;
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};
use vm_memory::mmap::MmapRegion;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use super::message::Message;
use crate::bytes::{hex, le32, le64};
use crate::conformance::Broken;
use crate::device::Device;
use crate::ring::Addresses;

/// A piece of guest memory, at its address in the front-end and in the guest.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    user: u64,
    guest: u64,
    size: u64,
}

/// A connection to a front-end.
#[derive(Debug)]
pub struct Session {
    /// The socket.
    pub stream: UnixStream,
    mappings: Vec<Mapping>,
}

impl Session {
    /// A new connection.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            mappings: Vec::new(),
        }
    }

    /// Handles the next message. Returns whether the connection goes on.
    pub fn serve(&mut self, device: &mut Device) -> io::Result<bool> {
        let Some(mut message) = Message::receive(&mut self.stream)? else {
            return Ok(false);
        };
        let result = self.handle(device, &mut message);
        match result {
            Ok(Some(payload)) => message.reply(&mut self.stream, &payload)?,
            Ok(None) if message.needs_reply() => {
                message.reply(&mut self.stream, &0u64.to_le_bytes())?
            }
            Ok(None) => {}
            Err(error) => {
                let request = message.request;
                device
                    .log
                    .line("error", json!({"request": request, "error": error}));
                if message.needs_reply() {
                    message.reply(&mut self.stream, &1u64.to_le_bytes())?;
                }
            }
        }
        Ok(true)
    }

    fn handle(
        &mut self,
        device: &mut Device,
        message: &mut Message,
    ) -> Result<Option<Vec<u8>>, String> {
        use FrontendReq as R;
        let payload = std::mem::take(&mut message.payload);
        let (first, second) = (le32(&payload, 0) as usize, le32(&payload, 4));
        let number = le64(&payload, 0);
        let answer = |number: u64| Ok(Some(number.to_le_bytes().to_vec()));
        let kind = message.kind();
        let said = |device: &mut Device, fields| {
            let mut line = json!({"message": kind.map(|kind| format!("{kind:?}"))});
            if let (Some(line), serde_json::Value::Object(fields)) = (line.as_object_mut(), fields)
            {
                line.extend(fields);
            }
            device.log.line("vhost", line);
        };
        match kind {
            Some(R::SET_OWNER) => said(device, json!({})),
            Some(R::GET_FEATURES) => return answer(device.features),
            Some(R::SET_FEATURES) => {
                device.acked = number;
                said(device, json!({"features": format!("{number:#x}")}));
                let unknown = number & !device.features;
                if unknown != 0 {
                    let found = json!({"found": format!("{unknown:#x}")});
                    device.log.violation(Broken::Features, found);
                }
            }
            Some(R::GET_PROTOCOL_FEATURES) => {
                let offered = VhostUserProtocolFeatures::MQ
                    | VhostUserProtocolFeatures::REPLY_ACK
                    | VhostUserProtocolFeatures::CONFIG
                    | VhostUserProtocolFeatures::BACKEND_REQ;
                return answer(offered.bits());
            }
            Some(R::SET_PROTOCOL_FEATURES) => {
                said(device, json!({"features": format!("{number:#x}")}))
            }
            Some(R::GET_QUEUE_NUM) => return answer(device.rings.len() as u64),
            Some(R::SET_MEM_TABLE) => {
                self.map(device, &payload, std::mem::take(&mut message.files))?;
                said(device, json!({"regions": first}));
            }
            Some(R::SET_VRING_NUM) => {
                let size =
                    u16::try_from(second).map_err(|_| format!("a queue of {second} entries"))?;
                let packed = device.acked & crate::wire::feature::PACKED != 0;
                let most = device.config.queue_size;
                if size == 0 || !packed && !size.is_power_of_two() || size > most.max(1024) {
                    return Err(format!("a queue cannot have {size} entries"));
                }
                device.ring(first)?.size = size;
                said(device, json!({"queue": first, "size": size}));
            }
            Some(R::SET_VRING_BASE) => {
                let ring = device.ring(first)?;
                let renewed = ring.started || ring.base != second || second == 0;
                ring.stop();
                ring.base = second;
                said(device, json!({"queue": first, "base": second}));
                if renewed {
                    device.renew_ring(first);
                } else if let Some(space) = device.space_before_stop.take() {
                    device.space = space;
                }
            }
            Some(R::SET_VRING_ADDR) => {
                let addresses = Addresses {
                    desc: self.guest(le64(&payload, 8))?,
                    used: self.guest(le64(&payload, 16))?,
                    avail: self.guest(le64(&payload, 24))?,
                };
                device.ring(first)?.addresses = Some(addresses);
                said(device, json!({"queue": first}));
            }
            Some(R::GET_VRING_BASE) => {
                device.ring(first)?;
                device.stop_ring(first);
                let ring = device.ring(first)?;
                ring.kick = None;
                ring.call = None;
                let mut state = (first as u32).to_le_bytes().to_vec();
                state.extend(ring.base.to_le_bytes());
                return Ok(Some(state));
            }
            Some(kind @ (R::SET_VRING_KICK | R::SET_VRING_CALL | R::SET_VRING_ERR)) => {
                let (index, none) = ((number & 0xff) as usize, number & 0x100 != 0);
                let file = message.files.pop();
                if file.is_none() && !none {
                    return Err("the file descriptor is missing".into());
                }
                said(device, json!({"queue": index}));
                let ring = device.ring(index)?;
                match kind {
                    R::SET_VRING_KICK => {
                        ring.kick = file;
                        device.start_ring(index)?;
                    }
                    R::SET_VRING_CALL => ring.call = file,
                    _ => ring.error = file,
                }
            }
            Some(R::SET_VRING_ENABLE) => {
                device.ring(first)?.enabled = second != 0;
                said(device, json!({"queue": first, "enable": second != 0}));
                if second != 0 {
                    device.service(first);
                } else if first == 0 {
                    // User-Mode Linux' only sign that its driver is gone or was reset.
                    device.stop_ring(0);
                }
            }
            Some(R::SET_BACKEND_REQ_FD) => {
                device.channel = message.files.pop();
                said(device, json!({}));
            }
            Some(R::GET_CONFIG) => {
                let size = (second as usize).min(payload.len().saturating_sub(12));
                let mut reply = payload[..12.min(payload.len())].to_vec();
                reply.extend(device.space.read(first.min(4096), size));
                return Ok(Some(reply));
            }
            Some(R::SET_CONFIG) => {
                let data = payload.get(12..).unwrap_or_default();
                let data = &data[..data.len().min(second as usize)];
                let (fields, allowed) = device.space.write(first, data);
                let line = json!({"offset": first, "bytes": hex(data), "fields": fields});
                device.log.line("config_write", line.clone());
                if !allowed {
                    device.log.violation(Broken::ConfigWrite, line);
                }
            }
            _ => {
                return Err(format!(
                    "request {} is not for this device",
                    message.request
                ));
            }
        }
        Ok(None)
    }

    fn map(&mut self, device: &mut Device, payload: &[u8], files: Vec<File>) -> Result<(), String> {
        let count = le32(payload, 0) as usize;
        if payload.len() < 8 + 32 * count || files.len() != count {
            return Err(format!(
                "{count} memory regions with {} descriptors in {} bytes",
                files.len(),
                payload.len()
            ));
        }
        let (mut mappings, mut regions) = (Vec::new(), Vec::new());
        for (i, file) in files.into_iter().enumerate() {
            let at = 8 + 32 * i;
            let mapping = Mapping {
                guest: le64(payload, at),
                size: le64(payload, at + 8),
                user: le64(payload, at + 16),
            };
            let offset = FileOffset::new(file, le64(payload, at + 24));
            let mapped = MmapRegion::from_file(offset, mapping.size as usize)
                .map_err(|error| format!("a memory region cannot be mapped: {error}"))?;
            let region = GuestRegionMmap::new(mapped, GuestAddress(mapping.guest))
                .ok_or("a memory region ends beyond the address space")?;
            mappings.push(mapping);
            regions.push(region);
        }
        regions.sort_by_key(|region| vm_memory::GuestMemoryRegion::start_addr(region).0);
        let memory = GuestMemoryMmap::from_regions(regions)
            .map_err(|error| format!("the memory regions do not fit together: {error}"))?;
        device.memory = Some(Arc::new(memory));
        self.mappings = mappings;
        Ok(())
    }

    /// An address of the front-end as the guest's.
    fn guest(&self, user: u64) -> Result<u64, String> {
        self.mappings
            .iter()
            .find(|mapping| user >= mapping.user && user - mapping.user < mapping.size)
            .map(|mapping| user - mapping.user + mapping.guest)
            .ok_or_else(|| format!("address {user:#x} is in no memory region"))
    }
}
