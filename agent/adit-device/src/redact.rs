// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Takes serial numbers and world wide names out of a transcript, so that it can be sent to strangers. What a decoder
//! checks stays right: lengths, checksums, and that two disks are two disks.
//!
//! Names are looked for where the standards put them and then replaced wherever the same bytes occur again, in text, in
//! ATA's swapped order, in any answer: makers repeat serial numbers in places of their own.

use crate::fields::{be16, sums_to_zero};
use crate::transcript::{Exchange, Reply, Request, Transcript};

/// Names shorter than this are not looked for elsewhere: they would be found by chance.
const NAME_BYTES_MIN: usize = 4;
/// World wide names: the first three and a half bytes tell the maker and stay.
const MAKER_BYTES: usize = 4;

/// Replaces every name in `transcript`.
pub fn redact(transcript: &mut Transcript) {
    let exchanges = || transcript.devices.iter().flat_map(|device| &device.exchanges);
    let mut names: Vec<Vec<u8>> = exchanges().flat_map(names).collect();
    // Longer ones first, so that a name within a name does not break it.
    names.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    names.dedup();
    let replacements: Vec<(Vec<u8>, Vec<u8>)> =
        names.into_iter().enumerate().map(|(number, name)| (substitute(&name, number + 1), name)).collect();
    for exchange in transcript.devices.iter_mut().flat_map(|device| &mut device.exchanges) {
        let Ok(Reply::Scsi(_, data) | Reply::Nvme(_, data) | Reply::Ipmi(data)) = &mut exchange.reply else { continue };
        let before = data.clone();
        replacements.iter().for_each(|(substitute, name)| replace(data, name, substitute));
        // The same in ATA's order: names begin and end anywhere, so the data is turned, not the name.
        let mut turned = swapped(data);
        replacements.iter().for_each(|(substitute, name)| replace(&mut turned, name, substitute));
        *data = swapped(&turned);
        restore_checksums(&before, data);
    }
}

/// Names that an answer holds at places that the standards fix.
fn names(exchange: &Exchange) -> Vec<Vec<u8>> {
    let found: Vec<Vec<u8>> = match (&exchange.request, &exchange.reply) {
        (Request::Scsi { cdb, .. }, Ok(Reply::Scsi(_, data))) => scsi_names(cdb, data),
        // Identify Controller: serial number, then the FRU's identifier.
        (Request::Nvme { opcode: 6, .. }, Ok(Reply::Nvme(_, data))) => {
            [data.get(4..24), data.get(112..128)].into_iter().flatten().map(<[u8]>::to_vec).collect()
        }
        _ => Vec::new(),
    };
    found.into_iter().map(|name| trim(&name).to_vec()).filter(|name| tells(name)).collect()
}

fn scsi_names(cdb: &[u8], data: &[u8]) -> Vec<Vec<u8>> {
    let slice = |at: usize, len: usize| data.get(at..at + len).map(<[u8]>::to_vec);
    match *cdb {
        // ATA IDENTIFY DEVICE: serial number and world wide name, in ATA's order.
        [0x85, _, _, _, _, _, _, _, _, _, _, _, _, _, 0xec, ..] => identify_names(data),
        [0xa1, _, _, _, _, _, _, _, _, 0xec, ..] => identify_names(data),
        // VPD page 80h: all of it; 83h: every name; 89h: IDENTIFY from byte 60 on.
        [0x12, 1, 0x80, ..] => data.get(4..).map(<[u8]>::to_vec).into_iter().collect(),
        [0x12, 1, 0x83, ..] => designators(data),
        [0x12, 1, 0x89, ..] => data.get(60..).map(identify_names).unwrap_or_default(),
        // SAS phys: the address of each and of what is attached to it.
        [0x4d, _, page, ..] if page & 0x3f == 0x18 => phy_addresses(data),
        // Smart Array: serial number of a physical drive and of the controller (hpsa_cmd.h).
        [0x26, _, _, _, _, _, 0x15, ..] => slice(52, 40).into_iter().collect(),
        // Chassis serial number, world wide name, serial numbers of the array and its cache.
        [0x26, _, _, _, _, _, 0x66, ..] => {
            [slice(4, 32), slice(36, 8), slice(44, 32), slice(76, 32)].into_iter().flatten().collect()
        }
        _ => Vec::new(),
    }
}

fn identify_names(data: &[u8]) -> Vec<Vec<u8>> {
    [data.get(20..40), data.get(216..224)].into_iter().flatten().map(swapped).collect()
}

fn designators(data: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let end = usize::from(be16(data, 2).unwrap_or(0)).saturating_add(4).min(data.len());
    let mut rest = data.get(4..end).unwrap_or_default();
    while let [_, _, _, len, ..] = *rest {
        let end = (4 + usize::from(len)).min(rest.len());
        names.push(rest[4..end].to_vec());
        rest = &rest[end..];
    }
    names
}

fn phy_addresses(data: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    for (_, value) in crate::scsi::LogParameters::of(data, 0x18).into_iter().flatten() {
        let mut at = 4;
        while let Some(len) = value.get(at + 3) {
            names.extend(
                [value.get(at + 8..at + 16), value.get(at + 16..at + 24)].into_iter().flatten().map(<[u8]>::to_vec),
            );
            at += 4 + usize::from(*len);
        }
    }
    names
}

fn trim(name: &[u8]) -> &[u8] {
    let padding = |byte: &u8| matches!(byte, 0 | b' ');
    let start = name.iter().position(|byte| !padding(byte)).unwrap_or(name.len());
    let end = name.iter().rposition(|byte| !padding(byte)).map_or(start, |end| end + 1);
    &name[start..end]
}

/// Whether bytes can be a name: long enough, and not one byte all over.
fn tells(name: &[u8]) -> bool {
    name.len() >= NAME_BYTES_MIN && name.iter().any(|byte| *byte != name[0])
}

/// A name of the same length and form: text becomes `X…12`, binary keeps its maker.
fn substitute(name: &[u8], number: usize) -> Vec<u8> {
    if name.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        let digits = format!("{number:0>width$}", width = name.len());
        let mut text = digits.into_bytes();
        let kept = text.len() - name.len();
        text.drain(..kept);
        text[0] = b'X';
        return text;
    }
    let mut bytes = vec![0; name.len()];
    let kept = MAKER_BYTES.min(name.len());
    bytes[..kept].copy_from_slice(&name[..kept]);
    if let Some(last) = bytes.get_mut(MAKER_BYTES - 1) {
        *last &= 0xf0;
    }
    let digits = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let tail = bytes.len().saturating_sub(digits.len()).max(kept);
    let width = bytes.len() - tail;
    bytes[tail..].copy_from_slice(&digits[digits.len() - width..]);
    bytes
}

/// ATA's order: the two bytes of each word change places. An odd last byte stays.
fn swapped(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(2).flat_map(|pair| pair.iter().rev().copied()).collect()
}

fn replace(data: &mut [u8], name: &[u8], substitute: &[u8]) {
    let mut at = 0;
    while let Some(place) = data.get_mut(at..at + name.len()) {
        if place == name {
            place.copy_from_slice(substitute);
            at += name.len();
        } else {
            at += 1;
        }
    }
}

/// Sectors that summed up to zero before do so again.
fn restore_checksums(before: &[u8], data: &mut [u8]) {
    // ATA information (VPD page 89h) holds its sector at byte 60.
    let starts = if data.len() == 572 { vec![60] } else { (0..data.len()).step_by(512).collect() };
    for at in starts {
        let (Some(old), Some(new)) = (before.get(at..at + 512), data.get_mut(at..at + 512)) else { continue };
        if sums_to_zero(old) && !sums_to_zero(new) {
            new[511] = new[511].wrapping_sub(new.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
        }
    }
}
