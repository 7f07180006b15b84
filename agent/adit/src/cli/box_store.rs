// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `adit box status|sources|retention|collect`: what the box holds, what it keeps and why. Nothing here shortens the life of
//! data: the box makes every tightening wait for a week.

use super::{print, print_json, say};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Way};
use crate::text::{self, Lines as _};
use adit_link::{Door, Link};
use adit_wire::admin::{Collect, Done, Keep, KeepPolicy, Kept, KeptRow, Stored, StoredListed, Wish};
use adit_wire::list::{Parts, encode_part};
use serde_json::{Value, json};

/// What can be asked of the store.
#[derive(Debug, clap::Subcommand)]
pub(super) enum StoreVerb {
    /// The store at a glance: sizes, free space and when it ends, the newest collection.
    Status {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// What the store holds of each source.
    Sources {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// What is kept, why and how long.
    #[command(subcommand)]
    Retention(RetentionVerb),
    /// Look now for what no snapshot needs, and free its space.
    Collect,
}

/// What can be asked of retention.
#[derive(Debug, clap::Subcommand)]
pub(super) enum RetentionVerb {
    /// Show what stays of a source and why, what would go, and what can be brought back. Changes nothing.
    Plan {
        /// The source; without one only the box's default policy.
        #[arg(default_value = "")]
        source: String,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Change a policy: what is loosened holds at once, what is tightened after seven days. What is not named stays.
    Set(SetArgs),
    /// Bring expired snapshots back; they stay for 30 days at least.
    Undo {
        /// The source.
        source: String,
        /// Numbers of snapshots; without any, all that can be brought back.
        snapshots: Vec<u64>,
    },
    /// Keep snapshots for ever.
    Protect {
        /// The source.
        source: String,
        /// Numbers of snapshots.
        #[arg(required = true)]
        snapshots: Vec<u64>,
        /// Leave them to the policy again, after seven days.
        #[arg(long)]
        end: bool,
    },
    /// Let go, this once, what a guard holds.
    Allow {
        /// The source.
        source: String,
    },
}

/// A policy's parts.
#[derive(Debug, clap::Args)]
pub(super) struct SetArgs {
    /// The source; without one the default of all that have no policy of their own.
    #[arg(default_value = "")]
    source: String,
    /// Keep everything younger than this, days.
    #[arg(long, value_name = "DAYS")]
    keep_all: Option<u32>,
    /// Keep one an hour up to this age, days; 0 for none, as in the next four.
    #[arg(long, value_name = "DAYS")]
    hourly: Option<u32>,
    /// Keep one a day.
    #[arg(long, value_name = "DAYS")]
    daily: Option<u32>,
    /// Keep one a week.
    #[arg(long, value_name = "DAYS")]
    weekly: Option<u32>,
    /// Keep one a month.
    #[arg(long, value_name = "DAYS")]
    monthly: Option<u32>,
    /// Keep one a year.
    #[arg(long, value_name = "DAYS")]
    yearly: Option<u32>,
    /// Keep so many of the newest, however old.
    #[arg(long, value_name = "COUNT")]
    minimum: Option<u32>,
    /// Where a day begins: minutes east of UTC.
    #[arg(long, value_name = "MINUTES", allow_hyphen_values = true)]
    zone: Option<i16>,
}

impl StoreVerb {
    pub(super) async fn run(self, way: &Way) -> Result<Exit, Failure> {
        let link = way.connect(Door::Main).await?;
        match self {
            Self::Status { json } => status(&link, json).await?,
            Self::Sources { json } => sources(&link, json).await?,
            Self::Collect => {
                net::read::<Done>(&net::ask(&link, &Collect {}).await?)?;
                say("the collection has begun; `adit box status` tells how it went");
            }
            Self::Retention(verb) => verb.run(&link).await?,
        }
        link.close(None).await;
        Ok(Exit::Done)
    }
}

/// An answer, all of its rows.
struct Answer {
    policy: KeepPolicy,
    pending: Option<(KeepPolicy, u64)>,
    now_s: u64,
    changed: u32,
    guard: String,
    rows: Vec<KeptRow>,
}

async fn wish(link: &Link, wish: Wish, source: &str, policy: KeepPolicy, snapshots: &[u64]) -> Result<Answer, Failure> {
    let mut packed = Vec::new();
    for number in snapshots {
        let mut buffer = [0; 10];
        let part = encode_part(number, &mut buffer).expect("a number has at most ten bytes");
        packed.extend_from_slice(part);
    }
    let mut asked = Keep { wish, source, policy, seqs: Parts::new(&packed), skip: 0, now_s: text::now_s() };
    let mut rows: Vec<KeptRow> = Vec::new();
    let mut changed = 0;
    loop {
        let frame = net::ask(link, &asked).await?;
        let kept: Kept<'_> = net::read(&frame)?;
        let before = rows.len();
        for row in kept.rows.iter() {
            rows.push(row.map_err(|error| Failure::new(Exit::Refused, error.to_string(), "update adit"))?);
        }
        changed += kept.changed;
        if kept.more && rows.len() > before {
            // The wish is granted; the rest is reading.
            asked = Keep { wish: Wish::Plan, skip: u32::try_from(rows.len()).unwrap_or(u32::MAX), ..asked };
            continue;
        }
        let pending = (kept.pending_s > 0).then_some((kept.pending, kept.pending_s));
        return Ok(Answer {
            policy: kept.policy,
            pending,
            now_s: kept.now_s,
            changed,
            guard: kept.guard.to_owned(),
            rows,
        });
    }
}

impl RetentionVerb {
    async fn run(self, link: &Link) -> Result<(), Failure> {
        let none = KeepPolicy::default();
        match self {
            Self::Plan { source, json } => {
                let answer = wish(link, Wish::Plan, &source, none, &[]).await?;
                if json { print_json(&answer.json()) } else { print(&answer.table(!source.is_empty())) }
            }
            Self::Set(args) => {
                let now = wish(link, Wish::Plan, &args.source, none, &[]).await?;
                let base = now.pending.map_or(now.policy, |(policy, _)| policy);
                let answer = wish(link, Wish::Set, &args.source, args.over(base), &[]).await?;
                print(&answer.table(false))
            }
            Self::Undo { source, snapshots } => {
                let answer = wish(link, Wish::Undo, &source, none, &snapshots).await?;
                say(&format!("{} snapshots are back and stay for 30 days at least", answer.changed));
                Ok(())
            }
            Self::Protect { source, snapshots, end } => {
                let asked = if end { Wish::Unprotect } else { Wish::Protect };
                wish(link, asked, &source, none, &snapshots).await?;
                say(if end { "in seven days the policy has them again" } else { "they stay for ever" });
                Ok(())
            }
            Self::Allow { source } => {
                let answer = wish(link, Wish::Allow, &source, none, &[]).await?;
                say(&format!("{} snapshots expired; `adit box retention undo` brings them back", answer.changed));
                Ok(())
            }
        }
    }
}

impl SetArgs {
    fn over(&self, base: KeepPolicy) -> KeepPolicy {
        KeepPolicy {
            keep_all_d: self.keep_all.unwrap_or(base.keep_all_d),
            hourly_d: self.hourly.unwrap_or(base.hourly_d),
            daily_d: self.daily.unwrap_or(base.daily_d),
            weekly_d: self.weekly.unwrap_or(base.weekly_d),
            monthly_d: self.monthly.unwrap_or(base.monthly_d),
            yearly_d: self.yearly.unwrap_or(base.yearly_d),
            minimum: self.minimum.unwrap_or(base.minimum),
            zone_min: self.zone.unwrap_or(base.zone_min),
        }
    }
}

const REASONS: [&str; 8] = ["young", "hour", "day", "week", "month", "year", "newest", "protected"];

fn reasons(row: &KeptRow) -> Vec<&'static str> {
    REASONS.iter().enumerate().filter(|(bit, _)| row.reasons >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

fn policy_words(policy: &KeepPolicy) -> String {
    let mut words = format!("all for {} d", policy.keep_all_d);
    let classes = [
        ("hour", policy.hourly_d),
        ("day", policy.daily_d),
        ("week", policy.weekly_d),
        ("month", policy.monthly_d),
        ("year", policy.yearly_d),
    ];
    for (name, days) in classes.into_iter().filter(|(_, days)| *days > 0) {
        words.add(format_args!(", one a {name} for {days} d"));
    }
    words.add(format_args!(", the newest {} always", policy.minimum.max(1)));
    if policy.zone_min != 0 {
        words.add(format_args!(", days of UTC{:+} min", policy.zone_min));
    }
    words
}

fn policy_json(policy: &KeepPolicy) -> Value {
    json!({
        "keep_all_d": policy.keep_all_d, "hourly_d": policy.hourly_d, "daily_d": policy.daily_d,
        "weekly_d": policy.weekly_d, "monthly_d": policy.monthly_d, "yearly_d": policy.yearly_d,
        "minimum": policy.minimum, "zone_min": policy.zone_min,
    })
}

impl Answer {
    fn table(&self, rows: bool) -> String {
        let mut lines = format!("policy: {}\n", policy_words(&self.policy));
        if let Some((policy, from_s)) = &self.pending {
            lines.line(format_args!("from {}: {}", text::time(*from_s), policy_words(policy)));
        }
        if !self.guard.is_empty() {
            lines.line(format_args!("guard: {}", self.guard));
        }
        if !rows {
            return lines;
        }
        lines.line(format_args!("{:<8}{:<20}{:<12}{}", "NUMBER", "RECEIVED", "NEW", "STAYS"));
        for row in &self.rows {
            let stays = match (row.expired_s, reasons(row)) {
                (0, by) if by.is_empty() => "goes with the next run".to_owned(),
                (0, by) if by.contains(&"protected") && row.until_s == u64::MAX => "for ever: protected".to_owned(),
                (0, by) if row.until_s > self.now_s => format!("until {}: {}", text::time(row.until_s), by.join(", ")),
                (0, by) => format!("as long as it is among the newest: {}", by.join(", ")),
                _ => format!("expired; can be brought back until {}", text::time(row.release_s)),
            };
            let damaged = if row.complete || row.expired_s > 0 { "" } else { " (damaged)" };
            let (received, new) = (text::time(row.received_s), text::bytes(row.new_bytes));
            lines.line(format_args!("{:<8}{received:<20}{new:<12}{stays}{damaged}", row.seq));
        }
        lines
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "seq": row.seq, "received_s": row.received_s, "kept_by": reasons(row), "until_s": row.until_s,
                    "complete": row.complete, "expired_s": row.expired_s, "release_s": row.release_s,
                    "new_bytes": row.new_bytes,
                })
            })
            .collect();
        let pending =
            self.pending.as_ref().map(|(policy, from_s)| json!({ "policy": policy_json(policy), "from_s": from_s }));
        json!({
            "policy": policy_json(&self.policy), "pending": pending, "retention_clock_s": self.now_s,
            "guard": self.guard, "snapshots": rows,
        })
    }
}

async fn status(link: &Link, as_json: bool) -> Result<(), Failure> {
    let frame = net::ask(link, &Stored { skip: 0 }).await?;
    let stored: StoredListed<'_> = net::read(&frame)?;
    let free = (stored.free_bytes < u64::MAX).then_some(stored.free_bytes);
    let full_in_d = free
        .filter(|_| stored.grown_bytes > 0)
        .map(|free| u64::try_from(u128::from(free) * 30 / u128::from(stored.grown_bytes)).unwrap_or(u64::MAX));
    if as_json {
        return print_json(&json!({
            "read_only": stored.read_only, "stored_bytes": stored.stored_bytes, "record_bytes": stored.record_bytes,
            "records": stored.records, "damaged_records": stored.damaged_records, "free_bytes": free,
            "grown_bytes_30d": stored.grown_bytes, "full_in_d": full_in_d, "collecting": stored.collecting,
            "swept_s": stored.swept_s, "swept_records": stored.swept_records, "swept_bytes": stored.swept_bytes,
        }));
    }
    let mut lines = String::new();
    if !stored.read_only.is_empty() {
        lines.line(format_args!("TAKES NOTHING  {}", stored.read_only));
    }
    let needed = text::bytes(stored.record_bytes);
    lines.line(format_args!(
        "stored         {}, of it needed {needed} in {} records",
        text::bytes(stored.stored_bytes),
        text::count(stored.records)
    ));
    if stored.damaged_records > 0 {
        lines.line(format_args!("damaged        {} records", stored.damaged_records));
    }
    if let Some(free) = free {
        let forecast = full_in_d.map_or_else(String::new, |days| format!("; full in {days} days as of the last month"));
        lines.line(format_args!("free           {}{forecast}", text::bytes(free)));
    }
    let collection = match (stored.collecting, stored.swept_s) {
        (true, _) => "under way".to_owned(),
        (false, 0) => "none yet".to_owned(),
        (false, at_s) => {
            let (records, bytes) = (text::count(stored.swept_records), text::bytes(stored.swept_bytes));
            format!("{}: {records} records, {bytes} that nothing needed", text::time(at_s))
        }
    };
    lines.line(format_args!("collection     {collection}"));
    print(&lines)
}

async fn sources(link: &Link, as_json: bool) -> Result<(), Failure> {
    let mut rows: Vec<Value> = Vec::new();
    let mut lines =
        format!("{:<20}{:<11}{:<9}{:<20}{:<12}{}\n", "NAME", "SNAPSHOTS", "EXPIRED", "NEWEST", "STORED", "RETENTION");
    loop {
        let skip = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let frame = net::ask(link, &Stored { skip }).await?;
        let stored: StoredListed<'_> = net::read(&frame)?;
        let before = rows.len();
        for source in stored.sources.iter() {
            let it = source.map_err(|error| Failure::new(Exit::Refused, error.to_string(), "update adit"))?;
            let newest = if it.newest_s == 0 { "never".to_owned() } else { text::time(it.newest_s) };
            let guarded = if it.guarded { "see retention plan" } else { "" };
            let (snapshots, expired, stored) = (it.snapshots, it.expired, text::bytes(it.bytes));
            let row = format!("{:<20}{snapshots:<11}{expired:<9}{newest:<20}{stored:<12}{guarded}", it.name);
            lines.line(row.trim_end());
            rows.push(json!({
                "name": it.name, "source": it.source.to_string(), "snapshots": it.snapshots, "expired": it.expired,
                "released": it.released, "newest_s": it.newest_s, "records": it.records, "bytes": it.bytes,
                "guarded": it.guarded,
            }));
        }
        if !stored.more || rows.len() == before {
            break;
        }
    }
    if as_json { print_json(&json!(rows)) } else { print(&lines) }
}
