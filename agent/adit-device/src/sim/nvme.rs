// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An NVMe controller whose every field can be set.

use super::{Fault, put, put_text};
use crate::command::NvmeCommand;
use crate::nvme::Health;
use crate::transport::{Nvme, NvmeReply, TransportError};

/// An entry of the self-test log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvmeSelfTest {
    /// 1 short, 2 extended.
    pub kind: u8,
    /// 0 passed, 1 to 4 aborted, 5 to 7 failed.
    pub result: u8,
    /// Power-on hours.
    pub hours: u64,
    /// First bad block.
    pub lba: Option<u64>,
}

/// The controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvmeDisk {
    /// Model, at most 40 characters.
    pub model: String,
    /// Serial number, at most 20 characters.
    pub serial: String,
    /// Firmware, at most 8 characters.
    pub firmware: String,
    /// Size, bytes.
    pub size_bytes: u64,
    /// Warning and critical temperature, K; 0 for none.
    pub limits_k: (u16, u16),
    /// The health log. Bytes are encoded as whole data units of 512 000 bytes.
    pub health: Health,
    /// Self-tests, the newest first, at most 20; `None` for a controller without them.
    pub self_tests: Option<Vec<NvmeSelfTest>>,
    /// Per cent done of a running test.
    pub running_percent: Option<u8>,
    /// How it misbehaves.
    pub fault: Fault,
    /// Commands so far.
    pub commands: u32,
}

impl Default for NvmeDisk {
    fn default() -> Self {
        Self {
            model: "ADIT SIM NVME".to_owned(),
            serial: "SIM-NVME-0001".to_owned(),
            firmware: "1.0".to_owned(),
            size_bytes: 1_000_204_886_016,
            limits_k: (343, 353),
            health: Health {
                critical_warning: 0,
                temperature_c: Some(36),
                spare_percent: 100,
                spare_threshold_percent: 10,
                wear_used_percent: 3,
                read_bytes: 512_000,
                written_bytes: 1_024_000,
                power_cycles: 12,
                power_on_hours: 1000,
                unsafe_shutdowns: 2,
                media_errors: 0,
                error_log_entries: 0,
                warning_minutes: 0,
                critical_minutes: 0,
            },
            self_tests: None,
            running_percent: None,
            fault: Fault::None,
            commands: 0,
        }
    }
}

impl NvmeDisk {
    fn identify(&self, page: &mut [u8]) {
        put_text(page, 4, 20, &self.serial);
        put_text(page, 24, 40, &self.model);
        put_text(page, 64, 8, &self.firmware);
        put(page, 80, &0x0002_0000_u32.to_le_bytes());
        put(page, 256, &(u16::from(self.self_tests.is_some()) << 4).to_le_bytes());
        put(page, 266, &self.limits_k.0.to_le_bytes());
        put(page, 268, &self.limits_k.1.to_le_bytes());
        put(page, 280, &u128::from(self.size_bytes).to_le_bytes());
        put(page, 516, &1_u32.to_le_bytes());
    }

    fn health(&self, page: &mut [u8]) {
        let health = &self.health;
        page[0] = health.critical_warning;
        let kelvins = health.temperature_c.map_or(0, |degrees| u16::try_from(i32::from(degrees) + 273).unwrap_or(0));
        put(page, 1, &kelvins.to_le_bytes());
        (page[3], page[4], page[5]) = (health.spare_percent, health.spare_threshold_percent, health.wear_used_percent);
        for (at, number) in [
            (32, health.read_bytes / 512_000),
            (48, health.written_bytes / 512_000),
            (112, health.power_cycles),
            (128, health.power_on_hours),
            (144, health.unsafe_shutdowns),
            (160, health.media_errors),
            (176, health.error_log_entries),
        ] {
            put(page, at, &u128::from(number).to_le_bytes());
        }
        put(page, 192, &health.warning_minutes.to_le_bytes());
        put(page, 196, &health.critical_minutes.to_le_bytes());
    }

    fn self_test_log(&self, tests: &[NvmeSelfTest], page: &mut [u8]) {
        if let Some(percent) = self.running_percent {
            (page[0], page[1]) = (1, percent);
        }
        for (index, entry) in page[4..].chunks_exact_mut(28).enumerate() {
            let Some(test) = tests.get(index) else {
                entry[0] = 0x0f;
                continue;
            };
            entry[0] = test.kind << 4 | test.result;
            put(entry, 4, &test.hours.to_le_bytes());
            if let Some(lba) = test.lba {
                entry[2] = 0b11;
                put(entry, 12, &1_u32.to_le_bytes());
                put(entry, 16, &lba.to_le_bytes());
            }
        }
    }
}

impl Nvme for NvmeDisk {
    fn admin(&mut self, command: &NvmeCommand, data: &mut [u8]) -> Result<NvmeReply, TransportError> {
        self.fault.reach("CAP_SYS_ADMIN")?;
        self.commands += 1;
        match (command.opcode(), command.cdw10() & 0xff, &self.self_tests) {
            (0x06, 1, _) => self.identify(data),
            (0x02, 2, _) => self.health(data),
            (0x02, 6, Some(tests)) => self.self_test_log(tests, data),
            // Invalid log page, 109h.
            _ => return Ok(NvmeReply { status: 0x0109, result: 0 }),
        }
        self.fault.spoil(self.commands, data);
        Ok(NvmeReply { status: 0, result: 0 })
    }
}
