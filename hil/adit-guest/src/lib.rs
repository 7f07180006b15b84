// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The hand: what the harness asks the first process of its machines to do, and the frames that carry it over a
//! virtio-serial port. Both ends use these types, so that they cannot drift apart. Never part of an appliance.
