// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The store from outside: its behaviour, its faults, its power cuts. One program, so that it links once.

mod behaviour;
mod collect;
mod crash;
mod faults;
mod golden;
mod heal;
mod limits;
mod model;
mod retention;
mod support;
mod world;
