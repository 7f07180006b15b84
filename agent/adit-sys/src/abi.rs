// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The structures that the kernel's headers give to ioctls, byte for byte. Sizes and offsets are asserted here at compile
//! time; `tests/headers.rs` compares them and the request numbers with the headers of the machine.
//!
//! Pointers are fields here; nothing in this file follows one.

use core::mem::{offset_of, size_of};
use rustix::ioctl::{Opcode, opcode};

/// `SG_IO` of scsi/sg.h.
pub const SG_IO: Opcode = 0x2285;
/// `NVME_IOCTL_ADMIN_CMD` of linux/nvme_ioctl.h.
pub const NVME_IOCTL_ADMIN_CMD: Opcode = opcode::read_write::<NvmeAdminCmd>(b'N', 0x41);
/// `CCISS_PASSTHRU` of linux/cciss_ioctl.h.
pub const CCISS_PASSTHRU: Opcode = opcode::read_write::<CcissCommand>(b'B', 11);
/// `IPMICTL_SEND_COMMAND` of linux/ipmi.h.
pub const IPMICTL_SEND_COMMAND: Opcode = opcode::read::<IpmiReq>(b'i', 13);
/// `IPMICTL_RECEIVE_MSG_TRUNC` of linux/ipmi.h.
pub const IPMICTL_RECEIVE_MSG_TRUNC: Opcode = opcode::read_write::<IpmiRecv>(b'i', 11);
/// `DM_TABLE_STATUS` of linux/dm-ioctl.h.
pub const DM_TABLE_STATUS: Opcode = opcode::read_write::<DmIoctl>(0xfd, 12);

/// `sg_io_hdr_t`.
#[derive(Debug)]
#[repr(C)]
pub struct SgIoHdr {
    /// `'S'`.
    pub interface_id: i32,
    /// One of the `SG_DXFER_…` below.
    pub dxfer_direction: i32,
    /// Bytes at `cmdp`.
    pub cmd_len: u8,
    /// Bytes that may be written at `sbp`.
    pub mx_sb_len: u8,
    /// 0: `dxferp` is the buffer itself.
    pub iovec_count: u16,
    /// Bytes at `dxferp`.
    pub dxfer_len: u32,
    /// The data buffer.
    pub dxferp: *mut u8,
    /// The command.
    pub cmdp: *const u8,
    /// Where sense bytes go.
    pub sbp: *mut u8,
    /// Milliseconds.
    pub timeout: u32,
    /// 0.
    pub flags: u32,
    /// 0.
    pub pack_id: i32,
    /// Null.
    pub usr_ptr: *mut u8,
    /// SCSI status.
    pub status: u8,
    /// Shifted status, not used.
    pub masked_status: u8,
    /// Not used.
    pub msg_status: u8,
    /// Sense bytes written.
    pub sb_len_wr: u8,
    /// What the host adapter says, `DID_…`.
    pub host_status: u16,
    /// What the driver says.
    pub driver_status: u16,
    /// Bytes of the buffer that were not used.
    pub resid: i32,
    /// Milliseconds taken.
    pub duration: u32,
    /// Flags of the answer.
    pub info: u32,
}

/// No data.
pub const SG_DXFER_NONE: i32 = -1;
/// Data from the device.
pub const SG_DXFER_FROM_DEV: i32 = -3;

/// `struct nvme_admin_cmd`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct NvmeAdminCmd {
    /// Opcode.
    pub opcode: u8,
    /// 0.
    pub flags: u8,
    /// 0.
    pub rsvd1: u16,
    /// Namespace.
    pub nsid: u32,
    /// Command dword 2.
    pub cdw2: u32,
    /// Command dword 3.
    pub cdw3: u32,
    /// Null.
    pub metadata: u64,
    /// Address of the data buffer.
    pub addr: u64,
    /// 0.
    pub metadata_len: u32,
    /// Bytes at `addr`.
    pub data_len: u32,
    /// Command dword 10.
    pub cdw10: u32,
    /// Command dword 11.
    pub cdw11: u32,
    /// Command dword 12.
    pub cdw12: u32,
    /// Command dword 13.
    pub cdw13: u32,
    /// Command dword 14.
    pub cdw14: u32,
    /// Command dword 15.
    pub cdw15: u32,
    /// Milliseconds.
    pub timeout_ms: u32,
    /// Dword 0 of the completion.
    pub result: u32,
}

/// `IOCTL_Command_struct`, with its packed parts written out: address, request block, error information.
#[derive(Debug)]
#[repr(C)]
pub struct CcissCommand {
    /// `LUN_info`.
    pub lun: [u8; 8],
    /// `Request.CDBLen`.
    pub cdb_len: u8,
    /// `Request.Type`: bits 0–2 type, 3–5 attribute, 6–7 direction.
    pub kind: u8,
    /// `Request.Timeout`, seconds.
    pub timeout_s: u16,
    /// `Request.CDB`.
    pub cdb: [u8; 16],
    /// `error_info.ScsiStatus`.
    pub scsi_status: u8,
    /// `error_info.SenseLen`.
    pub sense_len: u8,
    /// `error_info.CommandStatus`.
    pub command_status: u16,
    /// `error_info.ResidualCnt`.
    pub residual: u32,
    /// `error_info.MoreErrInfo`.
    pub more: [u8; 8],
    /// `error_info.SenseInfo`.
    pub sense: [u8; 32],
    /// Bytes at `buf`.
    pub buf_size: u16,
    /// The data buffer.
    pub buf: *mut u8,
}

/// `TYPE_CMD | ATTR_SIMPLE << 3`, without a direction.
pub const CCISS_KIND: u8 = 4 << 3;
/// `XFER_READ` in its place.
pub const CCISS_READ: u8 = 2 << 6;

/// `struct ipmi_system_interface_addr`.
#[derive(Debug)]
#[repr(C)]
pub struct IpmiAddress {
    /// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE`.
    pub addr_type: i32,
    /// `IPMI_BMC_CHANNEL`.
    pub channel: i16,
    /// 0.
    pub lun: u8,
}

/// `IPMI_SYSTEM_INTERFACE_ADDR_TYPE`.
pub const IPMI_SYSTEM_INTERFACE: i32 = 0x0c;
/// `IPMI_BMC_CHANNEL`.
pub const IPMI_BMC_CHANNEL: i16 = 0xf;
/// `IPMI_RESPONSE_RECV_TYPE`.
pub const IPMI_RESPONSE: i32 = 1;

/// `struct ipmi_msg`.
#[derive(Debug)]
#[repr(C)]
pub struct IpmiMsg {
    /// Network function.
    pub netfn: u8,
    /// Command.
    pub cmd: u8,
    /// Bytes at `data`.
    pub data_len: u16,
    /// The bytes.
    pub data: *mut u8,
}

/// `struct ipmi_req`.
#[derive(Debug)]
#[repr(C)]
pub struct IpmiReq {
    /// The receiver.
    pub addr: *mut IpmiAddress,
    /// Bytes at `addr`.
    pub addr_len: u32,
    /// Comes back with the answer.
    pub msgid: i64,
    /// What to ask.
    pub msg: IpmiMsg,
}

/// `struct ipmi_recv`.
#[derive(Debug)]
#[repr(C)]
pub struct IpmiRecv {
    /// `IPMI_RESPONSE_RECV_TYPE` for an answer.
    pub recv_type: i32,
    /// Where the sender's address goes.
    pub addr: *mut IpmiAddress,
    /// Bytes at `addr`.
    pub addr_len: u32,
    /// Of the request.
    pub msgid: i64,
    /// The answer.
    pub msg: IpmiMsg,
}

/// `struct dm_ioctl`.
#[derive(Debug)]
#[repr(C)]
pub struct DmIoctl {
    /// Major, minor, patch; the kernel asks for its own major, 4.
    pub version: [u32; 3],
    /// Bytes of this header and the data behind it.
    pub data_size: u32,
    /// Where the data begins, from the start of this header.
    pub data_start: u32,
    /// How many targets came back.
    pub target_count: u32,
    /// Who holds the device open.
    pub open_count: i32,
    /// `DM_…_FLAG`.
    pub flags: u32,
    /// Event counter.
    pub event_nr: u32,
    /// 0.
    pub padding: u32,
    /// Device number.
    pub dev: u64,
    /// Name with a zero behind it.
    pub name: [u8; 128],
    /// UUID with a zero behind it, or empty.
    pub uuid: [u8; 129],
    /// 0.
    pub data: [u8; 7],
}

/// Do not make a thin pool write its metadata only to be asked: no write, no wake-up.
pub const DM_NOFLUSH_FLAG: u32 = 1 << 11;
/// The data did not fit.
pub const DM_BUFFER_FULL_FLAG: u32 = 1 << 8;

/// Bytes of `struct dm_target_spec`, behind which the parameters stand.
pub const DM_TARGET_SPEC_BYTES: usize = 40;

// The layouts of 64-bit Linux; tests/headers.rs compares with the headers themselves.
const _: () = {
    assert!(size_of::<SgIoHdr>() == 88);
    assert!(offset_of!(SgIoHdr, dxferp) == 16);
    assert!(offset_of!(SgIoHdr, sbp) == 32);
    assert!(offset_of!(SgIoHdr, status) == 64);
    assert!(offset_of!(SgIoHdr, resid) == 72);
    assert!(size_of::<NvmeAdminCmd>() == 72);
    assert!(offset_of!(NvmeAdminCmd, addr) == 24);
    assert!(offset_of!(NvmeAdminCmd, cdw10) == 40);
    assert!(offset_of!(NvmeAdminCmd, result) == 68);
    assert!(size_of::<CcissCommand>() == 88);
    assert!(offset_of!(CcissCommand, scsi_status) == 28);
    assert!(offset_of!(CcissCommand, sense) == 44);
    assert!(offset_of!(CcissCommand, buf_size) == 76);
    assert!(offset_of!(CcissCommand, buf) == 80);
    assert!(size_of::<IpmiAddress>() == 8);
    assert!(size_of::<IpmiReq>() == 40);
    assert!(offset_of!(IpmiReq, msg) == 24);
    assert!(size_of::<IpmiRecv>() == 48);
    assert!(offset_of!(IpmiRecv, msg) == 32);
    assert!(size_of::<DmIoctl>() == 312);
    assert!(offset_of!(DmIoctl, name) == 48);
    assert!(SG_IO == 0x2285);
    assert!(NVME_IOCTL_ADMIN_CMD == 0xc048_4e41);
    assert!(CCISS_PASSTHRU == 0xc058_420b);
    assert!(IPMICTL_SEND_COMMAND == 0x8028_690d);
    assert!(IPMICTL_RECEIVE_MSG_TRUNC == 0xc030_690b);
    assert!(DM_TABLE_STATUS == 0xc138_fd0c);
};
