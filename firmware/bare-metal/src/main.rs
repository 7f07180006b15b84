// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The proof on a microcontroller: adit-wire's frozen bytes and adit-slots' decisions run on a Cortex-M3 without an
//! operating system, a heap or a file, in QEMU. It ends with an exit code, by semihosting.
//!
//! Text goes to the host's standard error. With the feature `defmt` its frames go to standard output, with `log` its lines
//! to standard error.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("choose one of the features `log` and `defmt`: a program has one logger");

mod hex;
mod pages;
mod slots;
mod wire;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS, exit};
use cortex_m_semihosting::heprintln;
#[cfg(feature = "defmt")]
use defmt_semihosting as _;

/// Tells the logger that was chosen, if one was.
macro_rules! tell {
    ($value:expr) => {{
        #[cfg(feature = "defmt")]
        defmt::info!("{}", $value);
        #[cfg(feature = "log")]
        log::info!("{:?}", $value);
        #[cfg(not(any(feature = "defmt", feature = "log")))]
        let _ = &$value;
    }};
}
pub(crate) use tell;

#[cfg(feature = "log")]
struct Lines;

#[cfg(feature = "log")]
impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        heprintln!("log: {}", record.args());
    }

    fn flush(&self) {}
}

#[entry]
fn main() -> ! {
    #[cfg(feature = "log")]
    log::set_logger(&Lines).map(|()| log::set_max_level(log::LevelFilter::Trace)).expect("the first logger");
    let bodies = wire::frozen_bodies();
    heprintln!("wire: {} frozen bodies of {} messages decoded and encoded again", bodies.run, bodies.messages);
    let steps = slots::life();
    heprintln!("slots: {} checks of an update and of a life with three updates", steps);
    leave(bodies.run > 140 && bodies.messages > 50 && steps > 30)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    heprintln!("{}", info);
    leave(false)
}

fn leave(well: bool) -> ! {
    loop {
        exit(if well { EXIT_SUCCESS } else { EXIT_FAILURE });
    }
}
