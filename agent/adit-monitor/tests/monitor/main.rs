// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The monitor as a whole: agents over the real protocol on [::1], small real servers for its channels.

mod channels;
mod joining;
mod lab;
mod products;
mod program;
mod telling;
