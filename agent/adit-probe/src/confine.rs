// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the program gives up before it opens a device: every capability but two, new privileges, and every system call
//! that it does not need. Applies to threads that begin later, so it comes first.

use crate::discover::{Found, Kind};
use adit_sys::abi;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// SG_IO with ATA commands and the controller's pass-through want the first, NVMe and device-mapper the second.
pub const KEPT: CapabilitySet = CapabilitySet::SYS_RAWIO.union(CapabilitySet::SYS_ADMIN);
/// Ioctls of std's sockets: FIONBIO.
const FIONBIO: u32 = 0x5421;
/// Flags of an open that would change something: O_WRONLY, O_CREAT, O_TRUNC, O_APPEND (asm-generic/fcntl.h).
const OPEN_CHANGES: u64 = 0o1 | 0o100 | 0o1000 | 0o2000;
const EPERM: u32 = 1;
/// Threads have names.
const PR_SET_NAME: u64 = 15;

/// Why the program could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The kernel refused to take capabilities away.
    #[error("give up capabilities")]
    Capabilities(#[source] Errno),
    /// The filter could not be built, which is a fault of this program, or the kernel has no filters.
    #[error("filter system calls")]
    Filter(#[from] seccompiler::BackendError),
    /// The kernel refused the filter.
    #[error("install the filter of system calls")]
    Install(#[from] seccompiler::Error),
    /// There is no filter for this processor.
    #[error("filter system calls: no table for this processor")]
    Processor,
}

/// Gives up what is not needed. Idempotent but for the filter, which is stacked.
pub fn confine() -> Result<(), ConfineError> {
    let failed = ConfineError::Capabilities;
    // Needs CAP_SETPCAP; without it there is nothing in the set that could come back either, as no program is started.
    for capability in CapabilitySet::all().difference(KEPT).iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let had = rustix::thread::capabilities(None).map_err(failed)?;
    let kept = had.permitted & KEPT;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed)?;
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    seccompiler::apply_filter(&filter()?)?;
    Ok(())
}

/// The capabilities that what was found would need and that this program does not have.
#[must_use]
pub fn lacks(found: &Found) -> Vec<String> {
    let has = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let needs = |kind: &Kind| match kind {
        Kind::Scsi { .. } | Kind::SmartArray { .. } => CapabilitySet::SYS_RAWIO,
        Kind::Nvme { .. } | Kind::Mapper { .. } => CapabilitySet::SYS_ADMIN,
        Kind::Bmc { .. } => CapabilitySet::empty(),
    };
    let needed = found.devices.iter().fold(CapabilitySet::empty(), |all, device| all | needs(&device.kind));
    let names = [(CapabilitySet::SYS_RAWIO, "CAP_SYS_RAWIO"), (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN")];
    let missing = names.into_iter().filter(|(capability, _)| needed.difference(has).contains(*capability));
    missing.map(|(_, name)| name.to_owned()).collect()
}

/// System calls without conditions: memory, threads and time of std and libc; reading files; answering on the socket.
const PLAIN: &[i64] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // A thread and a process begin by the same call; a process could not start another program.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    // Asked, never set: that needs CAP_SYS_TIME, which is dropped.
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    // Which capabilities are left.
    libc::SYS_capget,
    // How a panic ends.
    libc::SYS_tgkill,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The requests that the devices are asked by.
const IOCTLS: [u32; 7] = [
    abi::SG_IO,
    abi::NVME_IOCTL_ADMIN_CMD,
    abi::CCISS_PASSTHRU,
    abi::IPMICTL_SEND_COMMAND,
    abi::IPMICTL_RECEIVE_MSG_TRUNC,
    abi::DM_TABLE_STATUS,
    FIONBIO,
];

/// What is not listed fails with EPERM: a libc that asks for something new works on without it, or says so.
fn filter() -> Result<BpfProgram, ConfineError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().map(|number| (*number, Vec::new())).collect();
    let argument = |index, operator, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?])
    };
    let requests = IOCTLS.iter().map(|request| argument(1, SeccompCmpOp::Eq, (*request).into()));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_openat, vec![argument(2, SeccompCmpOp::MaskedEq(OPEN_CHANGES), 0)?]);
    rules.insert(libc::SYS_prctl, vec![argument(0, SeccompCmpOp::Eq, PR_SET_NAME)?]);
    let processor = std::env::consts::ARCH.try_into().map_err(|_| ConfineError::Processor)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Errno(EPERM), SeccompAction::Allow, processor)?;
    Ok(filter.try_into()?)
}
