// SPDX-License-Identifier: Apache-2.0 OR MIT
//! House rules as tests. Each module owns one family of rules; a rule is a function from text to a list of complaints,
//! so that every rule has a test that shows it complaining. `tests/house.rs` runs all of them over this repository.
//! It reads files and asks `cargo metadata`; it never changes anything.

#![forbid(unsafe_code)]

pub mod arrows;
pub mod documents;
pub mod functions;
pub mod lexer;
pub mod licences;
pub mod manifest;
pub mod repository;
pub mod sources;

/// What a rule has to say: one sentence per finding, none when all is well.
pub type Complaints = Vec<String>;
