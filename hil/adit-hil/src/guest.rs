// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a machine boots before there is an appliance: Debian's kernel, and a first file system with the harness's PID 1,
//! the modules and the programs that a scenario asks for. Everything lies below `target/hil`, is made once, and is found
//! again by what it was made of. Never installs anything, never starts a machine.

use adit_image::cpio::{Archive, Entry};
use adit_image::debian::{self, Apt};
use adit_image::modules::Modules;
use adit_image::vmlinux;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package that depends on the newest kernel of a release.
const KERNEL_PACKAGE: &str = "linux-image-amd64";
/// What boots quickest under TCG, measured with QEMU 7.2 as processor time of the emulator: 1.6 s to an empty PID 1, 1.9 s
/// to an answer of the hand, 2.7 s to a listening agent. On a busy host the same takes longer by the clock.
///
/// `q35` has every bus that scenarios need; `pc` takes a tenth longer, `microvm` has no PCI. One processor: a second one
/// costs more than it does.
pub const MACHINE: &str = "q35";
/// The plain 64-bit processor, which costs an emulator least (`max`: a tenth more), and what cryptography asks for: without
/// rdrand alone the agent takes a second longer to start. See [`MACHINE`].
pub const CPU: &str = "qemu64,+rdrand,+aes,+pclmulqdq,+ssse3,+sse4.1,+sse4.2,+popcnt";
/// The kernel's command line, see [`MACHINE`]. Left out are the kernel's tests of its own ciphers and page tables, its
/// tracing, its list of signing keys (so modules load unchecked and taint it), and the second look at the clock. A panic
/// ends or resets the machine at once.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 cryptomgr.notests rodata=off tsc=reliable no_timer_check \
    initcall_blacklist=init_kprobe_trace,load_system_certificate_list";
/// Modules of every machine: virtio disks, network, serial ports, random numbers, and ext4.
pub const MODULES: [&str; 6] = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "virtio_rng", "ext4"];
/// Modules of the power button, for machines that are to be switched off by it.
pub const BUTTON_MODULES: [&str; 2] = ["button", "evdev"];

/// What a machine's first file system holds besides PID 1.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Modules in the order they are asked for, with parameters; what they need is added.
    modules: Vec<(String, String)>,
    ours: BTreeSet<String>,
    packages: BTreeSet<String>,
    tools: BTreeSet<String>,
    files: BTreeMap<String, (u32, Vec<u8>)>,
}

impl Default for Spec {
    /// [`MODULES`] and nothing else.
    fn default() -> Self {
        let empty = Self {
            modules: Vec::new(),
            ours: BTreeSet::new(),
            packages: BTreeSet::new(),
            tools: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        empty.modules(&MODULES)
    }
}

impl Spec {
    /// Further modules.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        self.modules.extend(names.iter().map(|name| ((*name).to_owned(), String::new())));
        self
    }

    /// A module with parameters, such as `("i6300esb", "heartbeat=10")`.
    #[must_use]
    pub fn module_with(mut self, name: &str, parameters: &str) -> Self {
        self.modules.push((name.to_owned(), parameters.to_owned()));
        self
    }

    /// Programs of ours, `aditd`, `adit` and `adit-probe`; they lie in `/usr/bin`. The first process starts `adit-probe`.
    #[must_use]
    pub fn ours(mut self, names: &[&str]) -> Self {
        self.ours.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Programs of a Debian package by their path in it, with every library they need: `("mdadm", &["sbin/mdadm"])`.
    #[must_use]
    pub fn debian(mut self, package: &str, programs: &[&str]) -> Self {
        self.packages.insert(package.to_owned());
        self.tools.extend(programs.iter().map(|name| (*name).to_owned()));
        self
    }

    /// A file at a path relative to the root.
    #[must_use]
    pub fn file(mut self, path: &str, permissions: u32, bytes: &[u8]) -> Self {
        self.files.insert(path.to_owned(), (permissions, bytes.to_vec()));
        self
    }
}

/// What is prepared: the kernel, its modules, our programs.
#[derive(Clone, Debug)]
pub struct Guest {
    folder: PathBuf,
    kernel: PathBuf,
    binaries: PathBuf,
    /// Where `aditd`, `adit` and `adit-probe` lie.
    programs: PathBuf,
    setting: Option<Setting>,
}

/// A protection outside the product, switched off to see that a scenario notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A mirror has one disk, `mirror1`; the place of the other is empty.
    HalfMirror,
}

impl Setting {
    /// What it takes away.
    #[must_use]
    pub const fn removes(self) -> &'static str {
        match self {
            Self::HalfMirror => "the second disk of a mirror",
        }
    }
}

impl Guest {
    /// Builds our programs as static binaries, and fetches and unpacks the kernel if that was not done before. Several
    /// processes may call this at a time. A kernel once fetched stays until `target/hil` is removed.
    pub fn prepare() -> Result<Self> {
        let guest = Self::prepare_system()?;
        let _lock = lock(&guest.folder)?;
        // Apart from the harness's PID 1, so that the Debian package finds the same build of everything.
        let programs = build(&root()?, &["aditd", "adit", "adit-probe"])?;
        Ok(guest.with_programs(&programs))
    }

    /// The same without our programs, which [`Self::with_programs`] brings from elsewhere.
    pub fn prepare_system() -> Result<Self> {
        ensure!(std::env::consts::ARCH == "x86_64", "machines of the harness are x86-64, on a host of the same kind");
        let root = root()?;
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
        let folder = target.join("hil");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let _lock = lock(&folder)?;
        let kernel = prepare_kernel(&folder).context("prepare the kernel of harness machines")?;
        let binaries = build(&root, &["adit-guest"])?;
        Ok(Self { folder, kernel, programs: binaries.clone(), binaries, setting: None })
    }

    /// The folder with the programs of an image; `adit-init` is built at the first call.
    pub(crate) fn appliance_programs(&self) -> Result<PathBuf> {
        let _lock = lock(&self.folder)?;
        let built = build(&root()?, &["adit-init"])?;
        if built == self.programs {
            return Ok(built);
        }
        // The other programs come from elsewhere, as a mutant's do.
        let place = self.folder.join("appliance-programs");
        fs::create_dir_all(&place)?;
        for (from, name) in [(&built, "adit-init"), (&self.programs, "aditd"), (&self.programs, "adit-probe")] {
            fs::copy(from.join(name), place.join(name)).with_context(|| format!("copy {name}"))?;
        }
        Ok(place)
    }

    /// The same guest with other static builds of our programs, in machines and on the host.
    #[must_use]
    pub fn with_programs(mut self, folder: &Path) -> Self {
        folder.clone_into(&mut self.programs);
        self
    }

    /// The same guest without a protection.
    #[must_use]
    pub const fn with_setting(mut self, setting: Setting) -> Self {
        self.setting = Some(setting);
        self
    }

    /// The protection that is missing.
    pub(crate) const fn setting(&self) -> Option<Setting> {
        self.setting
    }

    /// Where everything of the harness lies, `target/hil`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel, an ELF file that QEMU starts directly.
    pub fn vmlinux(&self) -> PathBuf {
        self.kernel.join("vmlinux")
    }

    /// A static program of ours.
    pub fn program(&self, name: &str) -> PathBuf {
        let folder = if name == "adit-guest" { &self.binaries } else { &self.programs };
        folder.join(name)
    }

    /// The kernel's version, such as `6.1.0-56-amd64`.
    pub fn kernel_version(&self) -> Result<String> {
        Ok(file_name(&self.modules_folder()?))
    }

    /// The first file system for a machine, an uncompressed cpio archive: unpacking it takes an emulated machine longer
    /// than reading it. It is named by its content: the same spec and programs give the
    /// same file.
    pub fn initramfs(&self, spec: &Spec) -> Result<PathBuf> {
        let _lock = lock(&self.folder)?;
        let mut archive = Archive::default();
        archive.add("dev/console", Entry::Character { permissions: 0o600, major: 5, minor: 1 })?;
        for folder in ["etc", "mnt", "proc", "root", "run", "sys", "tmp", "var"] {
            archive.directory(folder)?;
        }
        archive.file("init", 0o755, read(&self.program("adit-guest"))?)?;
        for name in &spec.ours {
            archive.file(&format!("usr/bin/{name}"), 0o755, read(&self.program(name))?)?;
        }
        self.add_modules(&mut archive, spec)?;
        self.add_tools(&mut archive, spec)?;
        for (path, (permissions, bytes)) in &spec.files {
            archive.file(path, *permissions, bytes.clone())?;
        }
        let bytes = archive.to_bytes();
        let path = self.folder.join("initramfs").join(format!("{}.cpio", short(&bytes)));
        if !path.exists() {
            write(&path, &bytes)?;
        }
        Ok(path)
    }

    fn modules_folder(&self) -> Result<PathBuf> {
        only_entry(&self.kernel.join("root/lib/modules"))
            .or_else(|_| only_entry(&self.kernel.join("root/usr/lib/modules")))
    }

    fn add_modules(&self, archive: &mut Archive, spec: &Spec) -> Result<()> {
        let wanted: Vec<&str> = spec.modules.iter().map(|(name, _)| name.as_str()).collect();
        let mut list = String::new();
        for module in Modules::scan(&self.modules_folder()?)?.order(&wanted)? {
            let parameters = spec.modules.iter().filter(|(name, _)| name.replace('-', "_") == module.name);
            let parameters: Vec<&str> = parameters.map(|(_, parameters)| parameters.as_str()).collect();
            list.push_str(format!("{} {}", module.name, parameters.join(" ")).trim_end());
            list.push('\n');
            archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, module.image)?;
        }
        Ok(archive.file(adit_guest::MODULE_LIST, 0o644, list.into_bytes())?)
    }

    fn add_tools(&self, archive: &mut Archive, spec: &Spec) -> Result<()> {
        if spec.packages.is_empty() {
            return Ok(());
        }
        let root = prepare_packages(&self.folder, &spec.packages)?;
        let programs: Vec<&str> = spec.tools.iter().map(String::as_str).collect();
        for (place, file) in debian::runtime(&root, &programs)? {
            let permissions = fs::metadata(&file).with_context(|| file.display().to_string())?.permissions().mode();
            archive.file(&place, permissions, read(&file)?)?;
        }
        Ok(())
    }
}

fn prepare_kernel(folder: &Path) -> Result<PathBuf> {
    let kernels = folder.join("kernel");
    if let Ok(kernel) = only_entry(&kernels) {
        return Ok(kernel);
    }
    let apt = Apt::new(&folder.join("apt"))?;
    apt.update()?;
    let packages = apt.depends(KERNEL_PACKAGE)?;
    let Some(package) = packages.iter().find(|name| name.starts_with("linux-image-")) else {
        bail!("{KERNEL_PACKAGE} depends on no kernel, but on {packages:?}");
    };
    let files = apt.download(&[package])?;
    let file = files.first().with_context(|| format!("apt names no file for {package}"))?;
    made_whole(&kernels.join(file_name(&file.with_extension(""))), |kernel| {
        let root = kernel.join("root");
        debian::unpack(file, &root)?;
        let image = fs::read_dir(root.join("boot"))?.filter_map(Result::ok).map(|entry| entry.path());
        let image = image.into_iter().find(|path| file_name(path).starts_with("vmlinuz-"));
        let image = image.with_context(|| format!("{package} holds no kernel"))?;
        write(&kernel.join("vmlinux"), &vmlinux::extract(&read(&image)?)?)
    })
}

fn prepare_packages(folder: &Path, packages: &BTreeSet<String>) -> Result<PathBuf> {
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let place = folder.join("tools").join(short(packages.join(" ").as_bytes()));
    if place.exists() {
        return Ok(place);
    }
    let apt = Apt::new(&folder.join("apt"))?;
    // Lists that are older than the archive name files that are gone.
    let files =
        apt.download_closure(&packages).or_else(|_| apt.update().and_then(|()| apt.download_closure(&packages)))?;
    made_whole(&place, |place| files.iter().try_for_each(|file| Ok(debian::unpack(file, place)?)))
}

/// Makes a folder beside its place and moves it there when it is whole, so that a killed run leaves nothing half made.
fn made_whole(place: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let name = file_name(place);
    let parent = place.parent().context("a place in a folder")?;
    let unfinished = parent.with_extension("unfinished").join(name);
    drop(fs::remove_dir_all(&unfinished));
    fs::create_dir_all(&unfinished)?;
    make(&unfinished)?;
    fs::create_dir_all(parent)?;
    fs::rename(&unfinished, place).with_context(|| format!("move to {}", place.display()))?;
    Ok(place.to_owned())
}

fn root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().context("find the repository")
}

/// Static release binaries of some packages; the folder they lie in.
fn build(root: &Path, packages: &[&str]) -> Result<PathBuf> {
    let mut command = Command::new("bash");
    command.arg("images/packages/build-static.sh").args(packages).current_dir(root).stderr(Stdio::inherit());
    let output = command.output().context("run bash")?;
    ensure!(output.status.success(), "the static build of {} failed", packages.join(" and "));
    Ok(root.join(String::from_utf8_lossy(&output.stdout).trim()))
}

/// One process at a time; the lock ends with the file.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::options().create(true).append(true).open(&path).with_context(|| path.display().to_string())?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn only_entry(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let entries: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    match entries.as_slice() {
        [one] => Ok(one.clone()),
        others => bail!("{} holds {} entries, not one", folder.display(), others.len()),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .with_context(|| format!("write {}", path.display()))
}

/// A name for some bytes.
fn short(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().chars().take(16).collect()
}
