// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The wire as a whole: frozen bytes, and what holds for any bytes.

mod frozen;
mod lock;
mod properties;
mod vectors;
