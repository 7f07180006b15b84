// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person may tell a box before its first start: `adit.toml` in the ESP's root, which the box reads once. Public keys
//! and one-time tokens only; whatever looks like a lasting secret is refused, since a stick lies around. The box checks the
//! file again; this check is for the person who still has the stick in hand.

use adit_proto::token::{Kind, Token, TokenError};
use std::net::Ipv6Addr;
use toml::{Table, Value};

/// The longest file, in bytes: what a box reads.
pub const BYTES_MAX: usize = 32 << 10;
/// The longest name of a host, in bytes (RFC 1035).
pub const HOSTNAME_BYTES_MAX: usize = 63;
/// This many words of letters in one value look like the words of a recovery key.
const RECOVERY_WORDS: usize = 12;
const KEYS: [&str; 10] =
    ["hostname", "address", "gateway", "dns", "reached_at", "admin", "monitor", "health", "rule", "plugin"];

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum PreseedError {
    /// Not TOML.
    #[error("understand the settings")]
    Form(#[source] Box<toml::de::Error>),
    /// Longer than [`BYTES_MAX`].
    #[error("settings are longer than {BYTES_MAX} bytes")]
    TooLong,
    /// A key that boxes do not know.
    #[error("settings have no key {0:?}")]
    Key(String),
    /// A value that cannot be meant.
    #[error("{key} = {value}: {expected}")]
    Value {
        /// The key.
        key: String,
        /// What it was set to.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A token that is none.
    #[error("monitor.token cannot be read")]
    Token(#[source] TokenError),
    /// A token that a box or another agent made.
    #[error("monitor.token was not made by a monitor")]
    NoMonitor,
    /// What must not lie on a stick.
    #[error("{0} looks like a secret key; only public keys and one-time tokens go onto a stick")]
    Secret(String),
}

/// Settings as a person gives them. Empty parts are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The box's name.
    pub hostname: Option<String>,
    /// A fixed address with the length of its prefix.
    pub address: Option<String>,
    /// The router of the fixed address.
    pub gateway: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Names or addresses under which others reach the box.
    pub reached_at: Vec<String>,
    /// The admin's name and public key.
    pub admin: Option<(String, String)>,
    /// The monitor's name and its one-time token, which holds its address and key.
    pub monitor: Option<(String, String)>,
}

impl Settings {
    /// The text of the file, checked.
    pub fn to_text(&self) -> Result<String, PreseedError> {
        let mut table = Table::new();
        let text = |text: &str| Value::String(text.to_owned());
        let list = |list: &[String]| Value::Array(list.iter().map(|one| text(one)).collect());
        for (key, value) in [("hostname", &self.hostname), ("address", &self.address), ("gateway", &self.gateway)] {
            table.extend(value.as_deref().map(|value| (key.to_owned(), text(value))));
        }
        for (key, values) in [("dns", &self.dns), ("reached_at", &self.reached_at)] {
            table.extend((!values.is_empty()).then(|| (key.to_owned(), list(values))));
        }
        for (key, what, pair) in [("admin", "key", &self.admin), ("monitor", "token", &self.monitor)] {
            table.extend(pair.as_ref().map(|(name, value)| {
                let inner = [("name".to_owned(), text(name)), (what.to_owned(), text(value))];
                (key.to_owned(), Value::Table(Table::from_iter(inner)))
            }));
        }
        let text = toml::to_string(&table).expect("settings are plain tables");
        check(&text)?;
        Ok(text)
    }
}

/// Refuses settings that a box would refuse, and secrets.
pub fn check(text: &str) -> Result<(), PreseedError> {
    if text.len() > BYTES_MAX {
        return Err(PreseedError::TooLong);
    }
    let table: Table = text.parse().map_err(|source| PreseedError::Form(Box::new(source)))?;
    secrets("settings", &Value::Table(table.clone()))?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(PreseedError::Key(key.clone()));
    }
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    let with_prefix = |text: &str| {
        text.split_once('/').is_some_and(|(address, bits)| {
            is_address(address) && bits.parse().is_ok_and(|bits| (1..=128_u8).contains(&bits))
        })
    };
    each(&table, "hostname", "use letters, digits and dashes", |name| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=HOSTNAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('-')
    })?;
    each(&table, "address", "write an IPv6 address and the length of its prefix, such as 2001:db8::5/64", with_prefix)?;
    each(&table, "gateway", "write an IPv6 address", is_address)?;
    each(&table, "dns", "write IPv6 addresses", is_address)?;
    if let (Some(gateway), None) = (table.get("gateway"), table.get("address")) {
        let expected = "a gateway needs an address";
        return Err(PreseedError::Value { key: "gateway".to_owned(), value: gateway.to_string(), expected });
    }
    let plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    for (key, what) in [("admin", "key"), ("monitor", "token")] {
        let Some(value) = table.get(key) else { continue };
        let inner =
            value.as_table().filter(|inner| inner.len() == 2 && inner.contains_key("name") && inner.contains_key(what));
        let expected = "has a name and, for an admin, a key; for a monitor, a token";
        let inner =
            inner.ok_or_else(|| PreseedError::Value { key: key.to_owned(), value: value.to_string(), expected })?;
        each(inner, "name", "use letters, digits and dashes", plain)?;
        each(inner, "key", "write the 64 digits that `adit id` prints", |key| {
            key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        })?;
        if let Some(token) = inner.get("token") {
            let token = Token::parse(token.as_str().unwrap_or_default()).map_err(PreseedError::Token)?;
            if token.kind != Kind::Monitor {
                return Err(PreseedError::NoMonitor);
            }
        }
    }
    Ok(())
}

/// Checks a text, or each text of a list.
fn each(table: &Table, key: &str, expected: &'static str, fits: impl Fn(&str) -> bool) -> Result<(), PreseedError> {
    let Some(value) = table.get(key) else { return Ok(()) };
    let good = |value: &Value| value.as_str().is_some_and(&fits);
    let is_list = matches!(key, "dns" | "reached_at");
    let fit = if is_list { value.as_array().is_some_and(|list| list.iter().all(good)) } else { good(value) };
    if fit { Ok(()) } else { Err(PreseedError::Value { key: key.to_owned(), value: value.to_string(), expected }) }
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

    fn token(kind: Kind) -> String {
        let addresses = vec![Address::Name("monitor.example.org".to_owned(), 11713)];
        let token = Token { kind, maker: PublicKey([7; 32]), secret: Secret::new([9; 16]), addresses };
        token.to_text().unwrap()
    }

    fn settings() -> Settings {
        Settings {
            hostname: Some("cellar".to_owned()),
            address: Some("2001:db8::5/64".to_owned()),
            gateway: Some("fe80::1".to_owned()),
            dns: vec!["2001:db8::53".to_owned()],
            reached_at: vec!["cellar.example.org".to_owned()],
            admin: Some(("anna".to_owned(), "ab".repeat(32))),
            monitor: Some(("watch".to_owned(), token(Kind::Monitor))),
        }
    }

    #[test]
    fn settings_become_a_file() {
        let text = settings().to_text().unwrap();
        let table: Table = text.parse().unwrap();
        assert_eq!(table["admin"]["key"].as_str(), Some("ab".repeat(32).as_str()));
        assert_eq!(table["dns"][0].as_str(), Some("2001:db8::53"));
        assert_eq!(Settings::default().to_text().unwrap(), "");
    }

    #[test]
    fn what_a_box_would_refuse_is_refused_here() {
        for wrong in [
            "hostname = \"my box\"",
            "hostname = \"-a\"",
            "hostname = 7",
            "address = \"192.0.2.1/24\"",
            "address = \"2001:db8::5\"",
            "address = \"2001:db8::5/129\"",
            "gateway = \"fe80::1\"",
            "dns = \"2001:db8::53\"",
            "dns = [\"192.0.2.53\"]",
            "colour = \"red\"",
            "[admin]\nname = \"anna\"",
            "[admin]\nname = \"an/na\"\nkey = \"00\"",
            "[admin]\nname = \"anna\"\nkey = \"0000\"",
            "[monitor]\nname = \"m\"\ntoken = \"adit1wrong\"",
            "[monitor]\nname = \"m\"\ntoken = 1",
            "=",
        ] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        let agents = Settings { monitor: Some(("watch".to_owned(), token(Kind::Agent))), ..settings() };
        assert!(matches!(agents.to_text(), Err(PreseedError::NoMonitor)));
        let name = |length: usize| check(&format!("hostname = \"{}\"", "a".repeat(length)));
        assert!(name(HOSTNAME_BYTES_MAX).is_ok() && name(HOSTNAME_BYTES_MAX + 1).is_err());
        assert!(check(&"#".repeat(BYTES_MAX)).is_ok());
        assert!(matches!(check(&"#".repeat(BYTES_MAX + 1)), Err(PreseedError::TooLong)));
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
