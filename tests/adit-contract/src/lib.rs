// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the contract tests share: a lab that runs the real binaries as people run them, trees of odd files, and a
//! comparer that is not the product's own. It must never call into the engines: only the binaries are under test.

pub mod lab;
pub mod tree;
