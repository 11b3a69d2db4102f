// SPDX-License-Identifier: GPL-2.0

//! Uses of `virtio_glue` that do not pass the borrow checker. Each error is expected in the line
//! below its code.

use crate::{
    request_queue::Request,
    virtio_glue::{
        Notify,
        Virtqueue,
        VirtqueueGuard, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        rcu,
        Arc, //
    },
};

type Queue = Virtqueue<KBox<Request>>;

fn guard_after_the_queue(queue: Arc<Queue>) -> VirtqueueGuard<'static, KBox<Request>> {
    // Error: E0515
    queue.lock()
}

fn notify_after_the_critical_section(queue: &Queue) -> Notify<'static> {
    let rcu = rcu::read_lock();

    // Error: E0515
    queue.lock().kick_prepare(&rcu)
}

fn notify_a_virtqueue_that_may_be_gone(queue: &Queue) {
    let rcu = rcu::read_lock();
    let notify = queue.lock().kick_prepare(&rcu);

    // Error: E0505
    drop(rcu);
    notify.send();
}

fn notify_twice(notify: Notify<'_>) {
    notify.send();
    // Error: E0382
    notify.send();
}

fn use_while_the_device_has_it(queue: &Queue, request: KBox<Request>) -> KBox<Request> {
    let _ = queue.lock().add(request, |_, _| ());

    // Error: E0382
    request
}

fn memory_of_the_stack(queue: &Queue, request: KBox<Request>) {
    let bytes = [0; 4];

    let _ = queue.lock().add(request, |_, chain| {
        // Error: E0597
        chain.readable(&bytes);
    });
}

fn keep_the_memory(queue: &Queue, request: KBox<Request>) -> bool {
    let mut kept: Option<&Request> = None;

    let _ = queue.lock().add(request, |request, _| {
        // Error: E0521
        kept = Some(request);
    });
    kept.is_some()
}
