// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The files that are handed out: disk in three forms, unified kernel image, update file without signatures, bill of
//! materials, sizes of all parts, digests. Their names say version, flavour and architecture. Never holds a secret.

use crate::arch::{Arch, Flavour};
use crate::builder::{self, BuildError, Built, Sizes};
use crate::digest::Sha256;
use crate::image::write_file;
use crate::initrd::{Identity, ZSTD_LEVEL};
use crate::qcow2;
use crate::sbom::{self, SbomError};
use adit_slots::manifest::{self, Manifest};
use adit_slots::update;
use adit_slots::version::Version;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A file.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Above the limit.
    #[error("check the sizes")]
    Gate(#[source] Box<BuildError>),
    /// The disk for virtual machines.
    #[error("make the qcow2 file")]
    Qcow2(#[from] qcow2::TooLarge),
    /// The bill of materials.
    #[error("make the bill of materials")]
    Sbom(#[from] SbomError),
}

/// A form of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Raw, with holes.
    Img,
    /// Raw, packed with zstd.
    Zst,
    /// For virtual machines.
    Qcow2,
}

/// What is written besides what was built.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// What the image is.
    pub identity: Identity,
    /// The oldest version that it may follow.
    pub min_from: Version,
    /// The least memory it starts with.
    pub memory_floor_mib: u32,
    /// Forms of the disk.
    pub formats: &'a [Format],
    /// The manifest of the workspace that our programs come from.
    pub workspace: &'a Path,
}

#[derive(Serialize)]
struct Facts<'a> {
    product: &'a str,
    version: String,
    arch: Arch,
    flavour: Flavour,
    time_s: u64,
    memory_floor_mib: u32,
    kernel: &'a str,
    uki_sha256: Sha256,
    parts_bytes: Sizes,
    files_bytes: BTreeMap<&'a str, u64>,
}

impl Outputs<'_> {
    /// What all files' names begin with: `adit-1.2.3-vm-x86_64`.
    #[must_use]
    pub fn stem(&self) -> String {
        let Identity { version, arch, flavour, .. } = self.identity;
        format!("adit-{version}-{flavour}-{arch}")
    }

    /// The manifest of the update to this image.
    #[must_use]
    pub fn manifest(&self, built: &Built) -> Manifest {
        let Identity { version, floor, arch, flavour, time_s } = self.identity;
        Manifest {
            product: manifest::PRODUCT,
            arch: arch.number(),
            flavour: flavour.number(),
            version,
            min_from: self.min_from,
            floor,
            uki_size: built.uki.len() as u64,
            uki_sha256: manifest::Digest(built.uki_sha256.0),
            time_s,
        }
    }

    /// Writes all files into a folder; their names and sizes in bytes.
    pub fn write(&self, built: &Built, folder: &Path) -> Result<Vec<(String, u64)>, OutputError> {
        let stem = self.stem();
        let mut files = vec![
            (format!("{stem}.uki"), built.uki.clone()),
            (format!("{stem}.adit"), self.update(built)),
            (format!("{stem}.sbom.json"), sbom::of(&self.identity, &built.packages, self.workspace)?.into_bytes()),
        ];
        for format in self.formats {
            files.push(match format {
                Format::Img => (format!("{stem}.img"), built.disk.clone()),
                Format::Qcow2 => (format!("{stem}.qcow2"), qcow2::of(&built.disk)?),
                Format::Zst => {
                    let name = format!("{stem}.img.zst");
                    let packed = zstd::bulk::compress(&built.disk, ZSTD_LEVEL);
                    let packed = packed.map_err(|source| OutputError::Write { path: folder.join(&name), source })?;
                    let gate = builder::gate(self.identity.arch, "packed image", packed.len() as u64);
                    gate.map_err(|error| OutputError::Gate(Box::new(error)))?;
                    (name, packed)
                }
            });
        }
        files.push((format!("{stem}.image.json"), self.facts(built, &files)));
        // Signing changes the update file, and what is signed speaks for itself.
        let lasting = files.iter().filter(|(name, _)| !name.ends_with(".adit"));
        let sums = lasting.map(|(name, bytes)| format!("{}  {name}\n", Sha256::of(bytes)));
        files.push((format!("{stem}.SHA256SUMS"), sums.collect::<String>().into_bytes()));
        std::fs::create_dir_all(folder).map_err(|source| OutputError::Write { path: folder.to_owned(), source })?;
        for (name, bytes) in &files {
            let path = folder.join(name);
            write_file(&path, bytes).map_err(|source| OutputError::Write { path, source })?;
        }
        Ok(files.into_iter().map(|(name, bytes)| (name, bytes.len() as u64)).collect())
    }

    /// An update file that nobody has signed yet: no box takes it.
    fn update(&self, built: &Built) -> Vec<u8> {
        let header = update::encode_header(&self.manifest(built).encode(), &[], &[]);
        let mut file = header.expect("a manifest of fixed size fits").to_vec();
        file.extend(&built.uki);
        file
    }

    fn facts(&self, built: &Built, files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let Identity { version, arch, flavour, time_s, .. } = self.identity;
        let facts = Facts {
            product: "adit-box",
            version: version.to_string(),
            arch,
            flavour,
            time_s,
            memory_floor_mib: self.memory_floor_mib,
            kernel: &built.kernel_version,
            uki_sha256: built.uki_sha256,
            parts_bytes: built.sizes,
            files_bytes: files.iter().map(|(name, bytes)| (name.as_str(), bytes.len() as u64)).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&facts).expect("facts are plain values");
        text.push(b'\n');
        text
    }
}
