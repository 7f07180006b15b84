// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A UPS that apcupsd knows: its network information server (apcupsd manual, "NIS Network Server Protocol"), over IPv6.
//! Each message is a length of two bytes, big-endian, and so many bytes of text; a length of 0 ends. It only reads.

use crate::error::AskError;
use crate::nut::day;
use crate::talk::Talk;
use crate::words::{scaled, shortened};
use adit_health::readings::ups::{UpsComm, UpsReading, UpsState, UpsTest};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

/// The usual port, on this machine.
pub const ADDRESS: SocketAddrV6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 3551, 0, 0);
/// All that a daemon may say, bytes. A full status has 50 lines of 40 bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A value that is kept, bytes.
pub const VALUE_BYTES_MAX: usize = 128;

/// Asks a daemon about its UPS.
///
/// # Errors
/// Nobody listens, the deadline, an answer without end or of another protocol.
pub fn ask(daemon: SocketAddrV6, deadline: Duration) -> Result<UpsReading, AskError> {
    let mut talk = Talk::tcp(daemon, deadline, ANSWER_BYTES_MAX)?;
    talk.say(b"\0\x06status")?;
    let mut lines = Vec::new();
    loop {
        let length = talk.exactly(2)?;
        let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        if length == 0 {
            break;
        }
        lines.push(String::from_utf8_lossy(&talk.exactly(length)?).into_owned());
    }
    let whom = format!("apcupsd at {daemon}");
    let ups = reading(lines.iter().map(String::as_str));
    let ups = ups.ok_or_else(|| AskError::malformed(&whom, "no line STATUS"))?;
    Ok(UpsReading { daemon: daemon.to_string(), ..ups })
}

/// A reading from lines such as `LOADPCT  :  17.0 Percent`; `None` when none says how the UPS is.
pub fn reading<'t>(lines: impl IntoIterator<Item = &'t str>) -> Option<UpsReading> {
    let mut ups = UpsReading::default();
    let mut has_status = false;
    let mut nominal_w = None;
    for line in lines {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = shortened(value, VALUE_BYTES_MAX);
        match key.trim() {
            "STATUS" => {
                has_status = true;
                (ups.comm, ups.status) = status(&value);
            }
            "UPSNAME" => ups.description = value,
            "MODEL" => ups.model = value,
            "SERIALNO" => ups.serial = value,
            "BCHARGE" => ups.charge_permille = scaled(&value, 10),
            "MBATTCHG" => ups.charge_low_permille = scaled(&value, 10),
            "TIMELEFT" => ups.runtime_s = scaled(&value, 60),
            "MINTIMEL" => ups.runtime_low_s = scaled(&value, 60),
            "LOADPCT" => ups.load_permille = scaled(&value, 10),
            "NOMPOWER" => nominal_w = scaled(&value, 1),
            "LINEV" => ups.input_decivolt = scaled(&value, 10),
            "ITEMP" => ups.temperature_decicelsius = scaled(&value, 10),
            "BATTDATE" => ups.battery_day = day(&value),
            "LASTSTEST" => ups.test_day = day(&value),
            "SELFTEST" => ups.test = Some(test(&value)),
            // Counted only while on battery; 0 otherwise.
            "TONBATT" => ups.on_battery_s = scaled(&value, 1).filter(|seconds| *seconds > 0),
            _ => {}
        }
    }
    ups.power_w =
        ups.load_permille.zip(nominal_w).and_then(|(load, full)| load.checked_mul(full)).map(|milli| milli / 1000);
    has_status.then_some(ups)
}

/// States from words such as `ONBATT LOWBATT` (apcupsd manual, "Status report fields").
fn status(words: &str) -> (UpsComm, Vec<UpsState>) {
    if words.contains("COMMLOST") {
        return (UpsComm::Stale, Vec::new());
    }
    // The manual writes SHUTTING DOWN in two words.
    let known = [
        ("ONLINE", UpsState::Online),
        ("ONBATT", UpsState::OnBattery),
        ("LOWBATT", UpsState::LowBattery),
        ("REPLACEBATT", UpsState::ReplaceBattery),
        ("OVERLOAD", UpsState::Overloaded),
        ("CAL", UpsState::Calibrating),
        ("TRIM", UpsState::Trimming),
        ("BOOST", UpsState::Boosting),
        ("SELFTEST", UpsState::Testing),
        ("SHUTTING", UpsState::ForcedShutdown),
    ];
    let states = words
        .split_whitespace()
        .filter(|word| *word != "DOWN")
        .map(|word| known.iter().find(|(name, _)| *name == word).map_or(UpsState::Other, |(_, state)| *state));
    (UpsComm::Heard, states.collect())
}

/// OK, BT (capacity), NG (overload), NO (none), IP (in progress), WN (warning), ?? (unknown).
fn test(word: &str) -> UpsTest {
    match word {
        "OK" => UpsTest::Passed,
        "BT" | "NG" | "WN" => UpsTest::Failed,
        "IP" => UpsTest::Running,
        "NO" => UpsTest::Never,
        _ => UpsTest::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nut::days_since_1970;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    /// The status report of the manual, with a UPS on battery.
    const REPORT: &str = "APC      : 001,036,0874\nHOSTNAME : srv\nUPSNAME  : rack\nMODEL    : Smart-UPS 1500\n\
        STATUS   : ONBATT LOWBATT\nLINEV    : 0.0 Volts\nLOADPCT  : 17.0 Percent\nBCHARGE  : 08.5 Percent\n\
        TIMELEFT : 2.5 Minutes\nMBATTCHG : 5 Percent\nMINTIMEL : 3 Minutes\nITEMP    : 29.2 C\nTONBATT  : 41 Seconds\n\
        SELFTEST : NO\nLASTSTEST: 2023-07-10 08:10:01 +0000\nBATTDATE : 2021-05-12\nSERIALNO : AS1425232433\nNOMPOWER : 980 Watts\n";

    #[test]
    fn a_daemon_is_asked_in_frames() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let SocketAddr::V6(address) = listener.local_addr().unwrap() else { panic!("bound over IPv6") };
        let far = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 8];
            stream.read_exact(&mut asked).unwrap();
            for line in REPORT.split_inclusive('\n') {
                let length = u16::try_from(line.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length, line.as_bytes()].concat()).unwrap();
            }
            stream.write_all(&[0, 0]).unwrap();
            asked
        });
        let ups = ask(address, Duration::from_secs(30)).unwrap();
        assert_eq!(&far.join().unwrap(), b"\0\x06status");
        assert_eq!(ups.status, [UpsState::OnBattery, UpsState::LowBattery]);
        assert_eq!([ups.runtime_s, ups.runtime_low_s, ups.on_battery_s], [Some(150), Some(180), Some(41)]);
        assert_eq!([ups.charge_permille, ups.load_permille, ups.power_w], [Some(85), Some(170), Some(166)]);
        assert_eq!((ups.test, ups.battery_day), (Some(UpsTest::Never), days_since_1970(2021, 5, 12)));
    }

    #[test]
    fn states_are_told_apart() {
        for (words, comm, states) in [
            ("ONLINE", UpsComm::Heard, &[UpsState::Online][..]),
            ("TRIM ONLINE", UpsComm::Heard, &[UpsState::Trimming, UpsState::Online]),
            ("ONLINE REPLACEBATT", UpsComm::Heard, &[UpsState::Online, UpsState::ReplaceBattery]),
            ("SHUTTING DOWN", UpsComm::Heard, &[UpsState::ForcedShutdown]),
            ("ONLINE SLAVE", UpsComm::Heard, &[UpsState::Online, UpsState::Other]),
            ("COMMLOST", UpsComm::Stale, &[]),
            ("SELFTEST ONBATT", UpsComm::Heard, &[UpsState::Testing, UpsState::OnBattery]),
        ] {
            assert_eq!(status(words), (comm, states.to_vec()), "{words}");
        }
    }

    #[test]
    fn an_answer_without_a_status_is_none() {
        assert_eq!(reading(["HOSTNAME : x", "nonsense"]), None);
    }
}
