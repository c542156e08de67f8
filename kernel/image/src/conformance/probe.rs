//! The driver of the cases with a real interrupt line: QEMU's `edu` on its line, with up to three interrupt objects that do
//! what a case has planned, and note what is done to them.

use super::{
    soft::await_that,
    turns::{Kind, Objects, Turns},
};
use alloc::{format, string::String, vec::Vec};
use core::mem;
use framework::{DeviceRef, InterruptRow, LineRow, Pnp, prelude::*};

registers! {
    /// The registers that have to do with interrupts.
    struct Regs {
        0x24 status: Ro,
        0x60 raise: Wo,
        0x64 acknowledge: Wo,
    }
}

/// Interrupt objects that a device can have on its line.
pub const MOST: usize = 3;
/// Devices with a plan of their own; more of them share these plans.
const PLANS: usize = 3;
/// Steps that are noted; enough for a start and a stop.
const STEPS: usize = 64;

/// What fails because a plan says so.
pub const PLANNED: Status = Status::Failed("it was planned so");

/// What is done to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    PrepareHardware,
    D0Entry,
    Enable(usize),
    PostInterruptsEnabled,
    Isr(usize),
    PreInterruptsDisabled,
    Disable(usize),
    D0Exit,
    ReleaseHardware,
}

/// What the interrupts of a device are to do, and what they have seen: behind the lock of all of them.
#[derive(Debug)]
pub struct Plan {
    /// How many interrupt objects there are.
    pub objects: usize,
    /// Whether object n claims what its device raises.
    pub claims: [bool; MOST],
    /// Whether object n shares the line.
    pub shares: [bool; MOST],
    /// Whether `post_interrupts_enabled` fails.
    pub fails: bool,
    /// The object whose disable callback fails.
    pub fails_to_disable: Option<usize>,
    pub steps: Vec<Step>,
    /// IRQLs of the enable, disable and ISR callbacks.
    pub levels: Vec<u8>,
    /// How often each ISR was asked.
    pub asked: [u64; MOST],
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            objects: 1,
            claims: [true; MOST],
            shares: [true; MOST],
            fails: false,
            fails_to_disable: None,
            steps: Vec::with_capacity(STEPS),
            levels: Vec::with_capacity(STEPS),
            asked: [0; MOST],
        }
    }
}

impl Plan {
    /// Above DISPATCH nothing is allocated: what does not fit is not noted.
    fn note(&mut self, step: Step, irql: u8) {
        if self.steps.len() < self.steps.capacity() && self.levels.len() < self.levels.capacity() {
            self.steps.push(step);
            self.levels.push(irql);
        }
    }
}

/// The driver: plans outlive the devices.
pub struct Planned([InterruptLock<Plan>; PLANS]);

impl DriverEntry for Planned {
    fn driver_entry(_: &mut DriverInit, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Planned([(); PLANS].map(|()| InterruptLock::new(Plan::default()))))
    }
}

/// The device.
pub struct Probe {
    regs: Regs,
    pub plan: InterruptLock<Plan>,
    pub objects: Objects,
}

impl Device for Probe {
    const NAME: &'static str = "probe";
    const IDS: &'static [PciId] = &[PciId(0x1234, 0x11e8)];
    // Its interrupts stay connected while it sleeps.
    const POWER_PAGEABLE: bool = false;
    type Driver = Planned;
    type Added = ();

    fn prepare_hardware(hw: &mut Resources<'_, Self>, at: &mut At<'_, Passive>) -> Result<Self> {
        let regs = hw.map_bar(at, 0)?;
        let plan = hw.driver().0[hw.instance() as usize % PLANS].clone();
        let (objects, shares) = plan.synchronize(at, |plan, _| (plan.objects, plan.shares));
        for (n, share) in shares.into_iter().enumerate().take(objects) {
            hw.interrupt(ProbeInterrupt(n), &plan).line().message(0).share(share).create()?;
        }
        let probe = Probe { regs, plan, objects: Objects::create(hw) };
        probe.note(Step::PrepareHardware, at);
        Ok(probe)
    }

    fn d0_entry(&self, _: PowerState, at: &mut At<'_, Passive>) -> Result<()> {
        self.note(Step::D0Entry, at);
        Ok(())
    }

    fn post_interrupts_enabled(&self, at: &mut At<'_, Passive>) -> Result<()> {
        self.note(Step::PostInterruptsEnabled, at);
        match self.plan.synchronize(at, |plan, _| plan.fails) {
            true => Err(PLANNED),
            false => Ok(()),
        }
    }

    fn pre_interrupts_disabled(&self, at: &mut At<'_, Passive>) {
        self.note(Step::PreInterruptsDisabled, at);
    }

    fn d0_exit(&self, _: PowerState, at: &mut At<'_, Passive>) {
        self.note(Step::D0Exit, at);
        let status = self.regs.status.read(at);
        self.regs.acknowledge.write(at, status);
    }

    fn release_hardware(self, (): &(), at: &mut At<'_, Passive>) {
        self.note(Step::ReleaseHardware, at);
    }
}

impl Probe {
    /// Makes it interrupt.
    pub fn raise(&self, at: &mut At<'_, Passive>) {
        self.regs.raise.write(at, 1);
    }

    fn note(&self, step: Step, at: &mut At<'_, Passive>) {
        self.plan.synchronize(at, |plan, at| plan.note(step, at.irql()));
    }
}

/// Object n.
struct ProbeInterrupt(usize);

impl EvtIsr for ProbeInterrupt {
    type Device = Probe;
    type State = Plan;
    type Level = Dirql;
    type Deferred = ByDpc;

    fn evt_isr(&self, probe: &Probe, plan: &mut Plan, irq: &mut IsrCx<'_, Self>) -> Claim {
        plan.asked[self.0] += 1;
        plan.note(Step::Isr(self.0), irq.irql());
        let status = probe.regs.status.read(irq);
        if status == 0 || !plan.claims[self.0] {
            return Claim::NotMine;
        }
        probe.regs.acknowledge.write(irq, status);
        irq.queue_dpc();
        Claim::Mine
    }

    fn evt_enable(&self, _: &Probe, plan: &mut Plan, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        plan.note(Step::Enable(self.0), irq.irql());
        Ok(())
    }

    fn evt_disable(&self, _: &Probe, plan: &mut Plan, irq: &mut IsrCx<'_, Self>) -> Result<()> {
        plan.note(Step::Disable(self.0), irq.irql());
        if plan.fails_to_disable == Some(self.0) { Err(PLANNED) } else { Ok(()) }
    }
}

impl Serialized for ProbeInterrupt {
    type Device = Probe;
    type Data = Turns;
    type Level = Dispatch;

    fn scope<'a>(&'a self, probe: &'a Probe) -> &'a Scope<Turns> {
        &probe.objects.swift.scope
    }
}

impl EvtSerializedDpc for ProbeInterrupt {
    fn evt_dpc(&self, probe: &Probe, turns: &mut Turns, irq: &mut DpcCx<'_, Self>) {
        probe.objects.swift.take(turns, Kind::Interrupt, irq);
    }
}

/// A device as the cases use it.
pub struct Subject<'a> {
    pnp: &'a Pnp,
    device: DeviceRef<Probe>,
    plan: InterruptLock<Plan>,
}

impl<'a> Subject<'a> {
    /// Device `n`, which is started.
    pub fn find(pnp: &'a Pnp, n: usize, at: &mut At<'_, Passive>) -> Result<Self, String> {
        let device = pnp.devices_of::<Probe>().into_iter().nth(n).ok_or("an edu device is needed")?;
        let plan = device.with(at, |probe, _| probe.plan.clone()).map_err(|status| format!("{status}"))?;
        Ok(Subject { pnp, device, plan })
    }

    /// Stops it, and starts it anew with a plan that `change` has made of the usual one.
    pub fn restart(&self, at: &mut At<'_, Passive>, change: impl FnOnce(&mut Plan)) -> Result<(), Status> {
        self.pnp.stop_device(at, self.device.name())?;
        self.start(at, change)
    }

    fn start(&self, at: &mut At<'_, Passive>, change: impl FnOnce(&mut Plan)) -> Result<(), Status> {
        let mut plan = Plan::default();
        change(&mut plan);
        // Plans are allocated and freed outside of the section.
        drop(self.plan.synchronize(at, |now, _| mem::replace(now, plan)));
        self.pnp.start_device(at, self.device.name())
    }

    /// Stops it.
    pub fn stop(&self, at: &mut At<'_, Passive>) -> Result<(), Status> {
        self.pnp.stop_device(at, self.device.name())
    }

    /// Lets it sleep, and gives the row of its first interrupt as it is meanwhile; then wakes it.
    pub fn sleep_and_wake(&self, at: &mut At<'_, Passive>) -> Result<InterruptRow, Status> {
        let name = self.device.name();
        self.pnp.power_down_device(at, name, PowerState::D3)?;
        let row = self.row(at).ok_or(Status::NoSuchDevice);
        self.pnp.power_up_device(at, name)?;
        row
    }

    /// The row of its first interrupt.
    pub fn row(&self, at: &mut At<'_, Passive>) -> Option<InterruptRow> {
        self.pnp.interrupts(at).into_iter().find(|row| row.device == self.device.name())
    }

    /// Starts it again as usual, after a stop or a start that had to fail.
    pub fn recover(&self, at: &mut At<'_, Passive>) -> Result<(), String> {
        self.start(at, |_| ()).map_err(|status| format!("{status}"))
    }

    /// Changes the plan while it runs.
    pub fn plan<R>(&self, at: &mut At<'_, Passive>, f: impl FnOnce(&mut Plan) -> R) -> R {
        self.plan.synchronize(at, |plan, _| f(plan))
    }

    /// What was done to it so far.
    pub fn steps(&self, at: &mut At<'_, Passive>) -> Vec<(Step, u8)> {
        let mut seen = Vec::with_capacity(STEPS);
        self.plan.synchronize(at, |plan, _| seen.extend(plan.steps.iter().copied().zip(plan.levels.iter().copied())));
        seen
    }

    /// The device, for other threads.
    pub fn device(&self) -> DeviceRef<Probe> {
        self.device.clone()
    }

    /// What `f` does to its objects.
    pub fn with<R>(
        &self,
        at: &mut At<'_, Passive>,
        f: impl FnOnce(&Objects, &mut At<'_, Passive>) -> R,
    ) -> Result<R, String> {
        self.device.with(at, |probe, at| f(&probe.objects, at)).map_err(|status| format!("{status}"))
    }

    /// Makes it interrupt.
    pub fn raise(&self, at: &mut At<'_, Passive>) -> Result<(), String> {
        self.device.with(at, |probe, at| probe.raise(at)).map_err(|status| format!("{status}"))
    }

    /// Waits until its interrupt was claimed, and gives how often each object was asked since it started.
    pub fn await_claim(&self, at: &mut At<'_, Passive>) -> Result<[u64; MOST], String> {
        let is_quiet = |at: &mut At<'_, Passive>| self.device.with(at, |probe, at| probe.regs.status.read(at) == 0);
        await_that(at, |at| is_quiet(at) != Ok(false)).map_err(|why| format!("nobody claimed its interrupt {why}"))?;
        Ok(self.plan(at, |plan| plan.asked))
    }

    /// The line that it is on.
    pub fn line(&self, at: &mut At<'_, Passive>) -> Result<LineRow, String> {
        let row = self.row(at).ok_or("it has no interrupt")?;
        let mut lines = self.pnp.lines(at).into_iter();
        lines.find(|line| Some(line.grant) == row.grant).ok_or_else(|| format!("{} is on no line", self.device.name()))
    }
}

/// How many probes are on the line of the first.
pub fn on_one_line(pnp: &Pnp, at: &mut At<'_, Passive>) -> usize {
    let is_probe = |row: &InterruptRow| row.device.starts_with(Probe::NAME) && row.grant.is_some();
    let rows: Vec<InterruptRow> = pnp.interrupts(at).into_iter().filter(is_probe).collect();
    rows.iter().filter(|row| row.grant == rows[0].grant).count()
}
