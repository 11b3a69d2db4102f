// SPDX-License-Identifier: GPL-2.0-or-later

//! The main loop: one thread that waits for the front-end, for kicks, for the control socket and
//! for time.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use serde_json::json;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::control;
use crate::device::{Device, Wish};
use crate::vhost::session::Session;

const FRONT_END: u64 = 0;
const SESSION: u64 = 1;
const CONTROL: u64 = 2;
const KICKS: u64 = 0x1_0000;
const CLIENTS: u64 = 0x2_0000;

/// How many front-ends are kept that have made room for others.
const RETIRED: usize = 64;

struct Client {
    stream: UnixStream,
    pending: Vec<u8>,
}

/// A socket file that is gone when the device is.
struct Listening {
    listener: UnixListener,
    path: PathBuf,
}

impl Listening {
    fn new(path: &Path) -> Result<Self, String> {
        // A file that nobody listens to is left from a device that is gone.
        if path.exists() {
            if UnixStream::connect(path).is_ok() {
                return Err(format!(
                    "{} is in use by another process; end it or choose another path",
                    path.display()
                ));
            }
            std::fs::remove_file(path)
                .map_err(|error| format!("cannot remove {}: {error}", path.display()))?;
        }
        let listener = UnixListener::bind(path).map_err(|error| {
            format!(
                "cannot listen at {}: {error}; the folder must exist, and the path have at most 107 bytes",
                path.display()
            )
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves a device until it shall end. With `once`, the end of the first connection is the end.
pub fn run(
    device: &mut Device,
    socket: &Path,
    control: Option<&Path>,
    once: bool,
) -> Result<Wish, String> {
    let mut main = Loop::new(socket, control, once)?;
    let sockets = json!({"socket": socket.display().to_string(), "queues": device.rings.len()});
    device.log.line("listening", sockets);
    println!("listening at {}", socket.display());
    main.run(device)
        .map_err(|error| format!("the main loop failed: {error}"))
}

struct Loop {
    epoll: Epoll,
    front_end: Listening,
    control: Option<Listening>,
    session: Option<Session>,
    retired: VecDeque<(Session, Option<File>)>,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    kicks: Vec<Option<RawFd>>,
    once: bool,
}

impl Loop {
    fn new(socket: &Path, control: Option<&Path>, once: bool) -> Result<Self, String> {
        let epoll = Epoll::new().map_err(|error| format!("cannot wait for events: {error}"))?;
        let main = Self {
            epoll,
            front_end: Listening::new(socket)?,
            control: control.map(Listening::new).transpose()?,
            session: None,
            retired: VecDeque::new(),
            clients: BTreeMap::new(),
            next_client: CLIENTS,
            kicks: Vec::new(),
            once,
        };
        let failed = |error: io::Error| format!("cannot wait for events: {error}");
        main.watch(main.front_end.listener.as_raw_fd(), FRONT_END)
            .map_err(failed)?;
        if let Some(control) = &main.control {
            main.watch(control.listener.as_raw_fd(), CONTROL)
                .map_err(failed)?;
        }
        Ok(main)
    }

    fn watch(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let event = EpollEvent::new(EventSet::IN, token);
        self.epoll.ctl(ControlOperation::Add, fd, event)
    }

    fn forget(&self, fd: RawFd) {
        let event = EpollEvent::new(EventSet::empty(), 0);
        // It may be closed already, which makes it forgotten, too.
        let _ = self.epoll.ctl(ControlOperation::Delete, fd, event);
    }

    fn run(&mut self, device: &mut Device) -> io::Result<Wish> {
        let mut events = [EpollEvent::default(); 32];
        loop {
            // Rounded up, for not to spin until the time has come.
            let timeout = device.until_timer().map_or(-1, |time| {
                time.as_micros().div_ceil(1000).min(60_000) as i32
            });
            let count = match self.epoll.wait(timeout, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            device.run_timers();
            for event in &events[..count] {
                self.handle(device, event.data())?;
                match device.wish.take() {
                    Some(Wish::Disconnect) => self.end_session(device),
                    Some(wish) => return Ok(wish),
                    None => {}
                }
            }
            if self.once && self.session.is_none() && !self.kicks.is_empty() {
                return Ok(Wish::Quit);
            }
        }
    }

    fn handle(&mut self, device: &mut Device, token: u64) -> io::Result<()> {
        match token {
            FRONT_END => {
                let (stream, _) = self.front_end.listener.accept()?;
                if self.session.is_some() && device.is_at_rest() {
                    self.retire(device);
                }
                if self.session.is_some() {
                    device
                        .log
                        .line("refused", json!({"why": "a front-end is there already"}));
                    return Ok(());
                }
                self.watch(stream.as_raw_fd(), SESSION)?;
                device.connected();
                self.session = Some(Session::new(stream));
                self.kicks = vec![None; device.rings.len()];
            }
            SESSION => {
                let Some(session) = &mut self.session else {
                    return Ok(());
                };
                match session.serve(device) {
                    Ok(true) => self.watch_kicks(device)?,
                    Ok(false) => self.end_session(device),
                    Err(error) => {
                        device
                            .log
                            .line("error", json!({"error": error.to_string()}));
                        self.end_session(device);
                    }
                }
            }
            CONTROL => {
                if let Some(control) = &self.control {
                    let (stream, _) = control.listener.accept()?;
                    self.watch(stream.as_raw_fd(), self.next_client)?;
                    let client = Client {
                        stream,
                        pending: Vec::new(),
                    };
                    self.clients.insert(self.next_client, client);
                    self.next_client += 1;
                }
            }
            KICKS..CLIENTS => {
                let index = (token - KICKS) as usize;
                device.kicked(index);
            }
            client => self.client(device, client),
        }
        Ok(())
    }

    /// Kick descriptors come and go with the front-end's messages.
    fn watch_kicks(&mut self, device: &Device) -> io::Result<()> {
        for index in 0..device.rings.len() {
            let now = device.rings[index].kick.as_ref().map(AsRawFd::as_raw_fd);
            // A closed descriptor's number may have come back for another file.
            if self.kicks[index] == now && now.is_none() {
                continue;
            }
            if let Some(old) = self.kicks[index].filter(|old| Some(*old) != now) {
                self.forget(old);
            }
            if let Some(fd) = now {
                match self.watch(fd, KICKS + index as u64) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error)
                    }
                    _ => {}
                }
            }
            self.kicks[index] = now;
        }
        Ok(())
    }

    /// A front-end whose queues are off makes room for another one. In User-Mode Linux it stays
    /// for as long as somebody has a node of the device open, and would take its own for dead if
    /// what it has here were closed.
    fn retire(&mut self, device: &mut Device) {
        let channel = device.channel.take();
        if let Some(session) = &self.session {
            self.forget(session.stream.as_raw_fd());
        }
        if let Some(session) = self.session.take() {
            self.retired.push_back((session, channel));
        }
        if self.retired.len() > RETIRED {
            self.retired.pop_front();
        }
        self.end_session(device);
        device.disconnected();
    }

    fn end_session(&mut self, device: &mut Device) {
        for fd in self.kicks.iter().flatten() {
            self.forget(*fd);
        }
        self.kicks.fill(None);
        if let Some(session) = self.session.take() {
            self.forget(session.stream.as_raw_fd());
            device.disconnected();
        }
    }

    fn client(&mut self, device: &mut Device, token: u64) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        let mut bytes = [0; 65536];
        let gone = match client.stream.read(&mut bytes) {
            Ok(0) | Err(_) => true,
            Ok(count) => {
                client.pending.extend(&bytes[..count]);
                false
            }
        };
        let mut failed = gone;
        while let Some(end) = client.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = client.pending.drain(..=end).collect();
            let mut answer = control::handle(device, &String::from_utf8_lossy(&line));
            answer.push('\n');
            failed |= client.stream.write_all(answer.as_bytes()).is_err();
        }
        if failed {
            if let Some(client) = self.clients.remove(&token) {
                self.forget(client.stream.as_raw_fd());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_in_use_are_refused_and_dead_ones_replaced() {
        let path = std::env::temp_dir().join(format!("listening-{}", std::process::id()));
        let first = Listening::new(&path).unwrap();
        assert!(Listening::new(&path).is_err_and(|error| error.contains("in use")));
        drop(first);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listening::new(&path).unwrap());
        let nowhere = Path::new("/nonexistent/socket");
        assert!(Listening::new(nowhere).is_err_and(|error| error.contains("must exist")));
    }
}
