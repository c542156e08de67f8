//! KMDF: STATUS_WDF_INCOMPATIBLE_EXECUTION_LEVEL.
mod common;
use common::*;

/// A driver whose callbacks run at PASSIVE, and a device that inherits it.
pub struct Sensors;

impl framework::ExecutionLevel for Sensors {
    type Level = Passive;
}

pub struct Sensor {
    scope: Scope<u32, framework::Inherited<Sensors>>,
}

impl Device for Sensor {
    const NAME: &'static str = "sensor";
    type Driver = ();
    type Added = ();

    fn prepare_hardware(_: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
        Ok(Sensor { scope: Scope::new(0) })
    }
}

pub struct X;

impl Serialized for X {
    type Device = Sensor;
    type Data = u32;
    type Level = framework::Inherited<Sensors>;

    fn scope<'a>(&'a self, dev: &'a Sensor) -> &'a Scope<u32, Self::Level> {
        &dev.scope
    }
}

impl EvtSerializedDpcFunc for X { fn evt_dpc_func(&self, _: &Sensor, _: &mut u32, _: &mut At<'_, Dispatch>) {} }
