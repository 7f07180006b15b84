// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzz target: `health_kept` of this room's library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::machine::health_kept(data));
