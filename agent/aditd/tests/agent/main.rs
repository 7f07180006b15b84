// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The agent as its peers meet it: a real agent on [::1], real links, real files; only the people are scripted.

mod appliance;
mod backup;
mod commands;
mod console;
mod endpoints;
mod hostile;
mod invite;
mod keep;
mod lab;
mod monitor;
mod pairing;
mod peers;
mod power;
mod program;
mod recover;
mod roles;
mod sealed;
