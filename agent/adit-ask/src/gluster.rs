// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a Gluster pool says of itself, by the XML of its command. The text inside is taken as it comes: some fields hold
//! sentences where numbers belong, and then the number is not known. It only lists; it never heals or changes a volume.
//!
//! The command takes a lock over the whole pool, so ask rarely (every ten minutes) and from one node; a lock that another
//! command holds is no fault of the pool.

use crate::child::{Job, Program};
use crate::error::AskError;
use crate::words::shortened;
use adit_health::readings::gluster::{GlusterBrick, GlusterPeer, GlusterReading, GlusterVolume};
use quick_xml::Reader;
use quick_xml::events::Event;
use std::ffi::OsString;
use std::time::Duration;

/// What the command may print, bytes.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Elements of one answer.
pub const ELEMENTS_MAX: usize = 100_000;
/// Levels of one answer; the command has 7.
pub const DEPTH_MAX: usize = 32;
/// Text of one element, bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// Volumes that are asked about healing; each costs one call.
pub const VOLUMES_MAX: usize = 32;

const WHOM: &str = "the gluster command";

/// Asks the pool that this machine belongs to.
#[derive(Debug)]
pub struct Gluster {
    job: Job,
}

impl Gluster {
    /// `program` is usually `gluster`; each call of it has this deadline.
    #[must_use]
    pub fn new(program: impl Into<OsString>, deadline: Duration) -> Self {
        let argv: [OsString; 3] = [program.into(), "--mode=script".into(), "--xml".into()];
        Self { job: Job::new(Program::new(argv).limits(deadline, OUTPUT_BYTES_MAX)) }
    }

    /// Asks for peers, volumes, bricks, and what waits to be healed.
    ///
    /// # Errors
    /// The program is missing or stuck, no daemon answers, another command holds the lock, an answer of no known form.
    pub fn ask(&mut self) -> Result<GlusterReading, AskError> {
        let peers = peers(&self.answer(&["peer", "status"])?);
        let mut volumes = volumes(&self.answer(&["volume", "info"])?);
        if volumes.iter().any(|volume| volume.is_started) {
            let status = self.answer(&["volume", "status", "all"])?;
            volumes.iter_mut().for_each(|volume| take_status(volume, &status));
        }
        let healing = volumes.iter_mut().filter(|volume| volume.is_started && volume.set_size > 1);
        for volume in healing.take(VOLUMES_MAX) {
            let name = volume.name.clone();
            take_heal(volume, &self.answer(&["volume", "heal", &name, "info", "summary"])?);
        }
        Ok(GlusterReading { peers, volumes })
    }

    fn answer(&mut self, words: &[&str]) -> Result<Element, AskError> {
        let output = self.job.run(words.iter().copied())?;
        if output.is_cut {
            return Err(AskError::TooLong { whom: WHOM.to_owned(), limit: OUTPUT_BYTES_MAX, unit: "bytes" });
        }
        let text = output.text();
        if !text.contains("<cliOutput>") {
            // Without a daemon the command speaks plainly.
            let said = format!("{} {}", text.trim(), output.stderr.trim());
            return Err(AskError::refused(WHOM, said.trim()));
        }
        checked(parse(&text)?)
    }
}

/// An answer whose own outcome is good.
fn checked(answer: Element) -> Result<Element, AskError> {
    if answer.text_of("opRet") == "0" {
        return Ok(answer);
    }
    let said = answer.text_of("opErrstr");
    // glusterd-locks.c and cli-rpc-ops.c: what a second command gets to hear.
    let busy = ["Another transaction", "Locking failed", "another command", "Please try again"];
    if busy.iter().any(|words| said.contains(words)) {
        return Err(AskError::Busy { whom: WHOM.to_owned() });
    }
    Err(AskError::refused(WHOM, said))
}

/// The other nodes, from `peer status`.
#[must_use]
pub fn peers(answer: &Element) -> Vec<GlusterPeer> {
    let peers = answer.all("peer").into_iter().map(|peer| GlusterPeer {
        host: peer.text_of("hostname").to_owned(),
        is_connected: peer.text_of("connected") == "1",
        state: peer.text_of("stateStr").to_owned(),
    });
    peers.collect()
}

/// The volumes, from `volume info`.
#[must_use]
pub fn volumes(answer: &Element) -> Vec<GlusterVolume> {
    answer.all("volume").into_iter().map(volume).collect()
}

fn volume(element: &Element) -> GlusterVolume {
    let number = |name| element.text_of(name).parse::<u32>().unwrap_or_default();
    let (set_size, may_lose) = match (number("disperseCount"), number("replicaCount")) {
        (0, 0 | 1) => (1, 0),
        // With two copies there is no quorum: either may serve alone.
        (0, 2) => (2, 1),
        // Of three and more copies the greater half must be there, an arbiter counts as one.
        (0, copies) => (copies, (copies - 1) / 2),
        (shares, _) => (shares, number("redundancyCount").min(shares)),
    };
    let bricks = element.all("brick").into_iter().filter_map(|brick| {
        let (host, path) = place(brick.text_of("name"))?;
        Some(GlusterBrick { host, path, ..GlusterBrick::default() })
    });
    GlusterVolume {
        id: element.text_of("id").to_owned(),
        name: element.text_of("name").to_owned(),
        is_started: element.text_of("status") == "1",
        set_size,
        may_lose,
        bricks: bricks.collect(),
    }
}

/// Host and folder of `host:/folder`; the host may be an IPv6 address.
fn place(name: &str) -> Option<(String, String)> {
    let colon = name.find(":/")?;
    let (host, path) = name.split_at(colon);
    Some((host.to_owned(), path.trim_start_matches(':').to_owned()))
}

/// Takes which bricks run from `volume status all`. A node that is away is not listed.
fn take_status(volume: &mut GlusterVolume, answer: &Element) {
    let named = answer.all("volume").into_iter().find(|element| element.text_of("volName") == volume.name);
    for node in named.into_iter().flat_map(|element| element.all("node")) {
        let (host, path) = (node.text_of("hostname"), node.text_of("path"));
        if let Some(brick) = volume.bricks.iter_mut().find(|brick| brick.host == host && brick.path == path) {
            brick.is_online = match node.text_of("status") {
                "1" => Some(true),
                "0" => Some(false),
                _ => None,
            };
        }
    }
}

/// Takes what waits to be healed from `volume heal NAME info summary`. A brick that does not answer has a sentence in
/// place of its numbers.
fn take_heal(volume: &mut GlusterVolume, answer: &Element) {
    for element in answer.all("brick") {
        let Some((host, path)) = place(element.text_of("name")) else { continue };
        if let Some(brick) = volume.bricks.iter_mut().find(|brick| brick.host == host && brick.path == path) {
            brick.heal_pending = element.text_of("numberOfEntriesInHealPending").parse().ok();
            brick.split_brain = element.text_of("numberOfEntriesInSplitBrain").parse().ok();
        }
    }
}

/// An element with what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Self>,
}

impl Element {
    fn new(name: &str) -> Self {
        Self { name: shortened(name, 64), ..Self::default() }
    }

    /// The text of the first child of that name; empty without one.
    fn text_of(&self, name: &str) -> &str {
        self.children.iter().find(|child| child.name == name).map_or("", |child| child.text.trim())
    }

    /// All elements of that name at any depth, not inside one another.
    fn all(&self, name: &str) -> Vec<&Self> {
        let mut found = Vec::new();
        for child in &self.children {
            if child.name == name {
                found.push(child);
            } else {
                found.extend(child.all(name));
            }
        }
        found
    }

    fn add_text(&mut self, text: &str) {
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        self.text.extend(text.chars().take(room).take_while({
            let mut left = room;
            move |character| {
                let fits = character.len_utf8() <= left;
                left = left.saturating_sub(character.len_utf8());
                fits
            }
        }));
    }
}

/// The root element of an answer.
///
/// # Errors
/// It is no XML, deeper or longer than any answer, or has no end.
pub fn parse(text: &str) -> Result<Element, AskError> {
    let malformed = |what: String| AskError::malformed(WHOM, what);
    let mut reader = Reader::from_str(text);
    let settings = reader.config_mut();
    settings.allow_dangling_amp = true;
    settings.expand_empty_elements = true;
    let mut open: Vec<Element> = vec![Element::default()];
    let mut count = 0;
    loop {
        match reader.read_event().map_err(|error| malformed(error.to_string()))? {
            Event::Start(tag) => {
                count += 1;
                if open.len() > DEPTH_MAX || count > ELEMENTS_MAX {
                    return Err(malformed("more elements or levels than any answer has".to_owned()));
                }
                open.push(Element::new(tag.name().as_ref()));
            }
            Event::End(_) => close(&mut open),
            Event::Text(text) => add(&mut open, &text),
            Event::CData(text) => add(&mut open, &text),
            Event::GeneralRef(name) => add(&mut open, entity(&name)),
            Event::Eof => break,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    match open.as_mut_slice() {
        [root] if !root.children.is_empty() => Ok(root.children.swap_remove(0)),
        _ => Err(malformed("an element has no end".to_owned())),
    }
}

fn close(open: &mut Vec<Element>) {
    // The reader matches ends with starts, so the outermost one stays.
    if let Some(done) = open.pop() {
        match open.last_mut() {
            Some(parent) => parent.children.push(done),
            None => open.push(done),
        }
    }
}

fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.add_text(text);
    }
}

/// The five entities that XML itself has; others are left out.
fn entity(name: &str) -> &'static str {
    match name {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INFO: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<cliOutput><opRet>0</opRet><opErrno>0</opErrno><opErrstr/><volInfo><volumes><volume><name>v</name><id>1b2c</id><status>1</status>
<statusStr>Started</statusStr><brickCount>3</brickCount><distCount>3</distCount><replicaCount>3</replicaCount><arbiterCount>0</arbiterCount>
<disperseCount>0</disperseCount><redundancyCount>0</redundancyCount><type>2</type><bricks>
<brick uuid="a">n1:/brick<name>n1:/brick</name><hostUuid>a</hostUuid><isArbiter>0</isArbiter></brick>
<brick uuid="b">fd00::2:/brick<name>fd00::2:/brick</name><hostUuid>b</hostUuid><isArbiter>0</isArbiter></brick>
<brick uuid="c">n3:/brick<name>n3:/brick</name><hostUuid>c</hostUuid><isArbiter>0</isArbiter></brick></bricks></volume><count>1</count></volumes></volInfo></cliOutput>"#;
    const STATUS: &str = "<cliOutput><opRet>0</opRet><volStatus><volumes><volume><volName>v</volName><nodeCount>4</nodeCount>
<node><hostname>n1</hostname><path>/brick</path><status>1</status><port>49152</port></node>
<node><hostname>fd00::2</hostname><path>/brick</path><status>0</status><port>N/A</port></node>
<node><hostname>Self-heal Daemon</hostname><path>localhost</path><status>1</status></node></volume></volumes></volStatus></cliOutput>";
    const HEAL: &str =
        "<cliOutput><healInfo><bricks><brick hostUuid=\"a\"><name>n1:/brick</name><status>Connected</status>
<totalNumberOfEntries>7</totalNumberOfEntries><numberOfEntriesInHealPending>5</numberOfEntriesInHealPending>
<numberOfEntriesInSplitBrain>2</numberOfEntriesInSplitBrain></brick><brick hostUuid=\"-\"><name>fd00::2:/brick</name>
<status>Failed to process entries completely. (Transport endpoint is not connected)totalNumberOfEntries0</status>
<numberOfEntriesInHealPending>-</numberOfEntriesInHealPending></brick></bricks></healInfo><opRet>0</opRet></cliOutput>";

    #[test]
    fn a_volume_is_put_together() {
        let mut volumes = volumes(&parse(INFO).unwrap());
        let volume = &mut volumes[0];
        take_status(volume, &parse(STATUS).unwrap());
        take_heal(volume, &checked(parse(HEAL).unwrap()).unwrap());
        assert_eq!((volume.set_size, volume.may_lose, volume.is_started), (3, 1, true));
        let told: Vec<_> =
            volume.bricks.iter().map(|b| (b.host.as_str(), b.is_online, b.heal_pending, b.split_brain)).collect();
        let expected =
            [("n1", Some(true), Some(5), Some(2)), ("fd00::2", Some(false), None, None), ("n3", None, None, None)];
        assert_eq!(told, expected);
    }

    #[test]
    fn peers_are_read() {
        let answer = "<cliOutput><opRet>0</opRet><peerStatus><peer><uuid>b</uuid><hostname>n2</hostname><hostnames><hostname>n2</hostname>
            </hostnames><connected>1</connected><state>3</state><stateStr>Peer in Cluster</stateStr></peer><peer><hostname>n3</hostname>
            <connected>0</connected><stateStr>Peer in Cluster</stateStr></peer></peerStatus></cliOutput>";
        let peers = peers(&parse(answer).unwrap());
        let told: Vec<_> = peers.iter().map(|peer| (peer.host.as_str(), peer.is_connected)).collect();
        assert_eq!(told, [("n2", true), ("n3", false)]);
    }

    #[test]
    fn layouts_tell_what_may_be_lost() {
        let of = |disperse, redundancy, replica| {
            let text = format!(
                "<v><disperseCount>{disperse}</disperseCount><redundancyCount>{redundancy}</redundancyCount><replicaCount>{replica}</replicaCount></v>"
            );
            let volume = volume(&parse(&text).unwrap());
            (volume.set_size, volume.may_lose)
        };
        assert_eq!(
            [of(0, 0, 1), of(0, 0, 2), of(0, 0, 3), of(0, 0, 4), of(0, 0, 5)],
            [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2)]
        );
        assert_eq!([of(6, 2, 1), of(3, 1, 1), of(2, 9, 1)], [(6, 2), (3, 1), (2, 2)]);
    }

    #[test]
    fn refusals_are_told_apart() {
        let answer = |words: &str| {
            checked(parse(&format!("<cliOutput><opRet>-1</opRet><opErrstr>{words}</opErrstr></cliOutput>")).unwrap())
        };
        for words in [
            "Another transaction is in progress for v. Please try again after some time.",
            "Locking failed on n2. Please check log file for details.",
        ] {
            assert!(matches!(answer(words), Err(AskError::Busy { .. })), "{words}");
        }
        assert!(matches!(answer("Volume v does not exist"), Err(AskError::Refused { .. })));
        assert!(matches!(answer(""), Err(AskError::Refused { .. })));
    }

    #[test]
    fn odd_text_is_taken_and_odd_markup_refused() {
        assert_eq!(parse("<a><b>x &amp; y & z &lt;</b></a>").unwrap().text_of("b"), "x & y & z <");
        assert_eq!(parse(&format!("<a><b>{}</b></a>", "ä".repeat(600))).unwrap().text_of("b").len(), TEXT_BYTES_MAX);
        for text in ["", "<a>", "<a></b>", "plain", &"<a>".repeat(DEPTH_MAX + 2)] {
            assert!(matches!(parse(text), Err(AskError::Malformed { .. })), "{text}");
        }
        let long = format!("<a>{}</a>", "<b/>".repeat(ELEMENTS_MAX));
        assert!(matches!(parse(&long), Err(AskError::Malformed { .. })));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[<>/&;a-c \"=]{0,200}", cut in 0..STATUS.len(), flip in 0..STATUS.len(), byte in any::<u8>()) {
            let _parsed = parse(&text);
            let mut bytes = STATUS.as_bytes().to_vec();
            bytes[flip] = byte;
            bytes.truncate(cut);
            let parsed = parse(&String::from_utf8_lossy(&bytes));
            if let Ok(answer) = parsed {
                take_status(&mut volumes(&parse(INFO).unwrap())[0], &answer);
            }
        }
    }
}
