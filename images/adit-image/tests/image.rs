// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The whole way, with Debian's packages of today and UEFI firmware: built twice the same, taken apart again, signed, and
//! started by OVMF up to the first process. Needs apt and QEMU; everything fetched lies below `target/image`.

use adit_image::debian::{self, Apt};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a machine may take to its first process, wall time; about 8 s on two idle cores without KVM.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
const TIME_S: &str = "1800000000";
/// A first process that says what it finds. It stays: a kernel without one panics, which would look like a failure.
const INIT: &str = r#"
    use std::process::{Command, Stdio};
    fn main() {
        let image = std::fs::read_to_string("/etc/adit/image.toml").unwrap_or_default();
        println!("first process: {}", image.replace('\n', " "));
        for (program, option) in [("/sbin/mke2fs", "-V"), ("/sbin/e2fsck", "-V"), ("/sbin/mdadm", "--version")] {
            // Nothing is mounted: there is no /dev/null to read from.
            let said = Command::new(program).arg(option).stdin(Stdio::inherit()).output();
            println!("{program} {}", said.as_ref().is_ok_and(|said| said.status.success()));
            println!("{said:?}");
        }
        let modules = std::fs::read_dir("/usr/lib/adit/modules").map_or(0, |modules| modules.count());
        println!("modules {} keys {}", modules > 20, std::fs::read("/etc/adit/keys").map_or(0, |keys| keys.len()));
        println!("first process: end");
        loop { std::thread::park() }
    }
"#;

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn adit_image(arguments: &[&str]) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_adit-image")).args(arguments).current_dir(root()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// Packages stay between runs; tests of one checkout share them.
fn cache() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target));
    target.join("image/cache")
}

/// A folder with a static program under the names of ours.
fn programs(folder: &Path) -> PathBuf {
    let source = folder.join("init.rs");
    fs::write(&source, INIT).expect("a source file");
    let programs = folder.join("programs");
    fs::create_dir_all(&programs).expect("a folder");
    let init = programs.join("adit-init");
    let rustc = ["--edition=2024", "-Ctarget-feature=+crt-static", "-Copt-level=s", "-Cstrip=symbols", "-o"];
    run(Command::new("rustc").args(rustc).arg(&init).arg(&source));
    for name in ["aditd", "adit-probe"] {
        fs::copy(&init, programs.join(name)).expect("a copy");
    }
    programs
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// Keys for one test: the folder, and the key set in it.
fn keys(folder: &Path) -> PathBuf {
    let at = |name: &str| text(&folder.join(name)).to_owned();
    for (role, name) in [("root", "root1"), ("root", "root2"), ("signing", "signing")] {
        adit_image(&["keygen", role, &at(name)]);
    }
    let (one, other, signing) = (at("root1.pub"), at("root2.pub"), at("signing.pub"));
    let make = ["keyset", "--number", "1", "--root", &one, "--root", &other, "--signing", &signing];
    adit_image(&[&make[..], &["--with", &at("root1"), "--out", &at("keys")]].concat());
    folder.join("keys")
}

fn build(out: &Path, programs: &Path, keys: &Path, formats: &str) {
    let cache = cache();
    let what = ["build", "--unlocked", "--version", "1.2.3", "--floor", "1.0.0", "--time-s", TIME_S];
    let from = ["--programs", text(programs), "--keys", text(keys), "--cache", text(&cache)];
    adit_image(&[&what[..], &from, &["--formats", formats, "--out", text(out)]].concat());
}

#[test]
fn image_is_built_twice_the_same_and_boots() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let keys = keys(folders[0].path());
    let first_programs = programs(folders[0].path());
    let second_programs = folders[1].path().join("elsewhere");
    fs::create_dir_all(&second_programs).unwrap();
    for name in ["adit-init", "aditd", "adit-probe"] {
        fs::copy(first_programs.join(name), second_programs.join(name)).unwrap();
    }
    let [one, other] = [folders[0].path().join("out"), folders[1].path().join("another/out")];
    build(&one, &first_programs, &keys, "img,qcow2,zst");
    build(&other, &second_programs, &keys, "img,qcow2");
    for end in ["uki", "adit", "sbom.json", "img", "qcow2"] {
        let name = format!("adit-1.2.3-vm-x86_64.{end}");
        let [one, other] = [&one, &other].map(|folder| fs::read(folder.join(&name)).unwrap());
        assert!(one == other, "{name} differs between two builds");
    }
    let at = |end: &str| one.join(format!("adit-1.2.3-vm-x86_64.{end}"));
    for whole in ["img", "img.zst"] {
        let said = adit_image(&["inspect", "--all", text(&at(whole))]);
        for words in
            ["EFI/Linux/adit_001.002.003.efi", "loader/loader.conf", "sbin/mdadm", "virtio_blk.ko", "key set 1"]
        {
            assert!(said.contains(words), "{whole} has no {words}: {said}");
        }
    }
    let update = at("adit");
    assert!(adit_image(&["inspect", text(&update)]).contains("signature refused"));
    adit_image(&["sign", text(&update), "--key", text(&folders[0].path().join("signing"))]);
    assert!(adit_image(&["inspect", text(&update)]).contains("signature good by key set 1"));
    run(Command::new("sha256sum").args(["--check", "--quiet", text(&at("SHA256SUMS"))]).current_dir(&one));
    adit_image(&["preseed", text(&at("img")), "--hostname", "cellar"]);
    assert!(adit_image(&["inspect", text(&at("img"))]).contains(" adit.toml\n"));

    let said = boot(&at("qcow2"));
    assert!(said.contains("version = \"1.2.3\" floor = \"1.0.0\" arch = \"x86_64\" flavour = \"vm\""), "{said}");
    for words in ["/sbin/mke2fs true", "/sbin/e2fsck true", "/sbin/mdadm true", "modules true keys 183"] {
        assert!(said.contains(words), "no {words}: {said}");
    }
}

#[test]
fn image_lock_refuses_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(folder.path());
    let lock = fs::read_to_string(root().join("images/inputs.lock")).unwrap();
    let kernel = lock.find("linux-image-cloud-amd64").unwrap();
    let digest = kernel + lock[kernel..].find("sha256 = \"").unwrap() + 10;
    let changed = format!("{}{}{}", &lock[..digest], "0".repeat(64), &lock[digest + 64..]);
    let path = folder.path().join("inputs.lock");
    fs::write(&path, changed).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit-image"));
    command.args(["build", "--version", "1.2.3", "--cache", text(&cache()), "--lock", text(&path)]);
    command.args(["--programs", text(&programs), "--out", text(folder.path())]).current_dir(root());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Either the bytes are refused, or Debian has moved on and the version is gone: both name the way out.
    assert!(!output.status.success() && said.contains("run `adit-image lock`"), "{said}");
}

/// Starts a disk with OVMF and reads its serial line until the first process has said its last words.
fn boot(disk: &Path) -> String {
    let firmware = firmware();
    let variables = disk.with_extension("vars");
    fs::copy(firmware.join("OVMF_VARS_4M.fd"), &variables).expect("a copy");
    let flash =
        |unit: u8, rest: &str, path: &Path| format!("if=pflash,format=raw,unit={unit},{rest}file={}", path.display());
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", "256", "-nodefaults", "-no-user-config"]);
    command.args(["-display", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-drive").arg(flash(0, "readonly=on,", &firmware.join("OVMF_CODE_4M.fd")));
    command.arg("-drive").arg(flash(1, "", &variables));
    command.arg("-drive").arg(format!("if=none,id=d,format=qcow2,file={}", disk.display()));
    command.args(["-device", "virtio-blk-pci,drive=d"]);
    let mut machine = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("QEMU");
    let (lines, output) = (mpsc::channel(), machine.stdout.take().expect("its output"));
    let (sender, receiver) = lines;
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let mut said = String::new();
    while !said.contains("first process: end") {
        match receiver.recv_timeout(BOOT_DEADLINE) {
            Ok(line) => {
                said.push_str(&line);
                said.push('\n');
            }
            Err(_) => break,
        }
    }
    drop(receiver);
    machine.kill().expect("a machine to stop");
    machine.wait().expect("a machine that ended");
    reader.join().expect("a reader that ended");
    let mut complaints = String::new();
    machine.stderr.take().expect("its complaints").read_to_string(&mut complaints).expect("text");
    assert!(said.contains("first process: end"), "{said}\n{complaints}");
    said
}

/// OVMF out of its package.
fn firmware() -> PathBuf {
    let folder = cache().join("firmware");
    let place = folder.join("usr/share/OVMF");
    if !place.join("OVMF_CODE_4M.fd").exists() {
        let apt = Apt::new(&cache().join("apt/own")).expect("a folder for apt");
        apt.update().expect("package lists");
        for package in apt.download(&["ovmf"]).expect("the firmware") {
            debian::unpack(&package, &folder).expect("its files");
        }
    }
    place
}
