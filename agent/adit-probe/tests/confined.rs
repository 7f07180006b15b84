// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The program as it runs: what is left after it gave up its rights, and that it answers then.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use adit_device::pipe::{Answer, LENGTH_BYTES, VERSION};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs on a thread of its own: the filter applies to the thread that installs it and those that it starts.
#[test]
fn what_is_left_is_reading_files_and_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "text").unwrap();
    let denied = std::thread::spawn(move || {
        adit_probe::confine().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert!(std::thread::spawn(|| 1).join().is_ok());
        let file = File::open(&path).unwrap();
        let attempts = [
            ("a network", TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).map(drop)),
            ("a program", Command::new("/bin/true").spawn().map(drop)),
            ("a new file", File::create(path.with_extension("new")).map(drop)),
            ("writing", OpenOptions::new().write(true).open(&path).map(drop)),
            ("appending", OpenOptions::new().append(true).open(&path).map(drop)),
            ("removing", fs::remove_file(&path)),
            ("another ioctl", rustix::io::ioctl_fionread(&file).map(drop).map_err(Into::into)),
        ];
        let allowed: Vec<&str> = attempts.iter().filter(|(_, tried)| tried.is_ok()).map(|(name, _)| *name).collect();
        let others: Vec<_> =
            attempts.iter().filter_map(|(_, tried)| tried.as_ref().err()?.raw_os_error()).filter(|e| *e != 1).collect();
        let caps = rustix::thread::capabilities(None).unwrap();
        assert_eq!(caps.permitted.difference(adit_probe::KEPT), rustix::thread::CapabilitySet::empty());
        assert_eq!(caps.inheritable, rustix::thread::CapabilitySet::empty());
        (allowed.join(", "), others)
    });
    assert_eq!(denied.join().unwrap(), (String::new(), Vec::new()), "allowed, or refused for another reason");
}

struct Probe {
    child: Child,
    socket: std::path::PathBuf,
}

impl Probe {
    fn start(root: &Path) -> Self {
        let socket = root.join("probe.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit-probe"));
        command.arg("serve").arg("--root").arg(root).arg("--socket").arg(&socket);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        Self { child, socket }
    }

    fn connect(&mut self) -> UnixStream {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Ok(stream) = UnixStream::connect(&self.socket) {
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                return stream;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended");
            assert!(Instant::now() < end, "it does not listen");
            std::thread::yield_now();
        }
    }

    fn ask(&mut self) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&[VERSION]).unwrap();
        let mut length = [0; LENGTH_BYTES];
        stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; Answer::length(length).unwrap()];
        stream.read_exact(&mut body).unwrap();
        Answer::decode(&body).unwrap()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A /sys with one NVMe controller, whose node is a plain file: what it is asked fails, and that is told.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("sys/class/nvme/nvme0")).unwrap();
    fs::create_dir_all(folder.path().join("dev")).unwrap();
    fs::write(folder.path().join("dev/nvme0"), "no device").unwrap();
    folder
}

#[test]
fn a_confined_helper_answers_again_and_again() {
    let machine = machine();
    let mut probe = Probe::start(machine.path());
    for _ in 0..3 {
        let answer = probe.ask();
        let [device] = &answer.devices[..] else { panic!("{answer:?}") };
        assert_eq!(device.name, "nvme0");
        // An ioctl on a plain file; without the filter's leave for it this would be the lack of a right.
        assert_eq!(device.trouble, Some(adit_device::pipe::Trouble::NoIdentity));
    }
    // A client that says nothing, and one that hangs up, keep nobody out for long.
    drop(probe.connect());
    assert_eq!(probe.ask().devices.len(), 1);
}

/// The promise is 4 MiB; a debug build is larger than what is shipped, so this is the harder case.
#[test]
fn memory_stays_below_the_promise() {
    let machine = machine();
    for number in 1..24 {
        fs::create_dir_all(machine.path().join(format!("sys/class/nvme/nvme{number}"))).unwrap();
        fs::write(machine.path().join(format!("dev/nvme{number}")), "no device").unwrap();
    }
    let mut probe = Probe::start(machine.path());
    for _ in 0..20 {
        assert_eq!(probe.ask().devices.len(), 24);
    }
    let status = fs::read_to_string(format!("/proc/{}/status", probe.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    eprintln!("resident: {kib} KiB");
    assert!(kib <= 4096, "{line}");
}

#[test]
fn read_prints_json_and_says_what_is_missing() {
    let machine = machine();
    let output =
        Command::new(env!("CARGO_BIN_EXE_adit-probe")).args(["read", "--root"]).arg(machine.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["devices"][0]["name"], "nvme0");
    let effective = rustix::thread::capabilities(None).unwrap().effective;
    let lacks = if effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN) { 0 } else { 1 };
    assert_eq!(value["lacks"].as_array().unwrap().len(), lacks);
}

#[test]
fn without_a_socket_it_says_so() {
    let output = Command::new(env!("CARGO_BIN_EXE_adit-probe")).arg("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "adit-probe: find a socket: none was handed over, and --socket names none\n");
}

#[test]
fn a_recording_is_a_transcript_with_the_kernels_files() {
    let machine = machine();
    let block = machine.path().join("sys/block/sdz");
    fs::create_dir_all(block.join("queue")).unwrap();
    fs::create_dir_all(machine.path().join("sys/devices/0:0:0:0/power")).unwrap();
    fs::create_dir_all(machine.path().join("sys/block/dm-0/dm")).unwrap();
    fs::write(block.join("queue/rotational"), "1\n").unwrap();
    fs::write(block.join("serial"), "SECRET\n").unwrap();
    fs::write(machine.path().join("sys/block/dm-0/dm/name"), "vg-holiday-photos\n").unwrap();
    fs::write(machine.path().join("sys/block/dm-0/dm/suspended"), "0\n").unwrap();
    fs::write(machine.path().join("sys/devices/0:0:0:0/model"), "ST4000\n").unwrap();
    fs::write(machine.path().join("sys/devices/0:0:0:0/power/runtime_status"), "suspended\n").unwrap();
    std::os::unix::fs::symlink(machine.path().join("sys/devices/0:0:0:0"), block.join("device")).unwrap();
    let file = machine.path().join("recording");
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit-probe"));
    command.arg("record").arg("--root").arg(machine.path()).arg(&file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&file).unwrap();
    let transcript: adit_device::transcript::Transcript = text.parse().unwrap();
    let [nvme] = &transcript.devices[..] else { panic!("{text}") };
    assert_eq!((nvme.name.as_str(), nvme.kind.as_str(), nvme.exchanges.len()), ("nvme0", "nvme", 1));
    assert!(text.contains("# sdz: sleeps, not asked\n"), "{text}");
    let files: Vec<(&str, &str)> = adit_probe::kernel_files(&text).collect();
    assert!(files.contains(&("sys/block/sdz/device/model", "ST4000")), "{text}");
    assert!(files.contains(&("sys/block/sdz/queue/rotational", "1")), "{text}");
    assert!(!text.contains("SECRET") && !text.contains("holiday"), "{text}");
}

/// As systemd starts it: the socket is descriptor 3 and belongs to whoever made it.
#[test]
fn a_socket_that_was_handed_over_is_served() {
    let machine = machine();
    let socket = machine.path().join("handed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).unwrap();
    let script =
        format!("exec 3<&{}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --root \"$1\"", listener.as_raw_fd());
    let mut command = Command::new("bash");
    command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_adit-probe")).arg(machine.path());
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    drop(listener);
    let mut probe = Probe { child, socket };
    assert_eq!(probe.ask().devices.len(), 1);
}

#[test]
fn a_descriptor_that_does_not_listen_is_refused() {
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve";
    let output = Command::new("bash").args(["-c", script]).arg(env!("CARGO_BIN_EXE_adit-probe")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("adit-probe: take the socket of the service manager: "), "{text}");
}
