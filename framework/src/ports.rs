//! Registers at I/O ports, as [`registers!`](macro@crate::registers) describes them with `in ports`.

use ke::{At, Level, PortOutOfRange, PortRegister, PortWidth, Ports};

/// The registers of one port range. Made by [`registers!`](macro@crate::registers), mapped by
/// [`Resources::map_ports`](crate::Resources::map_ports).
pub trait PortBlock: Sized + Send + Sync {
    /// The registers in `ports`; an error names the first that does not fit.
    fn map(ports: &Ports) -> Result<Self, PortOutOfRange>;
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Debug)]
        pub struct $name<W: PortWidth = u8>(PortRegister<W>);

        impl<W: PortWidth> $name<W> {
            #[doc(hidden)]
            pub fn map(ports: &Ports, offset: u16) -> Result<Self, PortOutOfRange> {
                ports.register(offset).map($name)
            }
        }
    )*};
}
kinds! {
    /// A port that can be read; 8 bits wide unless told otherwise.
    Ro;
    /// A port that can be written; 8 bits wide unless told otherwise.
    Wo;
    /// A port that can be read and written; 8 bits wide unless told otherwise.
    Rw;
}

macro_rules! reads {
    ($($name:ident)*) => {$(
        impl<W: PortWidth> $name<W> {
            /// READ_PORT_*: one access. What is not there answers all ones. Any IRQL.
            #[inline]
            #[track_caller]
            pub fn read<L: Level>(&self, at: &mut At<'_, L>) -> W {
                self.0.read(at)
            }
        }
    )*};
}
reads! { Ro Rw }

macro_rules! writes {
    ($($name:ident)*) => {$(
        impl<W: PortWidth> $name<W> {
            /// WRITE_PORT_*: one access. Any IRQL.
            #[inline]
            #[track_caller]
            pub fn write<L: Level>(&self, at: &mut At<'_, L>, value: W) {
                self.0.write(at, value);
            }
        }
    )*};
}
writes! { Wo Rw }
