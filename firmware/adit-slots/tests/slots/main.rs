// SPDX-License-Identifier: Apache-2.0 OR MIT
//! adit-slots as whoever uses it sees it: frozen bytes, refusals, noise.

mod checked;
mod disk;
mod esp;
mod frozen;
mod kept;
mod overlay;
mod power;
mod refusals;
mod signing;
mod simulation;
