//! The two 8259s of a PC: moved out of the exceptions' vectors and masked for good.

use crate::idt::PIC_VECTOR;
use x86_64::instructions::port::Port;

/// Remaps and masks both.
pub fn disable() {
    const START: u8 = 0x11;
    for (command, vector, wiring) in [(0x20, PIC_VECTOR, 1 << 2), (0xa0, PIC_VECTOR + 8, 2)] {
        let (mut command, mut data) = (Port::<u8>::new(command), Port::<u8>::new(command + 1));
        // SAFETY: the 8259s are nobody else's; this is their documented initialization.
        unsafe {
            command.write(START);
            data.write(vector);
            data.write(wiring);
            data.write(1);
            data.write(0xff);
        }
    }
}
