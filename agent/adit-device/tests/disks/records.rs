// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Transcripts: what is recorded plays back as it was, as text too, and without names when they were taken out.

use crate::distinct;
use crate::golden::reading_of;
use adit_device::ata::Identify;
use adit_device::command::{AtaCommand, IpmiCommand, ScsiCommand};
use adit_device::redact::redact;
use adit_device::sim::AtaDisk;
use adit_device::transcript::{Recorder, Replay, Transcript, TranscriptError};
use adit_device::transport::{Ipmi, Scsi, TransportError};
use adit_device::{Permit, read_ata};
use proptest::prelude::*;

#[test]
fn a_transcript_survives_its_text() {
    for (name, transcript) in distinct::recorded() {
        let text = transcript.to_string();
        let parsed: Transcript = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(parsed, transcript, "{name}");
    }
}

#[test]
fn what_was_recorded_reads_the_same() {
    let mut disk = Recorder::new(distinct::old_hdd());
    let direct = read_ata(&mut disk, Permit::Wake).expect("read");
    let mut replay = Replay::new(&disk.finish("sda", "sat"));
    assert_eq!(read_ata(&mut replay, Permit::Wake).expect("read"), direct);
    // The last answer is given again and again.
    assert_eq!(read_ata(&mut replay, Permit::Wake).expect("read"), direct);
}

struct SilentBmc;

impl Ipmi for SilentBmc {
    fn request(&mut self, _: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
        reply[..2].copy_from_slice(&[0xc3, 7]);
        Ok(2)
    }
}

#[test]
fn a_bmc_and_errors_are_recorded() {
    let mut bmc = Recorder::new(SilentBmc);
    let mut reply = [0; 8];
    assert_eq!(bmc.request(&IpmiCommand::sel_entry(0xffff), &mut reply), Ok(2));
    let mut disk = Recorder::new(AtaDisk { fault: adit_device::sim::Fault::Forbidden, ..distinct::hdd() });
    let needs = Err(TransportError::NeedsCapability("CAP_SYS_RAWIO"));
    assert_eq!(disk.execute(&ScsiCommand::inquiry(), &mut [0; 36]), needs);
    let transcript = Transcript { devices: vec![bmc.finish("ipmi0", "ipmi"), disk.finish("sda", "sat")] };
    let text = transcript.to_string();
    assert!(text.contains("> ipmi 0a 43 0 0000ffff00ff\n< c307\n"), "{text}");
    let parsed: Transcript = text.parse().expect("parse");
    assert_eq!(parsed, transcript);
    let mut replay = Replay::new(&parsed.devices[0]);
    assert_eq!((replay.request(&IpmiCommand::sel_entry(0xffff), &mut reply), reply[0]), (Ok(2), 0xc3));
    assert_eq!((replay.request(&IpmiCommand::sel_info(), &mut reply), reply[0]), (Ok(1), 0xc1));
    assert_eq!(Replay::new(&parsed.devices[1]).execute(&ScsiCommand::inquiry(), &mut [0; 36]), needs);
}

#[test]
fn wrong_texts_name_their_line() {
    let line = |text: &str| match text.parse::<Transcript>() {
        Err(TranscriptError::Line { line, .. }) => line,
        other => panic!("{other:?}"),
    };
    let head = "adit transcript 1\ndevice a scsi\n";
    assert_eq!(line(""), 1);
    assert_eq!(line("adit transcript 2\n"), 1);
    assert_eq!(line("adit transcript 1\n> scsi 000000000000 0\n"), 2);
    assert_eq!(line(&format!("{head}> scsi 00 0\n")), 3);
    assert_eq!(line(&format!("{head}> scsi 000000000000 70000\n")), 3);
    assert_eq!(line(&format!("{head}> scsi 000000000000 8\n> scsi 000000000000 0\n")), 4);
    assert_eq!(line(&format!("{head}> scsi 000000000000 8\n< 00 9 -\n")), 4);
    assert_eq!(line(&format!("{head}> scsi 000000000000 8\n< 00 0 -\n  0001: 0000000000000000\n")), 5);
    assert_eq!(line(&format!("{head}  0000: 00\n")), 3);
    assert_eq!(line(&format!("{head}> scsi 000000000000 0\n! late\n")), 4);
}

#[test]
fn names_are_taken_out_and_nothing_else_changes() {
    for (name, transcript) in distinct::recorded() {
        let mut redacted = transcript.clone();
        redact(&mut redacted);
        let (before, mut after) = (reading_of(&transcript), reading_of(&redacted));
        assert!(after.identity.serial.as_deref().is_some_and(|serial| serial.starts_with('X')), "{name}");
        assert_ne!(before.identity.serial, after.identity.serial, "{name}");
        assert!(before.identity.wwn.is_none() || before.identity.wwn != after.identity.wwn, "{name}");
        // Everything that has a checksum was still believed, everything that is judged is the same.
        (after.identity.serial, after.identity.wwn) = (before.identity.serial.clone(), before.identity.wwn.clone());
        assert_eq!(after, before, "{name}");
        let text = redacted.to_string();
        for secret in secrets(&transcript) {
            assert!(!text.contains(&secret), "{name}: {secret} is still there");
        }
    }
}

/// Serial numbers and names as the text would show them, in plain and in ATA's order.
fn secrets(transcript: &Transcript) -> Vec<String> {
    let identity = reading_of(transcript).identity;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let serial = identity.serial.expect("a serial number").into_bytes();
    let swapped: Vec<u8> = serial.chunks_exact(2).flat_map(|pair| [pair[1], pair[0]]).collect();
    let mut secrets = vec![hex(&serial), hex(&swapped)];
    if let Some(wwn) = identity.wwn {
        let pairs: Vec<&str> = (0..8).map(|index| &wwn[index * 2..index * 2 + 2]).collect();
        secrets.push(pairs.chunks(2).flat_map(|pair| [pair[1], pair[0]]).collect());
        secrets.push(wwn);
    }
    secrets
}

#[test]
fn two_redacted_disks_stay_two() {
    let other = AtaDisk { serial: "OLD-7F3A12".to_owned(), wwn: 0x5001_4ee2_0abc_def2, ..distinct::old_hdd() };
    let record = |disk: AtaDisk| {
        let mut recorder = Recorder::new(disk);
        read_ata(&mut recorder, Permit::Wake).expect("read");
        recorder.finish("sda", "sat")
    };
    let mut transcript = Transcript { devices: vec![record(distinct::old_hdd()), record(other)] };
    redact(&mut transcript);
    let identities: Vec<_> = transcript
        .devices
        .iter()
        .map(|device| {
            let mut page = [0; 512];
            Replay::new(device).execute(&ScsiCommand::ata(AtaCommand::identify()), &mut page).expect("recorded");
            Identify::decode(&page).expect("a right checksum").identity
        })
        .collect();
    assert_ne!(identities[0].serial, identities[1].serial);
    assert_ne!(identities[0].wwn, identities[1].wwn);
    assert_eq!(identities[0].model, identities[1].model);
}

proptest! {
    #[test]
    fn any_text_is_taken(text in "(adit transcript 1\n)?(device a b\n)?([>< !#][ 0-9a-f:-]{0,40}\n){0,6}") {
        if let Ok(transcript) = text.parse::<Transcript>() {
            prop_assert_eq!(transcript.to_string().parse::<Transcript>(), Ok(transcript));
        }
    }

    #[test]
    fn any_flip_of_a_text_is_taken_and_redacted(at: prop::sample::Index, byte in 0x20u8..0x7f) {
        let (_, transcript) = distinct::recorded().swap_remove(0);
        let mut text = transcript.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(mut transcript) = String::from_utf8(text).expect("ASCII").parse::<Transcript>() {
            redact(&mut transcript);
        }
    }
}
