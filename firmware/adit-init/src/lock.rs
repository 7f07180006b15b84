// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Encrypted data. The box keeps one part of the key in its state partition, holders among the peers keep shares; a holder's
//! key slot opens with both (protocol/SPEC.md, service 7). cryptsetup does the work and gets keys through a pipe. Nothing here
//! formats what was not just taken as blank, and no share is ever kept.

use crate::block::{self, Disk};
use crate::children::{self, Ran};
use crate::disks::Refused;
use crate::modules::Modules;
use crate::slots::Partition;
use adit_slots::copies::Copies;
use adit_slots::layout::{COPY_BYTES, DATA_NAME, STATE_SHARE_OFFSET, STATE_SHARE_OFFSETS, STATE_TYPE};
use adit_wire::appliance::{SHARE_BYTES, Share, WRONG_SHARES_MAX, WRONG_SHARES_S};
use adit_wire::ids::PublicKey;
use adit_wire::refusal::Code;
use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The program, which is in the hardware flavour alone.
const CRYPTSETUP: &str = "/sbin/cryptsetup";
/// Where opened data appear.
pub(crate) const MAPPING: &str = "/dev/mapper/adit-data";
/// What health reads about volumes that should be open: crypttab(5).
const CRYPTTAB: &str = "/etc/crypttab";
/// Kernel modules of an encrypted volume; one that is built in or of another processor is no error.
const MODULES: [&str; 7] = ["dm_crypt", "xts", "ecb", "aesni_intel", "aes_ce_blk", "sha256_generic", "algif_skcipher"];
/// How long cryptsetup may work. The key is random, so no slow hash protects it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rounds of PBKDF2: the least that cryptsetup takes, for the same reason.
const ROUNDS: &str = "1000";
/// How cryptsetup(8) says that no key slot fits.
const EXIT_WRONG_KEY: i32 = 2;
/// Peers that may hold a share.
const HOLDERS_MAX: usize = 8;
/// Where a LUKS2 header keeps its UUID as text, and its length (LUKS2 on-disk format, 2.1).
const HEADER_UUID_AT: u64 = 168;
const UUID_BYTES: usize = 36;
/// The box's part, twice.
const COPIES: Copies = Copies { magic: *b"ADITSHR1", offsets: STATE_SHARE_OFFSETS };
/// Version of its bytes.
const VERSION: u8 = 1;
/// Labels of the derivation.
const SALT: &[u8] = b"adit luks share v1";
const INFO: &[u8] = b"adit luks key v1";

/// A secret of 32 bytes that leaves memory when it is dropped.
pub(crate) type Secret = Zeroizing<[u8; SHARE_BYTES]>;

/// A peer that keeps a share, and the key slot that opens with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    slot: u8,
    key: PublicKey,
}

/// What the box keeps.
struct Kept {
    uuid: String,
    part: Secret,
    holders: Vec<Holder>,
}

/// What lies on the device of the data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// No encryption.
    Plain(PathBuf),
    /// Encrypted and open.
    Open(PathBuf),
    /// Encrypted; a share is needed.
    Locked,
}

/// The lock of this box's data.
#[derive(Debug)]
pub(crate) struct Lock {
    state: Option<PathBuf>,
    boot_node: String,
    /// Known without a look at the disk; none when the data are not encrypted.
    holders: Mutex<Option<Vec<Holder>>>,
    tries: Mutex<Tries>,
    work: Mutex<()>,
}

impl Lock {
    /// Reads what is kept on the boot disk, and tells health that the data should be open.
    pub(crate) fn new(boot: Option<&Disk>) -> Result<Self> {
        let mut lock = Self {
            state: boot.and_then(|disk| disk.partition(STATE_TYPE)).map(|partition| partition.path.clone()),
            boot_node: boot.map(|disk| disk.node.clone()).unwrap_or_default(),
            holders: Mutex::default(),
            tries: Mutex::default(),
            work: Mutex::default(),
        };
        // An image without cryptsetup may boot a box with encrypted data: it cannot open them, but knows that it should.
        if lock.state.is_some()
            && let Some(kept) = lock.load().context("read the box's part of the data's key")?
        {
            lock.know(&kept);
            lock.holders = Mutex::new(Some(kept.holders));
            load_modules();
        }
        Ok(lock)
    }

    /// The lock of a box whose part cannot be read: what is encrypted stays closed.
    pub(crate) fn unreadable(boot: Option<&Disk>) -> Self {
        Self {
            state: None,
            boot_node: boot.map(|disk| disk.node.clone()).unwrap_or_default(),
            holders: Mutex::default(),
            tries: Mutex::default(),
            work: Mutex::default(),
        }
    }

    /// The boot disk's name.
    pub(crate) fn boot_node(&self) -> &str {
        &self.boot_node
    }

    /// Those who hold a share; none when the data are not encrypted.
    pub(crate) fn holders(&self) -> Option<Vec<Holder>> {
        lock(&self.holders).clone()
    }

    /// What lies on a device that should hold the data. Other than expected is an error: nothing takes the place of
    /// encrypted data, and what is encrypted without the box's part is lost.
    pub(crate) fn device(&self, path: &Path) -> Result<Device> {
        let is_encrypted = block::content(path) == "LUKS";
        let kept = match self.load() {
            Err(_) if !is_encrypted => None,
            other => other?,
        };
        let Some(kept) = kept else {
            ensure!(
                !is_encrypted,
                "{} is encrypted, and this box's part of its key is gone: nothing opens it any more",
                path.display()
            );
            return Ok(Device::Plain(path.to_owned()));
        };
        let other = format!(
            "the data of this box are encrypted, and {} does not hold them: is a disk missing, or was its making cut off?",
            path.display()
        );
        ensure!(is_encrypted && header_uuid(path)? == kept.uuid, other);
        Ok(if Path::new(MAPPING).exists() { Device::Open(PathBuf::from(MAPPING)) } else { Device::Locked })
    }

    /// The data to come are encrypted: the box's part is made and kept before anything is. A cut after this leaves a disk that
    /// the box does not take for plain.
    pub(crate) fn begin(&self, holder: PublicKey) -> Result<(), Refused> {
        if !Path::new(CRYPTSETUP).exists() {
            return Err(Refused::new(Code::NoEncryption, ""));
        }
        let mut part = Secret::default();
        aws_lc_rs::rand::fill(&mut part[..]).map_err(|_| anyhow!("there is no randomness"))?;
        let kept = Kept { uuid: block::random_uuid()?, part, holders: vec![Holder { slot: 0, key: holder }] };
        Ok(self.keep(&kept)?)
    }

    /// The data to come are not encrypted.
    pub(crate) fn forget(&self) -> Result<()> {
        if lock(&self.holders).is_none() {
            return Ok(());
        }
        let mut state = Partition::open(self.state()?)?.into_file();
        state.seek(SeekFrom::Start(STATE_SHARE_OFFSET))?;
        let end = STATE_SHARE_OFFSETS[1] + u64::try_from(COPY_BYTES)?;
        state.write_all(&vec![0; usize::try_from(end - STATE_SHARE_OFFSET)?])?;
        state.sync_all()?;
        *lock(&self.holders) = None;
        fs::remove_file(CRYPTTAB)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error.into()) })
    }

    /// Makes the encrypted volume after [`Self::begin`], on a device that was just taken as blank, and opens it.
    pub(crate) fn make(&self, path: &Path, share: &Share) -> Result<PathBuf, Refused> {
        let _one = lock(&self.work);
        load_modules();
        let kept = self.load()?.context("the box's part of the key is gone")?;
        let key = kept.key(share)?;
        let device = text(path)?;
        let fixed = ["luksFormat", "-q", "--type", "luks2", "--label", DATA_NAME, "--uuid", &kept.uuid];
        let slot = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", ROUNDS, "--key-file", "-", "--keyfile-size", "32"];
        must(&[&fixed[..], &slot[..], &[device]].concat(), &key[..])?;
        self.map(device, &key)?;
        Ok(PathBuf::from(MAPPING))
    }

    /// Opens the data with a holder's share. Answers false when they were open already and the share fits.
    pub(crate) fn open(&self, share: &Share) -> Result<bool, Refused> {
        let _one = lock(&self.work);
        if let Some(left) = lock(&self.tries).wait(Instant::now()) {
            let words = format!("too many wrong shares; wait {} s", left.as_secs() + 1);
            return Err(Refused::new(Code::Busy, words));
        }
        let (path, kept) = self.encrypted()?;
        let key = kept.key(share)?;
        let was_open = Path::new(MAPPING).exists();
        let outcome = if was_open { self.fits(text(&path)?, &key) } else { self.map(text(&path)?, &key) };
        lock(&self.tries).count(Instant::now(), matches!(&outcome, Err(refused) if refused.code == Code::ShareWrong));
        outcome.map(|()| !was_open)
    }

    /// Lets another peer hold a share. One that holds another share already gets this one in its place.
    pub(crate) fn add(&self, own: &Share, new: &Share, holder: PublicKey) -> Result<(), Refused> {
        let _one = lock(&self.work);
        let (path, mut kept) = self.encrypted()?;
        let (own, new) = (kept.key(own)?, kept.key(new)?);
        let device = text(&path)?;
        self.fits(device, &own)?;
        let full = || Refused::new(Code::ShareRefused, format!("{HOLDERS_MAX} machines hold one already"));
        let slot = kept.free_slot().ok_or_else(full)?;
        // Kept first: a cut leaves a holder without a key slot, whom a sweep drops, and no key slot that nobody can revoke.
        kept.holders.push(Holder { slot, key: holder });
        self.keep(&kept)?;
        let number = slot.to_string();
        let both: Zeroizing<Vec<u8>> = Zeroizing::new([&own[..], &new[..]].concat());
        let sizes = ["--keyfile-size", "32", "--new-keyfile-size", "32", "--key-slot", &number];
        let pbkdf = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", ROUNDS];
        let head = ["luksAddKey", "-q", "--key-file", "-"];
        // The second key follows the first one in the same pipe.
        let arguments = [&head[..], &sizes[..], &pbkdf[..], &[device, "/proc/self/fd/0"]].concat();
        if let Err(refused) = must(&arguments, &both) {
            kept.holders.pop();
            self.keep(&kept)?;
            return Err(refused);
        }
        let before: BTreeSet<u8> = kept
            .holders
            .iter()
            .filter(|other| other.key == holder && other.slot != slot)
            .map(|other| other.slot)
            .collect();
        self.wipe(device, &mut kept, &before)
    }

    /// Wipes the key slots of those who are no peers any more.
    pub(crate) fn sweep(&self, peers: &[PublicKey]) -> Result<(), Refused> {
        let _one = lock(&self.work);
        let (path, mut kept) = self.encrypted()?;
        let device = text(&path)?;
        // Who holds no key slot after a cut must not count as the one that is left.
        let used = used_slots(device)?;
        kept.holders.retain(|holder| used.contains(&holder.slot));
        self.keep(&kept)?;
        let gone = revoked(&kept.holders, peers);
        self.wipe(device, &mut kept, &gone)
    }

    /// Whether a sweep would change anything.
    pub(crate) fn needs_sweep(&self, peers: &[PublicKey]) -> bool {
        self.holders().is_some_and(|holders| !revoked(&holders, peers).is_empty())
    }

    fn wipe(&self, device: &str, kept: &mut Kept, slots: &BTreeSet<u8>) -> Result<(), Refused> {
        for slot in slots {
            must(&["luksKillSlot", "-q", device, &slot.to_string()], &[])?;
            kept.holders.retain(|holder| holder.slot != *slot);
            self.keep(kept)?;
        }
        Ok(())
    }

    /// The device with encrypted data, and what the box keeps for it.
    fn encrypted(&self) -> Result<(PathBuf, Kept), Refused> {
        let kept = self.load()?.ok_or_else(|| Refused::new(Code::NotEncrypted, ""))?;
        if !Path::new(CRYPTSETUP).exists() {
            return Err(Refused::new(Code::NoEncryption, ""));
        }
        let path = crate::data::device(&self.boot_node)?;
        self.device(&path)?;
        Ok((path, kept))
    }

    fn map(&self, device: &str, key: &Secret) -> Result<(), Refused> {
        let arguments = ["open", "--type", "luks2", "--key-file", "-", "--keyfile-size", "32", device, DATA_NAME];
        fitting(&arguments, key)
    }

    fn fits(&self, device: &str, key: &Secret) -> Result<(), Refused> {
        let arguments =
            ["open", "--test-passphrase", "--type", "luks2", "--key-file", "-", "--keyfile-size", "32", device];
        fitting(&arguments, key)
    }

    fn state(&self) -> Result<&Path> {
        self.state.as_deref().context("there is no boot disk with the box's part of the key")
    }

    fn load(&self) -> Result<Option<Kept>> {
        let mut buffer = Zeroizing::new([0; COPY_BYTES]);
        let copy = COPIES.load(&mut Partition::open(self.state()?)?, &mut buffer)?;
        copy.map(|copy| Kept::decode(copy.payload).context("the box's part of the key is in a form of a newer version"))
            .transpose()
    }

    fn keep(&self, kept: &Kept) -> Result<()> {
        let bytes = kept.encode();
        COPIES.store(&mut Partition::open(self.state()?)?, &bytes).map_err(|error| anyhow!("{error:?}"))?;
        *lock(&self.holders) = Some(kept.holders.clone());
        self.know(kept);
        Ok(())
    }

    /// Health asks after every volume that this file names.
    fn know(&self, kept: &Kept) {
        if let Err(error) = fs::write(CRYPTTAB, format!("{DATA_NAME} UUID={} none luks\n", kept.uuid)) {
            log::error!("write {CRYPTTAB}: {error}");
        }
    }
}

/// Closes the volume at the machine's end.
pub(crate) fn close() {
    if Path::new(MAPPING).exists()
        && let Err(refused) = must(&["close", DATA_NAME], &[])
    {
        log::warn!("{}", refused.detail);
    }
}

impl Kept {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let holders = self.holders.iter().take(HOLDERS_MAX);
        let mut bytes = Zeroizing::new(Vec::with_capacity(COPY_BYTES));
        bytes.push(VERSION);
        bytes.extend_from_slice(self.uuid.as_bytes());
        bytes.extend_from_slice(&self.part[..]);
        for holder in holders {
            bytes.push(holder.slot);
            bytes.extend_from_slice(&holder.key.0);
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first()?;
        let (uuid, bytes) = bytes.split_at_checked(UUID_BYTES)?;
        let (part, bytes) = bytes.split_at_checked(SHARE_BYTES)?;
        let (holders, rest) = bytes.as_chunks::<33>();
        if *version != VERSION || !rest.is_empty() || holders.len() > HOLDERS_MAX {
            return None;
        }
        let holder = |bytes: &[u8; 33]| {
            let (slot, key) = bytes.split_first()?;
            Some(Holder { slot: *slot, key: PublicKey(key.try_into().ok()?) })
        };
        Some(Self {
            uuid: std::str::from_utf8(uuid).ok().filter(|uuid| is_uuid(uuid))?.to_owned(),
            part: Zeroizing::new(part.try_into().ok()?),
            holders: holders.iter().map(holder).collect::<Option<_>>()?,
        })
    }

    /// The key of a share's key slot.
    fn key(&self, share: &Share) -> Result<Secret> {
        let both = Zeroizing::new([&self.part[..], &share.0[..]].concat());
        let info = [INFO, self.uuid.as_bytes()];
        let failed = |_| anyhow!("derive the key of the data");
        let mut key = Secret::default();
        Salt::new(HKDF_SHA256, SALT)
            .extract(&both)
            .expand(&info, HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut key[..]))
            .map_err(failed)?;
        Ok(key)
    }

    fn free_slot(&self) -> Option<u8> {
        let used = |slot: &u8| self.holders.iter().any(|holder| holder.slot == *slot);
        (self.holders.len() < HOLDERS_MAX).then(|| (0..=u8::MAX).find(|slot| !used(slot)))?
    }
}

/// The key slots of those who are no peers. When nobody else is left, they stay: without any the data would be lost.
fn revoked(holders: &[Holder], peers: &[PublicKey]) -> BTreeSet<u8> {
    let gone: BTreeSet<u8> =
        holders.iter().filter(|holder| !peers.contains(&holder.key)).map(|holder| holder.slot).collect();
    if holders.iter().all(|holder| gone.contains(&holder.slot)) { BTreeSet::new() } else { gone }
}

fn is_uuid(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Wrong shares in a row.
#[derive(Debug, Default)]
struct Tries {
    wrong: u8,
    last: Option<Instant>,
}

impl Tries {
    /// How long the next try has to wait; none for not at all.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let until = self.last? + Duration::from_secs(u64::from(WRONG_SHARES_S));
        (self.wrong >= WRONG_SHARES_MAX && now < until).then(|| until - now)
    }

    fn count(&mut self, now: Instant, wrong: bool) {
        self.wrong = if wrong { self.wrong.saturating_add(1) } else { 0 };
        self.last = wrong.then_some(now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a device's name is no text")
}

fn load_modules() {
    let mut modules = Modules::read();
    for name in MODULES {
        // One that is missing is told by cryptsetup, where it matters.
        if let Err(error) = modules.load(name) {
            log::info!("{error:#}");
        }
    }
}

fn header_uuid(path: &Path) -> Result<String> {
    let mut bytes = [0; UUID_BYTES];
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(HEADER_UUID_AT))?;
    file.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn used_slots(device: &str) -> Result<BTreeSet<u8>> {
    let ran = run(&["luksDump", device], &[])?;
    ensure!(ran.code == Some(0), "read the key slots: {}", children::last(&ran.said));
    Ok(slots_of(&ran.said))
}

/// The key slots of cryptsetup's own table: below "Keyslots:" each begins with "  N: luks2".
fn slots_of(dump: &str) -> BTreeSet<u8> {
    let slots = dump.lines().skip_while(|line| *line != "Keyslots:").take_while(|line| *line != "Tokens:");
    slots.filter_map(|line| line.trim().strip_suffix(": luks2")?.parse().ok()).collect()
}

/// Runs cryptsetup with a key in its pipe. Without udev it makes device nodes itself.
fn run(arguments: &[&str], key: &[u8]) -> Result<Ran> {
    children::feed(CRYPTSETUP, arguments, &[("DM_DISABLE_UDEV", "1")], key, PATIENCE)
}

fn must(arguments: &[&str], key: &[u8]) -> Result<(), Refused> {
    let ran = run(arguments, key)?;
    if ran.code == Some(0) {
        return Ok(());
    }
    let verb = arguments.first().copied().unwrap_or_default();
    Err(anyhow!("cryptsetup {verb}: {}", children::last(&ran.said)).into())
}

fn fitting(arguments: &[&str], key: &Secret) -> Result<(), Refused> {
    let ran = run(arguments, &key[..])?;
    match ran.code {
        Some(0) => Ok(()),
        Some(EXIT_WRONG_KEY) => Err(Refused::new(Code::ShareWrong, "")),
        _ => Err(anyhow!("cryptsetup open: {}", children::last(&ran.said)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const UUID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn kept(part: u8, uuid: &str, holders: &[(u8, u8)]) -> Kept {
        let holders = holders.iter().map(|(slot, key)| Holder { slot: *slot, key: PublicKey([*key; 32]) }).collect();
        Kept { uuid: uuid.to_owned(), part: Zeroizing::new([part; 32]), holders }
    }

    fn key(kept: &Kept, share: u8) -> [u8; 32] {
        *kept.key(&Share([share; 32])).unwrap()
    }

    #[test]
    fn the_key_needs_both_parts_and_is_of_one_volume() {
        // HKDF-SHA-256 of 32 bytes 01 and 32 bytes 02, computed with another program (Python's hmac and hashlib).
        let first = key(&kept(1, UUID, &[]), 2);
        let digits: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, "4f3d7ba876981843974e98e28215b4973faba99b12bf13c1d69fe23f2f5c29f5");
        let others = [
            key(&kept(1, UUID, &[]), 3),
            key(&kept(3, UUID, &[]), 2),
            key(&kept(2, UUID, &[]), 1),
            key(&kept(1, "11234567-89ab-cdef-0123-456789abcdef", &[]), 2),
        ];
        assert!(others.iter().all(|other| *other != first));
    }

    #[test]
    fn used_key_slots_are_read_from_a_dump() {
        // cryptsetup 2.6.1.
        let dump = "LUKS header information\nVersion:       \t2\n\nData segments:\n  0: crypt\n\nKeyslots:\n  0: luks2\n\tKey:        512 bits\n  3: luks2\n\tPriority:   normal\nTokens:\nDigests:\n  0: pbkdf2\n";
        assert_eq!(slots_of(dump), BTreeSet::from([0, 3]));
        assert_eq!(slots_of(""), BTreeSet::new());
    }

    #[test]
    fn wrong_shares_have_to_wait_and_a_right_one_ends_it() {
        let (mut tries, start) = (Tries::default(), Instant::now());
        let wait = Duration::from_secs(u64::from(WRONG_SHARES_S));
        for _ in 0..WRONG_SHARES_MAX {
            assert_eq!(tries.wait(start), None);
            tries.count(start, true);
        }
        assert_eq!(tries.wait(start), Some(wait));
        assert_eq!(tries.wait(start + wait), None, "one more, and it waits again");
        tries.count(start + wait, true);
        assert_eq!(tries.wait(start + wait), Some(wait));
        tries.count(start + wait, false);
        assert_eq!(tries.wait(start + wait), None);
    }

    #[test]
    fn a_holder_gets_the_first_free_slot_and_nine_are_too_many() {
        assert_eq!(kept(1, UUID, &[(0, 1), (2, 2)]).free_slot(), Some(1));
        let full: Vec<(u8, u8)> = (0..8).map(|slot| (slot, slot)).collect();
        assert_eq!(kept(1, UUID, &full).free_slot(), None);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_back(part: [u8; 32], holders in vec((any::<u8>(), any::<[u8; 32]>()), 0..=HOLDERS_MAX)) {
            let holders: Vec<Holder> =
                holders.into_iter().map(|(slot, key)| Holder { slot, key: PublicKey(key) }).collect();
            let first = Kept { uuid: UUID.to_owned(), part: Zeroizing::new(part), holders };
            let bytes = first.encode();
            prop_assert!(bytes.len() <= adit_slots::copies::PAYLOAD_BYTES_MAX);
            let again = Kept::decode(&bytes).unwrap();
            prop_assert_eq!(&again.uuid, &first.uuid);
            prop_assert_eq!(&again.part[..], &part[..]);
            prop_assert_eq!(&again.holders, &first.holders);
            // Cut anywhere it is nothing, unless a whole holder is missing.
            for length in 0..bytes.len() {
                let whole = length >= 69 && (length - 69) % 33 == 0;
                prop_assert_eq!(Kept::decode(&bytes[..length]).is_some(), whole);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..600)) {
            if let Some(read) = Kept::decode(&bytes) {
                prop_assert_eq!(&read.encode()[..], &bytes[..]);
            }
        }

        #[test]
        fn a_sweep_takes_those_who_are_no_peers_and_never_all(holders in vec((0..8u8, 0..6u8), 0..8), peers in vec(0..6u8, 0..6)) {
            let holders = kept(1, UUID, &holders).holders;
            let peers: Vec<PublicKey> = peers.iter().map(|key| PublicKey([*key; 32])).collect();
            let gone = revoked(&holders, &peers);
            prop_assert!(holders.is_empty() || holders.iter().any(|holder| !gone.contains(&holder.slot)));
            for holder in &holders {
                if peers.contains(&holder.key) {
                    let by_other = holders.iter().any(|other| other.slot == holder.slot && !peers.contains(&other.key));
                    prop_assert!(by_other || !gone.contains(&holder.slot));
                }
            }
        }
    }
}
