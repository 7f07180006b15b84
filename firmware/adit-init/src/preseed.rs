// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a person may say before the first start, and what is kept of it: one TOML file. On the stick it is `adit.toml`; once
//! read it lies with the box's own state, and the copy on the stick loses its one-time token. No lasting secret is in it.

use crate::network::Fixed;
pub(crate) use adit_slots::preseed::BYTES_MAX;
use adit_slots::preseed::{Given, address};
use adit_slots::version::Version;
use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Deserialize;

/// Where a box listens unless told otherwise.
const LISTEN_DEFAULT: &str = "[::]:11713";

/// A person's settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preseed {
    /// The box's name.
    pub(crate) hostname: Option<String>,
    /// A fixed address with its prefix length; none for what routers announce.
    pub(crate) address: Option<String>,
    /// The router of the fixed address.
    pub(crate) gateway: Option<String>,
    /// Name servers of the fixed address, instead of announced ones.
    #[serde(default)]
    pub(crate) dns: Vec<String>,
    /// Names or addresses under which others reach the box.
    #[serde(default)]
    pub(crate) reached_at: Vec<String>,
    /// Time servers instead of the usual one.
    #[serde(default)]
    pub(crate) ntp: Vec<String>,
    /// Whom the member who houses the box calls.
    pub(crate) contact: Option<String>,
    /// Whether a person opens the port at the router, which is not asked then.
    #[serde(default)]
    pub(crate) port_by_hand: bool,
    /// The admin's key, pinned at the first start.
    pub(crate) admin: Option<Admin>,
    /// The monitor that is dialled at the first start.
    pub(crate) monitor: Option<Monitor>,
    /// Tables that go into the agent's configuration unchanged.
    pub(crate) health: Option<toml::Table>,
    /// Limits of rules, likewise.
    pub(crate) rule: Option<toml::Table>,
    /// Plugins, likewise.
    #[serde(default)]
    pub(crate) plugin: Vec<toml::Table>,
}

/// An admin's public key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Admin {
    pub(crate) name: String,
    pub(crate) key: String,
}

/// A monitor's one-time token.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Monitor {
    pub(crate) name: String,
    pub(crate) token: String,
}

impl Preseed {
    /// Reads and checks a file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        ensure!(text.len() <= BYTES_MAX, "the settings are longer than {BYTES_MAX} bytes");
        let read: Self = toml::from_str(text).context("understand the settings")?;
        let given = Given {
            hostname: read.hostname.as_deref(),
            address: read.address.as_deref(),
            gateway: read.gateway.as_deref(),
            dns: &read.dns,
            reached_at: &read.reached_at,
            ntp: &read.ntp,
            contact: read.contact.as_deref(),
            admin: read.admin.as_ref().map(|admin| (admin.name.as_str(), admin.key.as_str())),
            monitor: read.monitor.as_ref().map(|monitor| monitor.name.as_str()),
        };
        given.check().map_err(|wrong| anyhow!("{wrong}"))?;
        Ok(read)
    }

    /// The fixed address.
    pub(crate) fn fixed(&self) -> Result<Option<Fixed>> {
        let Some(text) = &self.address else { return Ok(None) };
        let (address, prefix_bits) = address(text).with_context(|| format!("address = {text:?}: write ADDRESS/64"))?;
        Ok(Some(Fixed {
            address,
            prefix_bits,
            gateway: self.gateway.as_deref().map(str::parse).transpose().context("read gateway")?,
            name_servers: self.dns.iter().map(|text| text.parse()).collect::<Result<_, _>>().context("read dns")?,
        }))
    }

    /// The agent's configuration. `store` is there once the data are mounted, `console` where a serial line is the agent's.
    pub(crate) fn agent_config(&self, store: Option<&str>, console: Option<&str>) -> Result<String> {
        let mut table = toml::Table::new();
        let text = |text: &str| toml::Value::String(text.to_owned());
        table.insert("listen".to_owned(), text(LISTEN_DEFAULT));
        if let Some(name) = &self.hostname {
            table.insert("name".to_owned(), text(name));
        }
        if !self.reached_at.is_empty() {
            let names = self.reached_at.iter().map(|name| text(name)).collect();
            table.insert("address".to_owned(), toml::Value::Array(names));
        }
        if let Some(console) = console {
            table.insert("console".to_owned(), text(console));
        }
        if let Some(store) = store {
            let inner = toml::Table::from_iter([("store".to_owned(), text(store))]);
            table.insert("box".to_owned(), toml::Value::Table(inner));
        }
        for (name, value) in [("health", &self.health), ("rule", &self.rule)] {
            table.extend(value.clone().map(|value| (name.to_owned(), toml::Value::Table(value))));
        }
        if !self.plugin.is_empty() {
            let plugins = self.plugin.iter().cloned().map(toml::Value::Table).collect();
            table.insert("plugin".to_owned(), toml::Value::Array(plugins));
        }
        Ok(toml::to_string(&table)?)
    }
}

/// The file without what may be used once only.
pub(crate) fn without_token(text: &str) -> Result<String> {
    let mut table: toml::Table = toml::from_str(text)?;
    table.remove("monitor");
    Ok(toml::to_string(&table)?)
}

/// The name of a box that was given none: stable, and told apart from its neighbour's.
pub(crate) fn default_hostname(key: &[u8]) -> String {
    let hash = blake3::derive_key("adit host name v1", key);
    format!("adit-{:02x}{:02x}", hash[0], hash[1])
}

/// The line that the console shows about a version.
pub(crate) fn title(version: Version) -> String {
    format!("adit {version}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `adit-image preseed` writes when every key is given, and files that neither of the two may take: its own tests
    /// hold it to the same two lists.
    const EVERY_KEY: &str = include_str!("../../adit-slots/tests/golden/preseed.toml");
    const REFUSED: &str = include_str!("../../adit-slots/tests/golden/preseed-refused.txt");

    #[test]
    fn every_key_is_read() {
        // All fields are named, so that a new one does not come without a line in the list.
        let Preseed {
            hostname,
            address,
            gateway,
            dns,
            reached_at,
            ntp,
            contact,
            port_by_hand,
            admin,
            monitor,
            health,
            rule,
            plugin,
        } = Preseed::parse(EVERY_KEY).unwrap();
        assert_eq!(contact.as_deref(), Some("Anna Example +49 30 000000"));
        assert!(port_by_hand && ntp == ["ntp.example.org"], "{ntp:?}");
        let texts = [hostname, address, gateway].map(Option::unwrap);
        assert_eq!(texts, ["cellar", "2001:db8::5/64", "fe80::1"]);
        assert_eq!(
            (dns.as_slice(), reached_at.as_slice()),
            (&["2001:db8::53".into()][..], &["cellar.example.org".into()][..])
        );
        assert_eq!(admin.map(|Admin { name, key }| (name, key)), Some(("anna".to_owned(), "ab".repeat(32))));
        let Monitor { name, token } = monitor.unwrap();
        assert!(name == "watch" && token.to_lowercase().starts_with("adit"), "{name} {token}");
        assert!(health.unwrap().contains_key("shutdown") && rule.unwrap().contains_key("io-pressure"));
        assert_eq!(plugin[0]["name"].as_str(), Some("load"));
    }

    #[test]
    fn settings_become_an_agents_configuration() {
        let read = Preseed::parse(EVERY_KEY).unwrap();
        let fixed = read.fixed().unwrap().unwrap();
        assert_eq!((fixed.prefix_bits, fixed.name_servers.len(), fixed.gateway.is_some()), (64, 1, true));
        let config = read.agent_config(Some("/srv/adit/store"), None).unwrap();
        for wanted in [
            "listen = \"[::]:11713\"",
            "name = \"cellar\"",
            "store = \"/srv/adit/store\"",
            "shutdown = true",
            "address = [\"cellar.example.org\"]",
            "[rule.io-pressure]",
            "[[plugin]]",
        ] {
            assert!(config.contains(wanted), "{wanted}: {config}");
        }
        assert!(!config.contains("anna") && !config.contains("watch"), "{config}");
        assert!(!read.agent_config(None, None).unwrap().contains("[box]"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let mut refused = 0;
        for wrong in REFUSED.split("\n\n") {
            assert!(Preseed::parse(wrong).is_err(), "{wrong}");
            refused += 1;
        }
        assert!(refused > 20, "{refused}");
        assert!(Preseed::parse(&"#".repeat(BYTES_MAX)).is_ok());
        assert!(Preseed::parse(&"#".repeat(BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn a_token_does_not_stay() {
        let text = "hostname = \"cellar\"\n[monitor]\nname = \"m\"\ntoken = \"adit1secret\"\n";
        let left = without_token(text).unwrap();
        assert!(left.contains("cellar") && !left.contains("secret"), "{left}");
    }
}
