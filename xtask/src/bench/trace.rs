//! The instructions that ran, as QEMU logs them when every translated block is one instruction long (`log exec`).

/// Addresses of instructions in the order in which they ran.
///
/// QEMU logs a block before it runs it, and says so when it then did not: an interrupt was pending, or the block had to
/// be translated again because it reaches a device. Those lines are taken back here, so each instruction counts once.
pub fn parse(log: &str) -> Vec<u64> {
    let mut ran = Vec::new();
    for line in log.lines() {
        if let Some(block) = line.strip_prefix("Trace ") {
            ran.extend(address(block));
        } else if line.starts_with("Stopped execution of TB chain before ") || line.starts_with("cpu_io_recompile: ") {
            ran.pop();
        }
    }
    ran
}

/// The program counter of a line `0: 0x7f8b7c000100 [<cs base>/<program counter>/<flags>/...`.
fn address(block: &str) -> Option<u64> {
    let (_, state) = block.split_once('[')?;
    u64::from_str_radix(state.split('/').nth(1)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instruction_that_ran_counts_once() {
        let log = "Trace 0: 0x7f9a44000100 [00000000/ffffffff80201000/00c0b2b0/ff000201] mark\n\
                   Trace 0: 0x7f9a44000200 [00000000/ffffffff80201004/00c0b2b0/ff000201] raise\n\
                   cpu_io_recompile: rewound execution of TB to ffffffff80201004\n\
                   Trace 0: 0x7f9a44000300 [00000000/ffffffff80201004/00c0b2b0/ff018001] raise\n\
                   Trace 0: 0x7f9a44000400 [00000000/ffffffff80201008/00c0b2b0/ff000201] raise\n\
                   Stopped execution of TB chain before 0x7f9a44000400 [ffffffff80201008] raise\n\
                   Trace 0: 0x7f9a44000500 [00000000/ffffffff80300510/00c0b2b0/ff000201] stub\n\
                   Servicing hardware INT=0x51\n";
        assert_eq!(parse(log), [0xffff_ffff_8020_1000, 0xffff_ffff_8020_1004, 0xffff_ffff_8030_0510]);
    }
}
