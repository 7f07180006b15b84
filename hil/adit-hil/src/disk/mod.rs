// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks and what befalls them: errors on chosen sectors, silent corruption, stalls, power cuts with a volatile cache.
