// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Whether the kernel's clock is kept: adjtimex(2), which no safe library offers. Reading sets no mode and needs no capability;
//! the appliance's first process says that it keeps the clock.

use nix::libc::{ADJ_ESTERROR, ADJ_MAXERROR, ADJ_STATUS, STA_NANO, STA_UNSYNC, adjtimex, timex};

/// What the kernel says of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStatus {
    /// Whether a program keeps it.
    pub is_synchronised: bool,
    /// How far it still has to be moved, microseconds.
    pub offset_us: i64,
}

/// The status of the clock; `None` where a filter forbids to ask.
#[must_use]
pub fn clock_status() -> Option<ClockStatus> {
    // SAFETY: a timex holds integers alone, and zero is a value of each of them.
    let mut status: timex = unsafe { std::mem::zeroed() };
    // SAFETY: `status` is a timex that lives and is not shared; the kernel reads and fills no more than it, and with no
    // mode set it changes nothing else.
    let state = unsafe { adjtimex(&raw mut status) };
    (state >= 0).then_some(ClockStatus {
        is_synchronised: status.status & STA_UNSYNC == 0,
        offset_us: if status.status & STA_NANO == 0 { status.offset } else { status.offset / 1_000 },
    })
}

/// Tells the kernel that a program keeps its clock, wrong by `error_us` microseconds at most. The kernel lets that grow by
/// 500 parts in a million, and calls the clock not kept again at 16 s. Needs CAP_SYS_TIME; the error number tells why not.
#[must_use]
pub fn clock_is_kept(error_us: u32) -> bool {
    // SAFETY: as above.
    let mut order: timex = unsafe { std::mem::zeroed() };
    order.modes = ADJ_STATUS | ADJ_MAXERROR | ADJ_ESTERROR;
    (order.maxerror, order.esterror) = (error_us.into(), error_us.into());
    // SAFETY: as above; the modes change the status and two counters, no address is read from them.
    unsafe { adjtimex(&raw mut order) >= 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_this_machine_is_told() {
        let status = clock_status().unwrap();
        // The kernel never holds an offset beyond MAXPHASE, half a second (linux/timex.h).
        assert!(status.offset_us.abs() <= 500_000, "{status:?}");
    }
}
