// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Web services: what each wants to be sent, as a value, and the one place that sends it. Requests are made without I/O, so
//! that every service's form is tested by its text.

use super::{DELIVER_WITHIN, Service, Web, secret};
use crate::alerts::Occasion;
use crate::alerts::group::Message;
use adit_wire::health::codes::Verdict;
use serde_json::{Value, json};

/// Longest answer that is read to say why a service refused, bytes.
const ANSWER_BYTES_MAX: u64 = 2 << 10;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// The request by which a service hears of a message.
pub(super) fn request(web: &Web, token: Option<&str>, message: &Message) -> Request {
    let critical = message.verdict() == Verdict::Critical && message.occasion != Occasion::Recovery;
    let json = |method, url: String, body: &Value| {
        let headers = vec![("content-type", "application/json".to_owned())];
        Request { method, url, headers, body: body.to_string() }
    };
    let text = message.lines.join("\n");
    let mut request = match web.service {
        Service::Ntfy => {
            // ntfy takes JSON at its root, where a title may have any letter; a header may not.
            let (root, topic) = web.url.rsplit_once('/').unwrap_or((&web.url, ""));
            let priority = if critical { 5 } else { 3 };
            let body = json!({"topic": topic, "title": message.title, "message": message.text(), "priority": priority});
            json("POST", root.to_owned(), &body)
        }
        Service::Gotify => {
            let priority = if critical { 8 } else { 5 };
            let body = json!({"title": message.title, "message": text, "priority": priority});
            json("POST", format!("{}/message", web.url), &body)
        }
        Service::Matrix => {
            let url = format!(
                "{}/_matrix/client/v3/rooms/{}/send/m.room.message/{}",
                web.url,
                escaped(&web.from),
                transaction(message)
            );
            json("PUT", url, &json!({"msgtype": "m.text", "body": message.text()}))
        }
        Service::Signal => {
            let body = json!({"message": message.text(), "number": web.from, "recipients": web.to});
            json("POST", format!("{}/v2/send", web.url), &body)
        }
        Service::Alertmanager => json("POST", format!("{}/api/v2/alerts", web.url), &alerts(message)),
        Service::Webhook => {
            let headers = vec![("content-type", "application/json".to_owned())];
            Request { method: "POST", url: web.url.clone(), headers, body: filled(&web.body, message) }
        }
    };
    if let Some(token) = token {
        request.headers.push(match web.service {
            Service::Gotify => ("x-gotify-key", token.to_owned()),
            Service::Ntfy | Service::Matrix | Service::Signal | Service::Alertmanager | Service::Webhook => {
                ("authorization", format!("Bearer {token}"))
            }
        });
    }
    request
}

/// A problem that is not ended is believed for so long, seconds: longer than between two reminders.
const BELIEVED_S: i64 = 40 * 86_400;

/// One alert for each incident, as Alertmanager wants them: problem and recovery have the same labels.
fn alerts(message: &Message) -> Value {
    let began_s = i64::try_from(message.wall_s).unwrap_or(0);
    let time = |at_s: i64| jiff::Timestamp::from_second(at_s).unwrap_or_default().to_string();
    let recovered = message.occasion == Occasion::Recovery;
    let ends = time(if recovered { began_s } else { began_s.saturating_add(BELIEVED_S) });
    let of = |subject: &String| {
        let host = subject.split('/').next().unwrap_or_default();
        json!({
            "labels": {"alertname": "adit", "incident": subject, "host": host, "site": message.site},
            "annotations": {
                "summary": message.title, "description": message.lines.join("\n"), "verdict": message.verdict().word(),
            },
            "startsAt": time(began_s),
            "endsAt": ends,
        })
    };
    message.subjects.iter().map(of).collect()
}

/// A repeated attempt is the same event to Matrix.
fn transaction(message: &Message) -> String {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    (message.wall_s, message.text()).hash(&mut hasher);
    format!("adit{:016x}", hasher.finish())
}

/// A part of a URL's path.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// A body with its places filled. Words are escaped as JSON wants them inside its quotes.
fn filled(body: &str, message: &Message) -> String {
    let quoted = |text: &str| {
        let quoted = Value::String(text.to_owned()).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let places = [
        ("{{title}}", quoted(&message.title)),
        ("{{text}}", quoted(&message.text())),
        ("{{verdict}}", message.verdict().word().to_owned()),
        ("{{hosts}}", quoted(&message.hosts.join(", "))),
        ("{{site}}", quoted(&message.site)),
    ];
    // One pass from left to right: an agent's words that look like a place stay words.
    let (mut rest, mut text) = (body, String::new());
    while let Some(at) = rest.find("{{") {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        match places.iter().find(|(place, _)| after.starts_with(place)) {
            Some((place, words)) => {
                text.push_str(words);
                rest = &after[place.len()..];
            }
            None => {
                text.push_str("{{");
                rest = &after[2..];
            }
        }
    }
    text + rest
}

/// Delivers a message.
pub(super) async fn deliver(web: Web, message: Message) -> Result<(), String> {
    let token = web.token_file.as_deref().map(secret).transpose()?;
    let request = request(&web, token.as_deref(), &message);
    in_thread(move || send(&request)).await
}

/// Fetches a page for its effect.
pub(super) async fn get(url: String) -> Result<(), String> {
    let request = Request { method: "GET", url, headers: Vec::new(), body: String::new() };
    in_thread(move || send(&request)).await
}

async fn in_thread(work: impl FnOnce() -> Result<(), String> + Send + 'static) -> Result<(), String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}

fn send(request: &Request) -> Result<(), String> {
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(DELIVER_WITHIN))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let mut built = ureq::http::Request::builder().method(request.method).uri(&request.url);
    for (name, value) in &request.headers {
        built = built.header(*name, value);
    }
    let answer = if request.method == "GET" {
        let built = built.body(()).map_err(|error| error.to_string())?;
        agent.run(built)
    } else {
        let built = built.body(request.body.clone()).map_err(|error| error.to_string())?;
        agent.run(built)
    };
    let mut answer = answer.map_err(|error| error.to_string())?;
    if answer.status().is_success() {
        return Ok(());
    }
    let said = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
    let line: String = said.chars().filter(|c| !c.is_control()).take(160).collect();
    Err(format!("{} {line}", answer.status()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(occasion: Occasion) -> Message {
        Message {
            occasion,
            verdict: Verdict::Critical as u8,
            title: "CRITICAL box: disk \"sda\" fails".to_owned(),
            lines: vec!["critical: disk \"sda\" fails {{site}}".to_owned()],
            hosts: vec!["box".to_owned()],
            site: "berlin".to_owned(),
            subjects: vec!["box/sda/disk.status".to_owned()],
            wall_s: 1_800_000_000,
        }
    }

    fn web(service: Service, url: &str) -> Web {
        Web {
            service,
            url: url.to_owned(),
            token_file: None,
            from: "!room:example.org".to_owned(),
            to: vec!["+4930".to_owned()],
            body: "{\"t\": \"{{title}}\", \"x\": \"{{text}}\", \"o\": \"{{other}}\", \"s\": \"{{site}}\"}".to_owned(),
        }
    }

    #[test]
    fn every_service_is_asked_in_its_own_form() {
        let problem = message(Occasion::Problem);
        let shown = |service, url: &str| {
            let Request { method, url, headers, body } = request(&web(service, url), Some("secret"), &problem);
            format!("{method} {url}\n{headers:?}\n{body}\n")
        };
        let all = [
            shown(Service::Ntfy, "https://ntfy.example.org/adit"),
            shown(Service::Gotify, "https://gotify.example.org"),
            shown(Service::Matrix, "https://matrix.example.org"),
            shown(Service::Signal, "http://[::1]:8080"),
            shown(Service::Alertmanager, "http://[::1]:9093"),
            shown(Service::Webhook, "https://example.org/hook"),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn words_cannot_break_out_of_a_template() {
        let body = request(&web(Service::Webhook, "http://x"), None, &message(Occasion::Problem)).body;
        let value: Value = serde_json::from_str(&body).expect("still JSON");
        assert_eq!(value["t"], "CRITICAL box: disk \"sda\" fails");
        assert!(value["x"].as_str().expect("text").ends_with("{{site}}"), "{value}");
        assert_eq!((&value["o"], &value["s"]), (&json!("{{other}}"), &json!("berlin")));
    }

    #[test]
    fn a_recovery_ends_the_alert_that_the_problem_began() {
        let body = |occasion| request(&web(Service::Alertmanager, "http://x"), None, &message(occasion)).body;
        let (problem, recovery): (Value, Value) = (
            serde_json::from_str(&body(Occasion::Problem)).expect("JSON"),
            serde_json::from_str(&body(Occasion::Recovery)).expect("JSON"),
        );
        assert_eq!(problem[0]["labels"], recovery[0]["labels"]);
        assert_eq!(
            (&problem[0]["endsAt"], &recovery[0]["endsAt"]),
            (&json!("2027-02-24T08:00:00Z"), &json!("2027-01-15T08:00:00Z"))
        );
    }
}
