// SPDX-License-Identifier: Apache-2.0 OR MIT
//! smartctl itself over the transcripts.
