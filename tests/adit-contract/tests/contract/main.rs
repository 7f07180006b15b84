// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The contract: the binaries, run as people run them, keep what README and SPECIFICATION promise. One file per story.
//! Tests whose names begin with `netns_` make network namespaces or mount something, which needs root, and run by
//! `make test-services`; those that begin with `soak_` take as long as they are told, by `make soak-health`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod budgets;
mod carried;
mod demo;
mod errors;
mod full_disk;
mod health;
mod health_cost;
mod interrupted;
mod main_job;
mod netns;
mod peers;
mod real_files;
