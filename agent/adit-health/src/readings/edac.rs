// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Memory errors that memory controllers count (Documentation/admin-guide/RAS/main.rst). The counts begin at 0 with each boot.

/// A memory controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdacReading {
    /// The kernel's name, such as "mc0".
    pub name: String,
    /// The driver's name for it.
    pub driver: Option<String>,
    /// Errors that were not corrected.
    pub uncorrected: i64,
    /// Its modules; one that stands for all where the driver knows none.
    pub modules: Vec<MemoryModule>,
}

/// A memory module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryModule {
    /// Where it is, such as "CPU_SrcID#0_MC#0_Chan#1_DIMM#0".
    pub label: String,
    /// Errors that were corrected.
    pub corrected: i64,
}
