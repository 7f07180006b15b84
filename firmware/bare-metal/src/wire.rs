// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every body in `protocol/wire.lock` that stands there in full: decoded as its message and encoded again, to the same
//! bytes. A message of the file without a row in the table below ends the program.

use adit_wire::frame::Message;

const LOCK: &str = include_str!("../../../protocol/wire.lock");
/// Longer bodies stand in the file by their length and hash.
const BODY_BYTES_MAX: usize = 640;

/// What was run.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) messages: u32,
    pub(crate) run: u32,
}

pub(crate) fn frozen_bodies() -> Run {
    let mut run = Run::default();
    let mut message = None;
    for line in LOCK.lines() {
        if let Some(head) = line.strip_prefix("message ") {
            let mut words = head.split(' ');
            let [service, method, major] = [words.next(), words.next(), words.next()].map(|word| word.expect("a head"));
            message = Some((service, method, major));
            run.messages += 1;
        } else if !line.starts_with("  ") {
            message = None;
        } else if let (Some(kind), Some((_, text))) = (message, line.split_once(" = ")) {
            // "640 bytes, blake3 …" is no body.
            if text.contains(' ') {
                continue;
            }
            let mut buffer = [0; BODY_BYTES_MAX];
            let body = crate::hex::decode(text, &mut buffer);
            assert!(recode(kind, body), "{line} of {kind:?}");
            run.run += 1;
        }
    }
    run
}

fn same<'a, M: Message<'a>>(body: &'a [u8]) -> bool {
    let mut again = [0; BODY_BYTES_MAX];
    M::decode(body).is_ok_and(|message| message.encode(&mut again).is_ok_and(|again| again == body))
}

fn recode(kind: (&str, &str, &str), body: &[u8]) -> bool {
    match kind {
        ("link", "1", "1") => same::<adit_wire::link::Greeting>(body),
        ("link", "2", "1") => same::<adit_wire::link::Ping>(body),
        ("link", "3", "1") => same::<adit_wire::link::Pong>(body),
        ("link", "4", "1") => same::<adit_wire::link::Goodbye>(body),
        ("link", "255", "1") => same::<adit_wire::refusal::Refused>(body),
        ("pair", "1", "1") => same::<adit_wire::pair::Pair>(body),
        ("pair", "2", "1") => same::<adit_wire::pair::Paired>(body),
        ("backup", "1", "1") => same::<adit_wire::backup::Hello>(body),
        ("backup", "2", "1") => same::<adit_wire::backup::Welcome>(body),
        ("backup", "3", "1") => same::<adit_wire::backup::Open>(body),
        ("backup", "6", "1") => same::<adit_wire::backup::Ack>(body),
        ("backup", "7", "1") => same::<adit_wire::backup::Have>(body),
        ("backup", "8", "1") => same::<adit_wire::backup::Having>(body),
        ("backup", "9", "1") => same::<adit_wire::backup::Commit>(body),
        ("backup", "10", "1") => same::<adit_wire::backup::Committed>(body),
        ("backup", "11", "1") => same::<adit_wire::backup::Missing>(body),
        ("backup", "12", "1") => same::<adit_wire::backup::Certify>(body),
        ("backup", "13", "1") => same::<adit_wire::backup::Certified>(body),
        ("backup", "14", "1") => same::<adit_wire::backup::Period>(body),
        ("read", "1", "1") => same::<adit_wire::read::Prove>(body),
        ("read", "2", "1") => same::<adit_wire::read::Proved>(body),
        ("read", "3", "1") => same::<adit_wire::read::List>(body),
        ("read", "4", "1") => same::<adit_wire::read::Listed>(body),
        ("read", "5", "1") => same::<adit_wire::read::Fetch>(body),
        ("read", "7", "1") => same::<adit_wire::read::Fetched>(body),
        ("recover", "1", "1") => same::<adit_wire::recover::Recover>(body),
        ("recover", "2", "1") => same::<adit_wire::recover::Recovered>(body),
        ("recover", "3", "1") => same::<adit_wire::recover::Adopt>(body),
        ("recover", "4", "1") => same::<adit_wire::recover::Adopted>(body),
        ("health", "1", "1") => same::<adit_wire::health::Poll>(body),
        ("health", "2", "1") => same::<adit_wire::health::Same>(body),
        ("health", "3", "1") => same::<adit_wire::health::Full>(body),
        ("admin", "1", "1") => same::<adit_wire::admin::Peers>(body),
        ("admin", "2", "1") => same::<adit_wire::admin::PeersListed>(body),
        ("admin", "3", "1") => same::<adit_wire::admin::Rename>(body),
        ("admin", "4", "1") => same::<adit_wire::admin::Revoke>(body),
        ("admin", "5", "1") => same::<adit_wire::admin::Done>(body),
        ("admin", "6", "1") => same::<adit_wire::admin::Verify>(body),
        ("admin", "7", "1") => same::<adit_wire::admin::Verifying>(body),
        ("admin", "8", "1") => same::<adit_wire::admin::Verified>(body),
        ("admin", "9", "1") => same::<adit_wire::admin::Unpair>(body),
        ("admin", "10", "1") => same::<adit_wire::admin::Invite>(body),
        ("admin", "11", "1") => same::<adit_wire::admin::Invited>(body),
        ("admin", "12", "1") => same::<adit_wire::admin::Keep>(body),
        ("admin", "13", "1") => same::<adit_wire::admin::Kept>(body),
        ("admin", "14", "1") => same::<adit_wire::admin::Stored>(body),
        ("admin", "15", "1") => same::<adit_wire::admin::StoredListed>(body),
        ("admin", "16", "1") => same::<adit_wire::admin::Collect>(body),
        ("appliance", method, "1") => recode_appliance(method, body),
        _ => false,
    }
}

fn recode_appliance(method: &str, body: &[u8]) -> bool {
    match method {
        "1" => same::<adit_wire::appliance::Look>(body),
        "2" => same::<adit_wire::appliance::Looked>(body),
        "3" => same::<adit_wire::appliance::Update>(body),
        "4" => same::<adit_wire::appliance::UpdateAt>(body),
        "5" => same::<adit_wire::appliance::UpdatePart>(body),
        "6" => same::<adit_wire::appliance::Staged>(body),
        "7" => same::<adit_wire::appliance::Activate>(body),
        "8" => same::<adit_wire::appliance::Restart>(body),
        "9" => same::<adit_wire::appliance::Doing>(body),
        "10" => same::<adit_wire::appliance::Progress>(body),
        "11" => same::<adit_wire::appliance::Disks>(body),
        "12" => same::<adit_wire::appliance::DisksListed>(body),
        "13" => same::<adit_wire::appliance::UseDisk>(body),
        "14" => same::<adit_wire::appliance::ReplaceDisk>(body),
        "15" => same::<adit_wire::appliance::LocateDisk>(body),
        "16" => same::<adit_wire::appliance::RetireDisk>(body),
        "17" => same::<adit_wire::appliance::EncryptDisk>(body),
        "18" => same::<adit_wire::appliance::LookAtLock>(body),
        "19" => same::<adit_wire::appliance::LockSeen>(body),
        "20" => same::<adit_wire::appliance::Unlock>(body),
        "21" => same::<adit_wire::appliance::AddShare>(body),
        _ => false,
    }
}
