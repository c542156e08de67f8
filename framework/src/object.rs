//! General objects, and what happens to an object of any kind at its end.
//!
//! Objects form no tree. The parent of each is its device; those made in `prepare_hardware` end after `release_hardware`, those
//! made in `device_add` at the removal, last first over all kinds. So what was made later, and may lean on what was made before,
//! goes first: KMDF's children before their parents.
//!
//! **Invariant:** the cleanup callback of an object runs exactly once, at PASSIVE, when no other callback of it runs or will run.

use crate::{
    Device,
    device::{AnyObject, DeviceObject},
};
use alloc::sync::Arc;
use core::{any::type_name, fmt, ops::Deref};
use ke::{At, Passive};

/// What is told when it is over.
pub(crate) trait Cleanup: Send + Sync {
    fn cleanup(&self, at: &mut At<'_, Passive>);
}

/// The context of a general object, with its callback.
pub trait EvtObject: Send + Sync + 'static {
    /// EvtObjectCleanup, once, at the end of the stage that the object was made in. PASSIVE.
    fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
        let _ = at;
    }
}

/// A general object (WdfObjectCreate with a context): a context that lives as long as the stage that it was made in, and is told
/// when that ends. The framework owns the object; this is the driver's handle, which derefs to the context.
///
/// ```
/// use framework::prelude::*;
/// # struct Nic { names: Object<Names> }
/// # impl Device for Nic {
/// #     const NAME: &'static str = "nic";
/// #     type Driver = ();
/// #     type Added = ();
/// #     fn prepare_hardware(hw: &mut Resources<'_, Self>, _: &mut At<'_, Passive>) -> Result<Self> {
/// Ok(Nic { names: hw.object(Names(WaitLock::new(Vec::new()))) })
/// #     }
/// # }
/// struct Names(WaitLock<Vec<String>>);
/// impl EvtObject for Names {
///     fn evt_cleanup(&self, at: &mut At<'_, Passive>) {
///         self.0.acquire(at).clear();
///     }
/// }
/// ```
pub struct Object<T: EvtObject>(Arc<T>);

impl<T: EvtObject> Object<T> {
    pub(crate) fn new(context: T) -> Self {
        Object(Arc::new(context))
    }

    pub(crate) fn object<D: Device>(&self) -> Arc<dyn AnyObject<D>> {
        Arc::new(Kept(self.0.clone()))
    }
}

struct Kept<T>(Arc<T>);

/// It has no callback that could run on the device.
impl<T: EvtObject, D: Device> AnyObject<D> for Kept<T> {
    fn kind(&self) -> &'static str {
        "Object"
    }

    fn handler(&self) -> &'static str {
        type_name::<T>()
    }

    fn start(&self, _: &Arc<DeviceObject<D>>, _: &mut At<'_, Passive>) {}

    fn stop(&self, _: &mut At<'_, Passive>) {}
}

impl<T: EvtObject> Cleanup for Kept<T> {
    fn cleanup(&self, at: &mut At<'_, Passive>) {
        self.0.evt_cleanup(at);
    }
}

impl<T: EvtObject> Deref for Object<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: EvtObject + fmt::Debug> fmt::Debug for Object<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.0).finish()
    }
}
