// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One plain HTTP GET over IPv6, for metrics on this machine. HTTP/1.0, so the answer ends where the connection ends.
//! It follows no redirect, keeps no connection, speaks no TLS: whoever needs those puts a proxy in front.

use crate::error::AskError;
use crate::talk::Talk;
use std::net::SocketAddrV6;
use std::time::Duration;

/// Gets a page. `path` begins with a slash.
///
/// # Errors
/// Nobody listens, the deadline, an answer over `max_bytes`, a status other than 200.
pub fn get(from: SocketAddrV6, path: &str, deadline: Duration, max_bytes: usize) -> Result<String, AskError> {
    let mut talk = Talk::tcp(from, deadline, max_bytes)?;
    talk.say(format!("GET {path} HTTP/1.0\r\nHost: {from}\r\nAccept: text/plain\r\n\r\n").as_bytes())?;
    let answer = talk.all()?;
    body(&String::from_utf8_lossy(&answer), talk.whom())
}

/// The body of an answer with status 200.
fn body(answer: &str, whom: &str) -> Result<String, AskError> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .or_else(|| answer.split_once("\n\n"))
        .ok_or_else(|| AskError::malformed(whom, "an HTTP head was expected"))?;
    let status = head.lines().next().unwrap_or_default();
    let mut words = status.split_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(body.to_owned()),
        (Some(version), Some("401" | "403")) if version.starts_with("HTTP/") => Err(AskError::denied(whom, status)),
        (Some(version), Some(_)) if version.starts_with("HTTP/") => Err(AskError::refused(whom, status)),
        _ => Err(AskError::malformed(whom, "an HTTP status line was expected")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_body() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nServer: x\r\n\r\na\nb\n", "x").unwrap(), "a\nb\n");
        assert!(matches!(body("HTTP/1.0 503 Busy\r\n\r\n", "x"), Err(AskError::Refused { .. })));
        assert!(matches!(body("HTTP/1.0 403 No\r\n\r\n", "x"), Err(AskError::Denied { .. })));
        assert!(matches!(body("SSH-2.0-OpenSSH\r\n\r\n", "x"), Err(AskError::Malformed { .. })));
        assert!(matches!(body("", "x"), Err(AskError::Malformed { .. })));
    }
}
