// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which kernel modules something needs, in the order to load them. The modules say it themselves (`depends=`,
//! `softdep=` and `alias=` in their .modinfo section), so an unpacked package is enough: no depmod, no modules.dep. Never
//! loads anything.

use crate::elf::{Elf, ElfError};
use lzma_rust2::XzReader;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest module, in bytes, after unpacking; Debian's largest is below 10 MB.
pub const MODULE_BYTES_MAX: u64 = 64 << 20;
const DECODER_KIB_MAX: u32 = 160 << 10;

/// Why modules could not be found or ordered.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// A folder or file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Neither a file nor built into the kernel.
    #[error("kernel has no module {0}")]
    Missing(String),
    /// Not a module that can be read.
    #[error("module {} is not usable", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ElfError,
    },
    /// A module of more than [`MODULE_BYTES_MAX`].
    #[error("module {} has more than {MODULE_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Modules that depend on each other in a circle.
    #[error("module {0} depends on itself")]
    Circle(String),
}

/// One module, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name with underscores, as the kernel shows it.
    pub name: String,
    /// The object file, unpacked.
    pub image: Vec<u8>,
}

/// The modules of one kernel: the folder `lib/modules/VERSION` of its package.
#[derive(Debug)]
pub struct Modules {
    folder: PathBuf,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Modules {
    /// Lists the modules below a folder such as `lib/modules/6.1.0-56-amd64`.
    pub fn scan(folder: &Path) -> Result<Self, ModuleError> {
        let mut files = BTreeMap::new();
        let mut waiting = vec![folder.join("kernel")];
        while let Some(folder) = waiting.pop() {
            let failed = |source| ModuleError::Read { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let path = entry.path();
                if entry.file_type().map_err(failed)?.is_dir() {
                    waiting.push(path);
                } else if let Some(name) = module_name(&path) {
                    files.insert(name, path);
                }
            }
        }
        let path = folder.join("modules.builtin");
        let list = std::fs::read_to_string(&path).map_err(|source| ModuleError::Read { path, source })?;
        let mut builtin: BTreeSet<String> = list.lines().filter_map(|line| module_name(Path::new(line))).collect();
        // What a built-in module answers to as well: `sha256_generic.alias=sha256`. Older packages lack the list.
        if let Ok(info) = std::fs::read(folder.join("modules.builtin.modinfo")) {
            let info = String::from_utf8_lossy(&info).into_owned();
            let aliases =
                info.split('\0').filter_map(|field| field.split_once(".alias=").map(|(_, alias)| plain(alias)));
            builtin.extend(aliases);
        }
        Ok(Self { folder: folder.to_owned(), files, builtin })
    }

    /// The wanted modules and all they need, each after what it needs. Built-in ones are left out. A soft dependency that
    /// does not exist is left out too, as modprobe does.
    pub fn order(&self, wanted: &[&str]) -> Result<Vec<Module>, ModuleError> {
        let mut order =
            Order { modules: self, aliases: None, open: BTreeSet::new(), done: BTreeSet::new(), list: Vec::new() };
        for name in wanted {
            order.visit(&plain(name))?;
        }
        Ok(order.list)
    }

    /// Modules that carry an alias word for word. Only ciphers and checksums are asked for by such a name, so only where they
    /// lie is looked; that is a fiftieth of all bytes. Where several carry it and one is the portable form, the others are
    /// left out: they are for instructions that an emulated processor may lack.
    fn aliases(&self) -> Result<BTreeMap<String, Vec<String>>, ModuleError> {
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let places = ["arch", "crypto", "lib"].map(|place| self.folder.join("kernel").join(place));
        for (name, path) in self.files.iter().filter(|(_, path)| places.iter().any(|place| path.starts_with(place))) {
            let image = read_module(path)?;
            for alias in fields(&info(path, &image)?, "alias") {
                // Patterns are for devices; a soft dependency is a plain word.
                if !alias.contains(['*', ':']) {
                    aliases.entry(plain(alias)).or_default().push(name.clone());
                }
            }
        }
        for names in aliases.values_mut() {
            if names.iter().any(|name| name.ends_with("_generic")) {
                names.retain(|name| name.ends_with("_generic"));
            }
        }
        Ok(aliases)
    }
}

/// What a loader needs to know about the modules of an image; text in the form of the kernel's own tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `PATTERN NAME` a line: a device whose modalias matches the pattern asks for the module.
    pub alias: String,
    /// `NAME: NEEDED NEEDED` a line: what must be loaded first, in this order.
    pub dep: String,
}

impl Tables {
    /// The tables of modules as [`Modules::order`] gives them.
    pub fn of(modules: &[Module]) -> Result<Self, ModuleError> {
        let infos =
            modules.iter().map(|module| Ok((module.name.as_str(), info(Path::new(&module.name), &module.image)?)));
        let infos: Vec<(&str, String)> = infos.collect::<Result<_, ModuleError>>()?;
        let answers = |word: &str| {
            let word = word.to_owned();
            let named = move |(name, info): &&(&str, String)| {
                *name == word || fields(info, "alias").any(|alias| plain(alias) == word)
            };
            infos.iter().filter(named).map(|(name, _)| *name)
        };
        let (mut alias, mut dep) = (BTreeSet::new(), String::new());
        for (name, info) in &infos {
            alias.extend(fields(info, "alias").map(|pattern| format!("{pattern} {name}\n")));
            let (before, _) = soft_dependencies(info);
            let needed = fields(info, "depends").flat_map(|list| list.split(',')).map(plain);
            let mut line = format!("{name}:");
            let mut seen = BTreeSet::from([*name]);
            for first in before.into_iter().chain(needed).flat_map(|word| answers(&word).collect::<Vec<_>>()) {
                if seen.insert(first) {
                    line.push(' ');
                    line.push_str(first);
                }
            }
            dep.push_str(&line);
            dep.push('\n');
        }
        Ok(Self { alias: alias.into_iter().collect(), dep })
    }
}

struct Order<'a> {
    modules: &'a Modules,
    aliases: Option<BTreeMap<String, Vec<String>>>,
    open: BTreeSet<String>,
    done: BTreeSet<String>,
    list: Vec<Module>,
}

impl Order<'_> {
    fn visit(&mut self, name: &str) -> Result<(), ModuleError> {
        if self.modules.builtin.contains(name) || self.done.contains(name) {
            return Ok(());
        }
        let path = self.modules.files.get(name).ok_or_else(|| ModuleError::Missing(name.to_owned()))?;
        if !self.open.insert(name.to_owned()) {
            return Err(ModuleError::Circle(name.to_owned()));
        }
        let image = read_module(path)?;
        let info = info(path, &image)?;
        let (before, after) = soft_dependencies(&info);
        self.visit_soft(&before)?;
        for needed in fields(&info, "depends").flat_map(|list| list.split(',')).filter(|name| !name.is_empty()) {
            self.visit(&plain(needed))?;
        }
        self.open.remove(name);
        self.done.insert(name.to_owned());
        self.list.push(Module { name: name.to_owned(), image });
        self.visit_soft(&after)
    }

    fn visit_soft(&mut self, words: &[String]) -> Result<(), ModuleError> {
        for word in words {
            let names = if self.modules.files.contains_key(word) || self.modules.builtin.contains(word) {
                vec![word.clone()]
            } else {
                if self.aliases.is_none() {
                    self.aliases = Some(self.modules.aliases()?);
                }
                self.aliases.as_ref().and_then(|aliases| aliases.get(word)).cloned().unwrap_or_default()
            };
            for name in names {
                // A soft circle is no error: whoever is being loaded already comes first.
                if !self.open.contains(&name) {
                    self.visit(&name)?;
                }
            }
        }
        Ok(())
    }
}

/// Words behind `pre:` and behind `post:`.
fn soft_dependencies(info: &str) -> (Vec<String>, Vec<String>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for line in fields(info, "softdep") {
        let mut behind = false;
        for word in line.split_ascii_whitespace() {
            match word {
                "pre:" => behind = false,
                "post:" => behind = true,
                word if behind => after.push(plain(word)),
                word => before.push(plain(word)),
            }
        }
    }
    (before, after)
}

fn fields<'a>(info: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    info.split('\0').filter_map(move |field| field.strip_prefix(key)?.strip_prefix('='))
}

fn info(path: &Path, image: &[u8]) -> Result<String, ModuleError> {
    let content = |source| ModuleError::Content { path: path.to_owned(), source };
    let section = Elf::new(image).map_err(content)?.section(".modinfo").map_err(content)?;
    Ok(String::from_utf8_lossy(section.ok_or_else(|| content(ElfError::Kind))?).into_owned())
}

fn read_module(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let failed = |source| ModuleError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut image = Vec::new();
    let read = if path.extension().is_some_and(|extension| extension == "xz") {
        XzReader::new_mem_limit(io::BufReader::new(file), false, DECODER_KIB_MAX)
            .take(MODULE_BYTES_MAX + 1)
            .read_to_end(&mut image)
    } else {
        file.take(MODULE_BYTES_MAX + 1).read_to_end(&mut image)
    };
    if read.map_err(failed)? as u64 > MODULE_BYTES_MAX {
        return Err(ModuleError::TooLarge(path.to_owned()));
    }
    Ok(image)
}

/// `raid1` for `…/raid1.ko` and `…/raid1.ko.xz`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".ko").or_else(|| name.strip_suffix(".ko.xz")).map(plain)
}

/// File names and dependencies mix dashes and underscores; the kernel knows underscores only.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lzma_rust2::{XzOptions, XzWriter};
    use std::io::Write;

    /// The smallest relocatable object that holds a .modinfo section.
    fn object(info: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        let info_at = bytes.len();
        bytes.extend(info.as_bytes());
        let names_at = bytes.len();
        bytes.extend(names);
        let table_at = bytes.len();
        let mut put = |name: u32, kind: u32, at: usize, length: usize| {
            let mut header = [0_u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            bytes.extend(header);
        };
        put(0, 0, 0, 0);
        put(1, 1, info_at, info.len());
        put(10, 3, names_at, names.len());
        bytes[40..48].copy_from_slice(&(table_at as u64).to_le_bytes());
        bytes[60] = 3;
        bytes[62] = 2;
        bytes
    }

    fn kernel(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let info = "sha256_generic.alias=crypto-sha256\0sha256_generic.license=GPL\0";
        std::fs::write(folder.path().join("modules.builtin.modinfo"), info).unwrap();
        for (file, info) in modules {
            let path = folder.path().join("kernel").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut bytes = object(info);
            if file.ends_with(".xz") {
                let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
                writer.write_all(&bytes).unwrap();
                bytes = writer.finish().unwrap();
            }
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::write(folder.path().join("modules.builtin"), builtin).unwrap();
        folder
    }

    fn names(folder: &tempfile::TempDir, wanted: &[&str]) -> Result<String, ModuleError> {
        let modules = Modules::scan(folder.path())?.order(wanted)?;
        Ok(modules.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_module_comes_after_what_it_needs_and_once() {
        let folder = kernel(
            &[
                ("fs/ext4.ko", "softdep=pre: crypto-crc32c crypto-sha256\0depends=jbd2,mbcache\0name=ext4\0"),
                ("fs/jbd2.ko.xz", "depends=\0"),
                ("fs/mbcache.ko", "name=mbcache\0"),
                ("md/md-mod.ko", "depends=\0softdep=post: late nothing\0"),
                ("md/raid1.ko", "depends=md-mod\0alias=md-level-1\0"),
                ("md/late.ko", "softdep=pre: raid1\0"),
                ("crypto/crc32c-intel.ko", "alias=crypto-crc32c\0alias=cpu:type:x86,ven*\0"),
                ("crypto/sha256-ssse3.ko", "alias=crypto-sha256\0"),
                ("crypto/crc32c_generic.ko", "alias=crypto-crc32c\0"),
            ],
            "kernel/drivers/base/virtio-mem.ko\n",
        );
        let order = names(&folder, &["ext4", "raid1", "virtio_mem", "jbd2"]).unwrap();
        assert_eq!(order, "crc32c_generic jbd2 mbcache ext4 md_mod late raid1");
        let unpacked = Modules::scan(folder.path()).unwrap().order(&["jbd2"]).unwrap();
        assert_eq!(unpacked, [Module { name: "jbd2".to_owned(), image: object("depends=\0") }]);
    }

    #[test]
    fn tables_say_who_asks_for_a_module_and_what_it_needs() {
        let folder = kernel(
            &[
                ("fs/ext4.ko", "softdep=pre: crypto-crc32c gone\0depends=jbd2\0alias=fs-ext4\0"),
                ("fs/jbd2.ko", "depends=\0"),
                ("net/virtio-net.ko", "alias=virtio:d00000001v*\0depends=\0"),
                ("crypto/crc32c_generic.ko", "alias=crypto-crc32c\0"),
            ],
            "",
        );
        let modules = Modules::scan(folder.path()).unwrap().order(&["ext4", "virtio_net"]).unwrap();
        let tables = Tables::of(&modules).unwrap();
        assert_eq!(tables.alias, "crypto-crc32c crc32c_generic\nfs-ext4 ext4\nvirtio:d00000001v* virtio_net\n");
        assert_eq!(tables.dep, "crc32c_generic:\njbd2:\next4: crc32c_generic jbd2\nvirtio_net:\n");
    }

    #[test]
    fn what_does_not_exist_or_goes_in_circles_is_an_error() {
        let folder = kernel(&[("a.ko", "depends=b\0"), ("b.ko", "depends=a\0"), ("c.ko", "depends=gone\0")], "");
        assert_eq!(names(&folder, &["gone"]).unwrap_err().to_string(), "kernel has no module gone");
        assert_eq!(names(&folder, &["c"]).unwrap_err().to_string(), "kernel has no module gone");
        assert_eq!(names(&folder, &["a"]).unwrap_err().to_string(), "module a depends on itself");
    }

    #[test]
    fn truncated_modules_are_errors() {
        let folder = kernel(&[("whole.ko", "depends=\0"), ("packed.ko.xz", "depends=\0")], "");
        for file in ["whole.ko", "packed.ko.xz"] {
            let path = folder.path().join("kernel").join(file);
            let bytes = std::fs::read(&path).unwrap();
            let name = module_name(&path).unwrap();
            for length in 0..bytes.len() {
                std::fs::write(&path, &bytes[..length]).unwrap();
                assert!(names(&folder, &[&name]).is_err(), "{length} of {} bytes of {file}", bytes.len());
            }
        }
    }

    #[test]
    fn a_module_above_the_limit_is_refused() {
        let folder = kernel(&[("huge.ko", "depends=\0")], "");
        let file = std::fs::File::options().write(true).open(folder.path().join("kernel/huge.ko")).unwrap();
        file.set_len(MODULE_BYTES_MAX + 1).unwrap();
        assert!(matches!(names(&folder, &["huge"]), Err(ModuleError::TooLarge(_))));
    }
}
