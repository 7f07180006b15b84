// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stories, one file each. A scenario reads as what happens to a machine; how it is made to happen is in adit-hil.
