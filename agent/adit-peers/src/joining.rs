// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The redeemer's side of a pairing over the link: dial the token's maker at the pairing door, say PAIR once, check PAIRED.
//! What becomes durable before and after is the caller's business.

use crate::pairing::hmac;
use adit_link::{About, Deadlines, DialError, Door, Identity, Link, LinkError, Target, dial};
use adit_proto::pairing::{Channel, Made, PairingError, Request, Spend, redeem};
use adit_proto::token::Token;
use adit_wire::frame::{FLAG_END, Message};
use adit_wire::ids::{PublicKey, SourceId};
use adit_wire::pair::{Pair, Role};
use std::time::Duration;

/// How long the maker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why a token was not redeemed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The maker is not reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It refused, or the link ended.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It closed without a word.
    #[error("the other side closed without an answer")]
    Silent,
    /// Its answer is wrong, or the request was.
    #[error(transparent)]
    Pairing(#[from] PairingError),
}

/// The addresses of a token.
#[must_use]
pub fn targets(token: &Token) -> Vec<Target> {
    token.addresses.iter().filter_map(|address| Target::parse(&address.to_string()).ok()).collect()
}

/// Whether the maker takes this machine for its peer already: the answer of an earlier attempt was lost on the way.
pub async fn is_known(token: &Token, identity: &Identity, about: &About) -> bool {
    let link = dial(&targets(token), Door::Main, identity, token.maker, about, Deadlines::default()).await;
    let Ok(link) = link else { return false };
    let known = link.greeted().await.is_ok();
    link.close(None).await;
    known
}

/// Redeems a token, by which this machine and the maker are monitor and agent of each other: `name` is this machine's own.
///
/// # Errors
/// When the maker is not reached or refuses.
pub async fn join(token: &Token, identity: &Identity, name: &str, about: &About) -> Result<Made, JoinError> {
    let link = dial(&targets(token), Door::Pair, identity, token.maker, about, Deadlines::default()).await?;
    let made = converse(&link, token, identity, name).await;
    link.close(None).await;
    made
}

async fn converse(link: &Link, token: &Token, identity: &Identity, name: &str) -> Result<Made, JoinError> {
    let channel = Channel { binding: link.channel_binding(), maker: token.maker, redeemer: identity.public_key() };
    let request = Request {
        role: Role::Monitor,
        name,
        source: SourceId::ZERO,
        signing_key: PublicKey::ZERO,
        recovery_key: PublicKey::ZERO,
        certificate: &[],
    };
    let (body, expect) = redeem(&Spend::of(token), &channel, &request, &hmac)?;
    let conversation = link.open()?;
    conversation.send_parts(<Pair<'_> as Message<'_>>::KIND, FLAG_END, &[&body]).await?;
    let answer = conversation.recv_within(ANSWER_WITHIN).await?.ok_or(JoinError::Silent)?;
    Ok(expect.check(&answer.body, &hmac)?)
}
