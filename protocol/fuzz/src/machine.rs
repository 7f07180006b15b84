// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What health takes from others: devices, programs beside the agent, files that an older agent left. None of them is
//! hostile by trade, all of them are broken now and then. Same terms as the decoders of the wire.

use super::Decoder;
use adit_ask::{apcupsd, ceph, gluster, nut, plugin, systemd, updates, version, zpool};
use adit_device::command::{IpmiCommand, LunAddress, NvmeCommand, ScsiCommand};
use adit_device::dm::{self, Target};
use adit_device::pipe::{Answer, DeviceReport, VERSION};
use adit_device::transcript::{Recorder, Transcript};
use adit_device::transport::{Cciss, Ipmi, Nvme, NvmeReply, STATUS_CHECK_CONDITION, Scsi, ScsiReply, TransportError};
use adit_device::{Attachment, Permit, PowerState, hpsa, ipmi, read_disk, read_nvme, redact};
use adit_health::{Collector, Expected, Gathered, Limits, Memory, Surroundings};

/// Every decoder by name.
pub const DECODERS: [(&str, Decoder); 9] = [
    ("device", device),
    ("device_mapper", device_mapper),
    ("device_report", device_report),
    ("device_transcript", device_transcript),
    ("ask_ups", ask_ups),
    ("ask_cluster", ask_cluster),
    ("ask_system", ask_system),
    ("ask_pool", ask_pool),
    ("health_kept", health_kept),
];

/// Commands of one look at one device: far above what any look needs.
const COMMANDS_MAX: usize = 200_000;

/// A device that says these bytes to whatever it is asked, and zeros when they are at their end. Each answer begins with a
/// byte that says how it ends and two for its length.
struct Noise<'d> {
    data: &'d [u8],
    commands: usize,
}

impl<'d> Noise<'d> {
    const fn new(data: &'d [u8]) -> Self {
        Self { data, commands: 0 }
    }

    fn take(&mut self, bytes: usize) -> &'d [u8] {
        let (taken, rest) = self.data.split_at(bytes.min(self.data.len()));
        self.data = rest;
        taken
    }

    /// How the command ends, and the bytes that filled the buffer.
    fn answer(&mut self, buffer: &mut [u8]) -> Result<(u8, usize), TransportError> {
        self.commands += 1;
        assert!(self.commands < COMMANDS_MAX, "a look never ends");
        let head = self.take(3);
        let [how, low, high] = *head else { return Ok((0, buffer.len())) };
        if how == 0xff {
            return Err(TransportError::TimedOut);
        }
        let length = usize::from(u16::from_le_bytes([low, high])).min(buffer.len());
        let said = self.take(length);
        buffer[..said.len()].copy_from_slice(said);
        Ok((how, said.len()))
    }
}

impl Scsi for Noise<'_> {
    fn execute(&mut self, _: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        let (how, filled) = self.answer(data)?;
        let residual = data.len() - filled;
        if how < 0xe0 {
            return Ok(ScsiReply::new(how & 1, &[], residual));
        }
        let sense = self.take(usize::from(how - 0xe0));
        Ok(ScsiReply::new(STATUS_CHECK_CONDITION, sense, residual))
    }
}

impl Cciss for Noise<'_> {
    fn execute_at(
        &mut self,
        _: LunAddress,
        command: &ScsiCommand,
        data: &mut [u8],
    ) -> Result<ScsiReply, TransportError> {
        self.execute(command, data)
    }
}

impl Nvme for Noise<'_> {
    fn admin(&mut self, _: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError> {
        let (how, _) = self.answer(data)?;
        Ok(NvmeReply { status: u16::from(how & 1), result: 0 })
    }
}

impl Ipmi for Noise<'_> {
    fn request(&mut self, _: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
        Ok(self.answer(reply)?.1)
    }
}

/// A disk of each kind, a controller and a BMC that answer anything.
pub fn device(data: &[u8]) {
    for at in [Attachment::Direct, Attachment::Usb] {
        let _refused = read_disk(&mut Noise::new(data), at, Permit::Wake).is_err();
    }
    let _refused = read_nvme(&mut Noise::new(data)).is_err();
    if let Ok(reading) = hpsa::read(&mut Noise::new(data), "P420i") {
        assert!(reading.physical.len() <= hpsa::DRIVES_MAX);
    }
    let mut bmc = Noise::new(data);
    let mut records = ipmi::Records::default();
    // The second look uses what the first one kept.
    for _ in 0..2 {
        let _refused = ipmi::read(&mut bmc, &mut records).is_err();
    }
}

/// What the device mapper says of a volume: kind, then its line.
pub fn device_mapper(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for kind in ["raid", "thin-pool", "cache", "snapshot", "mirror", "linear", "multipath"] {
        let target = Target { start: 0, length: 8, kind: kind.to_owned(), status: text.clone().into_owned() };
        let _told = dm::read("vg-lv", "LVM-x", false, &[target]);
    }
}

/// An answer of the device helper, length first.
pub fn device_report(data: &[u8]) {
    if let Some((length, body)) = data.split_first_chunk() {
        let _refused = Answer::length(*length).is_err();
        if let Ok(answer) = Answer::decode(body) {
            assert!(answer.encode().is_ok());
        }
    }
}

/// A transcript that a user sent.
pub fn device_transcript(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(mut transcript) = text.parse::<Transcript>() {
        assert_eq!(transcript.to_string().parse::<Transcript>().as_ref(), Ok(&transcript));
        redact::redact(&mut transcript);
    }
}

/// Lines of NUT and of apcupsd.
pub fn ask_ups(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _told = nut::reading(text.lines());
    let _told = apcupsd::reading(text.lines());
}

/// Ceph's JSON and metrics, Gluster's XML.
pub fn ask_cluster(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _told = ceph::metrics(&text);
    if let Ok(json) = serde_json::from_str(&text) {
        let _refused = (ceph::status(&json).is_err(), ceph::health(&json).is_err());
    }
    if let Ok(element) = gluster::parse(&text) {
        let _told = (gluster::peers(&element), gluster::volumes(&element));
    }
}

/// A message of D-Bus, lists of packages, dnf's words, a plugin's line.
pub fn ask_system(data: &[u8]) {
    let _told = systemd::told(data);
    let at = data.len() / 2;
    let (mut status, mut list) = data.split_at(at);
    let _told = updates::waiting(&mut status, &mut list);
    let text = String::from_utf8_lossy(data);
    let _told = updates::advisories(&text);
    let told = plugin::reading("fuzz", Some(i32::from(data.len() > 9)), &text);
    assert!(told.values.len() <= text.len());
    let _refused = adit_health::readings::plugin::PluginRange::parse(&text).is_none();
    let (left, right) = text.split_once('\n').unwrap_or((&text, "1.0-1"));
    assert_eq!(version::compare(left, right), version::compare(right, left).reverse());
}

/// What zpool says, as JSON and in columns.
pub fn ask_pool(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _refused = zpool::json(&text).is_err();
    let (status, sizes) = text.split_once("\n\n\n").unwrap_or((&text, "tank\t100\t50\t50%\tONLINE\n"));
    let _told = zpool::plain(status, sizes);
}

/// What an agent kept: the memory of rules, what belongs to a machine; and a report, inventory first.
pub fn health_kept(data: &[u8]) {
    let memory = Memory::decode(data).encode();
    assert_eq!(Memory::decode(&memory).encode(), memory);
    let expected = Expected::decode(data).encode();
    assert_eq!(Expected::decode(&expected).encode(), expected);
    let [low, high, rest @ ..] = data else { return };
    let (inventory, snapshot) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
    let _refused = adit_health::decode(inventory, snapshot).is_err();
}

/// Inputs that get far: what mutations start from.
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "VAR ups ups.status \"OL CHRG LB\"\nVAR ups battery.charge \"97.5\"\nVAR ups battery.mfr.date \"2020/03/01\"\n",
        "STATUS   : ONBATT LOWBATT\nLOADPCT  :  17.0 Percent\nNOMPOWER : 865 Watts\nBATTDATE : 2020-03-01\n",
        r#"{"health":{"status":"HEALTH_WARN","checks":{"OSD_DOWN":{"severity":"HEALTH_WARN","summary":{"message":"1 osds down","count":1},"detail":[]}},"mutes":[]},"osdmap":{"num_osds":3,"num_up_osds":2},"pgmap":{"bytes_used":1,"bytes_total":9}}"#,
        "# TYPE ceph_health_status untyped\nceph_health_status 1.0\nceph_osd_up{ceph_daemon=\"osd.0\"} 0.0\n",
        "<?xml version=\"1.0\"?><cliOutput><opRet>0</opRet><peerStatus><peer><uuid>a</uuid><hostname>b&amp;c</hostname><connected>1</connected></peer></peerStatus><volStatus><volumes><volume><volName>v</volName></volume></volumes></volStatus></cliOutput>",
        "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n\nPackage: bash\nArchitecture: amd64\nVersion: 1:5.2-2~deb1\n",
        "DISK WARNING - free: / 9% | /=1843MB;1800;2000;0;2048 'a b'=2s;@1:2;~:3\nmore | c=1%\n",
        r#"{"output_version":{"command":"zpool status"},"pools":{"tank":{"name":"tank","state":"DEGRADED","vdevs":{"tank":{"vdev_type":"root","state":"DEGRADED","vdevs":{"sda":{"vdev_type":"disk","state":"FAULTED","read_errors":"3"}}}},"error_count":"0"}}}"#,
        "  pool: tank\n state: DEGRADED\n  scan: scrub repaired 0B in 00:10:00 with 0 errors on Sun Mar  1 00:34:01 2026\nconfig:\n\n\tNAME STATE READ WRITE CKSUM\n\ttank DEGRADED 0 0 0\n\t  sda FAULTED 3 0 0\n\nerrors: No known data errors\n",
        "raid1 2 Aa 128/256 recover 0 0 -",
        "0 17/4096 200/1000 - rw discard_passdown queue_if_no_space - 1024",
    ];
    assert!(gluster::parse(texts[4]).is_ok_and(|element| gluster::peers(&element).len() == 1));
    assert!(zpool::json(texts[7]).is_ok_and(|pools| pools.len() == 1) && zpool::plain(texts[8], "").len() == 1);
    let mut seeds: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    // A disk that answers INQUIRY as one, then with pages; a controller; a BMC. Their own bytes make a transcript, too.
    let inquiry = [&[0, 36, 0, 0, 0, 5, 2, 31, 0, 0, 0][..], b"ATA     MODEL           1.0 "].concat();
    let zeros = [&[0, 0, 2][..], &[0; 512]].concat();
    let says = [inquiry, zeros.clone(), zeros].concat();
    let mut recorder = Recorder::new(Noise::new(&says));
    let _refused = read_disk(&mut recorder, Attachment::Direct, Permit::Wake).is_err();
    recorder.exchanges.truncate(2);
    let transcript = Transcript { devices: vec![recorder.finish("sda", "sat")] };
    seeds.push(transcript.to_string().into_bytes());
    seeds.push(says[..200].to_vec());
    let report = DeviceReport {
        name: "sda".to_owned(),
        power: PowerState::Active,
        said: None,
        age_s: 3,
        waiting_s: Some(4),
        trouble: None,
    };
    let answer = Answer { version: VERSION, devices: vec![report], ..Answer::default() };
    seeds.push(answer.encode().unwrap_or_default());
    // A variant with a number, as systemd answers: header, fields (reply serial, signature "v"), body.
    let fields = [&b"\x05\x01u\0\x01\0\0\0\x08\x01g\0\x01v\0"[..], &[0]].concat();
    let lengths = [8u32.to_le_bytes(), 9u32.to_le_bytes(), 15u32.to_le_bytes()].concat();
    let message = [&b"l\x02\x01\x01"[..], &lengths, &fields, b"\x01u\0\0\x02\0\0\0"].concat();
    assert!(systemd::told(&message).is_some_and(|units| units.failed == 2));
    seeds.push(message);
    seeds.extend(kept());
    seeds
}

/// What an agent keeps after it looked at a machine with a UPS.
fn kept() -> [Vec<u8>; 2] {
    let surroundings = Surroundings { root: "/nowhere".into(), ..Surroundings::default() };
    let mut collector = Collector::new(surroundings, Limits::default(), Memory::default());
    let ups = nut::reading("VAR ups ups.status \"OL\"\nVAR ups ups.serial \"1\"".lines());
    let gathered = Gathered { upses: vec![("ups@[::1]:3493".to_owned(), Some(Ok(vec![ups])))], ..Gathered::default() };
    for minute in 0..3 {
        let _report = collector.collect(1_790_000_000 + minute * 60, &gathered);
    }
    let kept = [collector.memory().encode(), collector.expected().encode()];
    assert!(kept.iter().all(|bytes| bytes.len() > 8));
    kept
}
