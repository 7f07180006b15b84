// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A SATA, an NVMe and a SCSI disk, read by adit-probe and by the real smartctl in the same boot: every value that both tell
//! is the same.

use adit_hil::Lab;
use adit_hil::disk::Kind;
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

const DISKS: [(&str, Kind); 3] = [("sata", Kind::Ahci), ("flash", Kind::Nvme), ("sas", Kind::Scsi)];
const MINUTE: Duration = Duration::from_secs(60);
/// Our name of a value, smartctl's names (the first that it tells counts), and how many of ours make one of smartctl's.
const VALUES: [(&str, &[&str], u64); 20] = [
    ("/identity/model", &["/scsi_model_name", "/model_name"], 1),
    ("/identity/serial", &["/serial_number"], 1),
    ("/identity/firmware", &["/scsi_revision", "/firmware_version"], 1),
    ("/size_bytes", &["/user_capacity/bytes"], 1),
    ("/rotation_rpm", &["/rotation_rate"], 1),
    ("/temperature_c", &["/temperature/current"], 1),
    ("/power_on_hours", &["/power_on_time/hours"], 1),
    ("/power_cycles", &["/power_cycle_count"], 1),
    ("/start_stops", &["/ata_smart_attributes/table/2/raw/value"], 1),
    ("/reallocated", &["/ata_smart_attributes/table/3/raw/value"], 1),
    (
        "/error_log_entries",
        &["/ata_smart_error_log/summary/count", "/nvme_smart_health_information_log/num_err_log_entries"],
        1,
    ),
    ("/critical_warning", &["/nvme_smart_health_information_log/critical_warning"], 1),
    ("/spare_percent", &["/nvme_smart_health_information_log/available_spare"], 1),
    ("/spare_threshold_percent", &["/nvme_smart_health_information_log/available_spare_threshold"], 1),
    ("/wear_used_percent", &["/nvme_smart_health_information_log/percentage_used"], 1),
    ("/media_errors", &["/nvme_smart_health_information_log/media_errors"], 1),
    ("/unsafe_shutdowns", &["/nvme_smart_health_information_log/unsafe_shutdowns"], 1),
    ("/power_cycles", &["/nvme_smart_health_information_log/power_cycles"], 1),
    ("/read_bytes", &["/nvme_smart_health_information_log/data_units_read"], 512_000),
    ("/written_bytes", &["/nvme_smart_health_information_log/data_units_written"], 512_000),
];

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let mut server = lab.start_machine("server", &DISKS, |parts| {
        parts.put_inside(|inside| inside.debian("smartmontools", &["usr/sbin/smartctl"]));
    })?;
    let nodes = DISKS.iter().map(|(disk, _)| server.device(disk)).collect::<Result<Vec<_>>>()?;
    let ours = server.run(&["/usr/bin/adit-probe", "read"], MINUTE)?.succeeded()?.json()?;
    let mut equal = 0;
    for node in nodes {
        // Its exit code tells the disk's state, not its own success.
        let theirs = server.run(&["/usr/sbin/smartctl", "--json", "-x", &node], MINUTE)?.json()?;
        let mut devices = ours["devices"].as_array().context("devices")?.iter();
        let ours = devices.find(|device| device["name"].as_str().is_some_and(|name| node[5..].starts_with(name)));
        let ours = &ours.with_context(|| format!("adit-probe does not know {node}"))?["said"]["Disk"];
        let failing = ours["failing"].as_bool().zip(theirs["smart_status"]["passed"].as_bool());
        ensure!(failing.is_none_or(|(failing, passed)| failing != passed), "{node}: {failing:?}");
        for (name, names, times) in VALUES {
            let Some(theirs) = names.iter().find_map(|name| theirs.pointer(name)) else { continue };
            let Some(ours) = ours.pointer(name).filter(|ours| !ours.is_null()) else { continue };
            let same = theirs.as_u64().map_or(ours == theirs, |theirs| ours.as_u64() == Some(theirs * times));
            ensure!(same, "{node}: {name} is {ours}, smartctl says {theirs}");
            equal += 1;
        }
    }
    lab.tell(&format!("{equal} values equal"))?;
    ensure!(equal >= 25, "only {equal} values were compared");
    Ok(())
}
