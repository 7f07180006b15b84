// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Commands that ask the running monitor: they print what it answers and decide nothing.

use super::ask::{escaped, get, post};
use super::{say, tell};
use crate::cli::{Ack, Check, Export, ExportForm, Log, Maintenance, Status, TestAlert};
use crate::config::{Config, SOCKET_DEFAULT};
use adit_health::show::duration;
use adit_peers::clock;
use adit_peers::tokens::parse_lifetime;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn status(config: &Config, args: &Status) -> Result<()> {
    let path = match &args.host {
        None => "/api/v1/fleet".to_owned(),
        Some(host) => format!("/api/v1/hosts/{}", escaped(host)),
    };
    let answer = get(&config.socket, &path)?;
    if args.json {
        say(answer.body.trim());
        return Ok(());
    }
    let value = answer.json()?;
    if args.host.is_some() {
        host_lines(&value, true);
        return Ok(());
    }
    for host in list(&value["hosts"]) {
        host_lines(host, false);
    }
    for window in list(&value["maintenance"]) {
        say(format_args!(
            "maintenance of {} for {}: {}",
            word(&window["scope"]),
            ago(&window["ends_in_s"]),
            word(&window["reason"])
        ));
    }
    for (name, channel) in value["channels"].as_object().into_iter().flatten() {
        if channel["waiting"].as_u64().unwrap_or(0) > 0 {
            say(format_args!("channel {name}: {} messages wait: {}", channel["waiting"], word(&channel["trouble"])));
        }
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn ago(value: &Value) -> String {
    value.as_u64().map_or_else(|| "never".to_owned(), duration)
}

fn host_lines(host: &Value, all: bool) {
    let heard = match host["heard_ago_s"].as_u64() {
        None => "never heard".to_owned(),
        Some(seconds) => format!("heard {} ago", duration(seconds)),
    };
    let trouble = word(&host["trouble"]);
    let trouble = if trouble.is_empty() { String::new() } else { format!(", {trouble}") };
    say(format_args!("{:<9} {:<24} {heard}{trouble}", word(&host["verdict"]), word(&host["name"])));
    for incident in list(&host["incidents"]) {
        let ack = &incident["ack"];
        let known = if ack.is_null() {
            String::new()
        } else {
            format!(" (known to {}: {})", word(&ack["by"]), word(&ack["reason"]))
        };
        let (verdict, text, since) =
            (word(&incident["verdict"]), word(&incident["text"]), ago(&incident["since_ago_s"]));
        say(format_args!("          {verdict}: {text}, for {since}{known}  [{}]", word(&incident["check"])));
    }
    if all {
        for component in list(&host["components"]) {
            say(format_args!("          {} {}", word(&component["kind"]), word(&component["label"])));
        }
    }
}

pub(super) fn check(args: &Check, config: impl FnOnce() -> Result<Config>) -> Result<ExitCode> {
    // A plugin runs as another user, who may not read the configuration.
    let socket = args
        .socket
        .clone()
        .or_else(|| config().ok().map(|config| config.socket))
        .unwrap_or_else(|| SOCKET_DEFAULT.into());
    let only = args.check.as_ref().map_or_else(String::new, |check| format!("&check={}", escaped(check)));
    let path = format!("/check?host={}&acked_ok={}{only}", escaped(&args.host), args.acked_ok);
    match get(&socket, &path) {
        Ok(answer) => {
            say(answer.body.trim_end());
            let exit = answer.header("x-adit-exit").and_then(|exit| exit.parse().ok()).unwrap_or(3u8);
            Ok(ExitCode::from(exit))
        }
        Err(error) => {
            say(format_args!("UNKNOWN - {error:#}"));
            Ok(ExitCode::from(3))
        }
    }
}

fn seconds(option: &str, text: &str) -> Result<u64> {
    let time =
        parse_lifetime(text).with_context(|| format!("{option} {text}: write 90s, 15m, 2h or 7d, at most 14d"))?;
    Ok(time.as_secs())
}

fn who(by: Option<String>) -> String {
    by.or_else(|| std::env::var("SUDO_USER").ok())
        .or_else(|| std::env::var("USER").ok())
        .unwrap_or_else(|| "somebody".to_owned())
}

pub(super) fn ack(config: &Config, args: Ack) -> Result<()> {
    let for_s = seconds("--for", &args.lasts)?;
    let body = json!({"what": args.what, "by": who(args.by), "reason": args.reason, "for_s": for_s});
    let answer = post(&config.socket, "/api/v1/ack", &body)?.json()?;
    say(format_args!("{} incidents are known for {}", answer["incidents"], duration(for_s)));
    Ok(())
}

pub(super) fn maintenance(config: &Config, args: Maintenance) -> Result<()> {
    let for_s = seconds("--for", &args.lasts)?;
    let in_s = args.begins.map_or(Ok(0), |text| seconds("--in", &text))?;
    let body = json!({"scope": args.scope, "in_s": in_s, "for_s": for_s, "reason": args.reason, "by": who(args.by)});
    post(&config.socket, "/api/v1/maintenance", &body)?;
    say(format_args!("nobody is told of {} for {}", args.scope, duration(for_s)));
    Ok(())
}

pub(super) fn test_alert(config: &Config, args: &TestAlert) -> Result<()> {
    let asked_s = clock::wall_s();
    let answer = post(&config.socket, "/api/v1/test-alert", &json!({"channel": args.channel}))?.json()?;
    tell(format_args!("a test message is queued for {} channels", answer["channels"]));
    let mut waiting = Vec::new();
    for _ in 0..args.wait.max(1) {
        let fleet = get(&config.socket, "/api/v1/fleet")?.json()?;
        waiting.clear();
        for (name, channel) in fleet["channels"].as_object().into_iter().flatten() {
            let wanted = args.channel.as_ref().is_none_or(|only| only == name);
            let delivered = channel["delivered"].as_u64().is_some_and(|at_s| at_s >= asked_s);
            if wanted && !delivered {
                waiting.push(format!("{name} did not deliver it: {}", word(&channel["trouble"])));
            }
        }
        if waiting.is_empty() {
            say("delivered");
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    bail!("{}", waiting.join("; "))
}

pub(super) fn log(config: &Config, args: &Log) -> Result<()> {
    let answer = get(&config.socket, &format!("/api/v1/log?count={}", args.count))?.json()?;
    for line in list(&answer).iter().rev() {
        let at_s = line["time"].as_i64().unwrap_or(0);
        let at = jiff::Timestamp::from_second(at_s).unwrap_or_default();
        say(format_args!("{at} {:<12} {}", word(&line["kind"]), word(&line["text"])));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the text is printed as it is, without one more line at its end")]
pub(super) fn export(config: &Config, args: &Export) -> Result<()> {
    let until_s = clock::wall_s();
    let from_s = until_s.saturating_sub(args.days.saturating_mul(86_400));
    let form = match args.format {
        ExportForm::Csv => "csv",
        ExportForm::Openmetrics => "openmetrics",
    };
    let path = format!("/api/v1/history/{}?from={from_s}&until={until_s}&format={form}", escaped(&args.host));
    print!("{}", get(&config.socket, &path)?.body);
    Ok(())
}
