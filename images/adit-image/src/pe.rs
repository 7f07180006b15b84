// SPDX-License-Identifier: Apache-2.0 OR MIT
//! As much of PE as a unified kernel image needs (Microsoft's "PE Format"): reading the section table of a 64-bit image, and
//! appending sections to systemd's stub. The time stamp, the checksum and the symbol table are cleared, so the same input
//! gives the same bytes. Never trusts an offset it read, never changes code.

/// The most sections an image may have; systemd's stub has eight, and five are appended.
pub const SECTIONS_MAX: usize = 64;
/// Appended sections start at multiples of a page, in bytes, whatever the stub's own alignment is.
pub const PAGE_BYTES: usize = 4096;
/// The longest name of a section, in bytes.
pub const NAME_BYTES_MAX: usize = 8;

const DOS_HEADER_BYTES: usize = 64;
const COFF_BYTES: usize = 20;
const SECTION_BYTES: usize = 40;
/// Offsets in the optional header of PE32+.
const INITIALIZED: usize = 8;
const FILE_ALIGNMENT: usize = 36;
const IMAGE_BYTES: usize = 56;
const HEADERS_BYTES: usize = 60;
const CHECKSUM: usize = 64;
const OPTIONAL_BYTES_MIN: usize = 112;
const MAGIC_64: u64 = 0x20b;
/// Initialised data that may be read (IMAGE_SCN_CNT_INITIALIZED_DATA, IMAGE_SCN_MEM_READ).
const READABLE_DATA: u32 = 0x4000_0040;

/// Why a PE file could not be read or extended.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PeError {
    /// Not a PE file, or not for a 64-bit machine.
    #[error("not a 64-bit PE file")]
    Kind,
    /// An offset that leads out of the file.
    #[error("PE file is damaged: {0} lies outside of it")]
    Outside(&'static str),
    /// More sections than [`SECTIONS_MAX`].
    #[error("PE file has {0} sections, at most {SECTIONS_MAX} are read")]
    Sections(usize),
    /// The headers leave no room for more sections.
    #[error("PE headers have no room for section {0}")]
    Room(String),
    /// A section that is there already, or has a name that does not fit.
    #[error("PE section {0:?} cannot be added")]
    Name(String),
    /// Sections that begin at other multiples than a power of two up to [`PAGE_BYTES`].
    #[error("PE file aligns sections to {0} bytes, which is not done here")]
    Alignment(usize),
    /// An image above 4 GiB.
    #[error("PE file would be larger than 4 GiB")]
    TooLarge,
}

/// One section of an image in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name, such as `.linux`.
    pub name: &'a str,
    /// Where it lies in memory, in bytes from the start of the image.
    pub address: u64,
    /// Its bytes, without padding.
    pub content: &'a [u8],
}

/// A view of a PE file.
#[derive(Debug, Clone, Copy)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    coff: usize,
    optional: usize,
    table: usize,
    count: usize,
}

impl<'a> Pe<'a> {
    /// Checks the headers.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PeError> {
        if !bytes.starts_with(b"MZ") || bytes.len() < DOS_HEADER_BYTES {
            return Err(PeError::Kind);
        }
        let signature = number(bytes, 60, 4).and_then(|at| usize::try_from(at).ok()).ok_or(PeError::Kind)?;
        let coff = signature.checked_add(4).ok_or(PeError::Kind)?;
        if bytes.get(signature..coff) != Some(b"PE\0\0") {
            return Err(PeError::Kind);
        }
        let optional = coff + COFF_BYTES;
        let optional_bytes = small(bytes, coff + 16, 2).ok_or(PeError::Outside("the file header"))?;
        if number(bytes, optional, 2) != Some(MAGIC_64) || optional_bytes < OPTIONAL_BYTES_MIN {
            return Err(PeError::Kind);
        }
        let count = small(bytes, coff + 2, 2).ok_or(PeError::Outside("the file header"))?;
        if count > SECTIONS_MAX {
            return Err(PeError::Sections(count));
        }
        let table = optional + optional_bytes;
        if bytes.len() < table + count * SECTION_BYTES {
            return Err(PeError::Outside("the section table"));
        }
        Ok(Self { bytes, coff, optional, table, count })
    }

    /// The machine an image is for: 0x8664 is x86-64, 0xaa64 is AArch64.
    #[must_use]
    pub fn machine(&self) -> u16 {
        number(self.bytes, self.coff, 2).and_then(|machine| u16::try_from(machine).ok()).unwrap_or_default()
    }

    /// All sections in the order of the table.
    pub fn sections(&self) -> Result<Vec<Section<'a>>, PeError> {
        let section = |index: usize| {
            let at = self.table + index * SECTION_BYTES;
            let name = self.bytes.get(at..at + NAME_BYTES_MAX)?.split(|byte| *byte == 0).next()?;
            let (used, address) = (small(self.bytes, at + 8, 4)?, number(self.bytes, at + 12, 4)?);
            let (stored, start) = (small(self.bytes, at + 16, 4)?, small(self.bytes, at + 20, 4)?);
            let content = self.bytes.get(start..start.checked_add(stored)?)?;
            let name = std::str::from_utf8(name).ok()?;
            Some(Section { name, address, content: content.get(..used).unwrap_or(content) })
        };
        (0..self.count).map(|index| section(index).ok_or(PeError::Outside("a section"))).collect()
    }

    /// The content of the first section of this name.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, PeError> {
        Ok(self.sections()?.into_iter().find(|section| section.name == name).map(|section| section.content))
    }

    /// The image with further sections behind all that it has, in this order.
    pub fn append(&self, sections: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
        let outside = PeError::Outside("the optional header");
        let optional = |offset| small(self.bytes, self.optional + offset, 4).ok_or_else(|| outside.clone());
        let (file_alignment, headers_bytes) = (optional(FILE_ALIGNMENT)?, optional(HEADERS_BYTES)?);
        if !file_alignment.is_power_of_two() || file_alignment > PAGE_BYTES {
            return Err(PeError::Alignment(file_alignment));
        }
        let (mut file_end, mut memory_end) = self.ends()?;
        file_end = file_end.max(headers_bytes);
        // Behind the sections lies a symbol table, which firmware does not look at.
        let mut out = self.bytes.get(..file_end).ok_or(PeError::Outside("a section"))?.to_vec();
        let mut names: Vec<&str> = self.sections()?.iter().map(|section| section.name).collect();
        let mut initialized = optional(INITIALIZED)?;
        for (index, (name, content)) in (self.count..).zip(sections) {
            let header = self.table + index * SECTION_BYTES;
            if header + SECTION_BYTES > headers_bytes || index >= SECTIONS_MAX {
                return Err(PeError::Room((*name).to_owned()));
            }
            if names.contains(name) || name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
                return Err(PeError::Name((*name).to_owned()));
            }
            names.push(name);
            let address = memory_end.next_multiple_of(PAGE_BYTES);
            let start = out.len().next_multiple_of(file_alignment);
            let stored = content.len().next_multiple_of(file_alignment);
            out.resize(start, 0);
            out.extend_from_slice(content);
            out.resize(start + stored, 0);
            let mut entry = [0_u8; SECTION_BYTES];
            entry[..name.len()].copy_from_slice(name.as_bytes());
            for (at, value) in [(8, content.len()), (12, address), (16, stored), (20, start)] {
                entry[at..at + 4].copy_from_slice(&u32_of(value)?.to_le_bytes());
            }
            entry[36..].copy_from_slice(&READABLE_DATA.to_le_bytes());
            out[header..header + SECTION_BYTES].copy_from_slice(&entry);
            memory_end = address + content.len();
            initialized += stored;
        }
        let count = u16::try_from(self.count + sections.len()).map_err(|_| PeError::TooLarge)?;
        out[self.coff + 2..self.coff + 4].copy_from_slice(&count.to_le_bytes());
        // The time stamp, where the symbol table was, and how many symbols it had.
        out[self.coff + 4..self.coff + 16].fill(0);
        let image_bytes = memory_end.next_multiple_of(PAGE_BYTES);
        for (offset, value) in [(INITIALIZED, initialized), (IMAGE_BYTES, image_bytes), (CHECKSUM, 0)] {
            let at = self.optional + offset;
            out[at..at + 4].copy_from_slice(&u32_of(value)?.to_le_bytes());
        }
        Ok(out)
    }

    /// Where the last section ends, in the file and in memory.
    fn ends(&self) -> Result<(usize, usize), PeError> {
        let (mut file_end, mut memory_end) = (0, 0);
        for index in 0..self.count {
            let at = self.table + index * SECTION_BYTES;
            let field = |offset| small(self.bytes, at + offset, 4).ok_or(PeError::Outside("the section table"));
            file_end = file_end.max(field(20)? + field(16)?);
            memory_end = memory_end.max(field(12)? + field(8)?.max(field(16)?));
        }
        if file_end > self.bytes.len() {
            return Err(PeError::Outside("a section"));
        }
        Ok((file_end, memory_end))
    }
}

fn u32_of(value: usize) -> Result<u32, PeError> {
    u32::try_from(value).map_err(|_| PeError::TooLarge)
}

fn small(bytes: &[u8], at: usize, width: usize) -> Option<usize> {
    usize::try_from(number(bytes, at, width)?).ok()
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stub in the shape of systemd's: one section of code, room for seven headers more, a symbol table behind it.
    pub(crate) fn stub() -> Vec<u8> {
        let mut bytes = b"MZ".to_vec();
        bytes.resize(0x400, 0);
        bytes[60] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        let put = |bytes: &mut Vec<u8>, at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(&mut bytes, 0x84, 0x0001_8664);
        put(&mut bytes, 0x88, 0x6789_abcd);
        put(&mut bytes, 0x8c, 0x600);
        put(&mut bytes, 0x90, 2);
        put(&mut bytes, 0x94, 240);
        put(&mut bytes, 0x98, 0x20b);
        put(&mut bytes, 0x98 + 32, 0x200);
        put(&mut bytes, 0x98 + 36, 0x200);
        put(&mut bytes, 0x98 + 60, 0x400);
        put(&mut bytes, 0x98 + 64, 0x1234);
        bytes[0x188..0x18d].copy_from_slice(b".text");
        put(&mut bytes, 0x188 + 8, 0x1f0);
        put(&mut bytes, 0x188 + 12, 0x4000);
        put(&mut bytes, 0x188 + 16, 0x200);
        put(&mut bytes, 0x188 + 20, 0x400);
        bytes.resize(0x600, 0x90);
        bytes.extend(b"symbols");
        bytes
    }

    #[test]
    fn what_is_appended_is_read_back() {
        let stub = stub();
        let linux = vec![7; 5000];
        let image = Pe::new(&stub).unwrap().append(&[(".osrel", b"ID=adit\n"), (".linux", &linux)]).unwrap();
        let pe = Pe::new(&image).unwrap();
        assert_eq!(pe.machine(), 0x8664);
        let sections = pe.sections().unwrap();
        let places: Vec<(&str, u64, usize)> = sections.iter().map(|s| (s.name, s.address, s.content.len())).collect();
        assert_eq!(places, [(".text", 0x4000, 0x1f0), (".osrel", 0x5000, 8), (".linux", 0x6000, 5000)]);
        assert_eq!(pe.section(".linux").unwrap(), Some(linux.as_slice()));
        assert_eq!(pe.section(".initrd").unwrap(), None);
        assert_eq!(image.len(), 0x600 + 0x200 + 0x1400, "the symbol table is gone, sections are padded to 512 bytes");
        assert_eq!(number(&image, 0x98 + IMAGE_BYTES, 4), Some(0x8000));
        assert_eq!(&image[0x88..0x94], [0; 12], "no time stamp, no symbols");
        assert_eq!(number(&image, 0x98 + CHECKSUM, 4), Some(0));
    }

    #[test]
    fn sections_that_do_not_fit_are_refused() {
        let stub = stub();
        let add = |sections: &[(&str, &[u8])]| Pe::new(&stub).unwrap().append(sections).unwrap_err();
        assert_eq!(add(&[(".text", b"")]), PeError::Name(".text".to_owned()));
        assert_eq!(add(&[(".a", b""), (".a", b"")]), PeError::Name(".a".to_owned()));
        assert_eq!(add(&[(".too-long", b"")]), PeError::Name(".too-long".to_owned()));
        let names: Vec<String> = (0..16).map(|number| format!(".{number}")).collect();
        let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
        assert_eq!(add(&many), PeError::Room(".14".to_owned()));
        assert!(Pe::new(&stub).unwrap().append(&many[..14]).is_ok());
    }

    #[test]
    fn an_image_of_too_many_sections_is_refused() {
        let mut stub = stub();
        stub.resize(0x188 + SECTION_BYTES * (SECTIONS_MAX + 1), 0);
        stub[0x86..0x88].copy_from_slice(&u16::try_from(SECTIONS_MAX + 1).unwrap().to_le_bytes());
        assert_eq!(Pe::new(&stub).unwrap_err(), PeError::Sections(SECTIONS_MAX + 1));
        stub[0x86] -= 1;
        assert!(Pe::new(&stub).is_ok());
    }

    #[test]
    fn every_truncation_is_an_error_and_damage_never_panics() {
        let stub = stub();
        let image = Pe::new(&stub).unwrap().append(&[(".linux", b"kernel")]).unwrap();
        for length in 0..image.len() {
            let sections = Pe::new(&image[..length]).and_then(|pe| pe.sections().map(|sections| sections.len()));
            assert!(sections.is_err(), "{length} of {} bytes were read", image.len());
        }
        for at in 0..0x400 {
            for value in [0, 0x7f, 0xff] {
                let mut damaged = image.clone();
                damaged[at] = value;
                if let Ok(pe) = Pe::new(&damaged) {
                    drop(pe.sections());
                    drop(pe.append(&[(".more", b"x")]));
                }
            }
        }
    }
}
