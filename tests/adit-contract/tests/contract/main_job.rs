// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The main job: pair, back up, change, back up again, restore, recover.

use adit_contract::lab::Lab;
use adit_contract::tree::{blocks, differences, make_odd, make_small, restored};
use std::ffi::OsString;
use std::fs;

/// Share of the data that an adopted source may send again.
const ADOPTED_SHARE_MAX: f64 = 0.05;

#[test]
fn restore_equals_source_on_every_odd_kind() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    let kinds = make_odd(&data).unwrap();
    assert!(kinds >= 14, "only {kinds} odd kinds could be made");
    make_small(&data.join("small"), 500, 1).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    let report = source.backup(&[&data]);
    assert!(report["files"].as_u64().unwrap() >= 500, "{report}");
    let to = lab.path("restored");
    source
        .adit(["restore", "latest", "--recovery-file", file.to_str().unwrap(), "--to", to.to_str().unwrap()])
        .succeeded();
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
    assert!(blocks(&restored(&to, &data.join("sparse"))).unwrap() <= 2 * blocks(&data.join("sparse")).unwrap());
}

#[test]
fn recovery_file_and_sheet_bring_everything_back() {
    let lab = Lab::new();
    let mut lab_box = lab.new_box("box");
    lab_box.start();
    let (file, public) = lab.recovery_key("admin");
    let data = lab.path("data");
    make_small(&data, 2_000, 2).unwrap();
    let source = lab.source("source");
    source.set_up(&lab_box, "web1", &[&public]);
    let first = source.backup(&[&data]);
    let sheet = source.adit(["sheet"]).succeeded().stdout;
    let box_key = field(&sheet, "--box-key");
    let address = field(&sheet, "--box");
    fs::remove_dir_all(&source.state).unwrap();
    let to = lab.path("recovered");
    let adopted = lab.source("new machine");
    let mut args: Vec<OsString> =
        ["recover", "--box", &address, "--box-key", &box_key, "--source", "web1"].map(OsString::from).to_vec();
    args.extend([OsString::from("--recovery-file"), file.into(), "--to".into(), to.clone().into(), "--adopt".into()]);
    adopted.adit(&args).succeeded();
    assert_eq!(differences(&data, &restored(&to, &data)).unwrap(), [""; 0]);
    let again = adopted.backup(&[&data]);
    let share = again["bytes_sent"].as_f64().unwrap() / first["bytes_sent"].as_f64().unwrap();
    assert!(share <= ADOPTED_SHARE_MAX, "the adopted source sent {share:.3} of the data again: {again}");
}

/// The word after an option in the command lines of a recovery sheet.
fn field(sheet: &str, option: &str) -> String {
    let mut words = sheet.split_whitespace();
    words.find(|word| *word == option).unwrap_or_else(|| panic!("no {option} in:\n{sheet}"));
    words.next().unwrap_or_default().to_owned()
}
