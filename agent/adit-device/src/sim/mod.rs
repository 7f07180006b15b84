// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Simulated devices behind the transport traits: disks that fail, sleep, hang and lie on demand, for the tests of every
//! room that asks devices. They count how often they were woken.
//!
//! They encode what the decoders decode, by the same standards and apart from them; what both understand wrongly is found
//! by the comparison with another program (`tests/smartctl`).

mod ata;
mod nvme;
mod scsi;

pub use ata::{AtaDisk, AtaPower, SimAttribute, SimSelfTest};
pub use nvme::{NvmeDisk, NvmeSelfTest};
pub use scsi::{ScsiDisk, ScsiSelfTest, SmartArray};

use crate::transport::TransportError;

/// How a simulated device misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Not at all.
    #[default]
    None,
    /// It never answers.
    Hangs,
    /// It is pulled out.
    Gone,
    /// The caller lacks a capability.
    Forbidden,
    /// Checksums are wrong; where there is none, so are lengths inside the answer.
    WrongChecksums,
    /// Answers stop half way.
    HalfAnswers,
    /// Answers are noise, different for each command, from this seed.
    Noise(u64),
}

impl Fault {
    /// Whether an answer comes at all.
    fn reach(self, capability: &'static str) -> Result<(), TransportError> {
        match self {
            Self::Hangs => Err(TransportError::TimedOut),
            Self::Gone => Err(TransportError::Gone),
            Self::Forbidden => Err(TransportError::NeedsCapability(capability)),
            Self::None | Self::WrongChecksums | Self::HalfAnswers | Self::Noise(_) => Ok(()),
        }
    }

    /// Spoils an answer; gives how many bytes of it are missing.
    fn spoil(self, count: u32, data: &mut [u8]) -> usize {
        match self {
            Self::WrongChecksums => {
                for place in data.iter_mut().skip(3).step_by(512) {
                    *place ^= 0x55;
                }
                0
            }
            Self::HalfAnswers => {
                let kept = data.len() / 2;
                data[kept..].fill(0);
                data.len() - kept
            }
            Self::Noise(seed) => {
                // SplitMix64 (Steele, Lea, Flood 2014).
                let mut state = seed ^ (u64::from(count) << 32);
                for place in data.iter_mut() {
                    state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = state;
                    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    *place = (z ^ (z >> 31)).to_le_bytes()[0];
                }
                0
            }
            Self::None | Self::Hangs | Self::Gone | Self::Forbidden => 0,
        }
    }
}

/// Writes `bytes` at `at`; a place beyond the end is a mistake of the simulator.
fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Writes a text padded with blanks.
fn put_text(page: &mut [u8], at: usize, len: usize, text: &str) {
    page[at..at + len].fill(b' ');
    let text = &text.as_bytes()[..text.len().min(len)];
    put(page, at, text);
}
