// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The little of ELF that building an image needs: a section by its name, and what the dynamic linker of a program will
//! look for. 64-bit little-endian only, which is every machine adit boots on. Never trusts an offset it read.

/// Why a file is not an ELF file that can be used.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// Not ELF, not 64-bit, or not little-endian.
    #[error("not a 64-bit little-endian ELF file")]
    Kind,
    /// An offset that leads out of the file.
    #[error("ELF file is damaged: {0} lies outside of it")]
    Outside(&'static str),
}

/// A view of an ELF file in memory.
#[derive(Debug, Clone, Copy)]
pub struct Elf<'a> {
    bytes: &'a [u8],
}

/// What the dynamic linker of a program or library looks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// Absolute path of the dynamic linker; `None` for a library or a static program.
    pub interpreter: Option<String>,
    /// Names of libraries, without a folder.
    pub needed: Vec<String>,
}

const SECTION_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const PROGRAM_INTERPRETER: u32 = 3;
const SECTION_DYNAMIC: u32 = 6;
const TAG_NEEDED: u64 = 1;

impl<'a> Elf<'a> {
    /// Checks the first bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ElfError> {
        // Magic, class 2 = 64-bit, data 1 = little-endian.
        if bytes.starts_with(b"\x7fELF\x02\x01") && bytes.len() >= 64 {
            Ok(Self { bytes })
        } else {
            Err(ElfError::Kind)
        }
    }

    /// The machine a file is for: 62 is x86-64, 183 is AArch64.
    pub fn machine(&self) -> u16 {
        self.number(18, 2).and_then(|machine| u16::try_from(machine).ok()).unwrap_or_default()
    }

    /// The content of the first section with this name, if there is one.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, ElfError> {
        let outside = ElfError::Outside("the section table");
        let count = self.number(60, 2).ok_or(ElfError::Kind)?;
        if count == 0 {
            return Ok(None);
        }
        let names = self.number(62, 2).and_then(|index| self.section_at(index)).ok_or(outside)?.content;
        for index in 0..count {
            let section = self.section_at(index).ok_or(outside)?;
            if text_at(names, section.name).is_some_and(|found| found == name) {
                return Ok(Some(section.content));
            }
        }
        Ok(None)
    }

    /// The dynamic linker and the libraries that a file asks for; empty for a static one.
    pub fn dynamic(&self) -> Result<Dynamic, ElfError> {
        let mut dynamic = Dynamic::default();
        let table = ElfError::Outside("the program table");
        let (start, count) = (self.size(32, 8).ok_or(ElfError::Kind)?, self.number(56, 2).ok_or(ElfError::Kind)?);
        for index in 0..usize::try_from(count).unwrap_or(0) {
            let at = start.checked_add(index * PROGRAM_HEADER_BYTES).ok_or(table)?;
            if self.number(at, 4).ok_or(table)? == u64::from(PROGRAM_INTERPRETER) {
                let content = self.slice(self.size(at + 8, 8), self.size(at + 32, 8)).ok_or(table)?;
                dynamic.interpreter = text_at(content, 0).map(str::to_owned);
            }
        }
        let outside = ElfError::Outside("the section table");
        for index in 0..self.number(60, 2).ok_or(ElfError::Kind)? {
            let section = self.section_at(index).ok_or(outside)?;
            if section.kind != SECTION_DYNAMIC {
                continue;
            }
            let names = self.section_at(section.link).ok_or(outside)?.content;
            let (entries, _) = section.content.as_chunks::<16>();
            for entry in entries {
                let [tag, value] = [little(&entry[..8]), little(&entry[8..])];
                if tag == TAG_NEEDED {
                    let name = usize::try_from(value).ok().and_then(|at| text_at(names, at));
                    dynamic.needed.push(name.ok_or(ElfError::Outside("the name of a library"))?.to_owned());
                }
            }
        }
        Ok(dynamic)
    }

    fn section_at(&self, index: u64) -> Option<Section<'a>> {
        let index = usize::try_from(index).ok()?;
        let at = self.size(40, 8)?.checked_add(index.checked_mul(SECTION_HEADER_BYTES)?)?;
        self.slice(Some(at), Some(SECTION_HEADER_BYTES))?;
        let kind = u32::try_from(self.number(at.checked_add(4)?, 4)?).ok()?;
        // Type 8 takes no room in the file; its size says nothing about these bytes.
        let content = if kind == 8 { &[][..] } else { self.slice(self.size(at + 24, 8), self.size(at + 32, 8))? };
        Some(Section { name: self.size(at, 4)?, kind, link: self.number(at + 40, 4)?, content })
    }

    fn slice(&self, start: Option<usize>, length: Option<usize>) -> Option<&'a [u8]> {
        let start = start?;
        self.bytes.get(start..start.checked_add(length?)?)
    }

    fn number(&self, at: usize, width: usize) -> Option<u64> {
        Some(little(self.bytes.get(at..at.checked_add(width)?)?))
    }

    fn size(&self, at: usize, width: usize) -> Option<usize> {
        usize::try_from(self.number(at, width)?).ok()
    }
}

struct Section<'a> {
    name: usize,
    kind: u32,
    link: u64,
    content: &'a [u8],
}

fn little(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn text_at(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn this_very_program_names_its_libraries() {
        let bytes = own();
        let elf = Elf::new(&bytes).unwrap();
        let dynamic = elf.dynamic().unwrap();
        assert!(dynamic.needed.iter().any(|name| name == "libc.so.6"), "{dynamic:?}");
        assert!(std::path::Path::new(&dynamic.interpreter.unwrap()).exists());
        assert!(elf.section(".text").unwrap().is_some_and(|text| !text.is_empty()));
        assert_eq!(elf.section(".no-such-section").unwrap(), None);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        assert_eq!(Elf::new(b"\x7fELF\x01\x01").unwrap_err(), ElfError::Kind);
        let bytes = own();
        for length in (0..4096).chain([bytes.len() / 2, bytes.len() - 1]) {
            if let Ok(elf) = Elf::new(&bytes[..length]) {
                assert!(elf.section(".no-such-section").is_err(), "{length} bytes were enough");
                assert!(elf.dynamic().is_err(), "{length} bytes were enough");
            }
        }
        let mut damaged = bytes[..bytes.len().min(1 << 20)].to_vec();
        for at in 16..64 {
            let kept = std::mem::replace(&mut damaged[at], 0xff);
            if let Ok(elf) = Elf::new(&damaged) {
                drop((elf.section(".text"), elf.dynamic()));
            }
            damaged[at] = kept;
        }
    }
}
