// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Requests to the BMC through the kernel's message handler: send, wait with a deadline, receive.

use crate::abi::{
    IPMI_BMC_CHANNEL, IPMI_RESPONSE, IPMI_SYSTEM_INTERFACE, IPMICTL_RECEIVE_MSG_TRUNC, IPMICTL_SEND_COMMAND,
    IpmiAddress, IpmiMsg, IpmiRecv, IpmiReq,
};
use adit_device::command::IpmiCommand;
use adit_device::transport::{IPMI_REPLY_BYTES_MAX, Ipmi, TransportError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::mem::size_of;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

const CAPABILITY: &str = "access to the BMC's node";

/// `/dev/ipmi0`, open for reading.
#[derive(Debug)]
pub struct BmcDevice {
    fd: OwnedFd,
    /// Number of the last request: a late answer to an earlier one is told apart by it.
    last: i64,
}

impl BmcDevice {
    /// Opens the node.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        crate::open(path).map(|fd| Self { fd, last: 0 })
    }

    fn send(&self, command: &IpmiCommand, msgid: i64) -> Result<(), TransportError> {
        let mut address =
            IpmiAddress { addr_type: IPMI_SYSTEM_INTERFACE, channel: IPMI_BMC_CHANNEL, lun: command.lun() };
        let mut data = command.data().to_vec();
        let mut request = IpmiReq {
            addr: &raw mut address,
            addr_len: SYSTEM_INTERFACE_BYTES,
            msgid,
            msg: IpmiMsg {
                netfn: command.netfn(),
                cmd: command.command(),
                data_len: u16::try_from(data.len()).unwrap_or(0),
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: IPMICTL_SEND_COMMAND takes a struct ipmi_req (layout: abi.rs). `addr` with its length is `address`,
        // `msg.data` with its length is `data`; both live to the end of this function and the kernel copies them.
        unsafe { crate::call::<IPMICTL_SEND_COMMAND, IpmiReq>(&self.fd, &mut request) }
            .map_err(|error| crate::refusal(error, CAPABILITY))
    }

    /// The next message that waits, with its number; `None` when it is no answer to a request.
    fn receive(&self, reply: &mut [u8]) -> Result<Option<(i64, usize)>, TransportError> {
        let mut address = IpmiAddress { addr_type: 0, channel: 0, lun: 0 };
        // The driver copies answers of any length here and says with EMSGSIZE that it cut them.
        let mut data = [0_u8; IPMI_REPLY_BYTES_MAX];
        let mut received = IpmiRecv {
            recv_type: 0,
            addr: &raw mut address,
            addr_len: SYSTEM_INTERFACE_BYTES,
            msgid: 0,
            msg: IpmiMsg {
                netfn: 0,
                cmd: 0,
                data_len: u16::try_from(data.len()).unwrap_or(0),
                data: data.as_mut_ptr(),
            },
        };
        // SAFETY: IPMICTL_RECEIVE_MSG_TRUNC takes a struct ipmi_recv (layout: abi.rs). `addr` and `msg.data` with their
        // lengths are `address` and `data`, which live to the end of this function; the kernel cuts what is longer.
        let outcome = unsafe { crate::call::<IPMICTL_RECEIVE_MSG_TRUNC, IpmiRecv>(&self.fd, &mut received) };
        match outcome {
            Ok(()) | Err(Errno::MSGSIZE) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(crate::refusal(error, CAPABILITY)),
        }
        let length = usize::from(received.msg.data_len).min(data.len()).min(reply.len());
        if received.recv_type != IPMI_RESPONSE {
            return Ok(None);
        }
        reply[..length].copy_from_slice(&data[..length]);
        Ok(Some((received.msgid, length)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "8 bytes")]
const SYSTEM_INTERFACE_BYTES: u32 = size_of::<IpmiAddress>() as u32;

impl Ipmi for BmcDevice {
    fn request(&mut self, command: &IpmiCommand, reply: &mut [u8]) -> Result<usize, TransportError> {
        self.last += 1;
        self.send(command, self.last)?;
        let deadline = Instant::now() + Duration::from_millis(command.timeout_ms().into());
        loop {
            let left = deadline.checked_duration_since(Instant::now()).ok_or(TransportError::TimedOut)?;
            let wait = Timespec::try_from(left).map_err(|_| TransportError::TimedOut)?;
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&wait)) {
                Ok(0) => return Err(TransportError::TimedOut),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(crate::refusal(error, CAPABILITY)),
            }
            if let Some((_, length)) = self.receive(reply)?.filter(|(msgid, _)| *msgid == self.last) {
                return Ok(length);
            }
        }
    }
}
