// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every decoder that a peer can reach, and those of what devices and programs say, on seeded bytes: noise, every truncation of good inputs, flipped bits, spliced
//! halves. The same functions are fuzz targets (`make fuzz`); here they run briefly, with every build.

#[expect(unreachable_pub, reason = "the fuzz targets use the same file as a library")]
#[path = "../../../protocol/fuzz/src/lib.rs"]
mod decoders;

use decoders::{Decoder, machine};

/// Inputs of noise for each decoder.
const NOISE_INPUTS: usize = 40_000;
/// Mutations of each good input for each decoder.
const MUTATIONS: usize = 10_000;

/// A small random source: the same seed gives the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = 1usize << self.below(11);
        let length = self.below(length);
        // Small numbers are lengths and variants that a decoder accepts, so half of the bytes are small.
        (0..length).map(|_| if self.below(2) == 0 { self.byte() } else { self.byte() % 8 }).collect()
    }

    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (self.next() % 8)),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, self.byte()),
                _ => bytes.extend_from_slice(&seed[self.below(seed.len())..]),
            }
        }
        bytes
    }
}

/// How many inputs each of these decoders survived.
fn survived(decoders: &[(&str, Decoder)], seeds: &[Vec<u8>], noise: usize, mutations: usize) -> usize {
    let mut inputs = 0;
    for (name, decode) in decoders {
        let mut random = Random(0xAD17 ^ name.len() as u64);
        for _ in 0..noise {
            decode(&random.noise());
            inputs += 1;
        }
        for seed in seeds {
            for length in 0..=seed.len() {
                decode(&seed[..length]);
                inputs += 1;
            }
            for _ in 0..mutations {
                decode(&random.mutated(seed));
                inputs += 1;
            }
        }
    }
    inputs
}

#[test]
fn every_decoder_survives_noise_truncation_and_mutation() {
    let inputs = survived(&decoders::DECODERS, &decoders::seeds(), NOISE_INPUTS, MUTATIONS);
    assert!(inputs > 500_000, "only {inputs} inputs were tried");
}

/// Fewer of each than above: these look at whole devices and whole documents, and no peer chooses their bytes.
#[test]
fn what_machines_and_programs_say_is_survived() {
    let inputs = survived(&machine::DECODERS, &machine::seeds(), NOISE_INPUTS / 2, MUTATIONS / 4);
    assert!(inputs > 500_000, "only {inputs} inputs were tried");
}
