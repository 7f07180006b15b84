// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An update file with real signatures, and the life of a machine: a good update, a bad one that comes back by itself, a
//! torn record. Every record goes through its two copies.

use crate::pages::Pages;
use crate::{hex, tell};
use adit_slots::decide::{self, Fix, Found, Start, StepError};
use adit_slots::keys::KeySet;
use adit_slots::manifest::{Arch, Digest, Flavour, Manifest, PRODUCT};
use adit_slots::name::{Mark, SlotFile};
use adit_slots::record::{Record, Reset, SlotState};
use adit_slots::update::{HEADER_BYTES, Machine, Refusal, Update};
use adit_slots::version::Version;
use adit_slots::watchdog::{Phase, Signs};
use adit_wire::ids::{PublicKey, Signature};
use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::Digest as _;

const FROZEN: &str = include_str!("../../adit-slots/tests/golden/update.hex");
/// The image inside the frozen update.
const IMAGE: &[u8] = b"an image of thirty-two bytes, ok";
const RUNNING: Version = Version::new(1, 2, 2);

/// Counts what was checked.
struct Checks(u32);

impl Checks {
    fn that(&mut self, holds: bool, what: &str) {
        assert!(holds, "{what}");
        self.0 += 1;
    }
}

pub(crate) fn life() -> u32 {
    let mut checks = Checks(0);
    let manifest = update(&mut checks);
    machine(&mut checks, &manifest);
    watchdog(&mut checks);
    checks.0
}

/// Ed25519 over the two parts, which together are short.
fn verify(key: &PublicKey, prefix: &'static [u8], body: &[u8], signature: &Signature) -> bool {
    let mut message = [0; 640];
    let length = prefix.len() + body.len();
    let Some(message) = message.get_mut(..length) else { return false };
    message[..prefix.len()].copy_from_slice(prefix);
    message[prefix.len()..].copy_from_slice(body);
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    VerifyingKey::from_bytes(&key.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

fn key(seed: u8) -> PublicKey {
    PublicKey(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}

fn frozen<'o>(name: &str, out: &'o mut [u8]) -> &'o [u8] {
    let line = FROZEN.lines().filter_map(|line| line.split_once(" = ")).find(|(found, _)| *found == name);
    hex::decode(line.expect("a frozen line").1, out)
}

fn update(checks: &mut Checks) -> Manifest {
    let keys = KeySet::new(1, [key(1), key(2)], &[key(11), key(12)]).expect("two signing keys");
    let denied = [Digest::ZERO];
    let here = Machine {
        product: PRODUCT,
        arch: Arch::X86_64,
        flavour: Flavour::Vm,
        running: RUNNING,
        floor: Version::new(1, 0, 0),
        denied: &denied,
        keys,
        room_bytes: 40 << 20,
    };
    let mut header = [0; HEADER_BYTES];
    let length = frozen("update_two_signatures_and_keys", &mut header).len();
    let checked = Update::parse(&header).and_then(|update| update.check(&here, &verify)).expect("taken");
    checks.that(checked.keys.version == 2 && checked.new_keys.is_some(), "the newer key set counts");
    let digest = Digest(sha2::Sha256::digest(IMAGE).into());
    checks.that(checked.image(IMAGE.len() as u64, digest) == Ok(()), "the image is the signed one");
    checks.that(checked.image(IMAGE.len() as u64, Digest([1; 32])) == Err(Refusal::Digest), "another image");
    let manifest = checked.manifest;
    let refused = |machine: &Machine<'_>, why: Refusal| {
        let refusal = Update::parse(&header).and_then(|update| update.check(machine, &verify)).map(|_| ());
        tell!(why);
        refusal == Err(why)
    };
    let other = Machine { arch: Arch::Aarch64, ..here };
    checks.that(refused(&other, Refusal::Arch(1)), "for another processor");
    let newer = Machine { running: manifest.version, ..here };
    checks.that(refused(&newer, Refusal::NotNewer(manifest.version)), "runs already");
    let failed = Machine { denied: &[digest], ..here };
    checks.that(refused(&failed, Refusal::Denied(digest)), "failed before");
    let strangers = KeySet::new(2, [key(3), key(4)], &[key(5)]).expect("one signing key");
    checks.that(refused(&Machine { keys: strangers, ..here }, Refusal::UnknownKey), "signed by a stranger");
    // A changed byte of the manifest: time_s.
    header[12 + 92] ^= 1;
    let refusal = Update::parse(&header).and_then(|update| update.check(&here, &verify)).map(|_| ());
    checks.that(refusal == Err(Refusal::Signature), "changed after it was signed");
    checks.that(Update::parse(&header[..length]) == Err(Refusal::Truncated), "cut off");
    manifest
}

/// Writes a record and gives back what is read.
fn kept(state: &mut Pages, record: &Record) -> Record {
    record.store(state).expect("written and read back");
    Record::load(state).expect("readable").expect("a record")
}

fn start(state: &mut Pages, version: Version, files: &[SlotFile], boot: u8) -> (Start, Record) {
    let record = Record::load(state).expect("readable");
    let floor = Version::new(1, 0, 0);
    let found = Found { version, floor, files, boot_id: [boot; 16], time_s: 0, reset: Reset::Unknown };
    let decision = decide::start(record, &found);
    tell!(decision.start);
    (decision.start, kept(state, &decision.record))
}

fn only_fix(record: &Record, files: &[SlotFile]) -> Option<Fix> {
    let mut fixes = decide::fixes(record, files);
    let first = fixes.next();
    assert!(fixes.next().is_none(), "more than one fix");
    first
}

fn machine(checks: &mut Checks, manifest: &Manifest) {
    let mut state = Pages::new();
    let old = SlotFile { version: RUNNING, mark: Mark::Good };
    let new = |mark| SlotFile { version: manifest.version, mark };
    let counted = |left| Mark::Counted { left, done: 3 - left };
    // Delivered, started, confirmed.
    let (how, record) = start(&mut state, RUNNING, &[old], 1);
    checks.that(how == Start::Normal, "a delivered image is good");
    checks.that(decide::stage(&record, manifest).is_ok(), "the other slot is empty");
    checks.that(decide::confirm(&record, &[9; 16], true) == Err(StepError::OtherBoot), "another start");
    let record = kept(&mut state, &decide::confirm(&record, &[1; 16], true).expect("healthy"));
    // A candidate: staged, activated, tried, confirmed.
    let record = kept(&mut state, &decide::stage(&record, manifest).expect("staged"));
    checks.that(decide::activate(&record) == Err(StepError::Order), "not written yet");
    checks.that(decide::staged(&record, Digest([1; 32])) == Err(StepError::Order), "other bytes on the disk");
    let record = kept(&mut state, &decide::staged(&record, manifest.uki_sha256).expect("read back"));
    let record = kept(&mut state, &decide::activate(&record).expect("activated"));
    let rename = Fix::Rename { from: new(Mark::New), to: Mark::TRIAL };
    checks.that(only_fix(&record, &[old, new(Mark::New)]) == Some(rename), "it gets its tries");
    let (how, record) = start(&mut state, manifest.version, &[old, new(counted(2))], 2);
    checks.that(how == Start::Trying { left: 2 }, "a candidate is on trial");
    checks.that(decide::stage(&record, manifest) == Err(StepError::Runs), "it runs");
    let record = kept(&mut state, &decide::confirm(&record, &[2; 16], true).expect("healthy"));
    let rename = Fix::Rename { from: new(counted(2)), to: Mark::Good };
    checks.that(only_fix(&record, &[old, new(counted(2))]) == Some(rename), "its counter goes");
    // A second one dies three times; the good one is back, and the digest is denied.
    let mut bad = *manifest;
    (bad.version, bad.uki_sha256) = (Version::new(1, 3, 0), Digest([0xBA; 32]));
    let record = kept(&mut state, &decide::stage(&record, &bad).expect("staged"));
    checks.that(only_fix(&record, &[old, new(Mark::Good)]) == Some(Fix::Delete(old)), "its slot is cleared");
    let record = kept(&mut state, &decide::staged(&record, bad.uki_sha256).expect("read back"));
    kept(&mut state, &decide::activate(&record).expect("activated"));
    for left in [2, 1, 0] {
        let dying = SlotFile { version: bad.version, mark: counted(left) };
        let (how, record) = start(&mut state, bad.version, &[new(Mark::Good), dying], 10 + left);
        checks.that(how == Start::Trying { left }, "a try");
        kept(&mut state, &decide::stop(&record, Reset::Health, 0));
    }
    let dead = SlotFile { version: bad.version, mark: Mark::DEAD };
    let (how, record) = start(&mut state, manifest.version, &[new(Mark::Good), dead], 4);
    checks.that(how == Start::Normal, "the good slot is back");
    checks.that(record.other_slot().state == SlotState::Bad(Reset::Health), "and says why");
    checks.that(only_fix(&record, &[new(Mark::Good), dead]).is_none(), "nothing is left to do");
    let record = kept(&mut state, &decide::confirm(&record, &[4; 16], true).expect("healthy"));
    checks.that(decide::stage(&record, &bad) == Err(StepError::Denied), "not a second time");
    checks.that(decide::stage(&decide::forgive(&record, bad.uki_sha256), &bad).is_ok(), "unless a person says so");
    // Seven days raise the floor; a torn write leaves the record before it.
    let aged = kept(&mut state, &decide::tick(&record, decide::FLOOR_AFTER_S, 0, 0));
    checks.that(aged.floor == manifest.floor, "the floor rose");
    decide::stop(&aged, Reset::Asked, 77).store(&mut state).expect("written");
    state.tear();
    checks.that(Record::load(&mut state) == Ok(Some(aged)), "the older copy stands");
    // Starts that are never confirmed end in recovery, not in a loop.
    for boot in 0..3 {
        let (how, _) = start(&mut state, manifest.version, &[new(Mark::Good), dead], 20 + boot);
        checks.that(how == Start::Normal, "an unconfirmed start");
    }
    let (how, _) = start(&mut state, manifest.version, &[new(Mark::Good), dead], 30);
    checks.that(how == Start::Recovery, "no slot can be relied on");
}

fn watchdog(checks: &mut Checks) {
    let signs = Signs {
        now_ms: 200_000,
        fed_ms: 199_000,
        phase: Phase::Steady,
        progress_ms: 0,
        loop_ms: 199_500,
        storage_ms: Some(190_000),
        agent_ms: None,
        write_ms: None,
    };
    tell!(signs.judge());
    checks.that(signs.judge().feed, "a machine that moves is fed");
    checks.that(!Signs { loop_ms: 0, ..signs }.judge().feed, "one that stands is not");
}
