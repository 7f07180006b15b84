// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The socket at which the agent passes an admin's orders on. Frames as on the wire (protocol/SPEC.md, service 7); one
//! thread a caller. Who may connect is the file's mode: root and the agent.

use crate::appliance::{Appliance, Event};
use crate::disks::{self, Closed, Part, Refused};
use crate::services::give;
use crate::update::Incoming;
use adit_slots::record::{Slot, SlotState};
use adit_slots::version::Version;
use adit_wire::appliance::{
    self, Activate, AddShare, Disk, Disks, DisksListed, Doing, EncryptDisk, LocateDisk, LockSeen, Look, LookAtLock,
    Looked, Progress, ReplaceDisk, Restart, RetireDisk, Staged, UPDATE_PART_BYTES_MAX, Unlock, Update, UpdateAt,
    UpdatePart, UseDisk, WORDS_BYTES_MAX,
};
use adit_wire::frame::{FLAG_END, Header, Kind, METHOD_REFUSED, Message, MessageError, PREFIX_BYTES, Service};
use adit_wire::ids::PublicKey;
use adit_wire::list::{Parts, encode_part};
use adit_wire::refusal::{Code, DETAIL_BYTES_MAX};
use anyhow::Result;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use zeroize::Zeroizing;

/// Where the agent finds it.
const SOCKET: &str = "/run/adit/init.sock";
/// Longest body of an order, bytes: a part of an update with its offset and length.
const ORDER_BYTES_MAX: usize = UPDATE_PART_BYTES_MAX + 64;
/// Room for an answer, bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long a caller may be silent in the middle of an order.
const CALLER_WAIT: Duration = Duration::from_secs(120);
/// Callers at a time; more wait.
const CALLERS_MAX: usize = 4;

/// Listens for ever.
pub(crate) fn serve(appliance: &Arc<Appliance>) -> Result<()> {
    let listener = UnixListener::bind(SOCKET)?;
    fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o660))?;
    give(Path::new(SOCKET))?;
    for number in 0..CALLERS_MAX {
        let (listener, appliance) = (listener.try_clone()?, Arc::clone(appliance));
        let accept = move || {
            for stream in listener.incoming().flatten() {
                if let Err(error) = Caller::new(&appliance, stream).serve() {
                    log::info!("an order broke off: {error:#}");
                }
            }
        };
        drop(thread::Builder::new().name(format!("orders {number}")).spawn(accept)?);
    }
    Ok(())
}

struct Caller<'a> {
    appliance: &'a Appliance,
    stream: UnixStream,
    conversation: u32,
}

impl<'a> Caller<'a> {
    fn new(appliance: &'a Appliance, stream: UnixStream) -> Self {
        Self { appliance, stream, conversation: 1 }
    }

    fn serve(mut self) -> Result<()> {
        self.stream.set_read_timeout(Some(CALLER_WAIT))?;
        self.stream.set_write_timeout(Some(CALLER_WAIT))?;
        let (kind, body) = self.receive()?;
        // It may hold a share.
        let body = Zeroizing::new(body);
        match self.obey(kind, &body) {
            Ok(()) => Ok(()),
            Err(Failure::Refused(refused)) => {
                log::warn!("an order was refused: {} {}", refused.code.text(), refused.detail);
                self.refuse(&refused)
            }
            Err(Failure::Talk(error)) => Err(error),
        }
    }

    fn receive(&mut self) -> Result<(Kind, Vec<u8>)> {
        let mut prefix = [0; PREFIX_BYTES];
        self.stream.read_exact(&mut prefix)?;
        let (header, body_bytes) = Header::from_prefix(&prefix, ORDER_BYTES_MAX)?;
        self.conversation = header.conversation;
        let mut body = vec![0; body_bytes];
        self.stream.read_exact(&mut body)?;
        Ok((header.kind, body))
    }

    fn send<'m, M: Message<'m>>(&mut self, message: &M, end: bool) -> Result<()> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let body = message.encode(&mut buffer)?;
        self.frame(M::KIND, if end { FLAG_END } else { 0 }, body)
    }

    fn refuse(&mut self, refused: &Refused) -> Result<()> {
        let detail = refused.detail.get(..refused.detail.floor_char_boundary(DETAIL_BYTES_MAX)).unwrap_or_default();
        let message = adit_wire::refusal::Refused { code: refused.code as u16, retry_after_s: 0, detail };
        let mut buffer = [0; DETAIL_BYTES_MAX + 16];
        let body = message.encode(&mut buffer)?;
        let kind = Kind { service: Service::Appliance as u8, method: METHOD_REFUSED, major: 1 };
        self.frame(kind, FLAG_END, body)
    }

    fn frame(&mut self, kind: Kind, flags: u8, body: &[u8]) -> Result<()> {
        let prefix = Header { kind, flags, conversation: self.conversation }.prefix(body.len())?;
        self.stream.write_all(&[&prefix, body].concat())?;
        Ok(())
    }

    /// A sentence about what is being done. Nobody may hear it any more; the work goes on.
    fn tell(&mut self, doing: &str) {
        let doing = doing.get(..doing.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or_default();
        let _unheard = self.send(&Progress { doing }, false);
    }

    fn obey(&mut self, kind: Kind, body: &[u8]) -> Result<(), Failure> {
        match kind {
            Look::KIND => self.look(Look::decode(body)?),
            Disks::KIND => self.disks(Disks::decode(body)?),
            Update::KIND => self.update(Update::decode(body)?),
            Activate::KIND => {
                let Activate { version } = Activate::decode(body)?;
                self.appliance.activate(version_of(version))?;
                self.send(&Doing {}, true)?;
                self.appliance.tell(Event::Restart);
                Ok(())
            }
            Restart::KIND => {
                let Restart { back } = Restart::decode(body)?;
                if back {
                    self.appliance.roll_back()?;
                } else {
                    self.appliance.asked_to_restart()?;
                }
                self.send(&Doing {}, true)?;
                self.appliance.tell(Event::Restart);
                Ok(())
            }
            UseDisk::KIND => {
                let UseDisk { serial, mirror } = UseDisk::decode(body)?;
                let (boot_holds_data, lock) = (self.appliance.boot_holds_data(), &self.appliance.lock);
                disks::take((serial, mirror), boot_holds_data, lock, Closed::No, |doing| self.tell(doing))?;
                self.appliance.tell(Event::DataChanged);
                Ok(self.send(&Doing {}, true)?)
            }
            EncryptDisk::KIND => self.encrypt(EncryptDisk::decode(body)?),
            LookAtLock::KIND => self.look_at_lock(LookAtLock::decode(body)?),
            Unlock::KIND => self.unlock(Unlock::decode(body)?),
            AddShare::KIND => self.add_share(AddShare::decode(body)?),
            ReplaceDisk::KIND => {
                let ReplaceDisk { old, new } = ReplaceDisk::decode(body)?;
                disks::replace(old, new, |doing| self.tell(doing))?;
                Ok(self.send(&Doing {}, true)?)
            }
            LocateDisk::KIND => {
                let LocateDisk { serial, seconds } = LocateDisk::decode(body)?;
                disks::locate(serial, seconds)?;
                Ok(self.send(&Doing {}, true)?)
            }
            RetireDisk::KIND => {
                disks::retire(RetireDisk::decode(body)?.serial)?;
                Ok(self.send(&Doing {}, true)?)
            }
            _ => Err(Refused::new(Code::UnknownMethod, "").into()),
        }
    }

    fn look(&mut self, Look {}: Look) -> Result<(), Failure> {
        let seen = self.appliance.seen();
        let mut slots = Vec::new();
        for (index, slot) in seen.record.slots.iter().enumerate() {
            let reason = if let SlotState::Bad(reason) = slot.state { crate::words::reset(reason) } else { "" };
            let part = appliance::Slot {
                version: triple(slot.version),
                state: state(slot),
                tries_left: if index == usize::from(seen.record.running) { seen.tries_left } else { 0 },
                runs: index == usize::from(seen.record.running),
                reason,
            };
            push(&mut slots, &part);
        }
        let looked = Looked {
            version: triple(seen.version),
            floor: triple(seen.record.floor),
            start: seen.start,
            reset: crate::words::reset(seen.record.reset),
            data: &shorten(&seen.data),
            watchdog: &shorten(&seen.watchdog),
            uptime_s: crate::start::uptime().as_secs(),
            slots: Parts::new(&slots),
        };
        Ok(self.send(&looked, true)?)
    }

    fn encrypt(&mut self, order: EncryptDisk<'_>) -> Result<(), Failure> {
        let EncryptDisk { serial, mirror, holder, share } = order;
        paired(&holder)?;
        let (boot_holds_data, lock) = (self.appliance.boot_holds_data(), &self.appliance.lock);
        let closed = Closed::By(&share, holder);
        disks::take((serial, mirror), boot_holds_data, lock, closed, |doing| self.tell(doing))?;
        let sent = self.send(&Doing {}, true);
        self.appliance.tell(Event::DataChanged);
        Ok(sent?)
    }

    fn unlock(&mut self, Unlock { share }: Unlock) -> Result<(), Failure> {
        let opened = self.appliance.lock.open(&share)?;
        let sent = self.send(&Doing {}, true);
        if opened || !self.appliance.data().0.is_mounted() {
            // The agent starts again with its store: the answer goes before.
            log::info!("the data were opened by a share");
            self.appliance.tell(Event::DataChanged);
        }
        Ok(sent?)
    }

    fn add_share(&mut self, AddShare { share, new_share, holder }: AddShare) -> Result<(), Failure> {
        paired(&holder)?;
        self.appliance.lock.add(&share, &new_share, holder)?;
        log::info!("another peer holds a share of the data's key");
        Ok(self.send(&Doing {}, true)?)
    }

    fn look_at_lock(&mut self, LookAtLock {}: LookAtLock) -> Result<(), Failure> {
        let holders = self.appliance.lock.holders();
        let seen = LockSeen {
            encrypted: holders.is_some(),
            open: self.appliance.data().0.is_mounted(),
            uptime_s: crate::start::uptime().as_secs(),
            off_s: self.appliance.off_s(),
            holders: holders.map_or(0, |holders| u8::try_from(holders.len()).unwrap_or(u8::MAX)),
        };
        Ok(self.send(&seen, true)?)
    }

    fn disks(&mut self, Disks {}: Disks) -> Result<(), Failure> {
        let mut listed = Vec::new();
        for known in disks::list() {
            let part = if known.part == Part::System && self.appliance.data_on_boot_disk() {
                "system, data"
            } else {
                known.part.word()
            };
            let disk = Disk {
                serial: &known.disk.serial,
                model: &known.disk.model,
                node: &known.disk.node,
                bytes: known.disk.bytes,
                part,
                holds: &shorten(&known.holds),
            };
            push(&mut listed, &disk);
        }
        Ok(self.send(&DisksListed { disks: Parts::new(&listed) }, true)?)
    }

    /// Takes an update: what is there already is not wanted again; once whole it is checked and written to the other slot.
    fn update(&mut self, Update { bytes, hash }: Update) -> Result<(), Failure> {
        let busy = || Refused::new(Code::Busy, "another update is on its way");
        let _one_at_a_time = self.appliance.update_lock().ok_or_else(busy)?;
        self.appliance.may_stage()?;
        let mut incoming = Incoming::begin(Path::new(crate::appliance::UPDATES), bytes, hash)?;
        self.send(&UpdateAt { offset: incoming.wanted() }, false)?;
        while !incoming.is_whole() {
            let (kind, body) = self.receive()?;
            if kind != <UpdatePart<'_> as Message<'_>>::KIND {
                return Err(Refused::new(Code::Protocol, "a part of the update was to come").into());
            }
            let part = UpdatePart::decode(&body)?;
            incoming.part(part.offset, part.bytes)?;
            self.appliance.check_head(&mut incoming)?;
            self.send(&UpdateAt { offset: incoming.wanted() }, false)?;
        }
        let version = self.appliance.stage(incoming)?;
        Ok(self.send(&Staged { version: triple(version) }, true)?)
    }
}

/// A share goes to a peer alone: it is wiped when the peer is revoked.
fn paired(holder: &PublicKey) -> Result<(), Refused> {
    let known = crate::appliance::peer_keys().is_some_and(|keys| keys.contains(holder));
    if known { Ok(()) } else { Err(Refused::new(Code::ShareRefused, "no peer has that key")) }
}

/// Why an order ended early.
enum Failure {
    Refused(Refused),
    Talk(anyhow::Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Talk(error)
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Self {
        Self::Refused(Refused::new(Code::Protocol, error.to_string()))
    }
}

fn state(slot: &Slot) -> &'static str {
    match slot.state {
        SlotState::Empty => "empty",
        SlotState::Writing => "writing",
        SlotState::Staged => "staged",
        SlotState::Trying => "trying",
        SlotState::Good => "good",
        SlotState::Bad(_) => "bad",
    }
}

fn triple(version: Version) -> appliance::Version {
    (version.major, version.minor, version.patch)
}

fn version_of((major, minor, patch): appliance::Version) -> Version {
    Version::new(major, minor, patch)
}

fn shorten(text: &str) -> String {
    text.get(..text.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or_default().to_owned()
}

fn push<T: serde::Serialize>(list: &mut Vec<u8>, part: &T) {
    let mut buffer = [0; 1_024];
    // Each field is bounded, so it fits; one that did not would be left out.
    if let Ok(bytes) = encode_part(part, &mut buffer) {
        list.extend_from_slice(bytes);
    }
}
