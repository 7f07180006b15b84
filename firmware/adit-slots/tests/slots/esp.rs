// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the ESP's driver refuses, and volumes that somebody damaged: an error or an answer, never a panic, and never a
//! byte of a good slot changed.

use crate::overlay::Overlay;
use crate::power::{NEW, OLD, content, volume};
use adit_slots::esp::{Esp, EspError, FILES_MAX, Healed};
use adit_slots::name::{Mark, SlotFile};
use adit_slots::version::Version;
use embedded_io::ErrorKind;
use proptest::prelude::*;

const GOOD: SlotFile = SlotFile { version: OLD, mark: Mark::Good };
const STAGED: SlotFile = SlotFile { version: NEW, mark: Mark::New };

fn open(disk: Overlay) -> Esp<Overlay> {
    Esp::open(disk, 0).expect("a volume")
}

fn read(esp: &mut Esp<Overlay>, file: SlotFile) -> Result<Vec<u8>, EspError<ErrorKind>> {
    let mut open = esp.open_slot(file)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 3000]);
    loop {
        match esp.read(&mut open, &mut buffer)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

fn stage(esp: &mut Esp<Overlay>, bytes: &[u8]) -> Result<(), EspError<ErrorKind>> {
    esp.write(STAGED, u32::try_from(bytes.len()).expect("small"), &mut &*bytes, &mut |_| {})
}

#[test]
fn files_are_read_by_slot_and_by_path() {
    for sector_bytes in [512, 4096] {
        let mut esp = open(volume(sector_bytes, 3));
        assert!(read(&mut esp, GOOD) == Ok(content(OLD, sector_bytes)));
        let mut preseed = esp.open_path(&["adit.toml"]).expect("the preseed");
        let mut bytes = [0; 64];
        assert_eq!(esp.read(&mut preseed, &mut bytes), Ok(10));
        assert_eq!(&bytes[..10], b"# preseed\n");
        assert_eq!(esp.read(&mut preseed, &mut bytes), Ok(0));
        assert!(esp.open_path(&["efi", "boot", "bootx64.efi"]).is_ok());
        esp.delete_path(&["adit.toml"]).expect("deleted");
        assert_eq!(esp.open_path(&["adit.toml"]).map(|_| ()), Err(EspError::NotFound));
        assert_eq!(esp.delete_path(&["EFI", "Linux"]), Err(EspError::NotFound));
        assert_eq!(esp.open_path(&["adit.toml", "x"]).map(|_| ()), Err(EspError::NotFound));
        let freed = Healed { names: 0, clusters: 1, table_sectors: 0 };
        assert_eq!(esp.heal(&mut [0; 9000]), Ok(freed));
        assert_eq!(esp.heal(&mut [0; 9000]), Ok(Healed::default()));
    }
}

#[test]
fn a_volume_inside_a_disk_is_found_at_its_offset() {
    let inner = volume(512, 0);
    let mut bytes = vec![0xAA; 1 << 20];
    bytes.extend_from_slice(&inner.base);
    let mut esp = Esp::open(Overlay::new(bytes, 512), 1 << 20).expect("a volume");
    assert!(read(&mut esp, GOOD) == Ok(content(OLD, 512)));
    stage(&mut esp, &content(NEW, 512)).expect("written");
    assert!(read(&mut esp, STAGED) == Ok(content(NEW, 512)));
    assert!(esp.into_disk().sector(0) == [0xAA; 512]);
}

#[test]
fn what_cannot_be_done_is_refused_and_the_good_slot_stays() {
    let mut esp = open(volume(512, 0));
    assert_eq!(esp.rename(STAGED, Mark::TRIAL), Err(EspError::NotFound));
    assert_eq!(esp.delete(STAGED), Err(EspError::NotFound));
    assert_eq!(esp.rename(GOOD, Mark::Good), Err(EspError::Exists));
    let unnamed = SlotFile { version: Version::new(1000, 0, 0), mark: Mark::New };
    assert_eq!(esp.write(unnamed, 1, &mut [1].as_slice(), &mut |_| {}), Err(EspError::Name));
    // A source that ends early leaves no file, and nothing that healing has to free.
    let short = EspError::Source(ErrorKind::InvalidData);
    assert_eq!(esp.write(STAGED, 2000, &mut [7; 1999].as_slice(), &mut |_| {}), Err(short));
    assert_eq!(read(&mut esp, STAGED), Err(EspError::NotFound));
    assert_eq!(esp.heal(&mut [0; 9000]), Ok(Healed::default()));
    // More than the volume holds.
    let huge = vec![1; 36 << 20];
    assert_eq!(stage(&mut esp, &huge), Err(EspError::Full));
    assert_eq!(esp.heal(&mut [0; 9000]), Ok(Healed::default()));
    stage(&mut esp, b"small").expect("written");
    assert_eq!(stage(&mut esp, b"small"), Err(EspError::Exists));
    assert!(read(&mut esp, GOOD) == Ok(content(OLD, 512)));
    let mut disk = esp.into_disk();
    disk.read_only = true;
    let mut esp = open(disk);
    let refused = EspError::Disk(ErrorKind::PermissionDenied);
    assert_eq!(esp.rename(STAGED, Mark::TRIAL), Err(refused));
    assert_eq!(esp.delete(GOOD), Err(refused));
    assert!(read(&mut esp, GOOD) == Ok(content(OLD, 512)));
    assert_eq!(Esp::open(Overlay::new(vec![0; 4096], 512), 0).err(), Some(EspError::NotFat32));
    assert_eq!(Esp::open(Overlay::new(Vec::new(), 512), 0).err(), Some(EspError::Damaged));
}

#[test]
fn an_empty_file_and_a_small_scratch_do() {
    let mut esp = open(volume(512, 2));
    stage(&mut esp, b"").expect("written");
    assert_eq!(read(&mut esp, STAGED), Ok(Vec::new()));
    esp.delete(STAGED).expect("deleted");
    stage(&mut esp, &content(NEW, 512)).expect("written");
    esp.delete(STAGED).expect("deleted");
    let clusters = u32::try_from(content(NEW, 512).len().div_ceil(512)).expect("small");
    // 1000 clusters a walk.
    assert_eq!(esp.heal(&mut [0; 125]), Ok(Healed { names: 0, clusters, table_sectors: 0 }));
    assert!(read(&mut esp, GOOD) == Ok(content(OLD, 512)));
}

#[test]
fn more_slot_files_than_are_looked_at_are_told() {
    let mut esp = open(volume(512, 0));
    for patch in 0..FILES_MAX {
        let version = Version::new(2, 0, u32::try_from(patch).expect("small"));
        esp.write(SlotFile { version, mark: Mark::New }, 3, &mut b"abc".as_slice(), &mut |_| {}).expect("written");
    }
    assert_eq!(esp.files(&mut [GOOD; FILES_MAX]), Err(EspError::TooMany));
    assert!(read(&mut esp, GOOD) == Ok(content(OLD, 512)));
}

/// Bytes of the volume that mean something: the boot sector, the first table, the folders.
fn meaningful(disk: &Overlay) -> Vec<usize> {
    // A sector of one byte alone holds nothing.
    let used = (0..disk.base.len() / 512).filter(|sector| {
        let bytes = disk.sector(*sector as u64);
        bytes.iter().any(|byte| *byte != bytes[0])
    });
    let content = content(OLD, 512);
    let structure = used.filter(|sector| {
        let bytes = disk.sector(*sector as u64);
        !content.chunks(512).any(|chunk| bytes.starts_with(chunk) && chunk.len() == 512)
    });
    structure.flat_map(|sector| sector * 512..sector * 512 + 512).collect()
}

fn use_everything(disk: Overlay) {
    let Ok(mut esp) = Esp::open(disk, 0) else { return };
    let _ = esp.files(&mut [GOOD; FILES_MAX]);
    drop(read(&mut esp, GOOD));
    let _ = esp.heal(&mut [0; 9000]);
    let _ = stage(&mut esp, &content(NEW, 512));
    let _ = esp.rename(STAGED, Mark::TRIAL);
    let _ = esp.rename(GOOD, Mark::DEAD);
    let _ = esp.delete(SlotFile { version: NEW, mark: Mark::TRIAL });
    let _ = esp.heal(&mut [0; 9000]);
    let _ = esp.delete_path(&["adit.toml"]);
}

#[test]
fn damaged_volumes_give_an_error_or_an_answer() {
    let disk = volume(512, 5);
    let bytes = meaningful(&disk);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let damage = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12);
    let tried = runner.run(&damage, |damage| {
        let mut damaged = disk.clone();
        for (index, byte) in damage {
            let at = *index.get(&bytes);
            let number = (at / 512) as u64;
            let mut sector = damaged.sector(number).to_vec();
            sector[at % 512] = byte;
            damaged.changed.insert(number, sector.into());
        }
        use_everything(damaged);
        Ok(())
    });
    tried.expect("no damage is too much");
}

#[test]
fn a_folder_that_holds_itself_and_a_chain_that_closes_end() {
    let disk = volume(512, 0);
    let reserved = usize::from(u16::from_le_bytes([disk.base[14], disk.base[15]]));
    // Every cluster's next one is itself, or the one before it.
    let broken = [0_u32, 1];
    for back in broken {
        let mut damaged = disk.clone();
        for sector in 0..4_u32 {
            let entries = (sector * 128..sector * 128 + 128).flat_map(|c| c.saturating_sub(back).to_le_bytes());
            damaged.changed.insert(reserved as u64 + u64::from(sector), entries.collect::<Vec<u8>>().into());
        }
        let mut esp = open(damaged.clone());
        assert_eq!(esp.heal(&mut [0; 9000]), Err(EspError::Damaged));
        assert_eq!(esp.into_disk().log, vec![], "nothing is changed on such a volume");
        use_everything(damaged);
    }
}
