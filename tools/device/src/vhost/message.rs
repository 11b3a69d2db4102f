// SPDX-License-Identifier: GPL-2.0-or-later

//! Messages of vhost-user: twelve bytes of header, a payload, and file descriptors.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;

use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use vhost::vhost_user::message::{BackendReq, FrontendReq, VhostUserHeaderFlag, MAX_MSG_SIZE};

use crate::bytes::le32;

const HEADER: usize = 12;
const VERSION: u32 = 1;
const MAX_FILES: usize = 32;

/// A message from the front-end.
#[derive(Debug)]
pub struct Message {
    /// What it asks for, as a number.
    pub request: u32,
    /// Flags of the header.
    pub flags: u32,
    /// Payload.
    pub payload: Vec<u8>,
    /// File descriptors.
    pub files: Vec<File>,
}

impl Message {
    /// Waits for a message; None at the end of the connection.
    pub fn receive(stream: &mut UnixStream) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        let mut files = Vec::new();
        let mut got = 0;
        while got < HEADER {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut pieces = [IoSliceMut::new(&mut header[got..])];
            let received = recvmsg(&*stream, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    files.extend(fds.map(File::from));
                }
            }
            if received.bytes == 0 {
                return if got == 0 {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
            got += received.bytes;
        }
        let size = le32(&header, 8) as usize;
        if size > MAX_MSG_SIZE || le32(&header, 4) & VhostUserHeaderFlag::VERSION.bits() != VERSION
        {
            return Err(io::Error::other(
                "this is not a vhost-user message of version 1",
            ));
        }
        let mut payload = vec![0; size];
        stream.read_exact(&mut payload)?;
        Ok(Some(Self {
            request: le32(&header, 0),
            flags: le32(&header, 4),
            payload,
            files,
        }))
    }

    /// Which request it is, if it is one that the protocol has.
    pub fn kind(&self) -> Option<FrontendReq> {
        FrontendReq::try_from(self.request).ok()
    }

    /// Whether an acknowledgement is asked for.
    pub fn needs_reply(&self) -> bool {
        self.flags & VhostUserHeaderFlag::NEED_REPLY.bits() != 0
    }

    /// Sends a reply.
    pub fn reply(&self, stream: &mut UnixStream, payload: &[u8]) -> io::Result<()> {
        let flags = VERSION | VhostUserHeaderFlag::REPLY.bits();
        stream.write_all(&encoded(self.request, flags, payload))
    }
}

fn encoded(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(request.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// Tells the front-end that the configuration space changed.
pub fn config_changed(channel: &mut File) -> io::Result<()> {
    channel.write_all(&encoded(BackendReq::CONFIG_CHANGE_MSG as u32, VERSION, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        a.write_all(&encoded(2, VERSION | 8, &7u64.to_le_bytes()))
            .unwrap();
        let message = Message::receive(&mut b).unwrap().unwrap();
        assert_eq!(message.kind(), Some(FrontendReq::SET_FEATURES));
        assert!(message.needs_reply());
        assert_eq!(message.payload, 7u64.to_le_bytes());
        message.reply(&mut b, &[1, 2]).unwrap();
        let mut reply = [0; 14];
        a.read_exact(&mut reply).unwrap();
        assert_eq!(reply, [2, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 1, 2]);
        drop(a);
        assert!(Message::receive(&mut b).unwrap().is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        a.write_all(&encoded(2, 0, &[])).unwrap();
        assert!(Message::receive(&mut b).is_err());
    }
}
