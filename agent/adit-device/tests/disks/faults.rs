// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks that hang, vanish and lie: every answer ends in a value, and nothing false is told of the disk.

use crate::distinct;
use crate::readings::read;
use adit_device::reading::Part;
use adit_device::sim::{AtaDisk, Fault, NvmeDisk, ScsiDisk};
use adit_device::transport::TransportError;
use adit_device::{Attachment, DiskReading, Permit, ReadError, Visit, read_ata, read_disk, read_nvme, read_scsi};
use proptest::prelude::*;
use std::hint::black_box;

#[test]
fn silence_ends_in_its_own_error_after_one_command() {
    let faults = [
        (Fault::Hangs, TransportError::TimedOut),
        (Fault::Gone, TransportError::Gone),
        (Fault::Forbidden, TransportError::NeedsCapability("CAP_SYS_RAWIO")),
    ];
    for (fault, error) in faults {
        let mut ata = AtaDisk { fault, ..distinct::hdd() };
        let expected = Err(ReadError::Transport(error));
        assert_eq!(read_disk(&mut ata, Attachment::Direct, Permit::Wake), expected);
        let mut scsi = ScsiDisk { fault, ..distinct::scsi() };
        assert_eq!(read_scsi(&mut scsi, Permit::Wake), expected);
        assert_eq!((ata.commands, scsi.commands), (0, 0));
    }
    let mut nvme = NvmeDisk { fault: Fault::Forbidden, ..distinct::nvme() };
    let needs = TransportError::NeedsCapability("CAP_SYS_ADMIN");
    assert_eq!(read_nvme(&mut nvme), Err(ReadError::Transport(needs)));
}

#[test]
fn a_disk_whose_identity_is_spoiled_is_nobody() {
    for fault in [Fault::WrongChecksums, Fault::HalfAnswers] {
        let mut disk = AtaDisk { fault, ..distinct::hdd() };
        assert_eq!(read_ata(&mut disk, Permit::Wake), Err(ReadError::NoIdentity), "{fault:?}");
    }
}

/// A disk that lies in everything but its identity.
struct Liar(AtaDisk);

impl adit_device::transport::Scsi for Liar {
    fn execute(
        &mut self,
        command: &adit_device::command::ScsiCommand,
        data: &mut [u8],
    ) -> Result<adit_device::transport::ScsiReply, TransportError> {
        let honest = command.cdb().get(14) == Some(&0xec);
        self.0.fault = if honest { Fault::None } else { Fault::WrongChecksums };
        self.0.execute(command, data)
    }
}

#[test]
fn spoiled_structures_are_told_and_not_believed() {
    let reading = read(read_ata(&mut Liar(distinct::old_hdd()), Permit::Wake));
    assert_eq!(reading.unusable, [Part::Attributes, Part::ErrorLog, Part::SelfTestLog]);
    assert_eq!((reading.pending, reading.error_log_entries, reading.self_tests.newest), (None, None, None));
    // The status came in registers, which have no checksum.
    assert_eq!(reading.failing, Some(true));
}

#[test]
fn an_empty_health_log_is_told() {
    let mut disk = NvmeDisk { fault: Fault::HalfAnswers, ..distinct::nvme() };
    // Half of Identify Controller still says who it is; half of the health log holds all counters.
    assert_eq!(read_nvme(&mut disk).expect("an answer").media_errors, Some(14));
}

/// What any reading takes on a socket at most, bytes: texts are of fixed fields, lists of at most 30 attributes.
const READING_BYTES_MAX: usize = 1024;

proptest! {
    #[test]
    fn noise_is_read_without_a_panic(seed: u64) {
        let fault = Fault::Noise(seed);
        let visits = [
            read_disk(&mut AtaDisk { fault, ..distinct::hdd() }, Attachment::Usb, Permit::Wake),
            read_ata(&mut AtaDisk { fault, ..distinct::hdd() }, Permit::Wake),
            read_scsi(&mut ScsiDisk { fault, ..distinct::scsi() }, Permit::Wake),
            read_nvme(&mut NvmeDisk { fault, ..distinct::nvme() }).map(|reading| Visit::Read(Box::new(reading))),
        ];
        for visit in visits.into_iter().flatten() {
            let Visit::Read(reading) = visit else { continue };
            let bytes = postcard::to_stdvec(&reading).expect("encode");
            prop_assert!(bytes.len() <= READING_BYTES_MAX, "{} bytes", bytes.len());
            prop_assert_eq!(postcard::from_bytes::<DiskReading>(&bytes).expect("decode"), *reading);
        }
    }

    #[test]
    fn every_decoder_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..700), page: u8) {
        use adit_device::{ata, nvme, scsi};
        black_box((ata::Identify::decode(&bytes), ata::Thresholds::decode(&bytes), ata::LogDirectory::decode(&bytes)));
        black_box((ata::Attributes::decode(&bytes), ata::Statistics::pages(&bytes), ata::pending_defects(&bytes)));
        black_box((ata::Statistics::default().take(page, &bytes), ata::self_test_log(&bytes, Some(1))));
        black_box((ata::extended_error_count(&bytes), ata::extended_self_test_log(&bytes, None)));
        black_box((nvme::Controller::decode(&bytes), nvme::Health::decode(&bytes), nvme::self_test_log(&bytes, 0)));
        black_box((scsi::Inquiry::decode(&bytes), scsi::serial(&bytes), scsi::wwn(&bytes), scsi::rotation_rpm(&bytes)));
        black_box((scsi::phy_errors(&bytes), scsi::background_scan(&bytes), scsi::self_tests(&bytes, Some(9))));
        black_box((scsi::grown_defects(&bytes, 8), scsi::exception(&bytes), scsi::temperature(&bytes)));
        black_box((scsi::supported_pages(&bytes), scsi::has_ata_information(&bytes), scsi::start_stop(&bytes)));
    }

    #[test]
    fn flips_and_cuts_of_real_structures_are_taken(at in 0usize..512, bit in 0u8..8, len in 0usize..=512) {
        use adit_device::ata;
        let mut identify = distinct::hdd().identify();
        identify[at] ^= 1 << bit;
        // Word 255's signature makes the checksum valid; a flip in the signature itself only switches the check off.
        prop_assert!(at == 510 || ata::Identify::decode(&identify).is_none());
        black_box(ata::Identify::decode(&identify[..len]));
    }

    #[test]
    fn log_pages_with_wrong_lengths_are_taken(head in any::<[u8; 4]>(), at in 0usize..60, byte: u8, page in 0u8..64) {
        use adit_device::scsi;
        let mut bytes = vec![page, 0, head[2] & 1, head[3]];
        bytes.extend([0, 1, 3, 8].repeat(16));
        bytes[at] = byte;
        let parameters = scsi::LogParameters::of(&bytes, page).into_iter().flatten();
        prop_assert!(parameters.count() <= bytes.len() / 4);
        black_box((scsi::phy_errors(&bytes), scsi::background_scan(&bytes), scsi::self_tests(&bytes, None)));
    }
}
