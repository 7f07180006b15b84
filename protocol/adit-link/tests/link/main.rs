// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The link's tests over real TLS on `[::1]`, one file per story.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod certificates;
mod common;
mod conversations;
mod dialling;
mod handshake;
mod limits;
mod raw;
mod serial;
