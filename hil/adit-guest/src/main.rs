// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PID 1 of a harness machine: mounts, loads modules, brings the network up, then does what the harness asks. Never part
//! of an appliance.

fn main() {}
