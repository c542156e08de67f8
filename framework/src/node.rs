//! A device as the plug-and-play manager keeps it, and the references through which the outside reaches it.
//!
//! **Invariant:** the outside gets at a device only inside its rundown: stopping marks the device gone, ends the waits
//! made there, and goes on when everybody has left.

use crate::{
    Creator, Device, DeviceAdd, DeviceInit, DeviceState, InterruptRow, ObjectRow, PowerState, QueueRow, RequestKind,
    Result, Status,
    device::{AddedObject, Available, DeviceObject},
    hardware::Hardware,
    interrupt::{AnyInterrupt, Down},
    pnp::Shared,
    queue::{AnyIoQueue, AnyQueue, Routes},
    session::{Session, Surroundings, watched},
};
use alloc::{format, string::String, sync::Arc, vec::Vec};
use core::{any::Any, fmt, mem};
use io::{Affinity, Grant};
use ke::{At, Dispatch, Passive, Rundown, SpinLock, WaitLock};

/// A function with its driver, in whatever stage.
pub(crate) struct Node<D: Device> {
    shared: Arc<Shared>,
    hardware: Hardware,
    name: String,
    instance: u32,
    /// It interrupts by lines although it may have messages.
    by_line: bool,
    /// Held over every transition: a device's PnP and power callbacks run one at a time.
    stage: WaitLock<Stage<D>>,
    rundown: Rundown,
    /// What the outside may use, from the end of starting to the beginning of stopping.
    current: SpinLock<Option<Arc<DeviceObject<D>>>>,
    /// Where its requests go: those of the second stage's queues, and of this run's.
    routes: SpinLock<Routes>,
}

enum Stage<D: Device> {
    /// In D0, or asleep.
    Started(Added<D>, Session<D>),
    /// With why, if the last start failed.
    Stopped(Added<D>, Option<Status>),
    /// `device_add` failed.
    NotAdded(Status),
    Removed,
}

/// The second stage.
struct Added<D: Device> {
    object: Arc<AddedObject<D>>,
    creator: Creator<D>,
    /// How much of the creator `device_add` made; the rest belongs to one run.
    kept: Kept,
}

#[derive(Clone, Default)]
struct Kept {
    interrupts: usize,
    objects: usize,
    queues: usize,
    cleanups: usize,
    routes: Routes,
    next_interrupt: u16,
}

impl<D: Device> Node<D> {
    /// Runs `device_add`. If it fails there is a node all the same, which says why.
    pub fn add(
        shared: &Arc<Shared>,
        hardware: &Hardware,
        driver: &Arc<D::Driver>,
        instance: u32,
        by_line: bool,
        at: &mut At<'_, Passive>,
    ) -> Self {
        let name = format!("{}#{instance}", D::NAME);
        let mut init = DeviceInit { creator: Creator::new(name.clone()), driver: &**driver, instance };
        let mut routes = Routes::default();
        let stage = match watched::<D, _>("device_add", at, |at| D::Added::device_add(&mut init, at)) {
            Ok(added) => {
                let mut creator = init.creator;
                routes = creator.routes.clone();
                let kept = Kept {
                    interrupts: creator.interrupts.len(),
                    objects: creator.objects.len(),
                    queues: creator.queues.len(),
                    cleanups: creator.cleanups.len(),
                    routes: routes.clone(),
                    next_interrupt: creator.next_interrupt,
                };
                let lines = if shared.lines.are_usable() { hardware.lines().len() as u16 } else { 0 };
                let messages = hardware.messages().filter(|_| !by_line);
                let usual = messages.map_or(lines, |(_, messages)| messages.count());
                creator.available = Some(Available { usual, lines });
                let object = Arc::new(AddedObject { added, driver: driver.clone() });
                Stage::Stopped(Added { object, creator, kept }, None)
            }
            Err(status) => {
                init.creator.end_all_but(0, at);
                Stage::NotAdded(status)
            }
        };
        Node {
            shared: shared.clone(),
            hardware: hardware.clone(),
            name,
            instance,
            by_line,
            stage: WaitLock::new(stage),
            rundown: Rundown::new(),
            current: SpinLock::new(None),
            routes: SpinLock::new(routes),
        }
    }

    fn surroundings<'a>(&'a self, added: &'a mut Added<D>) -> Surroundings<'a, D> {
        Surroundings {
            shared: &self.shared,
            hardware: &self.hardware,
            added: &added.object,
            creator: &mut added.creator,
            instance: self.instance,
            by_line: self.by_line,
        }
    }

    fn bring_up(&self, stage: &mut Stage<D>, at: &mut At<'_, Passive>) -> Result<()> {
        let mut added = match mem::replace(stage, Stage::Removed) {
            Stage::Stopped(added, _) => added,
            other => {
                *stage = other;
                return Err(Status::CannotStart);
            }
        };
        match Session::start(&mut self.surroundings(&mut added), at) {
            Ok(session) => {
                *self.routes.acquire(at) = added.creator.routes.clone();
                self.let_in(&session, at);
                *stage = Stage::Started(added, session);
                Ok(())
            }
            Err(status) => {
                self.forget_run(&mut added, at);
                *stage = Stage::Stopped(added, Some(status.clone()));
                Err(status)
            }
        }
    }

    /// Leaves the stage stopped, if it was started. An error says what went wrong on the way.
    fn bring_down(&self, stage: &mut Stage<D>, why: Down, at: &mut At<'_, Passive>) -> Result<()> {
        let (mut added, session) = match mem::replace(stage, Stage::Removed) {
            Stage::Started(added, session) => (added, session),
            other => {
                *stage = other;
                return Ok(());
            }
        };
        self.keep_out(at);
        if why == Down::Surprise {
            watched::<D, _>("surprise_removal", at, |at| session.device().device.surprise_removal(at));
        }
        let result = session.take_down(&mut self.surroundings(&mut added), why, at);
        self.forget_run(&mut added, at);
        *stage = Stage::Stopped(added, result.clone().err());
        result
    }

    /// Stops the device and starts it with other vectors: it keeps the old ones until it has the new. Where there are none, it
    /// starts with what there is.
    fn restart_elsewhere(&self, stage: &mut Stage<D>, at: &mut At<'_, Passive>) -> Result<()> {
        let Stage::Started(_, session) = stage else { return Err(Status::NotStarted) };
        let mut old = session.keep_taken();
        let down = self.bring_down(stage, Down::Stop, at);
        let up = down.and_then(|()| self.bring_up(stage, at));
        old.give_back(&self.shared, at);
        match up {
            Err(Status::NoVector(_)) => self.bring_up(stage, at),
            up => up,
        }
    }

    /// From D0 to `to`, if that is lower, or from there to D0. On an error the device is stopped.
    fn change_power(&self, stage: &mut Stage<D>, to: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        let Stage::Started(added, session) = stage else { return Err(Status::NotStarted) };
        let around = &mut self.surroundings(added);
        let changed = match (session.power(), to) {
            (from, to) if from == to => Ok(()),
            (_, PowerState::D0) => session.power_up(around, at).map(|()| self.let_in(session, at)),
            _ => {
                self.keep_out(at);
                let slept = session.sleep(around, to, at);
                // Who comes now is told that it is not there, and not that it is gone.
                self.rundown.restart(at);
                slept
            }
        };
        if let Err(status) = &changed {
            // This error came first; what comes after it is in the problems.
            let _ = self.bring_down(stage, Down::Stop, at);
            stage.fail(status.clone());
        }
        changed
    }

    /// Ends what `prepare_hardware` created.
    fn forget_run(&self, added: &mut Added<D>, at: &mut At<'_, Passive>) {
        self.forget(added, added.kept.clone(), at);
    }

    /// Ends what was created after `kept`. What comes for its queues is refused, what waits there ends.
    fn forget(&self, added: &mut Added<D>, kept: Kept, at: &mut At<'_, Passive>) {
        drop(mem::replace(&mut *self.routes.acquire(at), kept.routes.clone()));
        added.forget(kept, at);
    }

    /// The outside may use the device from here on.
    fn let_in(&self, session: &Session<D>, at: &mut At<'_, Passive>) {
        *self.current.acquire(at) = Some(session.device().clone());
        self.rundown.restart(at);
    }

    /// When this returns, nobody from outside uses the device.
    fn keep_out(&self, at: &mut At<'_, Passive>) {
        self.rundown.run_down(at);
        drop(self.current.acquire(at).take());
    }
}

impl<D: Device> Stage<D> {
    /// Interrupt `number` of a started device.
    fn interrupt(&self, number: u16) -> Result<&Arc<dyn AnyInterrupt<D>>> {
        let Stage::Started(added, _) = self else { return Err(Status::NotStarted) };
        let interrupt = added.creator.interrupts.iter().find(|interrupt| interrupt.number() == number);
        interrupt.ok_or(Status::NoSuchResource { what: "interrupt", number })
    }

    /// Says why a stopped device is.
    fn fail(&mut self, why: Status) {
        if let Stage::Stopped(_, reason) = self {
            *reason = Some(why);
        }
    }
}

impl<D: Device> Added<D> {
    /// Ends and drops what was created after `kept`, last first: the list of cleanups is the last to let go of an object.
    fn forget(&mut self, kept: Kept, at: &mut At<'_, Passive>) {
        let Kept { interrupts, objects, queues, cleanups, routes, next_interrupt } = kept;
        self.creator.interrupts.truncate(interrupts);
        self.creator.objects.truncate(objects);
        self.creator.queues.truncate(queues);
        self.creator.routes = routes;
        self.creator.end_all_but(cleanups, at);
        self.creator.next_interrupt = next_interrupt;
    }
}

/// A node, whatever its device is.
pub(crate) trait AnyNode: Any + Send + Sync {
    fn name(&self) -> &str;
    fn start(&self, at: &mut At<'_, Passive>) -> Result<()>;
    fn stop(&self, at: &mut At<'_, Passive>) -> Result<()>;
    /// Stops it and starts it with other vectors.
    fn rebalance(&self, at: &mut At<'_, Passive>) -> Result<()>;
    /// Puts it to sleep in `to`.
    fn power_down(&self, to: PowerState, at: &mut At<'_, Passive>) -> Result<()>;
    fn power_up(&self, at: &mut At<'_, Passive>) -> Result<()>;
    /// Stops it, if it runs, and ends the second stage. `surprise`: the hardware is gone.
    fn remove(&self, surprise: bool, at: &mut At<'_, Passive>) -> Result<()>;
    /// Moves its interrupt `number` to a CPU of `affinity`.
    fn move_interrupt(&self, number: u16, affinity: &Affinity, at: &mut At<'_, Passive>) -> Result<Grant>;
    /// Lets its interrupt `number` through again after a storm.
    fn forgive_interrupt(&self, number: u16, at: &mut At<'_, Passive>) -> Result<()>;
    fn state(&self, at: &mut At<'_, Passive>) -> DeviceState;
    /// Messages or lines that the bus gives it, and that nobody uses; 0 while it is not started.
    fn unused_interrupts(&self, at: &mut At<'_, Passive>) -> u16;
    fn interrupts(&self, at: &mut At<'_, Passive>) -> Vec<InterruptRow>;
    fn objects(&self, at: &mut At<'_, Passive>) -> Vec<ObjectRow>;
    fn queues(&self, at: &mut At<'_, Passive>) -> Vec<QueueRow>;
    /// Where its requests of `kind` go.
    fn queue_for(&self, kind: RequestKind, at: &mut At<'_, Dispatch>) -> Result<Arc<dyn AnyQueue>>;
}

impl<D: Device> AnyNode for Node<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let mut stage = self.stage.acquire(at);
        self.bring_up(&mut stage, at)
    }

    fn stop(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let mut stage = self.stage.acquire(at);
        match *stage {
            Stage::Started(..) => self.bring_down(&mut stage, Down::Stop, at),
            _ => Err(Status::NotStarted),
        }
    }

    fn rebalance(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let mut stage = self.stage.acquire(at);
        self.restart_elsewhere(&mut stage, at)
    }

    fn power_down(&self, to: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        let mut stage = self.stage.acquire(at);
        match to {
            PowerState::D1 | PowerState::D2 | PowerState::D3 => self.change_power(&mut stage, to, at),
            PowerState::D0 | PowerState::D3Final => Err(Status::NotALowPowerState(to)),
        }
    }

    fn power_up(&self, at: &mut At<'_, Passive>) -> Result<()> {
        let mut stage = self.stage.acquire(at);
        self.change_power(&mut stage, PowerState::D0, at)
    }

    fn remove(&self, surprise: bool, at: &mut At<'_, Passive>) -> Result<()> {
        let mut stage = self.stage.acquire(at);
        let result = self.bring_down(&mut stage, if surprise { Down::Surprise } else { Down::Stop }, at);
        match mem::replace(&mut *stage, Stage::Removed) {
            Stage::Removed => Err(Status::Gone),
            Stage::Stopped(mut added, _) => {
                self.forget(&mut added, Kept::default(), at);
                result
            }
            _ => result,
        }
    }

    fn move_interrupt(&self, number: u16, affinity: &Affinity, at: &mut At<'_, Passive>) -> Result<Grant> {
        self.stage.acquire(at).interrupt(number)?.set_affinity(affinity, at)
    }

    fn forgive_interrupt(&self, number: u16, at: &mut At<'_, Passive>) -> Result<()> {
        self.stage.acquire(at).interrupt(number)?.forgive(at);
        Ok(())
    }

    fn state(&self, at: &mut At<'_, Passive>) -> DeviceState {
        match &*self.stage.acquire(at) {
            Stage::Started(_, session) if session.power() != PowerState::D0 => DeviceState::LowPower(session.power()),
            Stage::Started(_, session) => {
                let trouble = session.device().trouble.acquire(at).clone();
                trouble.map_or(DeviceState::Started, DeviceState::Failed)
            }
            Stage::Stopped(_, None) => DeviceState::Stopped,
            Stage::Stopped(_, Some(status)) | Stage::NotAdded(status) => DeviceState::Failed(status.clone()),
            Stage::Removed => DeviceState::Removed,
        }
    }

    fn unused_interrupts(&self, at: &mut At<'_, Passive>) -> u16 {
        match &*self.stage.acquire(at) {
            Stage::Started(added, _) => added.creator.unused_interrupts(),
            _ => 0,
        }
    }

    fn interrupts(&self, at: &mut At<'_, Passive>) -> Vec<InterruptRow> {
        match &*self.stage.acquire(at) {
            Stage::Started(added, _) | Stage::Stopped(added, _) => {
                added.creator.interrupts.iter().map(|interrupt| interrupt.row(at)).collect()
            }
            Stage::NotAdded(_) | Stage::Removed => Vec::new(),
        }
    }

    fn objects(&self, at: &mut At<'_, Passive>) -> Vec<ObjectRow> {
        let one = |kind, of| ObjectRow { kind, of, count: 1, bytes: 0 };
        let stage = self.stage.acquire(at);
        let (added, session) = match &*stage {
            Stage::Started(added, session) => (added, Some(session)),
            Stage::Stopped(added, _) => (added, None),
            Stage::NotAdded(_) | Stage::Removed => return Vec::new(),
        };
        let mut rows = Vec::from([one("Device", D::NAME)]);
        rows.extend(added.creator.interrupts.iter().map(|interrupt| one("Interrupt", interrupt.handler())));
        rows.extend(added.creator.objects.iter().map(|object| one(object.kind(), object.handler())));
        rows.extend(added.creator.queues.iter().map(|queue| one("IoQueue", queue.handler())));
        if let Some(session) = session {
            let (count, bytes) = session.buffers.totals();
            rows.push(ObjectRow { kind: "DmaBuffer", of: D::NAME, count, bytes });
        }
        rows
    }

    fn queues(&self, at: &mut At<'_, Passive>) -> Vec<QueueRow> {
        let stage = self.stage.acquire(at);
        let (Stage::Started(added, _) | Stage::Stopped(added, _)) = &*stage else { return Vec::new() };
        let row = |queue: &Arc<dyn AnyIoQueue<D>>, at: &mut At<'_, Passive>| {
            let (device, handler) = (self.name.clone(), queue.handler());
            QueueRow { device, handler, info: queue.info(at) }
        };
        added.creator.queues.iter().map(|queue| row(queue, at)).collect()
    }

    fn queue_for(&self, kind: RequestKind, at: &mut At<'_, Dispatch>) -> Result<Arc<dyn AnyQueue>> {
        let queue = self.routes.acquire(at).find(kind).cloned();
        queue.ok_or(Status::NoQueue { kind })
    }
}

/// A reference to a device from outside its callbacks: the monitor's, a request's. Keeping one keeps nothing alive.
pub struct DeviceRef<D: Device>(Arc<Node<D>>);

impl<D: Device> DeviceRef<D> {
    pub(crate) fn new(node: Arc<Node<D>>) -> Self {
        DeviceRef(node)
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Runs `f` on the device, which cannot be released meanwhile. PASSIVE. When the device is stopped, removed or put to
    /// sleep, every wait inside `f` ends with [`Gone`](crate::Gone), and the stop waits for `f` to return; from then on this is
    /// `Err(Gone)`. Before the first start, and while the device sleeps, it is `Err(NotStarted)`.
    #[track_caller]
    pub fn with<R>(&self, at: &mut At<'_, Passive>, f: impl FnOnce(&D, &mut At<'_, Passive>) -> R) -> Result<R> {
        self.0.rundown.enter(at, |at| {
            let object = self.0.current.acquire(at).clone().ok_or(Status::NotStarted)?;
            Ok(f(&object.device, at))
        })?
    }
}

impl<D: Device> Clone for DeviceRef<D> {
    fn clone(&self) -> Self {
        DeviceRef(self.0.clone())
    }
}

impl<D: Device> fmt::Debug for DeviceRef<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeviceRef").field(&self.0.name).finish()
    }
}
