// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit-slots as whoever uses it sees it: frozen bytes, refusals, noise.

mod disk;
mod frozen;
mod kept;
mod refusals;
mod signing;
mod simulation;
