// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel proper out of a bzImage: QEMU starts the uncompressed ELF file directly (PVH), which saves an emulated
//! machine the seconds of decompressing it. The boot protocol's header says where the payload lies (kernel documentation,
//! arch/x86/boot.rst, fields setup_sects, payload_offset and payload_length). Debian packs it with xz; others are refused by name.

use crate::elf::Elf;
use lzma_rust2::XzReader;
use std::io::{self, Read};

/// The largest kernel that is unpacked, in bytes; Debian's is about 66 MB.
pub const VMLINUX_BYTES_MAX: u64 = 128 << 20;
/// Memory that the xz decoder may take, in KiB; kernels are packed with a dictionary of 32 MiB or less.
const DECODER_KIB_MAX: u32 = 160 << 10;

const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
/// Other ways to pack a kernel, by their first bytes.
const OTHERS: [(&[u8], &str); 4] =
    [(b"\x1f\x8b\x08", "gzip"), (b"\x02\x21\x4c\x18", "lz4"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")];
const MACHINE_X86_64: u16 = 62;

/// Why a kernel could not be taken out of its image.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// No boot protocol header of version 2.08 or newer.
    #[error("not a bzImage with a payload")]
    Kind,
    /// The header points outside of the file.
    #[error("bzImage ends before its payload does")]
    Truncated,
    /// Packed in a way that is not unpacked here.
    #[error("kernel is packed with {0}, only xz is unpacked")]
    Packing(&'static str),
    /// The stream is damaged, or larger than allowed.
    #[error("unpack the kernel")]
    Unpack(#[source] io::Error),
    /// What came out is larger than [`VMLINUX_BYTES_MAX`].
    #[error("kernel unpacks to more than {VMLINUX_BYTES_MAX} bytes")]
    TooLarge,
    /// What came out is not a kernel for x86-64.
    #[error("what the image holds is not an ELF file for x86-64")]
    Content,
}

/// The uncompressed ELF kernel in a bzImage.
pub fn extract(image: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let payload = payload(image)?;
    if !payload.starts_with(XZ_MAGIC) {
        let other = OTHERS.iter().find(|(magic, _)| payload.starts_with(magic));
        return Err(VmlinuxError::Packing(other.map_or("something unknown", |(_, name)| name)));
    }
    let mut vmlinux = Vec::new();
    // One stream only: behind it the payload carries its unpacked size.
    let reader = XzReader::new_mem_limit(payload, false, DECODER_KIB_MAX);
    reader.take(VMLINUX_BYTES_MAX + 1).read_to_end(&mut vmlinux).map_err(VmlinuxError::Unpack)?;
    if vmlinux.len() as u64 > VMLINUX_BYTES_MAX {
        return Err(VmlinuxError::TooLarge);
    }
    let elf = Elf::new(&vmlinux).map_err(|_| VmlinuxError::Content)?;
    if elf.machine() == MACHINE_X86_64 { Ok(vmlinux) } else { Err(VmlinuxError::Content) }
}

fn payload(image: &[u8]) -> Result<&[u8], VmlinuxError> {
    let field = |at: usize| image.get(at..at + 4).and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    let version = image.get(0x206..0x208).map_or(0, |bytes| u16::from(bytes[0]) | u16::from(bytes[1]) << 8);
    if image.get(0x202..0x206) != Some(b"HdrS") || version < 0x0208 {
        return Err(VmlinuxError::Kind);
    }
    let sectors = match image.get(0x1f1) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let (offset, length) = field(0x248).zip(field(0x24c)).ok_or(VmlinuxError::Truncated)?;
    let start = (sectors + 1) * 512 + offset as usize;
    image.get(start..start + length as usize).ok_or(VmlinuxError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lzma_rust2::{XzOptions, XzWriter};
    use std::io::Write;

    /// A bzImage around any payload: one setup sector, the payload at once behind it.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024];
        image[0x1f1] = 1;
        image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
        writer.write_all(bytes).unwrap();
        let mut packed = writer.finish().unwrap();
        // As the kernel's own build does.
        packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        packed
    }

    fn kernel() -> Vec<u8> {
        let mut kernel = b"\x7fELF\x02\x01\x01".to_vec();
        kernel.resize(100_000, 7);
        kernel[18..20].copy_from_slice(&MACHINE_X86_64.to_le_bytes());
        kernel
    }

    #[test]
    fn the_kernel_comes_out_as_it_went_in() {
        assert_eq!(extract(&image(&packed(&kernel()))).unwrap(), kernel());
    }

    #[test]
    fn truncated_and_damaged_images_are_errors() {
        let image = image(&packed(&kernel()));
        for length in 0..image.len() {
            assert!(extract(&image[..length]).is_err(), "{length} of {} bytes were enough", image.len());
        }
        for at in 1024..image.len() - 4 {
            let mut damaged = image.clone();
            damaged[at] ^= 0x10;
            assert!(extract(&damaged).is_err(), "a changed byte {at} went unseen");
        }
    }

    #[test]
    fn other_packings_are_named_and_other_content_is_refused() {
        let text = |payload: &[u8]| extract(&image(payload)).unwrap_err().to_string();
        assert_eq!(text(b"\x02\x21\x4c\x18...."), "kernel is packed with lz4, only xz is unpacked");
        assert_eq!(text(b"abcdefgh"), "kernel is packed with something unknown, only xz is unpacked");
        assert!(matches!(extract(&image(&packed(b"no kernel"))), Err(VmlinuxError::Content)));
        assert!(matches!(extract(b"MZ"), Err(VmlinuxError::Kind)));
    }

    #[test]
    fn a_kernel_above_the_limit_is_refused() {
        let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
        let zeros = vec![0; 1 << 20];
        for _ in 0..=VMLINUX_BYTES_MAX >> 20 {
            writer.write_all(&zeros).unwrap();
        }
        assert!(matches!(extract(&image(&writer.finish().unwrap())), Err(VmlinuxError::TooLarge)));
    }
}
