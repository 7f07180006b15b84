// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What was asked of devices and what they answered, as text: recorded on one machine by [`Recorder`], played back on
//! another by [`Replay`]. A file that somebody sends in is a test fixture as it is; [`crate::redact`] takes the names out.
//!
//! ```text
//! adit transcript 1
//! device sda sat
//! > scsi 120000002400 36          command block, length of the buffer
//! < 00 0 -                        status, bytes not filled, sense
//!   0000: 0000060245…            32 bytes a line; lines of zeros are left out
//! > nvme 06 00000000 00000001 4096    opcode, namespace, dword 10, length
//! < 0000 00000000                 status, dword 0
//! > cciss 0100000000000040 4d00…  address, then as scsi
//! > ipmi 0a 23 0 0000010000ff     network function, command, logical unit, data
//! < 00ff…                         the answer, completion code first
//! ! timed-out                     no answer, and why
//! ```

use crate::command::{IpmiCommand, LunAddress, NvmeCommand, ScsiCommand};
use crate::transport::{Cciss, Ipmi, Nvme, NvmeReply, STATUS_CHECK_CONDITION, Scsi, ScsiReply, TransportError};
use std::fmt::{self, Write as _};
use std::str::FromStr;

/// First line of a transcript.
const HEAD: &str = "adit transcript 1";
/// Most bytes of a transcript that is read.
pub const TRANSCRIPT_BYTES_MAX: usize = 16 << 20;
/// Most exchanges of one transcript.
pub const EXCHANGES_MAX: usize = 16_384;
/// Most bytes of one answer.
pub const ANSWER_BYTES_MAX: usize = 1 << 16;
/// Bytes in a line of data.
const LINE_BYTES: usize = 32;

/// A recorded machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// Its devices, in the order of recording.
    pub devices: Vec<Recorded>,
}

/// A recorded device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What the kernel calls it, e.g. `sda`.
    pub name: String,
    /// How it is spoken to, e.g. `sat`, `usb`, `scsi`, `nvme`, `cciss`, `ipmi`.
    pub kind: String,
    /// What was said.
    pub exchanges: Vec<Exchange>,
}

/// A request and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub reply: Result<Reply, TransportError>,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A SCSI command, to an address behind a controller or to the device itself.
    Scsi {
        /// The address.
        lun: Option<LunAddress>,
        /// The command block.
        cdb: Vec<u8>,
        /// Length of the buffer, bytes.
        len: usize,
    },
    /// An NVMe admin command.
    Nvme {
        /// Opcode.
        opcode: u8,
        /// Namespace.
        nsid: u32,
        /// Dword 10.
        cdw10: u32,
        /// Length of the buffer, bytes.
        len: usize,
    },
    /// An IPMI request.
    Ipmi {
        /// Network function.
        netfn: u8,
        /// Command.
        command: u8,
        /// Logical unit.
        lun: u8,
        /// Data.
        data: Vec<u8>,
    },
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a SCSI command: status and the whole buffer.
    Scsi(ScsiReply, Vec<u8>),
    /// To an NVMe command: status and the whole buffer.
    Nvme(NvmeReply, Vec<u8>),
    /// To an IPMI request.
    Ipmi(Vec<u8>),
}

/// Why a text is no transcript.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscriptError {
    /// It is longer than [`TRANSCRIPT_BYTES_MAX`].
    #[error("read the transcript: {0} bytes are too many")]
    TooLong(usize),
    /// A line that makes no sense.
    #[error("read line {line} of the transcript: expected {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
}

fn scsi_request(lun: Option<LunAddress>, command: &ScsiCommand) -> Request {
    Request::Scsi { lun, cdb: command.cdb().to_vec(), len: command.data_bytes() }
}

fn nvme_request(command: &NvmeCommand) -> Request {
    let (opcode, nsid, cdw10) = (command.opcode(), command.nsid(), command.cdw10());
    Request::Nvme { opcode, nsid, cdw10, len: command.data_bytes() }
}

fn ipmi_request(command: &IpmiCommand) -> Request {
    let (netfn, lun) = (command.netfn(), command.lun());
    Request::Ipmi { netfn, command: command.command(), lun, data: command.data().to_vec() }
}

/// A transport that writes down everything that passes through it.
#[derive(Debug)]
pub struct Recorder<T> {
    inner: T,
    /// What has passed.
    pub exchanges: Vec<Exchange>,
}

impl<T> Recorder<T> {
    /// Records what goes to `inner`.
    pub const fn new(inner: T) -> Self {
        Self { inner, exchanges: Vec::new() }
    }

    /// The device as it was recorded.
    pub fn finish(self, name: &str, kind: &str) -> Recorded {
        Recorded { name: name.to_owned(), kind: kind.to_owned(), exchanges: self.exchanges }
    }

    fn note(&mut self, request: Request, reply: Result<Reply, TransportError>) {
        if self.exchanges.len() < EXCHANGES_MAX {
            self.exchanges.push(Exchange { request, reply });
        }
    }
}

impl<T: Scsi> Scsi for Recorder<T> {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        let reply = self.inner.execute(command, data);
        let noted = reply.clone().map(|reply| Reply::Scsi(reply, data.to_vec()));
        self.note(scsi_request(None, command), noted);
        reply
    }
}

impl<T: Cciss> Cciss for Recorder<T> {
    fn execute_at(
        &mut self,
        lun: LunAddress,
        command: &ScsiCommand,
        data: &mut [u8],
    ) -> Result<ScsiReply, TransportError> {
        let reply = self.inner.execute_at(lun, command, data);
        let noted = reply.clone().map(|reply| Reply::Scsi(reply, data.to_vec()));
        self.note(scsi_request(Some(lun), command), noted);
        reply
    }
}

impl<T: Nvme> Nvme for Recorder<T> {
    fn admin(&mut self, command: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError> {
        let reply = self.inner.admin(command, data);
        let noted = reply.clone().map(|reply| Reply::Nvme(reply, data.to_vec()));
        self.note(nvme_request(command), noted);
        reply
    }
}

impl<T: Ipmi> Ipmi for Recorder<T> {
    fn request(&mut self, command: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
        let len = self.inner.request(command, reply);
        let noted = len.clone().map(|len| Reply::Ipmi(reply[..len.min(reply.len())].to_vec()));
        self.note(ipmi_request(command), noted);
        len
    }
}

/// A transport that answers as the recorded device did: each request with its recorded answers in their order, the last
/// one again and again. What was never asked is refused as a device refuses what it does not know.
#[derive(Clone, Debug)]
pub struct Replay {
    exchanges: Vec<(Exchange, bool)>,
}

impl Replay {
    /// Plays one device.
    #[must_use]
    pub fn new(device: &Recorded) -> Self {
        Self { exchanges: device.exchanges.iter().map(|exchange| (exchange.clone(), false)).collect() }
    }

    fn answer(&mut self, request: &Request) -> Option<Result<Reply, TransportError>> {
        let fresh = self.exchanges.iter().position(|(exchange, used)| !used && exchange.request == *request);
        let last = self.exchanges.iter().rposition(|(exchange, _)| exchange.request == *request);
        let (exchange, used) = &mut self.exchanges[fresh.or(last)?];
        *used = true;
        Some(exchange.reply.clone())
    }

    fn scsi(&mut self, request: &Request, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        match self.answer(request).transpose()? {
            Some(Reply::Scsi(reply, recorded)) => {
                fill(data, &recorded);
                Ok(reply)
            }
            // Illegal request, invalid command operation code.
            _ => Ok(ScsiReply::new(STATUS_CHECK_CONDITION, &[0x72, 5, 0x20, 0, 0, 0, 0, 0], data.len())),
        }
    }
}

fn fill(data: &mut [u8], recorded: &[u8]) -> usize {
    let len = recorded.len().min(data.len());
    data[..len].copy_from_slice(&recorded[..len]);
    len
}

impl Scsi for Replay {
    fn execute(&mut self, command: &ScsiCommand, data: &mut [u8]) -> Result<ScsiReply, TransportError> {
        self.scsi(&scsi_request(None, command), data)
    }
}

impl Cciss for Replay {
    fn execute_at(
        &mut self,
        lun: LunAddress,
        command: &ScsiCommand,
        data: &mut [u8],
    ) -> Result<ScsiReply, TransportError> {
        self.scsi(&scsi_request(Some(lun), command), data)
    }
}

impl Nvme for Replay {
    fn admin(&mut self, command: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError> {
        match self.answer(&nvme_request(command)).transpose()? {
            Some(Reply::Nvme(reply, recorded)) => {
                fill(data, &recorded);
                Ok(reply)
            }
            // Invalid command opcode.
            _ => Ok(NvmeReply { status: 0x0001, result: 0 }),
        }
    }
}

impl Ipmi for Replay {
    fn request(&mut self, command: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
        match self.answer(&ipmi_request(command)).transpose()? {
            Some(Reply::Ipmi(recorded)) => Ok(fill(reply, &recorded)),
            // Completion code C1h: invalid command.
            _ => Ok(fill(reply, &[0xc1])),
        }
    }
}

struct Hex<'b>(&'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_char('-');
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scsi { lun: None, cdb, len } => write!(f, "scsi {} {len}", Hex(cdb)),
            Self::Scsi { lun: Some(lun), cdb, len } => write!(f, "cciss {} {} {len}", Hex(&lun.0), Hex(cdb)),
            Self::Nvme { opcode, nsid, cdw10, len } => write!(f, "nvme {opcode:02x} {nsid:08x} {cdw10:08x} {len}"),
            Self::Ipmi { netfn, command, lun, data } => {
                write!(f, "ipmi {netfn:02x} {command:02x} {lun} {}", Hex(data))
            }
        }
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for device in &self.devices {
            writeln!(f, "device {} {}", device.name, device.kind)?;
            for exchange in &device.exchanges {
                writeln!(f, "> {}", exchange.request)?;
                match &exchange.reply {
                    Ok(Reply::Scsi(reply, data)) => {
                        writeln!(f, "< {:02x} {} {}", reply.status, reply.residual, Hex(reply.sense()))?;
                        write_data(f, data)?;
                    }
                    Ok(Reply::Nvme(reply, data)) => {
                        writeln!(f, "< {:04x} {:08x}", reply.status, reply.result)?;
                        write_data(f, data)?;
                    }
                    Ok(Reply::Ipmi(data)) => writeln!(f, "< {}", Hex(data))?,
                    Err(error) => writeln!(f, "! {}", error_words(error))?,
                }
            }
        }
        Ok(())
    }
}

fn write_data(f: &mut fmt::Formatter<'_>, data: &[u8]) -> fmt::Result {
    let lines = data.chunks(LINE_BYTES).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
    for (index, line) in lines {
        writeln!(f, "  {:04x}: {}", index * LINE_BYTES, Hex(line))?;
    }
    Ok(())
}

fn error_words(error: &TransportError) -> String {
    match error {
        TransportError::NotSupported => "not-supported".to_owned(),
        TransportError::NeedsCapability(capability) => format!("needs {capability}"),
        TransportError::TimedOut => "timed-out".to_owned(),
        TransportError::Gone => "gone".to_owned(),
        TransportError::Io(number) => format!("errno {number}"),
    }
}

fn parse_error(words: &str) -> Option<TransportError> {
    Some(match words {
        "not-supported" => TransportError::NotSupported,
        "timed-out" => TransportError::TimedOut,
        "gone" => TransportError::Gone,
        "needs CAP_SYS_RAWIO" => TransportError::NeedsCapability("CAP_SYS_RAWIO"),
        "needs CAP_SYS_ADMIN" => TransportError::NeedsCapability("CAP_SYS_ADMIN"),
        _ => TransportError::Io(words.strip_prefix("errno ")?.parse().ok()?),
    })
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

fn parse_len(text: &str) -> Option<usize> {
    text.parse().ok().filter(|len| *len <= ANSWER_BYTES_MAX)
}

fn parse_request(text: &str) -> Option<Request> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let cdb = |text: &str| parse_hex(text).filter(|cdb| (6..=16).contains(&cdb.len()));
    Some(match words[..] {
        ["scsi", block, len] => Request::Scsi { lun: None, cdb: cdb(block)?, len: parse_len(len)? },
        ["cciss", lun, block, len] => {
            let lun = LunAddress(parse_hex(lun)?.try_into().ok()?);
            Request::Scsi { lun: Some(lun), cdb: cdb(block)?, len: parse_len(len)? }
        }
        ["nvme", opcode, nsid, cdw10, len] => Request::Nvme {
            opcode: u8::from_str_radix(opcode, 16).ok()?,
            nsid: u32::from_str_radix(nsid, 16).ok()?,
            cdw10: u32::from_str_radix(cdw10, 16).ok()?,
            len: parse_len(len)?,
        },
        ["ipmi", netfn, command, lun, data] => Request::Ipmi {
            netfn: u8::from_str_radix(netfn, 16).ok()?,
            command: u8::from_str_radix(command, 16).ok()?,
            lun: lun.parse().ok().filter(|lun| *lun < 4)?,
            data: parse_hex(data)?,
        },
        _ => return None,
    })
}

fn parse_reply(request: &Request, text: &str) -> Option<Reply> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    Some(match (request, &words[..]) {
        (Request::Scsi { len, .. }, [status, residual, sense]) => {
            let residual = residual.parse().ok().filter(|residual| residual <= len)?;
            let reply = ScsiReply::new(u8::from_str_radix(status, 16).ok()?, &parse_hex(sense)?, residual);
            Reply::Scsi(reply, vec![0; *len])
        }
        (Request::Nvme { len, .. }, [status, result]) => {
            let status = u16::from_str_radix(status, 16).ok()?;
            let reply = NvmeReply { status, result: u32::from_str_radix(result, 16).ok()? };
            Reply::Nvme(reply, vec![0; *len])
        }
        (Request::Ipmi { .. }, [data]) => Reply::Ipmi(parse_hex(data)?),
        _ => return None,
    })
}

/// Puts a line of data into the answer before it.
fn parse_data(reply: Option<&mut Exchange>, text: &str) -> Option<()> {
    let (at, bytes) = text.split_once(": ")?;
    let (at, bytes) = (usize::from_str_radix(at, 16).ok()?, parse_hex(bytes)?);
    let (Ok(Reply::Scsi(_, data)) | Ok(Reply::Nvme(_, data))) = &mut reply?.reply else { return None };
    data.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(&bytes);
    Some(())
}

/// What was read so far of a text.
#[derive(Default)]
struct Reader {
    transcript: Transcript,
    pending: Option<Request>,
    count: usize,
}

impl Reader {
    /// Takes a line; gives what was expected instead when it makes no sense.
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        match (mark, self.pending.take()) {
            ("de", None) => {
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let ["device", name, kind] = words[..] else { return Err("device NAME KIND") };
                let (name, kind) = (name.to_owned(), kind.to_owned());
                self.transcript.devices.push(Recorded { name, kind, exchanges: Vec::new() });
            }
            ("> ", None) => {
                self.count += 1;
                let room = self.count <= EXCHANGES_MAX && !self.transcript.devices.is_empty();
                self.pending = Some(parse_request(rest).filter(|_| room).ok_or("a request")?);
            }
            ("< ", Some(request)) => {
                let reply = parse_reply(&request, rest).ok_or("the answer")?;
                self.exchange(Exchange { request, reply: Ok(reply) });
            }
            ("! ", Some(request)) => {
                let error = parse_error(rest).ok_or("why there is no answer")?;
                self.exchange(Exchange { request, reply: Err(error) });
            }
            ("  ", None) => {
                let last = self.transcript.devices.last_mut().and_then(|device| device.exchanges.last_mut());
                parse_data(last, rest).ok_or("data of the answer")?;
            }
            (_, Some(_)) => return Err("the answer to the request before"),
            (_, None) => return Err("device, request or data"),
        }
        Ok(())
    }

    fn exchange(&mut self, exchange: Exchange) {
        if let Some(device) = self.transcript.devices.last_mut() {
            device.exchanges.push(exchange);
        }
    }
}

impl FromStr for Transcript {
    type Err = TranscriptError;

    fn from_str(text: &str) -> Result<Self, TranscriptError> {
        if text.len() > TRANSCRIPT_BYTES_MAX {
            return Err(TranscriptError::TooLong(text.len()));
        }
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        if lines.next().is_none_or(|(_, line)| line != HEAD) {
            return Err(TranscriptError::Line { line: 1, expected: "`adit transcript 1`" });
        }
        let mut reader = Reader::default();
        for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
            reader.line(line).map_err(|expected| TranscriptError::Line { line: number, expected })?;
        }
        Ok(reader.transcript)
    }
}
