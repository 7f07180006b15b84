// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Extended attributes of what the walk found, ACLs and capabilities among them, as raw bytes.

use crate::entry::pack_xattrs;
use crate::walk::Dir;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, Result};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd as _};

/// The kernel's own limit of a list of names and of one value.
const KERNEL_BYTES_MAX: usize = 64 << 10;

/// Packed attributes of an open file; empty when it has none or its file system knows none.
pub(super) fn of_file(fd: impl AsFd) -> Result<Vec<u8>> {
    let fd = fd.as_fd();
    read(
        |buffer| rustix::fs::flistxattr(fd, spare_capacity(buffer)).map(drop),
        |name, buffer| rustix::fs::fgetxattr(fd, name, spare_capacity(buffer)).map(drop),
    )
}

/// Packed attributes of something that can't be opened: a link, a pipe, a device, or a directory on the way by.
pub(super) fn of_name(dir: &Dir, name: &CStr) -> Result<Vec<u8>> {
    // There is no such call relative to a directory's descriptor; its entry under /proc stands for the directory.
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = CString::new(path).map_err(|_| Errno::INVAL)?;
    let path = path.as_c_str();
    read(
        |buffer| rustix::fs::llistxattr(path, spare_capacity(buffer)).map(drop),
        |name, buffer| rustix::fs::lgetxattr(path, name, spare_capacity(buffer)).map(drop),
    )
}

fn read(list: impl Fn(&mut Vec<u8>) -> Result<()>, get: impl Fn(&CStr, &mut Vec<u8>) -> Result<()>) -> Result<Vec<u8>> {
    let names = match grow(256, list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut attributes = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        match grow(256, |buffer| get(name, buffer)) {
            Ok(value) => attributes.push((name.to_bytes().to_vec(), value)),
            // Gone since the list was read, or not for us to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(pack_xattrs(&attributes))
}

/// Calls again with more room while the system says that there is too little.
fn grow(first: usize, call: impl Fn(&mut Vec<u8>) -> Result<()>) -> Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(first);
    loop {
        buffer.clear();
        match call(&mut buffer) {
            Err(Errno::RANGE) if buffer.capacity() < KERNEL_BYTES_MAX => buffer.reserve(KERNEL_BYTES_MAX),
            Err(errno) => return Err(errno),
            Ok(()) => return Ok(buffer),
        }
    }
}
