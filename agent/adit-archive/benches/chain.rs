// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How fast one core cuts, names, compresses, seals and proves, against the sum of the primitives that this must call,
//! measured in the same run. Prints one table; takes some seconds.
#![expect(clippy::print_stdout, reason = "a measurement's output is its purpose")]

use adit_archive::cut::{CHUNK_BYTES_AVG, Cutter};
use adit_archive::keys::SourceKeys;
use adit_archive::run_key::{RunKey, Suite};
use adit_archive::seal::{Content, Kind, Opener, Padding, Sealer};
use adit_wire::record::Record;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;

const BYTES: usize = 64 << 20;
/// Each figure is the best of this many rounds: the machine is shared.
const ROUNDS: usize = 5;

fn main() {
    for (name, data) in [("mixed", mixed()), ("incompressible", noise(BYTES, 7))] {
        for level in [1, 3] {
            measure(name, &data, level);
        }
    }
}

fn measure(name: &str, data: &[u8], level: i32) {
    let mut fill = filler(1);
    let keys = SourceKeys::generate(&mut fill);
    let run_key = RunKey::generate(Suite::Aes256Gcm, &mut fill);
    let mut sealer = Sealer::new(&keys, run_key.clone(), Padding::Padme).expect("contexts fit into memory");
    let cutter = Cutter::new(&keys.seed().cut_key());
    let chunks = cut(&cutter, data);
    let parts = Primitives::measure(&cutter, data, &chunks, level);

    let mut sealed = 0;
    let chain = best(|| {
        sealed = 0;
        let mut rest = data;
        let mut counter = 0;
        while let Some(length) = cutter.next_cut(rest, true) {
            let (chunk, more) = rest.split_at(length);
            let content = Content::data(Kind::Chunk, chunk);
            let id = content.id(sealer.id_key());
            sealed += black_box(sealer.seal(&content, id, counter, level).expect("content is within limits")).len();
            counter += 1;
            rest = more;
        }
    });

    let mut opener = Opener::new(keys.source()).expect("contexts fit into memory");
    opener.add_key(run_key, keys.seed());
    let records: Vec<Vec<u8>> = chunks
        .iter()
        .zip(0..)
        .map(|(chunk, counter)| {
            let content = Content::data(Kind::Chunk, chunk);
            sealer.seal(&content, content.id(sealer.id_key()), counter, level).expect("content is within limits")
        })
        .collect();
    let mut plain = Vec::new();
    let open = best(|| {
        for record in &records {
            let record = Record::parse(record).expect("a sealed record parses");
            opener.open_into(&record, &mut plain).expect("a sealed record opens");
        }
    });

    let sum = parts.sum();
    println!(
        "{name}, level {level}: {} chunks, mean {} KiB (turning point {} KiB), sealed {:.3} of plain",
        chunks.len(),
        data.len() / chunks.len() / 1024,
        CHUNK_BYTES_AVG / 1024,
        sealed as f64 / data.len() as f64
    );
    for (part, time) in &parts.0 {
        println!("  {part:<22}{:>9} MB/s", rate(*time));
    }
    println!("  {:<22}{:>9} MB/s", "sum of these", rate(sum));
    println!(
        "  {:<22}{:>9} MB/s = {:.0} % of the sum",
        "whole chain",
        rate(chain),
        100.0 * sum.as_secs_f64() / chain.as_secs_f64()
    );
    println!("  {:<22}{:>9} MB/s", "parse and open", rate(open));
}

/// What the chain can't do without, each over the same chunks.
struct Primitives(Vec<(&'static str, Duration)>);

impl Primitives {
    fn measure(cutter: &Cutter, data: &[u8], chunks: &[&[u8]], level: i32) -> Self {
        let mut compressor = zstd::bulk::Compressor::new(level).expect("contexts fit into memory");
        let mut decompressor = zstd::bulk::Decompressor::new().expect("contexts fit into memory");
        let mut packed: Vec<Vec<u8>> = Vec::new();
        let mut room = vec![0; 2 << 20];
        let compress = best(|| {
            for chunk in chunks {
                // As in the chain: no more room than the least gain leaves.
                let enough = chunk.len() - chunk.len() / 32;
                drop(black_box(compressor.compress_to_buffer(chunk, &mut room[..enough])));
            }
        });
        for chunk in chunks {
            let whole = compressor.compress(chunk).expect("compression with enough room works");
            packed.push(if whole.len() <= chunk.len() - chunk.len() / 32 { whole } else { chunk.to_vec() });
        }
        let decompress = best(|| {
            for (packed, chunk) in packed.iter().zip(chunks) {
                if packed.len() < chunk.len() {
                    black_box(decompressor.decompress_to_buffer(packed, &mut room[..chunk.len()]).expect("it opens"));
                }
            }
        });
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("32 bytes"));
        let nonce = || Nonce::assume_unique_for_key([0; 12]);
        let mut sealed = packed.clone();
        let mut tags = Vec::new();
        let seal = best(|| {
            tags.clear();
            for packed in &mut sealed {
                tags.push(key.seal_in_place_separate_tag(nonce(), Aad::empty(), packed).expect("short enough"));
            }
        });
        let open = best(|| {
            for (sealed, tag) in sealed.iter().zip(&tags) {
                key.open_separate_gather(nonce(), Aad::empty(), sealed, tag.as_ref(), &mut room[..sealed.len()])
                    .expect("the tag fits");
            }
        });
        let hash = |parts: &[&[u8]]| {
            best(|| {
                for part in parts {
                    black_box(blake3::keyed_hash(&[7; 32], part));
                }
            })
        };
        let packed: Vec<&[u8]> = packed.iter().map(Vec::as_slice).collect();
        Self(vec![
            ("cut", best(|| drop(black_box(cut(cutter, data))))),
            ("id", hash(chunks)),
            ("compress", compress),
            ("AES-256-GCM seal", seal),
            ("record hash", hash(&packed)),
            ("AES-256-GCM open", open),
            ("decompress", decompress),
            ("id again", hash(chunks)),
        ])
    }

    fn sum(&self) -> Duration {
        self.0.iter().map(|(_, time)| *time).sum()
    }
}

fn cut<'a>(cutter: &Cutter, data: &'a [u8]) -> Vec<&'a [u8]> {
    let mut rest = data;
    let mut chunks = Vec::new();
    while let Some(length) = cutter.next_cut(rest, true) {
        let (chunk, more) = rest.split_at(length);
        chunks.push(chunk);
        rest = more;
    }
    chunks
}

/// Processor time of this thread: what others do on the machine meanwhile counts little.
fn best(mut work: impl FnMut()) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let start = cpu();
            work();
            cpu().saturating_sub(start)
        })
        .min()
        .unwrap_or_default()
}

fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

fn rate(time: Duration) -> u64 {
    u64::try_from(BYTES as u128 * 1_000 / time.as_nanos().max(1)).unwrap_or(u64::MAX)
}

fn filler(seed: u8) -> impl FnMut(&mut [u8]) {
    let mut stream = blake3::Hasher::new().update(&[seed]).finalize_xof();
    move |bytes| stream.fill(bytes)
}

fn noise(bytes: usize, seed: u8) -> Vec<u8> {
    let mut data = vec![0; bytes];
    filler(seed)(&mut data);
    data
}

/// Programs and libraries of this machine, as a backup meets them.
fn mixed() -> Vec<u8> {
    let mut data = Vec::with_capacity(BYTES);
    let mut folders = vec![std::path::PathBuf::from("/usr/lib")];
    while let Some(folder) = folders.pop().filter(|_| data.len() < BYTES) {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_symlink() || data.len() >= BYTES {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = std::fs::read(&path) {
                data.extend_from_slice(&bytes);
            }
        }
    }
    if data.len() < BYTES {
        data.extend(noise(BYTES - data.len(), 9));
    }
    data.truncate(BYTES);
    data
}
