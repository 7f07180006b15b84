// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One question to the running monitor over its socket: plain HTTP/1.0, so that the answer ends where the connection ends.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the monitor may take.
const WITHIN: Duration = Duration::from_secs(30);
/// Longest answer, bytes.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// What came back.
pub(super) struct Answer {
    head: String,
    pub(super) body: String,
}

impl Answer {
    /// A line of the head.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(super) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).context("read the monitor's answer")
    }
}

pub(super) fn get(socket: &Path, path: &str) -> Result<Answer> {
    talk(socket, &format!("GET {path} HTTP/1.0\r\nHost: monitor\r\n\r\n"))
}

pub(super) fn post(socket: &Path, path: &str, body: &Value) -> Result<Answer> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: monitor\r\nContent-Type: application/json\r\nContent-Length: {}",
        body.len()
    );
    talk(socket, &format!("{head}\r\n\r\n{body}"))
}

fn talk(socket: &Path, request: &str) -> Result<Answer> {
    let reached = UnixStream::connect(socket);
    let mut stream = reached
        .with_context(|| format!("no monitor answers at {} (systemctl status adit-monitor)", socket.display()))?;
    stream.set_read_timeout(Some(WITHIN)).context("set a deadline")?;
    stream.set_write_timeout(Some(WITHIN)).context("set a deadline")?;
    stream.write_all(request.as_bytes()).context("ask the monitor")?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).context("hear the monitor")?;
    let text = String::from_utf8(bytes).context("hear the monitor")?;
    let (head, body) = text.split_once("\r\n\r\n").context("the monitor's answer is cut off")?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    let answer = Answer { head: head.to_owned(), body: body.to_owned() };
    if status == "200" {
        return Ok(answer);
    }
    let said = answer.json().ok().and_then(|value| Some(value.get("error")?.as_str()?.to_owned()));
    bail!("{}", said.unwrap_or_else(|| format!("the monitor answers {status}: {}", answer.body.trim())))
}

/// A word as a part of a path or query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}
