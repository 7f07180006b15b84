// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The proof that adit-wire, adit-proto and adit-slots need no std: this crate brings a panic handler of its own, and the compiler
//! refuses two. It compiles with `--cfg no_std_proof` only as long as no dependency links std. The feature `std` links
//! it on purpose; that build must fail. Without the cfg it is an empty crate, so it may stand in the workspace.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

use adit_proto as _;
use adit_slots as _;
use adit_wire as _;

#[cfg(no_std_proof)]
#[panic_handler]
fn halt(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
