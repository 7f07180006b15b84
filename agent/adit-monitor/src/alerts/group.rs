// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which notices are one message: everything that a host has to tell at once, and one thing that befalls several hosts of a
//! site (it went dark, its power failed). Pure: notices in, messages out.

use super::{Notice, Occasion, cause_rank, rank};
use adit_wire::health::codes::Verdict;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Lines of one message; what is beyond is counted.
pub const LINES_MAX: usize = 40;
/// Topics of which several hosts of a site are told together.
const OF_A_SITE: [&str; 3] = ["host.seen", "power.line", "ups.battery"];

/// What goes to a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Why.
    pub occasion: Occasion,
    /// 0 to 3, as on the wire.
    pub verdict: u8,
    /// One line.
    pub title: String,
    /// One line each.
    pub lines: Vec<String>,
    /// The hosts that it is about.
    pub hosts: Vec<String>,
    /// The site, or nothing.
    pub site: String,
    /// The incidents, by [`super::Subject::path`]: for programs that join problem and recovery.
    pub subjects: Vec<String>,
    /// When, seconds since 1970.
    pub wall_s: u64,
}

impl Message {
    /// How bad.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        Verdict::from_bits(self.verdict)
    }

    /// Title and lines as one text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.title.clone();
        for line in &self.lines {
            text.push('\n');
            text.push_str(line);
        }
        text
    }
}

/// Notices that wait until those that belong to them are there too.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    waiting: Vec<Notice>,
}

impl Outbox {
    /// Takes notices in.
    pub fn add(&mut self, notices: Vec<Notice>) {
        self.waiting.extend(notices);
    }

    /// Whether something waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The messages that are due. What befalls a site is held for one poll interval after its first notice, because its hosts
    /// are polled one after the other; everything else leaves at once.
    pub fn due(&mut self, t: u64, wall_s: u64, hold_s: u64, site: &dyn Fn(&str) -> String) -> Vec<Message> {
        let key = |notice: &Notice| {
            (site(&notice.subject.host), notice.subject.topic.clone(), notice.occasion == Occasion::Recovery)
        };
        let is_of_site = |notice: &Notice| OF_A_SITE.contains(&notice.subject.topic.as_str());
        let ripe: BTreeSet<_> = self
            .waiting
            .iter()
            .filter(|notice| is_of_site(notice) && t.saturating_sub(notice.t) >= hold_s)
            .map(key)
            .collect();
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for notice in std::mem::take(&mut self.waiting) {
            if is_of_site(&notice) && !ripe.contains(&key(&notice)) {
                later.push(notice);
            } else {
                now.push(notice);
            }
        }
        self.waiting = later;
        messages(now, wall_s, site)
    }
}

/// The messages of notices that leave together.
#[must_use]
pub fn messages(notices: Vec<Notice>, wall_s: u64, site: &dyn Fn(&str) -> String) -> Vec<Message> {
    let mut of_sites: BTreeMap<(String, String, u8), Vec<Notice>> = BTreeMap::new();
    let mut of_hosts: BTreeMap<(String, u8), Vec<Notice>> = BTreeMap::new();
    for notice in notices {
        let occasion = order(notice.occasion);
        if OF_A_SITE.contains(&notice.subject.topic.as_str()) {
            let key = (site(&notice.subject.host), notice.subject.topic.clone(), occasion);
            of_sites.entry(key).or_default().push(notice);
        } else {
            of_hosts.entry((notice.subject.host.clone(), occasion)).or_default().push(notice);
        }
    }
    let mut messages = Vec::new();
    for ((site, topic, _), notices) in of_sites {
        let hosts: BTreeSet<&str> = notices.iter().map(|notice| notice.subject.host.as_str()).collect();
        if hosts.len() == 1 {
            messages.extend(of_host(notices, wall_s));
        } else {
            messages.extend(of_site(&site, &topic, notices, wall_s));
        }
    }
    messages.extend(of_hosts.into_values().filter_map(|notices| of_host(notices, wall_s)));
    messages.sort_by_key(|message| std::cmp::Reverse(rank(message.verdict())));
    messages
}

const fn order(occasion: Occasion) -> u8 {
    match occasion {
        Occasion::Problem => 0,
        Occasion::Reminder => 1,
        Occasion::Unstable => 2,
        Occasion::Recovery => 3,
    }
}

fn worst(notices: &[Notice]) -> Verdict {
    notices.iter().fold(Verdict::Ok, |worst, notice| worst.worse(notice.verdict))
}

/// What stands before a title.
fn head(occasion: Occasion, verdict: Verdict) -> String {
    match occasion {
        Occasion::Problem => verdict.word().to_uppercase(),
        Occasion::Reminder => format!("still {}", verdict.word().to_uppercase()),
        Occasion::Recovery => "RECOVERED".to_owned(),
        Occasion::Unstable => "UNSTABLE".to_owned(),
    }
}

/// Everything of one host; the nearest to the cause is the title.
fn of_host(mut notices: Vec<Notice>, wall_s: u64) -> Option<Message> {
    notices.sort_by_key(|notice| (cause_rank(&notice.subject.topic), std::cmp::Reverse(rank(notice.verdict))));
    let first = notices.first()?;
    let (host, occasion, verdict) = (first.subject.host.clone(), first.occasion, worst(&notices));
    let more = match notices.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Some(Message {
        occasion,
        verdict: verdict as u8,
        title: format!("{} {host}: {}{more}", head(occasion, verdict), first.text),
        lines: lines(&notices, |notice| format!("{}: {}", notice.verdict.word(), notice.text)),
        hosts: vec![host],
        site: String::new(),
        subjects: paths(&notices),
        wall_s,
    })
}

/// One thing of several hosts of a site.
fn of_site(site: &str, topic: &str, mut notices: Vec<Notice>, wall_s: u64) -> Option<Message> {
    notices.sort_by(|left, right| left.subject.host.cmp(&right.subject.host));
    let first = notices.first()?;
    let (occasion, verdict) = (first.occasion, worst(&notices));
    let mut hosts: Vec<String> = notices.iter().map(|notice| notice.subject.host.clone()).collect();
    hosts.dedup();
    let place = if site.is_empty() { "without a site".to_owned() } else { format!("at {site}") };
    let what = match topic {
        "host.seen" => "are silent",
        "power.line" => "run on battery",
        _ => "have a battery that is not well",
    };
    Some(Message {
        occasion,
        verdict: verdict as u8,
        title: format!("{} {} hosts {place} {what}", head(occasion, verdict), hosts.len()),
        lines: lines(&notices, |notice| format!("{}: {}", notice.subject.host, notice.text)),
        hosts,
        site: site.to_owned(),
        subjects: paths(&notices),
        wall_s,
    })
}

fn paths(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(|notice| notice.subject.path()).collect()
}

fn lines(notices: &[Notice], line: impl Fn(&Notice) -> String) -> Vec<String> {
    let mut lines: Vec<String> = notices.iter().take(LINES_MAX).map(line).collect();
    if notices.len() > LINES_MAX {
        lines.push(format!("… and {} more", notices.len() - LINES_MAX));
    }
    lines
}

#[cfg(test)]
mod tests;
