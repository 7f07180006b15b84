// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person may tell a box before its first start: `adit.toml` in the ESP's root, which the box reads once. Public keys
//! and one-time tokens only; whatever looks like a lasting secret is refused, since a stick lies around. The box checks the
//! file again; this check is for the person who still has the stick in hand.

use adit_proto::token::{Kind, Token, TokenError};
use adit_slots::preseed::{BYTES_MAX, Given, Wrong};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// This many words of letters in one value look like the words of a recovery key.
const RECOVERY_WORDS: usize = 12;

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum PreseedError {
    /// Not TOML, a key that boxes do not know, or a value of another type.
    #[error("understand the settings")]
    Form(#[source] Box<toml::de::Error>),
    /// Longer than [`BYTES_MAX`].
    #[error("settings are longer than {BYTES_MAX} bytes")]
    TooLong,
    /// A value that cannot be meant.
    #[error("{0}")]
    Value(String),
    /// A token that is none.
    #[error("monitor.token cannot be read: make a new one on the monitor")]
    Token(#[source] TokenError),
    /// A token that a box or another agent made.
    #[error("monitor.token was not made by a monitor: make one there")]
    NoMonitor,
    /// What must not lie on a stick.
    #[error("{0} looks like a secret key; only public keys and one-time tokens go onto a stick")]
    Secret(String),
}

impl From<Wrong<'_>> for PreseedError {
    fn from(wrong: Wrong<'_>) -> Self {
        Self::Value(wrong.to_string())
    }
}

/// Settings as a person gives them: every key that a box reads. Empty parts are left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The box's name.
    pub hostname: Option<String>,
    /// A fixed address with the length of its prefix.
    pub address: Option<String>,
    /// The router of the fixed address.
    pub gateway: Option<String>,
    /// Name servers of the fixed address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Names or addresses under which others reach the box.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached_at: Vec<String>,
    /// Time servers instead of the usual one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<String>,
    /// Whom the member who houses the box calls.
    pub contact: Option<String>,
    /// Whether a person opens the port at the router, which is not asked then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub port_by_hand: bool,
    /// The admin, who is known from the first start on.
    pub admin: Option<Admin>,
    /// The monitor that is dialled at the first start.
    pub monitor: Option<Monitor>,
    /// What health is asked from, for the agent's configuration.
    pub health: Option<Table>,
    /// Limits of health's rules, likewise.
    pub rule: Option<Table>,
    /// Plugins that health runs, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugin: Vec<Table>,
}

/// An admin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// What the box calls it.
    pub name: String,
    /// Its public key.
    pub key: String,
}

/// A monitor.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    /// What the box calls it.
    pub name: String,
    /// Its one-time token, which holds its address and key.
    pub token: String,
}

impl Settings {
    /// The text of the file, checked.
    pub fn to_text(&self) -> Result<String, PreseedError> {
        let text = toml::to_string(self).expect("settings are plain tables");
        check(&text)?;
        Ok(text)
    }
}

/// Refuses settings that a box would refuse, and secrets.
pub fn check(text: &str) -> Result<(), PreseedError> {
    if text.len() > BYTES_MAX {
        return Err(PreseedError::TooLong);
    }
    let form = |source| PreseedError::Form(Box::new(source));
    secrets("settings", &Value::Table(text.parse().map_err(form)?))?;
    let settings: Settings = toml::from_str(text).map_err(form)?;
    let given = Given {
        hostname: settings.hostname.as_deref(),
        address: settings.address.as_deref(),
        gateway: settings.gateway.as_deref(),
        dns: &settings.dns,
        reached_at: &settings.reached_at,
        ntp: &settings.ntp,
        contact: settings.contact.as_deref(),
        admin: settings.admin.as_ref().map(|admin| (admin.name.as_str(), admin.key.as_str())),
        monitor: settings.monitor.as_ref().map(|monitor| monitor.name.as_str()),
    };
    given.check()?;
    let Some(monitor) = &settings.monitor else { return Ok(()) };
    let token = Token::parse(&monitor.token).map_err(PreseedError::Token)?;
    if token.kind == Kind::Monitor { Ok(()) } else { Err(PreseedError::NoMonitor) }
}

/// Refuses texts that look like a secret key, wherever they stand.
fn secrets(key: &str, value: &Value) -> Result<(), PreseedError> {
    match value {
        Value::String(text) => {
            let upper = text.to_ascii_uppercase();
            let words =
                text.split_whitespace().filter(|word| word.len() >= 3 && word.bytes().all(|b| b.is_ascii_lowercase()));
            let framed =
                ["PRIVATE KEY", "SECRET KEY", "ADIT-SECRET", "AGE-SECRET"].iter().any(|mark| upper.contains(mark));
            if framed || words.count() >= RECOVERY_WORDS {
                return Err(PreseedError::Secret(key.to_owned()));
            }
            Ok(())
        }
        Value::Array(list) => list.iter().try_for_each(|value| secrets(key, value)),
        Value::Table(table) => table.iter().try_for_each(|(key, value)| secrets(key, value)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_proto::token::{Address, Secret};
    use adit_wire::ids::PublicKey;

    /// Every key, and files that nobody may take: the same two lists that the box's own reader is tried with.
    const EVERY_KEY: &str = include_str!("../../../firmware/adit-slots/tests/golden/preseed.toml");
    const REFUSED: &str = include_str!("../../../firmware/adit-slots/tests/golden/preseed-refused.txt");

    fn token(kind: Kind) -> String {
        let addresses = vec![Address::Name("monitor.example.org".to_owned(), 11713)];
        let token = Token { kind, maker: PublicKey([7; 32]), secret: Secret::new([9; 16]), addresses };
        token.to_text().unwrap()
    }

    fn settings() -> Settings {
        let table = |text: &str| text.parse::<Table>().unwrap();
        Settings {
            hostname: Some("cellar".to_owned()),
            address: Some("2001:db8::5/64".to_owned()),
            gateway: Some("fe80::1".to_owned()),
            dns: vec!["2001:db8::53".to_owned()],
            reached_at: vec!["cellar.example.org".to_owned()],
            ntp: vec!["ntp.example.org".to_owned()],
            contact: Some("Anna Example +49 30 000000".to_owned()),
            port_by_hand: true,
            admin: Some(Admin { name: "anna".to_owned(), key: "ab".repeat(32) }),
            monitor: Some(Monitor { name: "watch".to_owned(), token: token(Kind::Monitor) }),
            health: Some(table("shutdown = true")),
            rule: Some(table("io-pressure.off = true")),
            plugin: vec![table("name = \"load\"\ncommand = [\"/usr/lib/nagios/plugins/check_load\", \"-w\", \"4\"]")],
        }
    }

    #[test]
    fn what_is_written_is_what_the_box_is_tried_with() {
        let golden: String = EVERY_KEY.split_inclusive('\n').filter(|line| !line.starts_with('#')).collect();
        assert_eq!(settings().to_text().unwrap(), golden);
        assert_eq!(toml::from_str::<Settings>(&golden).unwrap(), settings());
        assert_eq!(Settings::default().to_text().unwrap(), "");
    }

    #[test]
    fn what_a_box_would_refuse_is_refused_here() {
        let mut refused = 0;
        for wrong in REFUSED.split("\n\n") {
            assert!(check(wrong).is_err(), "{wrong}");
            refused += 1;
        }
        assert!(refused > 20, "{refused}");
        assert!(check(&"#".repeat(BYTES_MAX)).is_ok());
        assert!(matches!(check(&"#".repeat(BYTES_MAX + 1)), Err(PreseedError::TooLong)));
        let said = check("hostname = \"my box\"").unwrap_err().to_string();
        assert_eq!(said, "hostname = \"my box\": use 1 to 63 letters, digits and dashes");
    }

    #[test]
    fn a_token_is_a_monitors() {
        let with = |token: String| {
            let monitor = Some(Monitor { name: "watch".to_owned(), token });
            Settings { monitor, ..settings() }.to_text()
        };
        assert!(with(token(Kind::Monitor)).is_ok());
        assert!(matches!(with(token(Kind::Agent)), Err(PreseedError::NoMonitor)));
        assert!(matches!(with("adit1wrong".to_owned()), Err(PreseedError::Token(_))));
    }

    #[test]
    fn secrets_do_not_get_onto_a_stick() {
        let words = "abandon ability able about above absent absorb abstract absurd abuse access accident";
        let framed = "-----BEGIN ADIT SECRET KEY-----\\nsigning\\n00\\n-----END ADIT SECRET KEY-----";
        for secret in [words, framed, "-----BEGIN OPENSSH PRIVATE KEY-----"] {
            let text = format!("[health]\nnote = [\"{secret}\"]\n");
            assert!(matches!(check(&text), Err(PreseedError::Secret(key)) if key == "note"), "{text}");
        }
        assert!(check("[health]\nnote = \"a box in the cellar\"").is_ok());
    }
}
