//! The programs in firmware's tables: one interpreter, loaded once, run by one thread at a time.
//!
//! [`Aml::evaluate`] is the only way in. What comes out is plain data: no object of the interpreter leaves its lock.
//!
//! **Invariant:** the interpreter runs at PASSIVE under its wait lock, so what it touches (ports, mutexes, its own
//! objects) is used by one evaluation at a time.
//!
//! The `acpi` crate keeps the callers of a method that fails, and would go on with them after the next method. So after
//! such a failure nothing more is evaluated ([`AcpiError::Poisoned`]); a failure of an outermost method is only an error.
//! `Notify` is not known to it either, see [`notify`]. Where firmware's program is wrong in ways that the crate does not expect
//! it panics, and that is a bug check.

use crate::{
    acpi::FixedRegisters,
    acpi_handler::{self, Machine},
    aml_limits,
    aml_name::{self, shortened},
    notify::{self, Site},
    pci_path,
    start,
};
use acpi::{
    AcpiTables, AmlTable, Handler,
    aml::{
        AmlError, Interpreter,
        namespace::{AmlName, NameSeg, NamespaceLevelKind},
        object::{Object, WrappedObject},
    },
    registers::{self, Pm1ControlBit},
    sdt::{SdtHeader, facs::Facs, fadt::Fadt},
};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::{fmt, slice, str::FromStr};
use io::{AcpiError, AcpiMethods, AcpiValue, GpeMethod, Location, Notification};
use ke::{At, Passive, WaitLock};

/// Bits of `_STA`.
mod status {
    pub const PRESENT: u64 = 1 << 0;
    pub const ENABLED: u64 = 1 << 1;
    pub const FUNCTIONING: u64 = 1 << 3;
    /// What a device without `_STA` has.
    pub const ALL: u64 = 0xf;
}

/// How deep a package may be: the interpreter lets one contain itself.
const MOST_NESTED: u32 = 8;
/// How long firmware may take to hand the events over.
const HAND_OVER_MILLISECONDS: u64 = 3_000;

/// The namespace and its interpreter.
pub struct Aml {
    state: WaitLock<State>,
    devices: Vec<Node>,
    gpe_methods: Vec<GpeMethod>,
    /// Where methods notify, by number.
    sites: Vec<Site>,
}

struct State {
    interpreter: Interpreter<Machine>,
    poisoned: Option<String>,
}

/// A device of the namespace whose parents are there.
pub struct Node {
    /// Its absolute path.
    pub path: String,
    objects: Vec<NameSeg>,
    status: u64,
}

impl Node {
    /// Whether it has an object `name` of its own.
    pub fn has(&self, name: &str) -> bool {
        self.objects.iter().any(|object| object.as_str() == name)
    }

    /// Whether it is there and decodes its resources.
    pub fn is_enabled(&self) -> bool {
        self.status & (status::PRESENT | status::ENABLED) == status::PRESENT | status::ENABLED
    }
}

impl Aml {
    /// Loads the tables, makes firmware hand the events over, initializes the devices, and says that interrupts arrive at
    /// the I/O APICs. What went wrong on the way and can be done without is added to `problems`. Once. PASSIVE.
    pub fn load(at: &mut At<'_, Passive>, problems: &mut Vec<AcpiError>) -> Result<Arc<Self>, AcpiError> {
        let mut sites = Vec::new();
        let state = State { interpreter: interpreter(&mut sites, problems).map_err(unusable)?, poisoned: None };
        let mut aml = Aml { state: WaitLock::new(state), devices: Vec::new(), gpe_methods: Vec::new(), sites };
        let mut survey = survey(&aml.state.get_mut().interpreter).map_err(unusable)?;
        for path in ["\\_INI", "\\_SB._INI"] {
            problems.extend(aml.evaluate_if_present(at, path, Vec::new()).err());
        }
        aml.initialize(at, &mut survey.devices, problems);
        // 1: not the 8259s.
        problems.extend(aml.evaluate_if_present(at, "\\_PIC", vec![AcpiValue::Integer(1)]).err());
        (aml.devices, aml.gpe_methods) = (survey.devices, survey.gpe_methods);
        Ok(Arc::new(aml))
    }

    /// Asks every device whether it is there, and lets it initialize itself; forgets those that are not.
    fn initialize(&self, at: &mut At<'_, Passive>, devices: &mut Vec<Node>, problems: &mut Vec<AcpiError>) {
        // Parents come before their children.
        let mut absent: Option<String> = None;
        devices.retain_mut(|device| {
            if absent.as_ref().is_some_and(|absent| is_below(&device.path, absent)) {
                return false;
            }
            if device.has("_STA") {
                device.status = self.integer(at, &format!("{}._STA", device.path)).unwrap_or_else(|error| {
                    problems.push(error);
                    0
                });
            }
            if device.status & (status::PRESENT | status::FUNCTIONING) == 0 {
                absent = Some(device.path.clone());
                return false;
            }
            if device.status & status::PRESENT != 0 && device.has("_INI") {
                problems.extend(self.call(at, &format!("{}._INI", device.path), Vec::new()).err());
            }
            true
        });
    }

    /// The devices that are there, parents first.
    pub fn devices(&self) -> &[Node] {
        &self.devices
    }

    /// The device at `path`, if it is there.
    pub fn device(&self, path: &str) -> Option<&Node> {
        self.devices.iter().find(|device| device.path == path)
    }

    /// Evaluates the object at the absolute `path`; a method is called with `arguments`. PASSIVE.
    pub fn call(
        &self,
        at: &mut At<'_, Passive>,
        path: &str,
        arguments: Vec<AcpiValue>,
    ) -> Result<AcpiValue, AcpiError> {
        // The interpreter panics on names that are none.
        if !aml_name::is_absolute(path) {
            return Err(AcpiError::NoSuchObject(path.into()));
        }
        let mut state = self.state.acquire(at);
        let State { interpreter, poisoned } = &mut *state;
        if let Some(by) = poisoned {
            return Err(AcpiError::Poisoned { by: by.clone() });
        }
        let failed = |error| AcpiError::Failed { path: path.into(), why: format!("{error:?}") };
        let name = AmlName::from_str(path).map_err(failed)?;
        let found = interpreter.namespace.lock().get(name.clone());
        let object = found.map_err(|_| AcpiError::NoSuchObject(path.into()))?;
        if !matches!(*object, Object::Method { .. } | Object::NativeMethod { .. }) {
            return Ok(value(&object, MOST_NESTED));
        }
        remove_locals(interpreter).map_err(failed)?;
        let arguments = arguments.into_iter().map(|argument| to_object(argument).wrap()).collect();
        let result = interpreter.evaluate(name.clone(), arguments).map(|object| value(&object, MOST_NESTED));
        result.map_err(|error| {
            if locals(interpreter).map_or(true, |locals| locals.iter().any(|local| *local != name)) {
                *poisoned = Some(path.into());
            }
            failed(error)
        })
    }

    fn evaluate_if_present(
        &self,
        at: &mut At<'_, Passive>,
        path: &str,
        arguments: Vec<AcpiValue>,
    ) -> Result<(), AcpiError> {
        match self.call(at, path, arguments) {
            Ok(_) | Err(AcpiError::NoSuchObject(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The number that the object at `path` evaluates to. PASSIVE.
    pub fn integer(&self, at: &mut At<'_, Passive>, path: &str) -> Result<u64, AcpiError> {
        match self.call(at, path, Vec::new())? {
            AcpiValue::Integer(value) => Ok(value),
            _ => Err(AcpiError::Unexpected { path: path.into(), wanted: "a number" }),
        }
    }

    /// The bytes that the object at `path` evaluates to. PASSIVE.
    pub fn buffer(&self, at: &mut At<'_, Passive>, path: &str) -> Result<Vec<u8>, AcpiError> {
        match self.call(at, path, Vec::new())? {
            AcpiValue::Buffer(bytes) => Ok(bytes),
            _ => Err(AcpiError::Unexpected { path: path.into(), wanted: "a buffer" }),
        }
    }
}

impl Aml {
    /// What the site `number` tells.
    fn notification(&self, interpreter: &Interpreter<Machine>, number: usize) -> Option<Notification> {
        let Site { name, value } = self.sites.get(number)?;
        let name = shortened(name);
        // Names mean what they mean in the method that has the site.
        let scope = method_with(interpreter, &notify::marker(number)).unwrap_or_default();
        let device = aml_name::resolve(&scope, &name, |path| self.device(path).is_some());
        Some(Notification { device: device.unwrap_or(name), value: *value })
    }
}

impl AcpiMethods for Aml {
    fn evaluate(&self, at: &mut At<'_, Passive>, path: &str) -> Result<AcpiValue, AcpiError> {
        self.call(at, path, Vec::new())
    }

    fn call(&self, at: &mut At<'_, Passive>, path: &str, arguments: &[u64]) -> Result<AcpiValue, AcpiError> {
        self.call(at, path, arguments.iter().copied().map(AcpiValue::Integer).collect())
    }

    fn notifications(&self, at: &mut At<'_, Passive>) -> Vec<Notification> {
        let state = self.state.acquire(at);
        let notified = acpi_handler::take_notified();
        notified.filter_map(|number| self.notification(&state.interpreter, number)).collect()
    }

    fn location(&self, at: &mut At<'_, Passive>, path: &str) -> Option<Location> {
        pci_path::location(at, self, path)
    }

    fn ejectable(&self, at: &mut At<'_, Passive>, location: Location) -> Option<String> {
        let can_leave = |node: &&Node| node.has("_EJ0") && node.has("_ADR");
        let found = self.devices().iter().filter(can_leave).find(|node| {
            pci_path::location(at, self, &node.path)
                .is_some_and(|it| Location { function: 0, ..it } == Location { function: 0, ..location })
        });
        found.map(|node| node.path.clone())
    }

    fn gpe_methods(&self, _: &mut At<'_, Passive>) -> Vec<GpeMethod> {
        self.gpe_methods.clone()
    }
}

/// The path of the method whose code contains `marker`.
fn method_with(interpreter: &Interpreter<Machine>, marker: &[u8]) -> Option<String> {
    let mut found = None;
    let mut namespace = interpreter.namespace.lock();
    let traversed = namespace.traverse(|scope, level| {
        for (name, (_, object)) in &level.values {
            if let Object::Method { code, .. } = &**object
                && code.windows(marker.len()).any(|bytes| bytes == marker)
            {
                let path = AmlName::from_name_seg(*name).resolve(scope)?;
                found = Some(shortened(&path.as_string()));
            }
        }
        Ok(found.is_none())
    });
    traversed.ok().and(found)
}

fn unusable(error: impl fmt::Debug) -> AcpiError {
    AcpiError::NoNamespace(format!("{error:?}"))
}

fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
}

/// The interpreter with all tables loaded, and the events handed over. A supplementary table that fails is left out.
fn interpreter(sites: &mut Vec<Site>, problems: &mut Vec<AcpiError>) -> Result<Interpreter<Machine>, acpi::AcpiError> {
    let rsdp = start::boot_info().map_or(0, |boot| boot.rsdp);
    // SAFETY: the loader's root pointer, from which `start` has read the static tables.
    let tables = unsafe { AcpiTables::from_rsdp(Machine, rsdp as usize) }?;
    let fadt = tables.find_table::<Fadt>().ok_or(acpi::AcpiError::TableNotFound(acpi::sdt::Signature::FADT))?;
    #[expect(clippy::arc_with_non_send_sync, reason = "the interpreter wants one, and is used under a lock alone")]
    let registers = Arc::new(registers::FixedRegisters::new(&fadt, Machine)?);
    let facs = fadt.facs_address().ok().map(|facs| {
        // SAFETY: the FADT says that the FACS is there.
        unsafe { Machine.map_physical_region::<Facs>(facs, size_of::<Facs>()) }
    });
    let dsdt = tables.dsdt()?;
    let interpreter = Interpreter::new(Machine, dsdt.revision, registers.clone(), facs);
    load_table(&interpreter, dsdt, sites).map_err(acpi::AcpiError::Aml)?;
    for ssdt in tables.ssdts() {
        remove_locals(&interpreter).map_err(acpi::AcpiError::Aml)?;
        if let Err(error) = load_table(&interpreter, ssdt, sites) {
            // It may have failed in a method that the interpreter would go on with.
            if locals(&interpreter).map_or(true, |locals| !locals.is_empty()) {
                return Err(acpi::AcpiError::Aml(error));
            }
            let path = "a supplementary table".to_string();
            problems.push(AcpiError::Failed { path, why: format!("{error:?}") });
        }
    }
    if let Some(fixed) = start::platform().and_then(|platform| platform.fixed.as_ref()) {
        take_over_events(fixed, &registers)?;
    }
    Ok(interpreter)
}

fn load_table(interpreter: &Interpreter<Machine>, table: AmlTable, sites: &mut Vec<Site>) -> Result<(), AmlError> {
    // SAFETY: the tables' own list says that it is there, with this length.
    let mapping = unsafe { Machine.map_physical_region::<u8>(table.phys_address, table.length as usize) };
    // SAFETY: mapped just now, for good, and nobody writes tables.
    let bytes = unsafe { slice::from_raw_parts(mapping.virtual_start.as_ptr(), table.length as usize) };
    let mut stream = bytes.get(size_of::<SdtHeader>()..).unwrap_or_default().to_vec();
    notify::replace(&mut stream, sites);
    // The interpreter copies what it keeps, but for what a failure leaves behind, which is never run again.
    interpreter.load_table(&stream)
}

/// Makes power management events come by the SCI instead of firmware's SMI.
fn take_over_events(
    fixed: &FixedRegisters,
    registers: &registers::FixedRegisters<Machine>,
) -> Result<(), acpi::AcpiError> {
    let Some((port, value)) = fixed.enable else { return Ok(()) };
    let is_ours = || registers.pm1_control_registers.read_bit(Pm1ControlBit::SciEnable);
    if is_ours()? {
        return Ok(());
    }
    Machine.write_io_u8(port, value);
    for _ in 0..HAND_OVER_MILLISECONDS {
        if is_ours()? {
            return Ok(());
        }
        Machine.stall(1_000);
    }
    Err(acpi::AcpiError::Timeout)
}

struct Survey {
    devices: Vec<Node>,
    gpe_methods: Vec<GpeMethod>,
}

/// What is in the namespace, but for events whose methods cannot be run.
fn survey(interpreter: &Interpreter<Machine>) -> Result<Survey, AmlError> {
    let mut survey = Survey { devices: Vec::new(), gpe_methods: Vec::new() };
    let mut methods: Vec<([u8; 4], Vec<u8>)> = Vec::new();
    interpreter.namespace.lock().traverse(|path, level| {
        for (name, (_, object)) in &level.values {
            if let Object::Method { code, .. } = &**object
                && let Some(name) = name.as_str().as_bytes().first_chunk()
            {
                methods.push((*name, code.clone()));
            }
        }
        match level.kind {
            NamespaceLevelKind::Device => survey.devices.push(Node {
                path: shortened(&path.as_string()),
                objects: level.values.keys().copied().collect(),
                status: status::ALL,
            }),
            NamespaceLevelKind::Scope if path.as_string() == "\\_GPE" => {
                survey.gpe_methods.extend(level.values.keys().filter_map(|name| gpe_method(name.as_str())));
            }
            _ => {}
        }
        Ok(true)
    })?;
    let methods: Vec<aml_limits::Method<'_>> = methods.iter().map(|(name, code)| (*name, code.as_slice())).collect();
    let refused = aml_limits::not_runnable(&methods);
    survey.gpe_methods.retain(|method| !refused.iter().any(|name| method.path.as_bytes().ends_with(name)));
    survey.gpe_methods.sort_by_key(|method| method.event);
    Ok(survey)
}

fn gpe_method(name: &str) -> Option<GpeMethod> {
    let (kind, event) = (name.get(..2)?, name.get(2..)?);
    let edge = match kind {
        "_E" => true,
        "_L" => false,
        _ => return None,
    };
    Some(GpeMethod { event: u8::from_str_radix(event, 16).ok()?, edge, path: format!("\\_GPE.{name}") })
}

/// The methods that have been called since [`remove_locals`]: what they declare is in the namespace, and the crate leaves
/// it there after many a return, and after every failure.
fn locals(interpreter: &Interpreter<Machine>) -> Result<Vec<AmlName>, AmlError> {
    let mut locals = Vec::new();
    interpreter.namespace.lock().traverse(|path, level| {
        let is_local = level.kind == NamespaceLevelKind::MethodLocals;
        if is_local {
            locals.push(path.clone());
        }
        Ok(!is_local)
    })?;
    Ok(locals)
}

fn remove_locals(interpreter: &Interpreter<Machine>) -> Result<(), AmlError> {
    let locals = locals(interpreter)?;
    let mut namespace = interpreter.namespace.lock();
    locals.into_iter().try_for_each(|local| namespace.remove_level(local))
}

fn to_object(value: AcpiValue) -> Object {
    match value {
        AcpiValue::Integer(value) => Object::Integer(value),
        AcpiValue::String(text) => Object::String(text),
        AcpiValue::Buffer(bytes) => Object::Buffer(bytes),
        AcpiValue::Package(values) => Object::Package(values.into_iter().map(|value| to_object(value).wrap()).collect()),
        AcpiValue::Nothing => Object::Uninitialized,
    }
}

fn value(object: &WrappedObject, nested: u32) -> AcpiValue {
    match &**object {
        Object::Integer(value) => AcpiValue::Integer(*value),
        Object::String(text) => AcpiValue::String(text.clone()),
        Object::Buffer(bytes) => AcpiValue::Buffer(bytes.clone()),
        Object::Package(values) if nested > 0 => {
            AcpiValue::Package(values.iter().map(|object| value(object, nested - 1)).collect())
        }
        Object::Reference { inner, .. } if nested > 0 => value(inner, nested - 1),
        _ => AcpiValue::Nothing,
    }
}
