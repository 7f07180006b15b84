// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The structures of `abi` beside the kernel's own headers: a C program that includes them prints sizes, offsets and
//! request numbers; the same list is written from the Rust side and compared. Without a C compiler or headers it says so.

use adit_sys::abi::{
    CCISS_PASSTHRU, CcissCommand, DM_BUFFER_FULL_FLAG, DM_NOFLUSH_FLAG, DM_TABLE_STATUS, DM_TARGET_SPEC_BYTES, DmIoctl,
    IPMI_BMC_CHANNEL, IPMI_RESPONSE, IPMI_SYSTEM_INTERFACE, IPMICTL_RECEIVE_MSG_TRUNC, IPMICTL_SEND_COMMAND,
    IpmiAddress, IpmiMsg, IpmiRecv, IpmiReq, NVME_IOCTL_ADMIN_CMD, NvmeAdminCmd, SG_DXFER_FROM_DEV, SG_DXFER_NONE,
    SG_IO, SgIoHdr,
};
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::process::Command;

/// C expressions, each with the value that Rust has for it.
macro_rules! pairs {
    ($($c:literal = $rust:expr;)*) => { [$(($c, i128::try_from($rust).unwrap())),*] };
}

fn pairs() -> Vec<(&'static str, i128)> {
    let disks = pairs! {
        "sizeof(sg_io_hdr_t)" = size_of::<SgIoHdr>();
        "offsetof(sg_io_hdr_t, cmd_len)" = offset_of!(SgIoHdr, cmd_len);
        "offsetof(sg_io_hdr_t, mx_sb_len)" = offset_of!(SgIoHdr, mx_sb_len);
        "offsetof(sg_io_hdr_t, dxfer_len)" = offset_of!(SgIoHdr, dxfer_len);
        "offsetof(sg_io_hdr_t, dxferp)" = offset_of!(SgIoHdr, dxferp);
        "offsetof(sg_io_hdr_t, cmdp)" = offset_of!(SgIoHdr, cmdp);
        "offsetof(sg_io_hdr_t, sbp)" = offset_of!(SgIoHdr, sbp);
        "offsetof(sg_io_hdr_t, timeout)" = offset_of!(SgIoHdr, timeout);
        "offsetof(sg_io_hdr_t, status)" = offset_of!(SgIoHdr, status);
        "offsetof(sg_io_hdr_t, sb_len_wr)" = offset_of!(SgIoHdr, sb_len_wr);
        "offsetof(sg_io_hdr_t, host_status)" = offset_of!(SgIoHdr, host_status);
        "offsetof(sg_io_hdr_t, driver_status)" = offset_of!(SgIoHdr, driver_status);
        "offsetof(sg_io_hdr_t, resid)" = offset_of!(SgIoHdr, resid);
        "SG_IO" = SG_IO;
        "SG_DXFER_NONE" = SG_DXFER_NONE;
        "SG_DXFER_FROM_DEV" = SG_DXFER_FROM_DEV;
        "sizeof(struct nvme_admin_cmd)" = size_of::<NvmeAdminCmd>();
        "offsetof(struct nvme_admin_cmd, nsid)" = offset_of!(NvmeAdminCmd, nsid);
        "offsetof(struct nvme_admin_cmd, addr)" = offset_of!(NvmeAdminCmd, addr);
        "offsetof(struct nvme_admin_cmd, data_len)" = offset_of!(NvmeAdminCmd, data_len);
        "offsetof(struct nvme_admin_cmd, cdw10)" = offset_of!(NvmeAdminCmd, cdw10);
        "offsetof(struct nvme_admin_cmd, cdw11)" = offset_of!(NvmeAdminCmd, cdw11);
        "offsetof(struct nvme_admin_cmd, timeout_ms)" = offset_of!(NvmeAdminCmd, timeout_ms);
        "offsetof(struct nvme_admin_cmd, result)" = offset_of!(NvmeAdminCmd, result);
        "NVME_IOCTL_ADMIN_CMD" = NVME_IOCTL_ADMIN_CMD;
    };
    disks.into_iter().chain(others()).collect()
}

fn others() -> Vec<(&'static str, i128)> {
    let others = pairs! {
        "sizeof(IOCTL_Command_struct)" = size_of::<CcissCommand>();
        "offsetof(IOCTL_Command_struct, Request.CDBLen)" = offset_of!(CcissCommand, cdb_len);
        "offsetof(IOCTL_Command_struct, Request.Timeout)" = offset_of!(CcissCommand, timeout_s);
        "offsetof(IOCTL_Command_struct, Request.CDB)" = offset_of!(CcissCommand, cdb);
        "offsetof(IOCTL_Command_struct, error_info.ScsiStatus)" = offset_of!(CcissCommand, scsi_status);
        "offsetof(IOCTL_Command_struct, error_info.SenseLen)" = offset_of!(CcissCommand, sense_len);
        "offsetof(IOCTL_Command_struct, error_info.CommandStatus)" = offset_of!(CcissCommand, command_status);
        "offsetof(IOCTL_Command_struct, error_info.ResidualCnt)" = offset_of!(CcissCommand, residual);
        "offsetof(IOCTL_Command_struct, error_info.SenseInfo)" = offset_of!(CcissCommand, sense);
        "offsetof(IOCTL_Command_struct, buf_size)" = offset_of!(CcissCommand, buf_size);
        "offsetof(IOCTL_Command_struct, buf)" = offset_of!(CcissCommand, buf);
        "CCISS_PASSTHRU" = CCISS_PASSTHRU;
        "sizeof(struct ipmi_system_interface_addr)" = size_of::<IpmiAddress>();
        "offsetof(struct ipmi_system_interface_addr, lun)" = offset_of!(IpmiAddress, lun);
        "sizeof(struct ipmi_msg)" = size_of::<IpmiMsg>();
        "offsetof(struct ipmi_msg, data)" = offset_of!(IpmiMsg, data);
        "sizeof(struct ipmi_req)" = size_of::<IpmiReq>();
        "offsetof(struct ipmi_req, msgid)" = offset_of!(IpmiReq, msgid);
        "offsetof(struct ipmi_req, msg)" = offset_of!(IpmiReq, msg);
        "sizeof(struct ipmi_recv)" = size_of::<IpmiRecv>();
        "offsetof(struct ipmi_recv, addr)" = offset_of!(IpmiRecv, addr);
        "offsetof(struct ipmi_recv, msgid)" = offset_of!(IpmiRecv, msgid);
        "offsetof(struct ipmi_recv, msg)" = offset_of!(IpmiRecv, msg);
        "IPMICTL_SEND_COMMAND" = IPMICTL_SEND_COMMAND;
        "IPMICTL_RECEIVE_MSG_TRUNC" = IPMICTL_RECEIVE_MSG_TRUNC;
        "IPMI_SYSTEM_INTERFACE_ADDR_TYPE" = IPMI_SYSTEM_INTERFACE;
        "IPMI_BMC_CHANNEL" = IPMI_BMC_CHANNEL;
        "IPMI_RESPONSE_RECV_TYPE" = IPMI_RESPONSE;
        "sizeof(struct dm_ioctl)" = size_of::<DmIoctl>();
        "offsetof(struct dm_ioctl, data_size)" = offset_of!(DmIoctl, data_size);
        "offsetof(struct dm_ioctl, target_count)" = offset_of!(DmIoctl, target_count);
        "offsetof(struct dm_ioctl, flags)" = offset_of!(DmIoctl, flags);
        "offsetof(struct dm_ioctl, name)" = offset_of!(DmIoctl, name);
        "offsetof(struct dm_ioctl, uuid)" = offset_of!(DmIoctl, uuid);
        "sizeof(struct dm_target_spec)" = DM_TARGET_SPEC_BYTES;
        "DM_TABLE_STATUS" = DM_TABLE_STATUS;
        "DM_NOFLUSH_FLAG" = DM_NOFLUSH_FLAG;
        "DM_BUFFER_FULL_FLAG" = DM_BUFFER_FULL_FLAG;
    };
    others.to_vec()
}

#[test]
fn the_layouts_are_those_of_the_kernels_headers() {
    let pairs = pairs();
    let mut source = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include <sys/ioctl.h>\n#include <scsi/sg.h>\n\
         #include <linux/nvme_ioctl.h>\n#include <linux/cciss_ioctl.h>\n#include <linux/ipmi.h>\n\
         #include <linux/dm-ioctl.h>\nint main(void) {\n",
    );
    for (c, _) in &pairs {
        writeln!(source, "printf(\"%lld\\n\", (long long)({c}));").unwrap();
    }
    source.push_str("return 0; }\n");
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("abi.c"), folder.path().join("abi"));
    std::fs::write(&file, source).unwrap();
    let headers = ["/usr/include/scsi/sg.h", "/usr/include/linux/ipmi.h", "/usr/include/linux/dm-ioctl.h"];
    if headers.iter().any(|header| !std::path::Path::new(header).exists()) {
        eprintln!("not compared: this machine has no kernel headers (Debian: linux-libc-dev)");
        return;
    }
    let Ok(compiled) = Command::new("cc").arg(&file).arg("-o").arg(&program).output() else {
        eprintln!("not compared: this machine has no cc");
        return;
    };
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let printed = Command::new(&program).output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let theirs: Vec<i128> = printed.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(theirs.len(), pairs.len());
    let wrong: Vec<_> = pairs.iter().zip(&theirs).filter(|((_, ours), theirs)| ours != *theirs).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}
