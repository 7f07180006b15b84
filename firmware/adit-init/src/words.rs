// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What numbers and states are called for a person.

use adit_slots::decide::Start;
use adit_slots::record::Reset;

/// Why a machine started, or a version failed.
pub(crate) const fn reset(reset: Reset) -> &'static str {
    match reset {
        Reset::Unknown => "power was lost, or the machine was reset without a word",
        Reset::Asked => "a person restarted it",
        Reset::Update => "it restarted into an update",
        Reset::Health => "it did not become healthy in time",
        Reset::Watchdog => "the watchdog reset it: something hung",
        Reset::Panic => "the kernel panicked",
        Reset::PowerButton => "it was switched off by its button",
        Reset::Ups => "the UPS ran low",
        Reset::RollBack => "a person went back to the other version",
        Reset::Starts => "it started three times without becoming healthy",
        Reset::FactoryReset => "a factory reset",
        Reset::Missing => "its file is gone",
    }
}

/// How it started.
pub(crate) const fn start(start: Start) -> &'static str {
    match start {
        Start::Normal => "normal",
        Start::Trying { .. } => "trying",
        Start::Leave => "leaving",
        Start::Recovery => "recovery",
        Start::FactoryReset => "factory reset",
    }
}
