// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images and updates for the stories: built by the product's own builder from this checkout's programs, signed with keys
//! of the harness, and broken on purpose where a story asks for it. Everything lies below `target/hil` and is found again
//! by what it was made of.

use crate::guest::Guest;
use adit_image::arch::{Arch, Flavour};
use adit_image::board::Board;
use adit_image::builder::{Built, Order};
use adit_image::debian::{self, Apt};
use adit_image::digest::Sha256;
use adit_image::initrd::Identity;
use adit_image::inputs::{Lock, Store};
use adit_image::table::SectorSize;
use adit_slots::keys::{KEY_SET_BYTES_MAX, KeySet, PREFIX as KEYS_PREFIX, SignatureItem};
use adit_slots::layout::{ALIGN_BYTES, ESP_BYTES};
use adit_slots::manifest::{self, Digest, Manifest, PREFIX as UPDATE_PREFIX, PRODUCT};
use adit_slots::update::{HEADER_BYTES, encode_header};
use adit_slots::version::Version;
use adit_wire::ids::{PublicKey, Signature};
use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The time that images carry, seconds since 1970: fixed, so that the same programs give the same image.
const BUILT_S: u64 = 1_790_000_000;
/// Words that the harness's images have besides the board's. The health gate is passed after 5 s and given up after 40 s
/// of the machine's time, so that a story about three bad starts takes minutes, not hours.
const WORDS: &str = "adit.gate_s=5 adit.gate_max_s=40";
/// Where Debian's packages of UEFI firmware keep it.
const FIRMWARE_CODE: &str = "usr/share/OVMF/OVMF_CODE_4M.fd";
const FIRMWARE_VARIABLES: &str = "usr/share/OVMF/OVMF_VARS_4M.fd";
/// A byte of the version in an update file: magic, length, magic, product, processor, flavour, then three numbers.
const MANIFEST_VERSION_AT: usize = 8 + 4 + 8 + 16 + 1 + 1 + 4;
/// The seeds of the harness's keys: two root keys and two that sign.
const SEEDS: [[u8; 32]; 4] = [[0xa1; 32], [0xa2; 32], [0xb1; 32], [0xb2; 32]];

/// What is wrong with an edition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Nothing.
    None,
    /// The kernel finds no first process and panics.
    Panics,
    /// The agent's program ends at once.
    NoAgent,
}

/// One version of the appliance as a story wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// Its version.
    pub version: Version,
    /// Its flavour.
    pub flavour: Flavour,
    /// What is wrong with it.
    pub flaw: Flaw,
    /// Sectors of its disk, bytes.
    pub sector_bytes: u32,
    /// Versions below this one are not taken once it has proved itself.
    pub floor: Version,
}

impl Edition {
    /// A sound one for virtual machines.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u32) -> Self {
        let (version, floor) = (Version::new(major, minor, patch), Version::new(0, 0, 0));
        Self { version, flavour: Flavour::Vm, flaw: Flaw::None, sector_bytes: 512, floor }
    }

    /// The same for real machines.
    #[must_use]
    pub const fn hardware(mut self) -> Self {
        self.flavour = Flavour::Hardware;
        self
    }

    /// The same with a flaw.
    #[must_use]
    pub const fn with(mut self, flaw: Flaw) -> Self {
        self.flaw = flaw;
        self
    }

    /// The same for a disk whose sectors have 4,096 bytes.
    #[must_use]
    pub const fn large_sectors(mut self) -> Self {
        self.sector_bytes = 4_096;
        self
    }
}

/// An image that was built.
#[derive(Clone, Debug)]
pub struct Image {
    /// The disk, a raw file that nobody writes.
    pub disk: PathBuf,
    /// The signed update file.
    pub update: PathBuf,
    /// What its update says of itself.
    pub manifest: Manifest,
}

/// An update file that is not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Something else altogether.
    Foreign,
    /// A later format.
    Format,
    /// The manifest was changed after it was signed.
    Manifest,
    /// Signed by a key that nobody trusts.
    Stranger,
    /// For another product.
    Product,
    /// For another processor.
    Arch,
    /// For another flavour.
    Flavour,
    /// Not above what runs.
    Old,
    /// Needs a version between.
    Step,
    /// The file ends too early.
    Short,
    /// One bit of the image is another.
    Flipped,
    /// Larger than a slot.
    Large,
    /// Its new keys are signed by nobody.
    Keys,
}

impl Offer {
    /// Each with the words of its refusal.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Foreign, "no update that this version understands"),
        (Self::Format, "has format 2"),
        (Self::Manifest, "signature does not verify"),
        (Self::Stranger, "signed by a key that this machine does not know"),
        (Self::Product, "for another product"),
        (Self::Arch, "for another kind of processor"),
        (Self::Flavour, "for another kind of machine"),
        (Self::Old, "not newer than what runs"),
        (Self::Step, "has to come first"),
        (Self::Short, "incomplete"),
        (Self::Flipped, "changed on its way"),
        (Self::Large, "larger than a slot"),
        (Self::Keys, "not signed by a root key"),
    ];
}

impl Image {
    /// A copy of its disk with one more file in the boot partition's root.
    pub(crate) fn with_file(&self, copy: &Path, name: &str, content: &[u8]) -> Result<()> {
        fs::copy(&self.disk, copy).with_context(|| format!("copy {}", self.disk.display()))?;
        let disk = fs::OpenOptions::new().read(true).write(true).open(copy)?;
        let mut esp = adit_image::esp::Esp::open(adit_image::esp::Window::new(disk, ALIGN_BYTES, ESP_BYTES))?;
        esp.write(name, content)?;
        esp.close().map_err(Into::into)
    }

    /// Its update file with a key set of this version and these keys (none: without one), signed by this key.
    ///
    /// # Errors
    /// When the true one cannot be read.
    pub fn signed_as(&self, keys: Option<(u32, &[usize])>, by: usize) -> Result<Vec<u8>> {
        let uki = fs::read(&self.update)?.split_off(HEADER_BYTES);
        let set = keys.map(|(version, signing)| key_set(version, signing)).unwrap_or_default();
        signed(&self.manifest, &uki, &set, by)
    }

    /// Its update file, made wrong in one way.
    ///
    /// # Errors
    /// When the true one cannot be read.
    pub fn offer(&self, offer: Offer) -> Result<Vec<u8>> {
        let mut file = fs::read(&self.update)?;
        let uki = file.split_off(HEADER_BYTES);
        let signed_anew = |change: fn(&mut Manifest)| {
            let mut manifest = self.manifest;
            change(&mut manifest);
            signed(&manifest, &uki, &key_set(1, &[2]), 2)
        };
        match offer {
            Offer::Foreign => Ok([b"PK\x03\x04".as_slice(), &file[4..], &uki].concat()),
            Offer::Format => Ok([b"ADITUPD2".as_slice(), &file[8..], &uki].concat()),
            Offer::Manifest => {
                // The patch number of the version, within the signed bytes.
                file[MANIFEST_VERSION_AT] ^= 1;
                Ok([file, uki].concat())
            }
            Offer::Stranger => signed(&self.manifest, &uki, &[], 3),
            Offer::Product => signed_anew(|manifest| manifest.product[0] ^= 1),
            Offer::Arch => signed_anew(|manifest| manifest.arch = manifest::Arch::Aarch64 as u8),
            Offer::Flavour => signed_anew(|manifest| manifest.flavour = manifest::Flavour::Hardware as u8),
            Offer::Old => signed_anew(|manifest| manifest.version = Version::new(1, 0, 0)),
            Offer::Step => signed_anew(|manifest| manifest.min_from = Version::new(1, 0, 5)),
            Offer::Short => Ok([&file[..], &uki[..uki.len() / 2]].concat()),
            Offer::Flipped => {
                let mut uki = uki;
                let middle = uki.len() / 2;
                uki[middle] ^= 0x10;
                Ok([file, uki].concat())
            }
            Offer::Large => signed_anew(|manifest| manifest.uki_size = adit_slots::layout::UKI_BYTES_MAX + 1),
            Offer::Keys => {
                let mut keys = key_set(2, &[3]);
                let last = keys.len() - 1;
                keys[last] ^= 1;
                signed(&self.manifest, &uki, &keys, 3)
            }
        }
    }
}

/// Files of UEFI firmware.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// Its code.
    pub code: PathBuf,
    /// Its empty variables, to be copied.
    pub variables: PathBuf,
}

/// The firmware, fetched from Debian's package and unpacked, never installed.
///
/// # Errors
/// When it cannot be had.
pub fn firmware(guest: &Guest) -> Result<Firmware> {
    let folder = guest.folder().join("firmware");
    let at = |name: &str| folder.join(name);
    if !at(FIRMWARE_CODE).exists() {
        let apt = Apt::new(&guest.folder().join("apt"))?;
        let files = apt.download(&["ovmf"]).or_else(|_| apt.update().and_then(|()| apt.download(&["ovmf"])))?;
        files.iter().try_for_each(|file| debian::unpack(file, &folder))?;
    }
    Ok(Firmware { code: at(FIRMWARE_CODE), variables: at(FIRMWARE_VARIABLES) })
}

/// Builds an edition, or finds the one that was built of the same.
///
/// # Errors
/// What the builder said.
pub fn image(guest: &Guest, edition: Edition) -> Result<Image> {
    let programs = guest.appliance_programs()?;
    let board = board(edition.flavour)?;
    let folder = guest.folder().join("images");
    fs::create_dir_all(&folder)?;
    let store = Store::new(&guest.folder().join("inputs"))?;
    let lock = lock(guest, &store)?;
    let hash = {
        let mut hasher = blake3::Hasher::new();
        for name in ["adit-init", "aditd", "adit-probe"] {
            hasher.update(&fs::read(programs.join(name)).with_context(|| format!("read {name}"))?);
        }
        hasher.update(format!("{edition:?} {WORDS} {BUILT_S} {board:?} {}", lock.to_text()).as_bytes());
        hasher.finalize().to_hex().chars().take(16).collect::<String>()
    };
    let stem = format!("{}-{hash}", edition.version);
    let (disk, update) = (folder.join(format!("{stem}.img")), folder.join(format!("{stem}.adit")));
    if !update.exists() {
        let built = build(&store, &lock, &board, &programs, edition)?;
        fs::write(&disk, &built.disk)?;
        let unfinished = update.with_extension("unfinished");
        fs::write(&unfinished, signed(&manifest(&built, edition), &built.uki, &key_set(1, &[2]), 2)?)?;
        fs::rename(&unfinished, &update)?;
    }
    let manifest = manifest_of(&update)?;
    Ok(Image { disk, update, manifest })
}

fn board(flavour: Flavour) -> Result<Board> {
    let name = match flavour {
        Flavour::Vm => "vm",
        Flavour::Hardware => "hardware",
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../images/boards/{name}.toml"));
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    // A panic of the harness is seen at once.
    let text = text.replace("panic=10", "panic=1").replacen("all = \"", &format!("all = \"{WORDS} "), 1);
    Ok(Board::parse(&text, flavour)?)
}

/// The packages that Debian has at the first build of a checkout; they stay until `target/hil` is removed.
fn lock(guest: &Guest, store: &Store) -> Result<Lock> {
    let path = guest.folder().join("inputs.lock");
    if let Ok(text) = fs::read_to_string(&path) {
        return Ok(Lock::parse(&text)?);
    }
    let boards = [board(Flavour::Vm)?, board(Flavour::Hardware)?];
    let lock = Lock::now(store, &boards, &[Arch::X86_64], BUILT_S)?;
    fs::write(&path, lock.to_text())?;
    Ok(lock)
}

fn build(store: &Store, lock: &Lock, board: &Board, programs: &Path, edition: Edition) -> Result<Built> {
    let keys = key_set(1, &[2]);
    let changed = tempfile::tempdir().context("a folder for programs")?;
    let programs = match edition.flaw {
        Flaw::None => programs.to_owned(),
        flaw @ (Flaw::Panics | Flaw::NoAgent) => {
            for name in ["adit-init", "aditd", "adit-probe"] {
                // A program that is none of the others ends with a word about its usage.
                let from = match (flaw, name) {
                    (Flaw::Panics, "adit-init") | (Flaw::NoAgent, "aditd") => "adit-probe",
                    _ => name,
                };
                fs::copy(programs.join(from), changed.path().join(name))?;
            }
            changed.path().to_owned()
        }
    };
    let sector_size = if edition.sector_bytes == 4_096 { SectorSize::B4096 } else { SectorSize::B512 };
    let identity = Identity {
        version: edition.version,
        arch: Arch::X86_64,
        flavour: edition.flavour,
        time_s: BUILT_S,
        floor: edition.floor,
    };
    let order = Order { identity, sector_size, board, lock, store, programs: &programs, keys: Some(&keys) };
    order.carry_out().with_context(|| format!("build version {}", edition.version))
}

/// What an update file says of itself, after its length.
fn manifest_of(update: &Path) -> Result<Manifest> {
    let mut head = vec![0; HEADER_BYTES];
    fs::File::open(update)?.read_exact(&mut head)?;
    let length = usize::try_from(u32::from_le_bytes([head[8], head[9], head[10], head[11]]))?;
    let manifest = head.get(12..12 + length).context("the manifest's length")?;
    Manifest::parse(manifest).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The manifest of what was built.
fn manifest(built: &Built, edition: Edition) -> Manifest {
    let flavour = match edition.flavour {
        Flavour::Vm => manifest::Flavour::Vm,
        Flavour::Hardware => manifest::Flavour::Hardware,
    };
    Manifest {
        product: PRODUCT,
        arch: manifest::Arch::X86_64 as u8,
        flavour: flavour as u8,
        version: edition.version,
        min_from: Version::new(0, 0, 0),
        floor: edition.floor,
        uki_size: built.uki.len() as u64,
        uki_sha256: Digest(Sha256::of(&built.uki).0),
        time_s: BUILT_S,
    }
}

fn pair(index: usize) -> Result<Ed25519KeyPair> {
    Ed25519KeyPair::from_seed_unchecked(&SEEDS[index]).map_err(|_| anyhow::anyhow!("a seed is no key"))
}

fn public(index: usize) -> PublicKey {
    let pair = pair(index).expect("fixed seeds are keys");
    PublicKey::from_slice(pair.public_key().as_ref()).expect("a key has 32 bytes")
}

fn sign(index: usize, prefix: &[u8], body: &[u8]) -> SignatureItem {
    let signature = pair(index).expect("fixed seeds are keys").sign(&[prefix, body].concat());
    SignatureItem::ed25519(&public(index), Signature::from_slice(signature.as_ref()).expect("64 bytes"))
}

/// A key set of the harness's root keys with these signing keys, signed by the first root key.
#[must_use]
pub fn key_set(version: u32, signing: &[usize]) -> Vec<u8> {
    let keys: Vec<PublicKey> = signing.iter().map(|index| public(*index)).collect();
    let set = KeySet::new(version, [public(0), public(1)], &keys).expect("few keys");
    let mut body = [0; KEY_SET_BYTES_MAX];
    let length = set.encode(&mut body).expect("fits");
    let signature = sign(0, KEYS_PREFIX, &body[..length]);
    let mut out = [0; KEY_SET_BYTES_MAX];
    let length = set.encode_signed(&[signature], &mut out).expect("fits");
    out[..length].to_vec()
}

/// An update file, signed with one of the harness's keys.
///
/// # Errors
/// When the header does not hold it.
pub fn signed(manifest: &Manifest, uki: &[u8], keys: &[u8], by: usize) -> Result<Vec<u8>> {
    let body = manifest.encode();
    let header = encode_header(&body, &[sign(by, UPDATE_PREFIX, &body)], keys).context("the header does not fit")?;
    Ok([&header, uki].concat())
}
