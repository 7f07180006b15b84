// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Fuzz target: `device_mapper` of this room's library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| adit_fuzz::machine::device_mapper(data));
