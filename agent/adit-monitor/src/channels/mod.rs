// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Where messages go: mail, web services, Alertmanager. Each channel has its own queue and its own task, so that one that
//! hangs holds up no other; what is not delivered is tried again, shown, and after days given up with a line in the log.

mod mail;
mod web;

use crate::alerts::group::Message;
use crate::alerts::{Occasion, rank};
use crate::core::{Ask, Core};
use adit_wire::health::codes::Verdict;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a queue is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one delivery may take.
pub(crate) const DELIVER_WITHIN: Duration = Duration::from_secs(30);
/// First wait after a failure; it doubles up to the longest.
const AGAIN_AFTER_S: u64 = 15;
/// Longest wait between two attempts.
const AGAIN_AFTER_MAX_S: u64 = 1_800;
/// A message that could not be delivered for so long is given up.
const GIVE_UP_AFTER_S: u64 = 3 * 86_400;
/// Longest secret, bytes.
const SECRET_BYTES_MAX: u64 = 4 << 10;
/// Most people of one channel.
const PEOPLE_MAX: usize = 32;

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelConfig {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// It gets what is at least so bad.
    pub least: Verdict,
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail.
    Smtp(Smtp),
    /// A web service.
    Web(Web),
}

/// A mail server and the people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smtp {
    /// Its name or address.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: SmtpTls,
    /// The sender.
    pub from: String,
    /// The people.
    pub to: Vec<String>,
    /// Who logs in, with the file of the password.
    pub login: Option<(String, PathBuf)>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all: for a server on the same machine.
    None,
    /// STARTTLS, required.
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// A web service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Which.
    pub service: Service,
    /// Its URL; for Matrix the homeserver's, for Signal that of signal-cli's REST server.
    pub url: String,
    /// The file of its token, or nothing.
    pub token_file: Option<PathBuf>,
    /// A Matrix room, or the Signal number that sends.
    pub from: String,
    /// Signal numbers or groups.
    pub to: Vec<String>,
    /// The body of a plain webhook.
    pub body: String,
}

/// Which web service: each has its own form of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// ntfy, with priority 5 for what is critical.
    Ntfy,
    /// Gotify.
    Gotify,
    /// A Matrix room.
    Matrix,
    /// Signal by signal-cli's REST server.
    Signal,
    /// Prometheus Alertmanager, API version 2.
    Alertmanager,
    /// Any service: a body with places for the words.
    Webhook,
}

/// A channel as the configuration says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChannel {
    name: String,
    kind: String,
    least: Option<String>,
    url: Option<String>,
    server: Option<String>,
    tls: Option<String>,
    from: Option<String>,
    #[serde(default)]
    to: Vec<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
    body: Option<String>,
}

impl RawChannel {
    /// Checks it.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check(self) -> Result<ChannelConfig, String> {
        let name = self.name.clone();
        adit_peers::peers::PeerName::new(&name).map_err(|error| format!("{name:?}: {error}"))?;
        let least = match self.least.as_deref() {
            None | Some("warning") => Verdict::Warning,
            Some("unknown") => Verdict::Unknown,
            Some("critical") => Verdict::Critical,
            Some(other) => return Err(format!("{name}: `least` is {other:?}; write unknown, warning or critical")),
        };
        if self.to.len() > PEOPLE_MAX {
            return Err(format!("{name}: at most {PEOPLE_MAX} in `to`"));
        }
        let service = match self.kind.as_str() {
            "smtp" => None,
            "ntfy" => Some(Service::Ntfy),
            "gotify" => Some(Service::Gotify),
            "matrix" => Some(Service::Matrix),
            "signal" => Some(Service::Signal),
            "alertmanager" => Some(Service::Alertmanager),
            "webhook" => Some(Service::Webhook),
            other => {
                return Err(format!(
                    "{name}: `kind` is {other:?}; write smtp, ntfy, gotify, matrix, signal, alertmanager or webhook"
                ));
            }
        };
        let kind = match service {
            None => Kind::Smtp(self.smtp().map_err(|why| format!("{name}: {why}"))?),
            Some(service) => Kind::Web(self.web(service).map_err(|why| format!("{name}: {why}"))?),
        };
        Ok(ChannelConfig { name, kind, least })
    }

    fn smtp(self) -> Result<Smtp, String> {
        let tls = match self.tls.as_deref() {
            None | Some("starttls") => SmtpTls::StartTls,
            Some("tls") => SmtpTls::Tls,
            Some("none") => SmtpTls::None,
            Some(other) => return Err(format!("`tls` is {other:?}; write starttls, tls or none")),
        };
        let usual = match tls {
            SmtpTls::Tls => 465,
            SmtpTls::StartTls => 587,
            SmtpTls::None => 25,
        };
        let server = self.server.ok_or("a mail channel needs `server`")?;
        let (server, port) = split_port(&server, usual).ok_or_else(|| format!("`server` is {server:?}"))?;
        let login = match (self.user, self.password_file) {
            (None, None) => None,
            (Some(user), Some(file)) => Some((user, file)),
            _ => return Err("`user` and `password_file` belong together".to_owned()),
        };
        let smtp =
            Smtp { server, port, tls, from: self.from.ok_or("a mail channel needs `from`")?, to: self.to, login };
        mail::check(&smtp)?;
        Ok(smtp)
    }

    fn web(self, service: Service) -> Result<Web, String> {
        let url = self.url.ok_or("it needs `url`")?;
        let url = crate::config::http_url("url", url).map_err(|error| error.to_string())?;
        let web = Web {
            service,
            url: url.trim_end_matches('/').to_owned(),
            token_file: self.token_file,
            from: self.from.unwrap_or_default(),
            to: self.to,
            body: self.body.unwrap_or_else(|| "{\"title\": \"{{title}}\", \"text\": \"{{text}}\"}".to_owned()),
        };
        if service == Service::Matrix && (web.from.is_empty() || web.token_file.is_none()) {
            return Err("Matrix needs `from`, the id of the room, and `token_file`".to_owned());
        }
        if service == Service::Signal && (web.from.is_empty() || web.to.is_empty()) {
            return Err("Signal needs `from`, the number that sends, and `to`".to_owned());
        }
        if service == Service::Gotify && web.token_file.is_none() {
            return Err("Gotify needs `token_file`".to_owned());
        }
        Ok(web)
    }
}

/// "name", "name:25", "[::1]:25".
fn split_port(text: &str, usual: u16) -> Option<(String, u16)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = if after.is_empty() { usual } else { after.strip_prefix(':')?.parse().ok()? };
        return Some((host.to_owned(), port));
    }
    match text.split_once(':') {
        Some((host, port)) if !host.is_empty() => Some((host.to_owned(), port.parse().ok()?)),
        Some(_) => None,
        None if text.is_empty() => None,
        None => Some((text.to_owned(), usual)),
    }
}

impl ChannelConfig {
    /// Whether this channel gets a message.
    #[must_use]
    pub fn wants(&self, message: &Message) -> bool {
        // Alertmanager makes its own reminders.
        let web = matches!(&self.kind, Kind::Web(Web { service: Service::Alertmanager, .. }));
        rank(message.verdict()) >= rank(self.least) && !(web && message.occasion == Occasion::Reminder)
    }

    /// Delivers one message.
    ///
    /// # Errors
    /// Why it was not delivered, for a person.
    pub async fn deliver(&self, message: &Message) -> Result<(), String> {
        let delivering = async {
            match &self.kind {
                Kind::Smtp(smtp) => mail::deliver(smtp, message).await,
                Kind::Web(web) => web::deliver(web.clone(), message.clone()).await,
            }
        };
        tokio::time::timeout(DELIVER_WITHIN, delivering).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

/// When to try again after so many attempts: none to give up.
fn again_after_s(tries: u32, age_s: u64) -> Option<u64> {
    (age_s < GIVE_UP_AFTER_S).then(|| (AGAIN_AFTER_S << tries.min(16)).min(AGAIN_AFTER_MAX_S))
}

/// Delivers what is queued for a channel, one after the other, until the stop.
pub(crate) async fn serve(core: Core, channel: ChannelConfig, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        while let Some(Some(waiting)) = core.ask(|answer| Ask::Due(channel.name.clone(), answer)).await {
            let now_s = adit_peers::clock::wall_s();
            let outcome = channel.deliver(&waiting.message).await;
            let name = channel.name.clone();
            match outcome {
                Ok(()) => core.tell(crate::core::Input::Ask(Ask::Delivered(name, waiting.id))).await,
                Err(why) => {
                    let age_s = now_s.saturating_sub(waiting.message.wall_s);
                    let again = again_after_s(waiting.tries, age_s);
                    core.tell(crate::core::Input::Ask(Ask::Failed(name, waiting.id, again, why))).await;
                    break;
                }
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }
}

/// Tells an outside service once a minute that the monitor lives.
pub(crate) async fn heartbeat(url: String, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(60));
    let mut told = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return,
        }
        match web::get(url.clone()).await {
            Ok(()) => told = false,
            // A service that stays away is told once.
            Err(why) if !told => {
                log::warn!("the heartbeat was not taken: {why}");
                told = true;
            }
            Err(_) => {}
        }
    }
}

/// A secret in a file of its own, read anew for every message.
fn secret(path: &std::path::Path) -> Result<String, String> {
    let bytes =
        adit_peers::files::read(path, SECRET_BYTES_MAX).map_err(|error| format!("{error}: {}", error.source))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is no text", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_come_less_often_and_end_after_days() {
        let waits: Vec<Option<u64>> = [0, 1, 2, 7, 30].map(|tries| again_after_s(tries, 60)).to_vec();
        assert_eq!(waits, [Some(15), Some(30), Some(60), Some(1_800), Some(1_800)]);
        assert_eq!(again_after_s(40, GIVE_UP_AFTER_S), None);
    }

    #[test]
    fn servers_have_ports() {
        assert_eq!(split_port("mail.example.org", 587), Some(("mail.example.org".to_owned(), 587)));
        assert_eq!(split_port("mail.example.org:25", 587), Some(("mail.example.org".to_owned(), 25)));
        assert_eq!(split_port("[::1]:2525", 587), Some(("::1".to_owned(), 2_525)));
        assert_eq!((split_port("", 1), split_port(":25", 1), split_port("a:b", 1)), (None, None, None));
    }
}
