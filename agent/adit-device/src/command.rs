// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The commands that may be sent, all of them: each constructor is one entry of the list of read-only commands.
//!
//! The bytes of a command are private and can be read but not made, so no caller can send anything else. What stands here
//! changes nothing on a device; none takes data from the host.

/// How long a disk may take, milliseconds. Only disks that are awake are asked, but one may be busy with error recovery
/// of its own: ATA drives give up on a sector after about 7 s.
const DISK_TIMEOUT_MS: u32 = 15_000;
/// How long a controller may take, milliseconds: it may have to ask its disks.
const CONTROLLER_TIMEOUT_MS: u32 = 30_000;
/// How long a BMC may take, milliseconds (peers report 5 s and more for a busy one).
const BMC_TIMEOUT_MS: u32 = 10_000;
/// One sector of an ATA log, bytes.
const ATA_SECTOR_BYTES: u32 = 512;

/// Whether the device sends data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// No data.
    None,
    /// From the device to the host.
    FromDevice,
}

/// A SCSI command descriptor block from the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScsiCommand {
    cdb: [u8; 16],
    cdb_len: u8,
    data_bytes: u32,
    timeout_ms: u32,
}

/// Vital product data pages that may be read (SPC-5, 7.7; C1h to C3h are Smart Array's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum VpdPage {
    /// Which pages there are.
    Supported = 0x00,
    /// Unit serial number.
    Serial = 0x80,
    /// Device identification: names by NAA, EUI-64, T10 vendor.
    Identification = 0x83,
    /// ATA information: the IDENTIFY data behind a SAT layer (SAT-4, 12.4.2).
    AtaInformation = 0x89,
    /// Block device characteristics: rotation rate (SBC-4).
    BlockCharacteristics = 0xb1,
    /// Smart Array: which pages of its own a logical drive has (Linux hpsa.h).
    SmartArrayDevices = 0xc1,
    /// Smart Array: state of a logical drive (Linux hpsa.h, HPSA_VPD_LV_STATUS).
    SmartArrayState = 0xc3,
}

/// Log pages that may be read (SPC-5, 7.3; SBC-4, 6.4; SPL-4 for the protocol page).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LogPage {
    /// Which pages there are.
    Supported = 0x00,
    /// Write error counters.
    WriteErrors = 0x02,
    /// Read error counters.
    ReadErrors = 0x03,
    /// Verify error counters.
    VerifyErrors = 0x05,
    /// Temperature and its limit.
    Temperature = 0x0d,
    /// Starts, stops, loads.
    StartStop = 0x0e,
    /// The twenty newest self-tests.
    SelfTest = 0x10,
    /// Wear of solid-state media.
    SolidState = 0x11,
    /// Background scan, and hours powered on.
    BackgroundScan = 0x15,
    /// SAS phys and their error counters.
    ProtocolSpecific = 0x18,
    /// Predicted failure.
    InformationalExceptions = 0x2f,
}

/// BMIC reads of a Smart Array controller that may be sent (Linux hpsa_cmd.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BmicRead {
    /// Identify controller.
    IdentifyController = 0x11,
    /// Identify physical device.
    IdentifyPhysicalDevice = 0x15,
    /// Sense subsystem information.
    SenseSubsystemInformation = 0x66,
    /// Sense cache configuration (cciss_vol_status.c, BMIC_SENSE_CACHE_CONFIGURATION; the write is another opcode).
    SenseCacheConfiguration = 0xc1,
}

/// What a defect list is asked by: drives know the ten-byte form, the twelve-byte form, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefectList {
    /// READ DEFECT DATA(10).
    Ten,
    /// READ DEFECT DATA(12).
    Twelve,
}

impl ScsiCommand {
    const fn new<const N: usize>(bytes: [u8; N], data_bytes: u32, timeout_ms: u32) -> Self {
        let mut cdb = [0; 16];
        let mut at = 0;
        while at < N {
            cdb[at] = bytes[at];
            at += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a CDB of this list has 6, 10, 12 or 16 bytes")]
        Self { cdb, cdb_len: N as u8, data_bytes, timeout_ms }
    }

    /// TEST UNIT READY (SPC-5, 6.42). It reports a stopped disk and does not start it.
    #[must_use]
    pub const fn test_unit_ready() -> Self {
        Self::new([0x00, 0, 0, 0, 0, 0], 0, DISK_TIMEOUT_MS)
    }

    /// REQUEST SENSE in descriptor form, 252 bytes (SPC-5, 6.39).
    #[must_use]
    pub const fn request_sense() -> Self {
        Self::new([0x03, 0x01, 0, 0, 252, 0], 252, DISK_TIMEOUT_MS)
    }

    /// INQUIRY, standard data (SPC-5, 6.6): 36 bytes, as some bridges fail when asked for more.
    #[must_use]
    pub const fn inquiry() -> Self {
        Self::new([0x12, 0, 0, 0, 36, 0], 36, DISK_TIMEOUT_MS)
    }

    /// INQUIRY of a vital product data page (SPC-5, 6.6.4), at most `bytes`.
    #[must_use]
    pub const fn vpd(page: VpdPage, bytes: u16) -> Self {
        let [high, low] = bytes.to_be_bytes();
        Self::new([0x12, 0x01, page as u8, high, low, 0], bytes as u32, DISK_TIMEOUT_MS)
    }

    /// LOG SENSE of cumulative values (SPC-5, 6.8), at most `bytes`.
    #[must_use]
    pub const fn log_sense(page: LogPage, bytes: u16) -> Self {
        let [high, low] = bytes.to_be_bytes();
        Self::new([0x4d, 0, 0x40 | page as u8, 0, 0, 0, 0, high, low, 0], bytes as u32, DISK_TIMEOUT_MS)
    }

    /// READ DEFECT DATA (SBC-4, 5.18): the header of the grown list in physical sector format, which tells its length.
    #[must_use]
    pub const fn grown_defects(form: DefectList) -> Self {
        const GROWN_PHYSICAL: u8 = 0x08 | 0x05;
        match form {
            DefectList::Ten => Self::new([0x37, 0, GROWN_PHYSICAL, 0, 0, 0, 0, 0, 4, 0], 4, DISK_TIMEOUT_MS),
            DefectList::Twelve => Self::new([0xb7, GROWN_PHYSICAL, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], 8, DISK_TIMEOUT_MS),
        }
    }

    /// ATA PASS-THROUGH(16) of a command from [`AtaCommand`]'s list (SAT-4, 12.2.2).
    #[must_use]
    pub const fn ata(command: AtaCommand) -> Self {
        let AtaCommand { command, features, lba, count, protocol } = command;
        let lba = lba.to_be_bytes();
        let (protocol_byte, flags, data_bytes) = match protocol {
            // Protocol 3 non-data; CK_COND asks for the registers back.
            AtaProtocol::NonData => (3 << 1, 0x20, 0),
            // Protocol 4 PIO in; T_DIR from device, BYT_BLOK blocks, T_LENGTH 2: the count field.
            AtaProtocol::PioIn => (4 << 1, 0x0e, ATA_SECTOR_BYTES * count as u32),
            // The same with EXTEND: 48-bit registers.
            AtaProtocol::PioInExt => ((4 << 1) | 1, 0x0e, ATA_SECTOR_BYTES * count as u32),
        };
        let [count_high, count_low] = count.to_be_bytes();
        // lba holds 48 bits: bytes 2 to 7 of the big-endian u64.
        let cdb = [
            0x85,
            protocol_byte,
            flags,
            0,
            features,
            count_high,
            count_low,
            lba[4],
            lba[7],
            lba[3],
            lba[6],
            lba[2],
            lba[5],
            0,
            command,
            0,
        ];
        Self::new(cdb, data_bytes, DISK_TIMEOUT_MS)
    }

    /// The same command by ATA PASS-THROUGH(12) where it is one by ATA PASS-THROUGH(16) (SAT-4, 12.2.1); any other as it is.
    /// `None` for one whose registers of 48 bits the short form has no room for.
    #[must_use]
    pub const fn in_short_form(&self) -> Option<Self> {
        if self.cdb[0] != 0x85 {
            return Some(Self { ..*self });
        }
        let [_, protocol, flags, _, features, _, count, _, low, _, mid, _, high, device, command, control] = self.cdb;
        if protocol & 1 == 1 {
            return None;
        }
        let cdb = [0xa1, protocol, flags, features, count, low, mid, high, device, command, 0, control];
        Some(Self::new(cdb, self.data_bytes, self.timeout_ms))
    }

    /// Smart Array's REPORT LOGICAL LUNS, to the controller (Linux hpsa_cmd.h, HPSA_REPORT_LOG).
    #[must_use]
    pub const fn report_logical_luns(bytes: u16) -> Self {
        let [high, low] = bytes.to_be_bytes();
        Self::new([0xc2, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0], bytes as u32, CONTROLLER_TIMEOUT_MS)
    }

    /// Smart Array's REPORT PHYSICAL LUNS, to the controller, in the plain form of 8 bytes an address (Linux hpsa_cmd.h,
    /// HPSA_REPORT_PHYS).
    #[must_use]
    pub const fn report_physical_luns(bytes: u16) -> Self {
        let [high, low] = bytes.to_be_bytes();
        Self::new([0xc3, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0], bytes as u32, CONTROLLER_TIMEOUT_MS)
    }

    /// A BMIC read, to the controller (Linux hpsa.c, fill_cmd). `index` is the BMIC number of the physical drive, and 0 for
    /// the controller.
    #[must_use]
    pub const fn bmic_read(what: BmicRead, index: u16, bytes: u16) -> Self {
        let [high, low] = bytes.to_be_bytes();
        let [index_high, index_low] = index.to_be_bytes();
        // The drive number stands in byte 2, its upper half in byte 9.
        let cdb = [0x26, 0, index_low, 0, 0, 0, what as u8, high, low, index_high];
        Self::new(cdb, bytes as u32, CONTROLLER_TIMEOUT_MS)
    }

    /// The command descriptor block: 6, 10, 12 or 16 bytes.
    #[must_use]
    pub fn cdb(&self) -> &[u8] {
        &self.cdb[..usize::from(self.cdb_len)]
    }

    /// How long the buffer for the answer must be, bytes; 0 for a command without data.
    #[must_use]
    pub const fn data_bytes(&self) -> usize {
        self.data_bytes as usize
    }

    /// Which way data goes.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        if self.data_bytes == 0 { Direction::None } else { Direction::FromDevice }
    }

    /// How long to wait for the answer, milliseconds.
    #[must_use]
    pub const fn timeout_ms(&self) -> u32 {
        self.timeout_ms
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtaProtocol {
    NonData,
    PioIn,
    PioInExt,
}

/// An ATA command from the list, to be sent by [`ScsiCommand::ata`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtaCommand {
    command: u8,
    features: u8,
    /// 48 bits.
    lba: u64,
    count: u16,
    protocol: AtaProtocol,
}

/// Logs of the general purpose log space that may be read (ACS-4, 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GpLog {
    /// Which logs there are and how many pages each has.
    Directory = 0x00,
    /// Extended comprehensive SMART error log.
    ExtendedErrors = 0x03,
    /// Device statistics.
    DeviceStatistics = 0x04,
    /// Extended SMART self-test log.
    ExtendedSelfTest = 0x07,
    /// Pending defects.
    PendingDefects = 0x0c,
}

/// Logs of the SMART log space that may be read (ACS-3, 7.50.5; obsolete since ACS-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SmartLog {
    /// Summary error log.
    Errors = 0x01,
    /// Self-test log.
    SelfTest = 0x06,
}

impl AtaCommand {
    /// LBA register bits that every SMART command carries: 4Fh in mid, C2h in high.
    const SMART_LBA: u64 = 0x00c2_4f00;

    /// IDENTIFY DEVICE (ACS-4, 7.12).
    #[must_use]
    pub const fn identify() -> Self {
        Self { command: 0xec, features: 0, lba: 0, count: 1, protocol: AtaProtocol::PioIn }
    }

    /// CHECK POWER MODE (ACS-4, 7.3): answers in the count register and does not wake the disk.
    #[must_use]
    pub const fn check_power_mode() -> Self {
        Self { command: 0xe5, features: 0, lba: 0, count: 0, protocol: AtaProtocol::NonData }
    }

    /// SMART RETURN STATUS (ACS-4, 7.44.7): answers in the LBA registers.
    #[must_use]
    pub const fn smart_return_status() -> Self {
        Self { command: 0xb0, features: 0xda, lba: Self::SMART_LBA, count: 0, protocol: AtaProtocol::NonData }
    }

    /// SMART READ DATA: the attributes (ACS-3, 7.50.6).
    #[must_use]
    pub const fn smart_read_data() -> Self {
        Self { command: 0xb0, features: 0xd0, lba: Self::SMART_LBA, count: 1, protocol: AtaProtocol::PioIn }
    }

    /// SMART READ THRESHOLDS: the thresholds of the attributes (SFF-8035i; obsolete since ATA-4, and still there).
    #[must_use]
    pub const fn smart_read_thresholds() -> Self {
        Self { command: 0xb0, features: 0xd1, lba: Self::SMART_LBA | 1, count: 1, protocol: AtaProtocol::PioIn }
    }

    /// SMART READ LOG of the first `sectors` of a log (ACS-3, 7.50.7).
    #[must_use]
    pub const fn smart_read_log(log: SmartLog, sectors: u8) -> Self {
        let lba = Self::SMART_LBA | log as u64;
        Self { command: 0xb0, features: 0xd5, lba, count: sectors as u16, protocol: AtaProtocol::PioIn }
    }

    /// READ LOG EXT of `sectors` pages from `page` on (ACS-4, 7.23).
    #[must_use]
    pub const fn read_log_ext(log: GpLog, page: u16, sectors: u16) -> Self {
        let [page_high, page_low] = page.to_be_bytes();
        // Page number: LBA bits 15:8 and 39:32; log address: bits 7:0.
        let lba = ((page_high as u64) << 32) | ((page_low as u64) << 8) | log as u64;
        Self { command: 0x2f, features: 0, lba, count: sectors, protocol: AtaProtocol::PioInExt }
    }
}

/// An NVMe admin command from the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NvmeCommand {
    opcode: u8,
    nsid: u32,
    cdw10: u32,
    data_bytes: u32,
}

impl NvmeCommand {
    /// Get Log Page takes the number of dwords minus one in bits 31:16 of dword 10 (NVMe 2.0, 5.16).
    const fn log(page: u8, nsid: u32, bytes: u32) -> Self {
        Self { opcode: 0x02, nsid, cdw10: ((bytes / 4 - 1) << 16) | page as u32, data_bytes: bytes }
    }

    /// Identify, controller data structure (NVMe 2.0, 5.17.2.1).
    #[must_use]
    pub const fn identify_controller() -> Self {
        Self { opcode: 0x06, nsid: 0, cdw10: 1, data_bytes: 4096 }
    }

    /// SMART / health information log 02h of the whole controller (NVMe 2.0, 5.16.1.3).
    #[must_use]
    pub const fn health_log() -> Self {
        Self::log(0x02, u32::MAX, 512)
    }

    /// Device self-test log 06h (NVMe 2.0, 5.16.1.7).
    #[must_use]
    pub const fn self_test_log() -> Self {
        Self::log(0x06, u32::MAX, 564)
    }

    /// Opcode byte.
    #[must_use]
    pub const fn opcode(&self) -> u8 {
        self.opcode
    }

    /// Namespace, `u32::MAX` for all.
    #[must_use]
    pub const fn nsid(&self) -> u32 {
        self.nsid
    }

    /// Command dword 10; the dwords after it are 0.
    #[must_use]
    pub const fn cdw10(&self) -> u32 {
        self.cdw10
    }

    /// How long the buffer for the answer must be, bytes.
    #[must_use]
    pub const fn data_bytes(&self) -> usize {
        self.data_bytes as usize
    }

    /// How long to wait for the answer, milliseconds.
    #[must_use]
    pub const fn timeout_ms(&self) -> u32 {
        DISK_TIMEOUT_MS
    }
}

/// Address of a device behind a Smart Array controller: the eight bytes that REPORT PHYSICAL or LOGICAL LUNS gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LunAddress(pub [u8; 8]);

impl LunAddress {
    /// The controller itself.
    pub const CONTROLLER: Self = Self([0; 8]);
}

/// Most data bytes of a request of the list.
const IPMI_DATA_BYTES_MAX: usize = 6;

/// An IPMI request from the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpmiCommand {
    netfn: u8,
    command: u8,
    lun: u8,
    data: [u8; IPMI_DATA_BYTES_MAX],
    data_len: u8,
}

impl IpmiCommand {
    const CHASSIS: u8 = 0x00;
    const SENSOR: u8 = 0x04;
    const APPLICATION: u8 = 0x06;
    const STORAGE: u8 = 0x0a;
    const GROUP: u8 = 0x2c;

    const fn new<const N: usize>(netfn: u8, command: u8, lun: u8, bytes: [u8; N]) -> Self {
        let mut data = [0; IPMI_DATA_BYTES_MAX];
        let mut at = 0;
        while at < N {
            data[at] = bytes[at];
            at += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "N is at most IPMI_DATA_BYTES_MAX")]
        Self { netfn, command, lun: lun & 3, data, data_len: N as u8 }
    }

    /// Get Device ID (IPMI 2.0, 20.1).
    #[must_use]
    pub const fn device_id() -> Self {
        Self::new(Self::APPLICATION, 0x01, 0, [])
    }

    /// Get Chassis Status (28.2): power, cooling and drive fault bits.
    #[must_use]
    pub const fn chassis_status() -> Self {
        Self::new(Self::CHASSIS, 0x01, 0, [])
    }

    /// Get SDR Repository Info (33.9): number of records and when they changed.
    #[must_use]
    pub const fn sdr_info() -> Self {
        Self::new(Self::STORAGE, 0x20, 0, [])
    }

    /// Reserve SDR Repository (33.11): lets records be read in parts; changes no record.
    #[must_use]
    pub const fn reserve_sdr() -> Self {
        Self::new(Self::STORAGE, 0x22, 0, [])
    }

    /// Get SDR (33.12): `bytes` from `offset` of a record; 255 is the rest of it. Reservation 0 reads from offset 0 only.
    #[must_use]
    pub const fn sdr(reservation: u16, record: u16, offset: u8, bytes: u8) -> Self {
        let ([r0, r1], [n0, n1]) = (reservation.to_le_bytes(), record.to_le_bytes());
        Self::new(Self::STORAGE, 0x23, 0, [r0, r1, n0, n1, offset, bytes])
    }

    /// Get Sensor Reading (35.14) of a sensor at the BMC's logical unit `lun`, 0 to 3.
    #[must_use]
    pub const fn sensor_reading(lun: u8, sensor: u8) -> Self {
        Self::new(Self::SENSOR, 0x2d, lun, [sensor])
    }

    /// Get SEL Info (31.2): number of entries and the newest addition.
    #[must_use]
    pub const fn sel_info() -> Self {
        Self::new(Self::STORAGE, 0x40, 0, [])
    }

    /// Get SEL Entry (31.5): a whole entry; 0 is the first record, FFFFh the last.
    #[must_use]
    pub const fn sel_entry(record: u16) -> Self {
        let [n0, n1] = record.to_le_bytes();
        Self::new(Self::STORAGE, 0x43, 0, [0, 0, n0, n1, 0, 0xff])
    }

    /// Get Power Reading (DCMI 1.5, 6.6.1): mode 1, system power statistics.
    #[must_use]
    pub const fn dcmi_power() -> Self {
        Self::new(Self::GROUP, 0x02, 0, [0xdc, 0x01, 0, 0])
    }

    /// Network function of the request, even.
    #[must_use]
    pub const fn netfn(&self) -> u8 {
        self.netfn
    }

    /// Command byte.
    #[must_use]
    pub const fn command(&self) -> u8 {
        self.command
    }

    /// Logical unit of the BMC, 0 to 3.
    #[must_use]
    pub const fn lun(&self) -> u8 {
        self.lun
    }

    /// Data bytes of the request.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data[..usize::from(self.data_len)]
    }

    /// How long to wait for the answer, milliseconds.
    #[must_use]
    pub const fn timeout_ms(&self) -> u32 {
        BMC_TIMEOUT_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn cdb(command: &ScsiCommand, expected: &str, data_bytes: usize) {
        let hex: String = command.cdb().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((hex.as_str(), command.data_bytes()), (expected, data_bytes));
        assert_eq!(command.direction() == Direction::None, data_bytes == 0);
    }

    #[test]
    fn blocks_are_as_the_standards_draw_them() {
        cdb(&ScsiCommand::test_unit_ready(), "000000000000", 0);
        cdb(&ScsiCommand::inquiry(), "120000002400", 36);
        cdb(&ScsiCommand::vpd(VpdPage::Identification, 252), "12018300fc00", 252);
        cdb(&ScsiCommand::log_sense(LogPage::Temperature, 0x0104), "4d004d00000000010400", 0x104);
        cdb(&ScsiCommand::grown_defects(DefectList::Ten), "37000d00000000000400", 4);
        cdb(&ScsiCommand::grown_defects(DefectList::Twelve), "b70d00000000000000080000", 8);
        cdb(&ScsiCommand::report_physical_luns(8200), "c3000000000000002008 0000".replace(' ', "").as_str(), 8200);
        cdb(&ScsiCommand::bmic_read(BmicRead::IdentifyPhysicalDevice, 0x0102, 2560), "260002000000150a0001", 2560);
    }

    #[test]
    fn ata_registers_stand_where_sat_wants_them() {
        cdb(&ScsiCommand::ata(AtaCommand::identify()), "85080e0000000100000000000000ec00", 512);
        cdb(&ScsiCommand::ata(AtaCommand::check_power_mode()), "8506200000000000000000000000e500", 0);
        cdb(&ScsiCommand::ata(AtaCommand::smart_return_status()), "85062000da00000000004f00c200b000", 0);
        cdb(&ScsiCommand::ata(AtaCommand::smart_read_data()), "85080e00d000010000004f00c200b000", 512);
        cdb(&ScsiCommand::ata(AtaCommand::smart_read_thresholds()), "85080e00d100010001004f00c200b000", 512);
        let self_tests = AtaCommand::smart_read_log(SmartLog::SelfTest, 1);
        cdb(&ScsiCommand::ata(self_tests), "85080e00d500010006004f00c200b000", 512);
        let short = |command| ScsiCommand::ata(command).in_short_form();
        cdb(&short(AtaCommand::smart_read_thresholds()).expect("28 bits"), "a1080ed101014fc200b00000", 512);
        cdb(&short(AtaCommand::check_power_mode()).expect("28 bits"), "a10620000000000000e50000", 0);
        assert_eq!(ScsiCommand::inquiry().in_short_form(), Some(ScsiCommand::inquiry()));
        let page = AtaCommand::read_log_ext(GpLog::DeviceStatistics, 0x0305, 2);
        assert_eq!(short(page), None);
        cdb(&ScsiCommand::ata(page), "85090e000000020004030500000 02f00".replace(' ', "").as_str(), 1024);
    }

    #[test]
    fn nvme_dwords_count_from_zero() {
        let health = NvmeCommand::health_log();
        assert_eq!((health.opcode(), health.nsid(), health.cdw10()), (0x02, u32::MAX, 0x007f_0002));
        assert_eq!(NvmeCommand::self_test_log().cdw10(), 0x008c_0006);
        let identify = NvmeCommand::identify_controller();
        assert_eq!((identify.opcode(), identify.nsid(), identify.cdw10(), identify.data_bytes()), (6, 0, 1, 4096));
    }

    #[test]
    fn ipmi_numbers_are_little_endian() {
        let sdr = IpmiCommand::sdr(0x1234, 0x5678, 5, 16);
        assert_eq!((sdr.netfn(), sdr.command(), sdr.data()), (0x0a, 0x23, &[0x34, 0x12, 0x78, 0x56, 5, 16][..]));
        assert_eq!(IpmiCommand::sensor_reading(9, 7).lun(), 1);
        assert_eq!(IpmiCommand::dcmi_power().data(), [0xdc, 1, 0, 0]);
    }
}
