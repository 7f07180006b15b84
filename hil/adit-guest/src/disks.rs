// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Disks by serial number. There is no udev in a harness machine, and the kernel's names change from boot to boot; each
//! kind of disk tells its serial number in another place of /sys.

use std::fs;
use std::path::Path;

/// Bytes before the serial number in SCSI's page 0x80.
const PAGE_HEADER_BYTES: usize = 4;

/// The device file of a disk, if it is there now.
pub(crate) fn by_serial(serial: &str) -> Option<String> {
    let disks = fs::read_dir("/sys/block").ok()?;
    let found = disks.flatten().find(|disk| serial_of(&disk.path()).as_deref() == Some(serial))?;
    Some(format!("/dev/{}", found.file_name().to_str()?))
}

fn serial_of(disk: &Path) -> Option<String> {
    let plain = fs::read(disk.join("serial")).or_else(|_| fs::read(disk.join("device/serial")));
    let bytes = match plain {
        Ok(bytes) => bytes,
        Err(_) => fs::read(disk.join("device/vpd_pg80")).ok()?.get(PAGE_HEADER_BYTES..)?.to_vec(),
    };
    let text = String::from_utf8(bytes).ok()?;
    let text = text.trim_matches(|character: char| character.is_ascii_whitespace() || character == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_disk_tells_its_serial_in_its_place() {
        let cases: [(&str, &[u8]); 3] =
            [("serial", b"BACKUP-1"), ("device/serial", b"BACKUP-1  \n"), ("device/vpd_pg80", b"\0\x80\0\x08BACKUP-1")];
        for (place, bytes) in cases {
            let disk = tempfile::tempdir().unwrap();
            let file = disk.path().join(place);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
            assert_eq!(serial_of(disk.path()).as_deref(), Some("BACKUP-1"), "{place}");
        }
        assert_eq!(serial_of(Path::new("/nowhere")), None);
    }
}
