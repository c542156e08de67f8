//! Creating queues.

use super::{
    EvtIo, IoQueue,
    object::{Config, Queue},
    state::Dispatching,
};
use crate::{Creator, RequestKind, Result, Status};
use alloc::sync::Arc;
use core::{any::type_name, fmt};

/// A queue to be (WDF_IO_QUEUE_CONFIG): sequential, power-managed, and reached by forwarding alone, unless it is told otherwise.
#[must_use = "nothing is created before `create`"]
pub struct QueueBuilder<'a, H: EvtIo> {
    creator: &'a mut Creator<H::Device>,
    handler: H,
    config: Config,
    takes: [bool; 3],
    default: bool,
}

const KINDS: [RequestKind; 3] = [RequestKind::Read, RequestKind::Write, RequestKind::Control];

impl<'a, H: EvtIo> QueueBuilder<'a, H> {
    pub(crate) fn new(creator: &'a mut Creator<H::Device>, handler: H) -> Self {
        let config = Config { dispatching: Dispatching::Sequential, power_managed: true };
        QueueBuilder { creator, handler, config, takes: [false; 3], default: false }
    }

    /// Gives out up to `most` requests at a time (WdfIoQueueDispatchParallel); `usize::MAX` for any number.
    pub fn parallel(mut self, most: usize) -> Self {
        self.config.dispatching = Dispatching::Parallel(most);
        self
    }

    /// Gives out requests when it is asked (WdfIoQueueDispatchManual): [`IoQueue::retrieve`].
    pub fn manual(mut self) -> Self {
        self.config.dispatching = Dispatching::Manual;
        self
    }

    /// Requests of this kind come here (WdfDeviceConfigureRequestDispatching).
    pub fn takes(mut self, kind: RequestKind) -> Self {
        self.takes[kind as usize] = true;
        self
    }

    /// All requests come here that no other queue takes (WDF_IO_QUEUE_CONFIG_INIT_DEFAULT_QUEUE).
    pub fn default_queue(mut self) -> Self {
        self.default = true;
        self
    }

    /// Gives out requests while the device sleeps too (PowerManaged = WdfFalse): as long as there is one.
    pub fn not_power_managed(mut self) -> Self {
        self.config.power_managed = false;
        self
    }

    /// WdfIoQueueCreate. `Err`: another queue takes these requests, or it would give out none.
    pub fn create(self) -> Result<IoQueue<H>> {
        if self.config.dispatching == Dispatching::Parallel(0) {
            return Err(Status::Failed("a parallel queue gives out at least one request at a time"));
        }
        let queue = Queue::new(self.creator.device_name.clone(), self.handler, self.config);
        let kinds = KINDS.into_iter().filter(|kind| self.takes[*kind as usize]);
        self.creator.routes.add(queue.clone(), kinds, self.default)?;
        self.creator.queues.push(queue.clone());
        self.creator.cleanups.push(queue.clone());
        Ok(IoQueue(queue))
    }
}

impl<H: EvtIo> fmt::Debug for QueueBuilder<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueBuilder")
            .field("handler", &type_name::<H>())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Which queue a request of each kind comes to.
#[derive(Clone, Default)]
pub(crate) struct Routes {
    by_kind: [Option<Arc<dyn super::AnyQueue>>; 3],
    default: Option<Arc<dyn super::AnyQueue>>,
}

impl Routes {
    fn add(
        &mut self,
        queue: Arc<dyn super::AnyQueue>,
        kinds: impl Iterator<Item = RequestKind> + Clone,
        default: bool,
    ) -> Result<()> {
        if let Some(kind) = kinds.clone().find(|kind| self.by_kind[*kind as usize].is_some()) {
            return Err(Status::QueueTaken { kind: Some(kind) });
        }
        if default && self.default.is_some() {
            return Err(Status::QueueTaken { kind: None });
        }
        for kind in kinds {
            self.by_kind[kind as usize] = Some(queue.clone());
        }
        if default {
            self.default = Some(queue);
        }
        Ok(())
    }

    /// Where a request of `kind` goes.
    pub fn find(&self, kind: RequestKind) -> Option<&Arc<dyn super::AnyQueue>> {
        self.by_kind[kind as usize].as_ref().or(self.default.as_ref())
    }
}
