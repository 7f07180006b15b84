// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pairing at the redeemer: keys, then the pending file, then the one message, then the pin, each on stable storage
//! before the next. A lost answer is healed by trying the main door first: it opens only if the box has pinned this key.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::net::{self, Net, Way};
use crate::pin::Pin;
use crate::source;
use crate::state::{StateDir, names};
use crate::text::{self, now_s};
use adit_link::{Door, LinkError, Target};
use adit_proto::pairing::{Channel, Expect, Made, PairingError, Request, Spend, redeem};
use adit_proto::token::{Kind, Token, TokenError};
use adit_wire::frame::{FLAG_END, Message as _};
use adit_wire::ids::{Mac, PublicKey, SourceId};
use adit_wire::pair::{Pair, Paired, Role};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

/// `pair.pending`: a pairing that may have happened at the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    token: String,
    key: String,
    role: String,
    addresses: Vec<String>,
}

/// How a pairing ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The token was spent now.
    Paired(Pin),
    /// An earlier pairing had worked, only its answer was lost.
    Finished(Pin),
    /// There was nothing to do.
    Already(Pin),
}

/// Reads a token's text.
///
/// # Errors
/// When it is no token, or one that a monitor made.
pub fn parse_token(text: &str) -> Result<Token, Failure> {
    let token = Token::parse(text).map_err(|error| {
        let next = if matches!(error, TokenError::Version(_)) {
            "install a newer adit"
        } else {
            "copy the whole line that `aditd token` printed; it begins with adit1"
        };
        Failure::new(Exit::Usage, error.to_string(), next)
    })?;
    if token.kind == Kind::Monitor {
        return Err(Failure::new(
            Exit::Usage,
            "this token was made by a monitor",
            "give it to `aditd pair` on the machine that is to be watched",
        ));
    }
    Ok(token)
}

/// Pairs this state directory by a token, at the first of these addresses where its maker answers.
///
/// # Errors
/// Why nothing is paired, and what to do.
pub fn pair(
    state: &StateDir,
    net: &Net,
    token: &Token,
    addresses: Vec<String>,
    role: Role,
    name: &str,
) -> Result<Outcome, Failure> {
    if let Some(pin) = Pin::read(state)? {
        return already(state, token, pin);
    }
    let identity = state.identity_or_new()?;
    if let Some(pending) = state.read_toml::<Pending>(names::PENDING_PAIR)?
        && let Some(pin) = finish(state, net, &identity, &pending)?
    {
        return Ok(Outcome::Finished(pin));
    }
    let way = Way::new(identity, token.maker, "the box".to_owned(), targets(&addresses)?);
    let pending = Pending {
        token: token.id().to_string(),
        key: token.maker.to_string(),
        role: role.word().to_owned(),
        addresses: addresses.clone(),
    };
    state.write_toml(names::PENDING_PAIR, &pending)?;
    let made = match net.run(spend(state, &way, token, role, name)) {
        Ok(made) => made,
        Err(failure) => {
            // A plain "no" means that nothing happened there; anything else may have lost the answer only.
            if failure.exit == Exit::Refused {
                state.remove(names::PENDING_PAIR)?;
            }
            return Err(failure);
        }
    };
    let pin = pin_of(token.maker, role, addresses, &made);
    pin.write(state)?;
    state.remove(names::PENDING_PAIR)?;
    Ok(Outcome::Paired(pin))
}

fn already(state: &StateDir, token: &Token, pin: Pin) -> Result<Outcome, Failure> {
    if pin.public_key(state)? == token.maker {
        return Ok(Outcome::Already(pin));
    }
    Err(Failure::new(
        Exit::Usage,
        format!("this machine is paired with {}, and the token is of another box", pin.called()),
        "`adit unpair` first, or use another --state directory for the other box",
    ))
}

/// The main door opens only if the box has pinned this key: then the pairing had worked.
fn finish(
    state: &StateDir,
    net: &Net,
    identity: &adit_link::Identity,
    pending: &Pending,
) -> Result<Option<Pin>, Failure> {
    let (Some(key), Some(role)) = (text::public_key(&pending.key), Role::from_word(&pending.role)) else {
        return Ok(None);
    };
    let way = Way::new(identity.clone(), key, "the box".to_owned(), targets(&pending.addresses)?);
    let accepted = net.run(async {
        let link = way.dial(Door::Main).await.ok()?;
        let greeting = link.greeted().await.ok()?;
        link.close(None).await;
        Some(greeting)
    });
    let Some(greeting) = accepted else { return Ok(None) };
    let mut pin = Pin {
        key: key.to_string(),
        name: String::new(),
        role: role.word().to_owned(),
        store: String::new(),
        addresses: pending.addresses.clone(),
        address_record: String::new(),
        certified_epoch: 0,
        paired_s: now_s(),
    };
    pin.accept_record(&greeting.address_record);
    pin.write(state)?;
    state.remove(names::PENDING_PAIR)?;
    Ok(Some(pin))
}

async fn spend(state: &StateDir, way: &Way, token: &Token, role: Role, name: &str) -> Result<Made, Failure> {
    let link = way.connect(Door::Pair).await?;
    let channel = Channel { binding: link.channel_binding(), maker: link.peer(), redeemer: way.identity.public_key() };
    let (body, expect) = request(state, token, role, name, &channel)?;
    let failed = |error: &LinkError| net::link_failure(error);
    let conversation = link.open().map_err(|error| failed(&error))?;
    conversation.send_parts(Pair::KIND, FLAG_END, &[&body]).await.map_err(|error| failed(&error))?;
    let frame = net::answer(&conversation).await?;
    if frame.kind != Paired::KIND {
        return Err(failed(&LinkError::Unexpected { expected: Paired::KIND, got: frame.kind }));
    }
    let made = expect.check(&frame.body, &hmac_sha256).map_err(|error| proof_failure(&error))?;
    link.close(None).await;
    Ok(made)
}

fn request(
    state: &StateDir,
    token: &Token,
    role: Role,
    name: &str,
    channel: &Channel,
) -> Result<(Vec<u8>, Expect), Failure> {
    let mut request = Request {
        role,
        name,
        source: SourceId::ZERO,
        signing_key: PublicKey::ZERO,
        recovery_key: PublicKey::ZERO,
        certificate: &[],
    };
    let certificate;
    if role == Role::Source {
        let keys = source::keys(state)?;
        certificate = source::certificate(state)?.unwrap_or_default();
        request.source = keys.source();
        request.signing_key = keys.signing().public();
        request.recovery_key = source::recovery_signing_key(state)?;
        request.certificate = &certificate;
    }
    redeem(&Spend::of(token), channel, &request, &hmac_sha256)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "check the name and the role"))
}

fn pin_of(key: PublicKey, role: Role, mut addresses: Vec<String>, made: &Made) -> Pin {
    addresses.extend(made.addresses.iter().map(ToString::to_string));
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|address| seen.insert(address.clone()));
    Pin {
        key: key.to_string(),
        name: made.name.clone(),
        role: role.word().to_owned(),
        store: if made.store.is_zero() { String::new() } else { made.store.to_string() },
        addresses,
        address_record: String::new(),
        certified_epoch: 0,
        paired_s: now_s(),
    }
}

fn targets(addresses: &[String]) -> Result<Vec<Target>, Failure> {
    addresses
        .iter()
        .map(|address| {
            Target::parse(address)
                .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "make a token with a usable address"))
        })
        .collect()
}

fn proof_failure(error: &PairingError) -> Failure {
    Failure::new(Exit::Refused, error.to_string(), "make a new token on the box and try again on a network you trust")
}

fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> Mac {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    Mac::from_slice(context.sign().as_ref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_proto::token::{Address, Secret};
    use std::net::Ipv6Addr;

    fn token(kind: Kind) -> Token {
        let addresses = vec![Address::Ip(Ipv6Addr::LOCALHOST, 9)];
        Token { kind, maker: PublicKey([3; 32]), secret: Secret::new([4; 16]), addresses }
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let mut key = [0u8; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac_sha256(&key, &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac.to_string(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn wrong_tokens_are_told() {
        let monitor = token(Kind::Monitor).to_text().unwrap();
        assert!(parse_token(&monitor).unwrap_err().next.contains("aditd pair"));
        let mut text = token(Kind::Agent).to_text().unwrap();
        parse_token(&text).unwrap();
        let last = text.pop().unwrap();
        text.push(if last == 'q' { 'p' } else { 'q' });
        assert_eq!(parse_token(&text).unwrap_err().what, "token has a typing error or is cut off");
        let failure = parse_token("hello").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.next.contains("adit1"), "{failure:?}");
    }

    #[test]
    fn a_paired_machine_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().to_owned());
        let token = token(Kind::Agent);
        let made = Made {
            role: Role::Source,
            name: "cellar".to_owned(),
            addresses: token.addresses.clone(),
            store: adit_wire::ids::StoreId([1; 16]),
            newest_seq: 0,
            newest_head: adit_wire::ids::Id::ZERO,
        };
        let pin = pin_of(token.maker, Role::Source, vec!["[::1]:9".to_owned()], &made);
        assert_eq!(pin.addresses, ["[::1]:9"], "the same address is kept once");
        pin.write(&state).unwrap();
        let net = Net::start().unwrap();
        assert_eq!(pair(&state, &net, &token, Vec::new(), Role::Source, "web1").unwrap(), Outcome::Already(pin));
        let other = Token { maker: PublicKey([5; 32]), ..token };
        assert_eq!(pair(&state, &net, &other, Vec::new(), Role::Source, "web1").unwrap_err().exit, Exit::Usage);
    }
}
