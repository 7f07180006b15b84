// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a frame to a service: who asks, whether the table of roles allows it, and how "no" is said.
//!
//! Every first frame of a conversation passes [`route`], and a role is looked up for each of them, so that a change of the
//! peers counts at once. Services answer with values; refusing, counting and logging happen here.

mod admin;
pub(crate) mod appliance;
mod backup;
pub(crate) mod health;
mod keep;
pub(crate) mod pair;
mod read;
mod recover;
mod verify;

use crate::event::{Event, Events};
use crate::links::LinkId;
use crate::peers::SourceKeys;
use crate::shared::{Served, Shared};
use crate::store_thread::StoreGone;
use adit_link::{Conversation, Frame, Link, LinkError};
use adit_proto::roles::{self, Row, Who};
use adit_wire::frame::{Kind, MessageError, Service};
use adit_wire::ids::{ChannelBinding, PublicKey, SourceId};
use adit_wire::pair::Role;
use adit_wire::refusal::{Blame, Code, DETAIL_BYTES_MAX};
use std::collections::BTreeSet;
use std::net::SocketAddrV6;
use std::sync::{Arc, Mutex, PoisonError};

/// Who is at the other end of a link.
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    /// Its key.
    pub(crate) key: PublicKey,
    /// Its name at the time it connected, for events.
    pub(crate) name: String,
    pub(crate) remote: SocketAddrV6,
    pub(crate) binding: ChannelBinding,
    /// None at the recovery door.
    pub(crate) link: Option<LinkId>,
    /// The connection.
    pub(crate) transport: Arc<Link>,
    /// Sources whose records may be fetched on this link.
    opened: Mutex<BTreeSet<SourceId>>,
}

/// Why a conversation ended early.
#[derive(Debug)]
pub(crate) enum ServeError {
    /// The peer is told no.
    Refused { code: Code, retry_after_s: u32, detail: String },
    /// The link can't carry the answer.
    Link(LinkError),
}

impl ServeError {
    pub(crate) fn refused(code: Code) -> Self {
        Self::Refused { code, retry_after_s: 0, detail: String::new() }
    }

    pub(crate) fn detailed(code: Code, detail: impl Into<String>) -> Self {
        Self::Refused { code, retry_after_s: 0, detail: detail.into() }
    }
}

impl From<MessageError> for ServeError {
    fn from(error: MessageError) -> Self {
        Self::detailed(Code::Protocol, error.to_string())
    }
}

impl From<LinkError> for ServeError {
    fn from(error: LinkError) -> Self {
        if let LinkError::Message(error) = error {
            return error.into();
        }
        if matches!(error, LinkError::Unexpected { .. }) {
            return Self::detailed(Code::Protocol, error.to_string());
        }
        Self::Link(error)
    }
}

impl From<StoreGone> for ServeError {
    fn from(gone: StoreGone) -> Self {
        Self::refused(gone.code())
    }
}

impl Caller {
    /// A peer on the main door.
    pub(crate) fn peer(shared: Arc<Shared>, link: Arc<Link>, name: String, id: LinkId) -> Self {
        Self {
            shared,
            key: link.peer(),
            name,
            remote: link.remote(),
            binding: link.channel_binding(),
            link: Some(id),
            transport: link,
            opened: Mutex::default(),
        }
    }

    /// Somebody at the recovery door.
    pub(crate) fn stranger(shared: Arc<Shared>, link: Arc<Link>) -> Self {
        Self {
            shared,
            key: link.peer(),
            name: format!("recovery from [{}]", link.remote().ip()),
            remote: link.remote(),
            binding: link.channel_binding(),
            link: None,
            transport: link,
            opened: Mutex::default(),
        }
    }

    /// What the caller may do now; nothing when its key isn't a peer's any more.
    fn who(&self) -> Option<Who> {
        match self.link {
            None => Some(Who::Recovering),
            Some(_) => self.shared.peers().by_key(&self.key).map(|peer| Who::Peer(peer.role)),
        }
    }

    /// The source that the caller sends.
    fn own_source(&self) -> Option<SourceKeys> {
        let peers = self.shared.peers();
        peers.by_key(&self.key).filter(|peer| peer.role == Role::Source).and_then(|peer| peer.source.clone())
    }

    fn store(&self) -> Result<&Served, ServeError> {
        self.shared.store.as_ref().ok_or_else(|| ServeError::detailed(Code::NotServed, "this machine keeps no store"))
    }

    fn open_for_reading(&self, sources: impl IntoIterator<Item = SourceId>) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).extend(sources);
    }

    fn may_read(&self, source: &SourceId) -> bool {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).contains(source)
    }

    fn tell(&self, event: &Event) {
        self.shared.events.record(event);
    }
}

/// Serves one conversation that the other side opened.
pub(crate) async fn conversation(caller: Arc<Caller>, frame: Frame, conversation: Conversation) {
    let kind = frame.kind;
    caller.shared.heard_now(caller.key);
    let outcome = route(&caller, frame, &conversation).await;
    match outcome {
        Ok(()) => {}
        Err(ServeError::Link(error)) => {
            // How the link ended is told once, where it is served; here only what the peer did wrong.
            if matches!(error, LinkError::Frame(_) | LinkError::Protocol(_) | LinkError::Version { .. }) {
                let why = crate::report::chain(&error);
                caller.tell(&Event::ProtocolBroken { name: caller.name.clone(), why });
            }
        }
        Err(ServeError::Refused { code, retry_after_s, detail }) => {
            tell_refusal(&caller.shared.events, &caller.name, kind, code, &detail);
            // The link may be gone already; then nobody wants to hear it.
            let _unheard = conversation.refuse_for(code, retry_after_s, shorten(&detail)).await;
        }
    }
}

pub(crate) fn tell_refusal(events: &Events, name: &str, kind: Kind, code: Code, detail: &str) {
    let name = name.to_owned();
    let event = if code == Code::NotAllowed && detail.is_empty() {
        Event::NotAllowed { name, service: kind.service, method: kind.method }
    } else if code.blame() == Blame::Peer && matches!(code, Code::Protocol | Code::UnknownMethod) {
        Event::ProtocolBroken { name, why: format!("{} {detail}", code.text()) }
    } else {
        Event::Refused { name, code, detail: detail.to_owned() }
    };
    events.record(&event);
}

/// The longest beginning of a detail that fits a refusal.
pub(crate) fn shorten(detail: &str) -> &str {
    let mut end = detail.len().min(DETAIL_BYTES_MAX);
    while !detail.is_char_boundary(end) {
        end -= 1;
    }
    detail.get(..end).unwrap_or_default()
}

/// The row of a request that may open a conversation, when the table allows it to `who`.
pub(crate) fn admit(who: Who, kind: Kind) -> Result<&'static Row, ServeError> {
    let row = roles::row(kind).ok_or_else(|| ServeError::refused(Code::UnknownMethod))?;
    if !row.allows(who) {
        return Err(ServeError::refused(Code::NotAllowed));
    }
    if !row.opens {
        return Err(ServeError::detailed(Code::Protocol, "this request opens no conversation"));
    }
    Ok(row)
}

async fn route(caller: &Arc<Caller>, frame: Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let kind = frame.kind;
    let who = caller.who().ok_or_else(|| ServeError::refused(Code::NotAllowed))?;
    match admit(who, kind)?.service {
        Service::Backup if kind == <adit_wire::backup::Certify<'_> as adit_wire::frame::Message<'_>>::KIND => {
            backup::certify(caller, &frame, conversation).await
        }
        Service::Backup => backup::serve(caller, frame, conversation).await,
        Service::Read => read::serve(caller, &frame, conversation).await,
        Service::Recover => recover::serve(caller, &frame, conversation).await,
        Service::Health => health::serve(caller, &frame, conversation).await,
        Service::Admin => admin::serve(caller, &frame, conversation).await,
        Service::Appliance => appliance::serve(frame, conversation).await,
        // Pairing has its own door, and the link answers for itself.
        Service::Pair | Service::Link => Err(ServeError::refused(Code::UnknownMethod)),
    }
}
