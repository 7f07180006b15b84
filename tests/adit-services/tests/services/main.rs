// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Real services in rooms of their own. They need root and Debian's packages; `make test-services` runs them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod ceph;
mod gluster;
mod nut;
