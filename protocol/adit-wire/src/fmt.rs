// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which logger a pure crate speaks to: none, `log`, or `defmt` on a microcontroller.
//!
//! Adit's pure crates return events and log next to nothing; this file proves that the choice stays open.
#[cfg(all(feature = "log", feature = "defmt"))]
compile_error!("choose one of the features `log` and `defmt`: a program has one logger");
