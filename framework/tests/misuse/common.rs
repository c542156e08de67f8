//! What the pairs share: a device with one object of each kind, and a handler for each.
pub use framework::prelude::*;

registers! {
    pub struct Regs {
        0x00 status: Ro,
        0x04 ack: Wo,
    }
}

pub struct Dev {
    pub regs: Regs,
    pub a: SpinLock<u32>,
    pub b: SpinLock<u32>,
    pub w: WaitLock<u32>,
    pub ev: Event,
    pub irq: Interrupt<H>,
    pub irq2: Interrupt<H>,
    pub passive: Interrupt<P>,
    pub work: WorkItem<F>,
    pub dpc: Dpc<F>,
    pub timer: Timer<F>,
    pub general: Object<General>,
    pub scope: Scope<u32>,
    pub pscope: Scope<u32, Passive>,
}

impl Device for Dev {
    const NAME: &'static str = "dev";
    const IDS: &'static [PciId] = &[];
    type Driver = ();
    type Added = ();

    fn prepare_hardware(_: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        Err(Status::NotStarted)
    }
}

pub struct H;

impl EvtIsr for H {
    type Device = Dev;
    type State = u32;
    type Level = Dirql;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Dev, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}

pub struct P;

impl EvtIsr for P {
    type Device = Dev;
    type State = u32;
    type Level = Passive;
    type Deferred = Nothing;

    fn evt_isr(&self, _: &Dev, _: &mut u32, _: &mut IsrCx<'_, Self>) -> Claim {
        Claim::Mine
    }
}

pub struct F;

impl EvtWorkItemFunc for F {
    type Device = Dev;

    fn evt_work_item_func(&self, _: &Dev, _: &mut At<'_, Passive>) {}
}

impl EvtDpcFunc for F {
    type Device = Dev;

    fn evt_dpc_func(&self, _: &Dev, _: &mut At<'_, Dispatch>) {}
}

impl EvtTimerFunc for F {
    type Device = Dev;
    type Level = Dispatch;

    fn evt_timer_func(&self, _: &Dev, _: &mut At<'_, Dispatch>) {}
}

pub struct General;

impl EvtObject for General {}
