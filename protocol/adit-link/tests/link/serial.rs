// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames over a duplex line, through the adapters that a real port would use, with noise between and inside.

use adit_link::serial::{SERIAL_BODY_BYTES_MAX, SerialError, SerialLine};
use adit_wire::frame::{Header, Kind, Message as _};
use adit_wire::health::Poll;
use embedded_io_adapters::tokio_1::FromTokio;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

const TEST: Kind = Kind { service: 5, method: 200, major: 1 };

fn line(stream: DuplexStream) -> SerialLine<FromTokio<DuplexStream>> {
    SerialLine::new(FromTokio::new(stream))
}

/// A seeded generator: noise that comes again with the same seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

#[tokio::test]
async fn frames_go_both_ways() {
    let (here, there) = duplex(1 << 10);
    let (mut console, mut host) = (line(here), line(there));
    let mut buffer = [0; 64];
    let question = Poll { inventory: 7, report: 9 };
    let body = question.encode(&mut buffer).unwrap();
    console.send(Poll::KIND, 1, 3, &[body]).await.unwrap();
    let frame = host.recv().await.unwrap();
    assert_eq!(frame.header, Header { kind: Poll::KIND, flags: 1, conversation: 3 });
    assert_eq!(Poll::decode(frame.body).unwrap(), question);
    host.send(TEST, 0, 3, &[b"an", b"swer"]).await.unwrap();
    assert_eq!(console.recv().await.unwrap().body, b"answer");
    drop(host);
    assert_eq!(console.recv().await.unwrap_err(), SerialError::Ended);
}

#[tokio::test]
async fn the_longest_body_passes_and_a_longer_one_is_refused() {
    let (here, there) = duplex(1 << 20);
    let (mut console, mut host) = (line(here), line(there));
    let body: Vec<u8> = (0..SERIAL_BODY_BYTES_MAX).map(|at| u8::try_from(at % 256).unwrap()).collect();
    console.send(TEST, 0, 1, &[&body]).await.unwrap();
    assert!(host.recv().await.unwrap().body == body);
    assert!(matches!(console.send(TEST, 0, 1, &[&body, &[0]]).await, Err(SerialError::Frame(_))));
}

/// Sends 1,000 numbered frames through a wire that flips, drops and inserts bytes. What arrives is a subset, unchanged
/// and in order, and every frame that the wire left alone is in it.
#[tokio::test]
async fn noise_costs_the_frames_it_hits_and_no_others() {
    for seed in 1..=8 {
        let (console, mut wire_in) = duplex(1 << 20);
        let (mut wire_out, host) = duplex(1 << 20);
        let (mut console, mut host) = (line(console), line(host));
        let mut noise = Noise(seed * 0x9e37_79b9);
        let mut untouched = Vec::new();
        for number in 0..1_000u32 {
            let filling = vec![number.to_le_bytes()[0]; noise.below(300)];
            console.send(TEST, 0, 1, &[&number.to_le_bytes(), &filling]).await.unwrap();
            let mut bytes = vec![0; 1 << 10];
            let length = wire_in.read(&mut bytes).await.unwrap();
            bytes.truncate(length);
            match noise.below(5) {
                0 => {
                    let at = noise.below(length);
                    bytes[at] ^= noise.byte() | 1;
                }
                1 => drop(bytes.drain(noise.below(length / 2)..length / 2 + noise.below(length / 2))),
                2 => bytes.insert(noise.below(length), noise.byte()),
                _ => untouched.push(number),
            }
            let between: Vec<u8> = (0..noise.below(20)).map(|_| noise.byte()).collect();
            wire_out.write_all(&[&between[..], &bytes].concat()).await.unwrap();
        }
        drop(wire_out);
        let mut arrived = Vec::new();
        while let Ok(frame) = host.recv().await {
            let (number, filling) = frame.body.split_first_chunk::<4>().unwrap();
            arrived.push(u32::from_le_bytes(*number));
            assert!(filling.iter().all(|byte| *byte == number[0]), "seed {seed}: a changed frame passed");
        }
        assert!(arrived.is_sorted(), "seed {seed}");
        let lost = untouched.iter().find(|number| !arrived.contains(number));
        assert_eq!(lost, None, "seed {seed}: a frame that the wire left alone was lost");
        assert!(untouched.len() > 300 && host.counts().damaged > 100, "seed {seed}: {:?}", host.counts());
    }
}
