//! A device's registers as fields with a width and a direction.
//!
//! **Invariant:** a register lies inside its BAR or port range: that is checked once, when the block is mapped, so an
//! access is one load, store or port instruction.

use ke::{At, Level, Mmio, OutOfRange, Register, RegisterWidth};

/// The registers of one BAR. Made by [`registers!`](macro@crate::registers), mapped by
/// [`Resources::map_bar`](crate::Resources::map_bar).
pub trait RegisterBlock: Sized + Send + Sync {
    /// The registers in `mmio`; an error names the first that does not fit.
    fn map(mmio: &Mmio) -> Result<Self, OutOfRange>;
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<W: RegisterWidth = u32>(Register<W>);

        impl<W: RegisterWidth> $name<W> {
            #[doc(hidden)]
            pub fn map(mmio: &Mmio, offset: usize) -> Result<Self, OutOfRange> {
                mmio.register(offset).map($name)
            }
        }
    )*};
}
kinds! {
    /// A register that can be read; 32 bits wide unless told otherwise.
    Ro;
    /// A register that can be written; 32 bits wide unless told otherwise.
    Wo;
    /// A register that can be read and written; 32 bits wide unless told otherwise.
    Rw;
}

impl<W: RegisterWidth> Ro<W> {
    /// READ_REGISTER_*: one access. A device that is gone answers all ones. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn read<L: Level>(&self, at: &mut At<'_, L>) -> W {
        self.0.read(at)
    }
}

impl<W: RegisterWidth> Wo<W> {
    /// WRITE_REGISTER_*: one access. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn write<L: Level>(&self, at: &mut At<'_, L>, value: W) {
        self.0.write(at, value);
    }
}

impl<W: RegisterWidth> Rw<W> {
    /// READ_REGISTER_*: one access. A device that is gone answers all ones. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn read<L: Level>(&self, at: &mut At<'_, L>) -> W {
        self.0.read(at)
    }

    /// WRITE_REGISTER_*: one access. Any IRQL.
    #[inline]
    #[track_caller]
    pub fn write<L: Level>(&self, at: &mut At<'_, L>, value: W) {
        self.0.write(at, value);
    }
}

/// Describes the registers of a BAR: offset, name, direction ([`Ro`], [`Wo`], [`Rw`]) and, where it is not 32 bits,
/// width. With `in ports` it describes those of a port range ([`PortBlock`](crate::PortBlock)), which are 8 bits wide unless
/// told otherwise. Expands to safe code only. The block is not `Clone`: registers exist once, inside their device.
///
/// ```
/// use framework::prelude::*;
/// registers! {
///     /// Two of many.
///     pub struct Regs {
///         0x24 irq_status: Ro,
///         0x80 dma_source: Rw<u64>,
///     }
/// }
/// fn look(regs: &Regs, at: &mut At<'_, Dirql>) -> u32 {
///     regs.irq_status.read(at)
/// }
/// registers! {
///     /// A keyboard controller's.
///     struct Ports in ports {
///         0 data: Rw,
///     }
/// }
/// fn key(ports: &Ports, at: &mut At<'_, Dirql>) -> u8 {
///     ports.data.read(at)
/// }
/// ```
#[macro_export]
macro_rules! registers {
    ($(#[$meta:meta])* $vis:vis struct $name:ident in ports {
        $($(#[$field_meta:meta])* $offset:literal $field:ident: $kind:ident $(<$width:ty>)?),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $vis $field: $crate::ports::$kind $(<$width>)?),*
        }
        impl $crate::PortBlock for $name {
            fn map(ports: &$crate::macros::Ports) -> ::core::result::Result<Self, $crate::macros::PortOutOfRange> {
                Ok(Self { $($field: <$crate::ports::$kind $(<$width>)?>::map(ports, $offset)?),* })
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $offset:literal $field:ident: $kind:ty),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $vis $field: $kind),*
        }
        impl $crate::RegisterBlock for $name {
            fn map(mmio: &$crate::macros::Mmio) -> ::core::result::Result<Self, $crate::macros::OutOfRange> {
                Ok(Self { $($field: <$kind>::map(mmio, $offset)?),* })
            }
        }
    };
}
