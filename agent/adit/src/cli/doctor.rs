// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit doctor`: every address of the box, hop by hop, and what to do about the first hop that fails.

use super::print;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{Net, Way, dial_failure};
use crate::state::StateDir;
use crate::text::{self, Lines as _};
use adit_link::{Deadlines, DialError, Door, HopReport, Identity, Target};
use std::time::Duration;

/// Find out which hop on the way to the box fails, and what to do.
#[derive(Debug, clap::Args)]
pub(super) struct Doctor {
    /// Test this way instead of the paired one: the box's addresses, with commas between.
    #[arg(long, value_name = "ADDR", value_delimiter = ',', requires = "box_key")]
    r#box: Vec<String>,
    /// The box's key, 64 hex digits.
    #[arg(long, value_name = "KEY", requires = "box")]
    box_key: Option<String>,
}

impl Doctor {
    pub(super) fn run(self, state: &StateDir) -> Result<Exit, Failure> {
        let (way, door) = match &self.box_key {
            Some(key) => {
                let targets = parse_targets(&self.r#box)?;
                let way = Way::new(Identity::generate(), parse_key(key)?, "the box".to_owned(), targets);
                (way, Door::Recover)
            }
            None => (Way::paired(state)?.0, Door::Main),
        };
        let net = Net::start()?;
        let targets = way.targets();
        let hops = net.run(adit_link::probe(&targets, door, &way.identity, way.expected, Deadlines::default()));
        for hop in &hops {
            print(&lines(hop))?;
        }
        if let Some(hop) = hops.iter().find(|hop| hop.error.is_none()) {
            print(&format!("{} answers at {}: all is well on the way\n", way.called, place(hop)))?;
            return Ok(Exit::Done);
        }
        let tried = hops.into_iter().filter_map(|hop| {
            hop.error.map(|error| adit_link::Tried { target: hop.target, address: hop.address, error })
        });
        Err(dial_failure(&way.called, &DialError::All(tried.collect())))
    }
}

/// Reads a box's key as the sheet prints it.
pub(super) fn parse_key(text: &str) -> Result<adit_wire::ids::PublicKey, Failure> {
    text::public_key(text)
        .ok_or_else(|| Failure::new(Exit::Usage, "the box key is not 64 hex digits", "copy it from the recovery sheet"))
}

/// Reads addresses as a person types them.
pub(super) fn parse_targets(texts: &[String]) -> Result<Vec<Target>, Failure> {
    texts
        .iter()
        .map(|address| {
            Target::parse(address.trim()).map_err(|error| {
                Failure::new(Exit::Usage, error.to_string(), "write [IPv6]:port or name:port, with commas between")
            })
        })
        .collect()
}

fn place(hop: &HopReport) -> String {
    hop.address.map_or_else(|| hop.target.clone(), |address| address.to_string())
}

fn lines(hop: &HopReport) -> String {
    let mut lines = match hop.address {
        Some(address) if address.to_string() != hop.target => format!("{} -> {address}\n", hop.target),
        _ => format!("{}\n", hop.target),
    };
    let steps = [
        ("TCP connects", hop.connected_after),
        ("TLS, key checked", hop.secured_after),
        ("greeted", hop.greeted_after),
    ];
    for (step, after) in steps {
        match after {
            Some(after) => lines.line(format_args!("  ok    {step:<18}{}", milliseconds(after))),
            None => {
                let error = hop.error.as_ref().map_or_else(String::new, ToString::to_string);
                lines.line(format_args!("  FAIL  {step:<18}{error}"));
                break;
            }
        }
    }
    if let Some(software) = hop.software.as_deref().filter(|software| !software.is_empty()) {
        lines.line(format_args!("        {software}"));
    }
    lines
}

fn milliseconds(span: Duration) -> String {
    format!("{} ms", span.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_read_top_down() {
        let hop = HopReport {
            target: "box.example:11713".to_owned(),
            address: "[::1]:11713".parse().ok(),
            connected_after: Some(Duration::from_millis(12)),
            secured_after: None,
            greeted_after: None,
            software: None,
            error: Some(DialError::Stalled),
        };
        insta::assert_snapshot!(lines(&hop), @r"
        box.example:11713 -> [::1]:11713
          ok    TCP connects      12 ms
          FAIL  TLS, key checked  connects, then stalls: a hop on the way drops large packets without a word (path MTU), or the program hangs
        ");
    }

    #[test]
    fn addresses_of_a_sheet() {
        assert_eq!(parse_targets(&["1.2.3.4:5".to_owned()]).unwrap_err().exit, Exit::Usage);
        assert_eq!(parse_key("ab").unwrap_err().exit, Exit::Usage);
    }
}
