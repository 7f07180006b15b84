// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Passes orders of an admin, and questions of others, on to the first process of the machine, where that is adit's own, and
//! its answers back. The agent has no right to do any of it; the first process trusts whoever may open its socket to have
//! checked the role.

use super::ServeError;
use adit_link::{Conversation, Frame, LinkError};
use adit_wire::appliance::{Update, UpdatePart};
use adit_wire::frame::{FLAG_END, Header, Kind, METHOD_REFUSED, Message, PREFIX_BYTES};
use adit_wire::refusal::Code;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// Where the first process listens.
const SOCKET: &str = "/run/adit/init.sock";
/// Longest body of its answers, bytes: a list of disks.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How long it may be silent while it works. A large file system is made within seconds, an update is checked in a minute.
const SILENT_MAX: Duration = Duration::from_secs(120);

/// Serves one conversation of service 7.
pub(super) async fn serve(frame: Frame, conversation: &Conversation) -> Result<(), ServeError> {
    relay(Path::new(SOCKET), frame, conversation).await
}

/// Answers one question of the console: an order that is one frame, with an answer of one frame.
pub(crate) async fn answer(kind: Kind, body: &[u8]) -> Result<(Kind, Vec<u8>), ServeError> {
    ask(Path::new(SOCKET), &Frame { kind, flags: FLAG_END, body: body.to_vec() }).await
}

async fn ask(socket: &Path, order: &Frame) -> Result<(Kind, Vec<u8>), ServeError> {
    let (mut answers, mut orders) = reach(socket).await?;
    orders.write_all(&bytes(order)?).await.map_err(|_| silent())?;
    let (header, body) = next(&mut answers).await?;
    Ok((header.kind, body))
}

async fn reach(socket: &Path) -> Result<(OwnedReadHalf, OwnedWriteHalf), ServeError> {
    let stream = UnixStream::connect(socket).await.map_err(|_| ServeError::refused(Code::NoAppliance))?;
    Ok(stream.into_split())
}

async fn relay(socket: &Path, first: Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let (mut answers, mut orders) = reach(socket).await?;
    let answering = async {
        loop {
            let (header, body) = next(&mut answers).await?;
            conversation.send_parts(header.kind, header.flags, &[&body]).await?;
            if header.ends() || header.kind.method == METHOD_REFUSED {
                return Ok(());
            }
        }
    };
    tokio::pin!(answering);
    tokio::select! {
        // Who refuses hangs up with orders unread: what was answered counts more than that they went nowhere.
        biased;
        answered = &mut answering => answered,
        ordered = pass(first, conversation, &mut orders) => {
            ordered?;
            answering.await
        }
    }
}

/// Passes orders on until the last one, or until nobody takes them: then the answers say why.
async fn pass(first: Frame, conversation: &Conversation, orders: &mut OwnedWriteHalf) -> Result<(), ServeError> {
    // The table of roles was asked about the first frame alone; parts of an announced update are all that may follow it.
    let announced = first.kind == Update::KIND;
    let mut order = first;
    while orders.write_all(&bytes(&order)?).await.is_ok() && !order.ends() {
        order = match conversation.recv_within(SILENT_MAX).await {
            Ok(Some(part)) if announced && part.kind == <UpdatePart<'_> as Message<'_>>::KIND => part,
            Ok(Some(_)) => return Err(ServeError::refused(Code::Protocol)),
            Ok(None) => break,
            Err(LinkError::Deadline(_)) => return Err(ServeError::refused(Code::Deadline)),
            Err(error) => return Err(error.into()),
        };
    }
    Ok(())
}

fn silent() -> ServeError {
    ServeError::detailed(Code::Internal, "the first process of the machine does not answer")
}

/// A frame as it stands on a wire.
fn bytes(frame: &Frame) -> Result<Vec<u8>, ServeError> {
    let header = Header { kind: frame.kind, flags: if frame.ends() { FLAG_END } else { 0 }, conversation: 1 };
    let prefix = header.prefix(frame.body.len()).map_err(|error| ServeError::Link(error.into()))?;
    Ok([&prefix, &frame.body[..]].concat())
}

/// The next answer.
async fn next(stream: &mut OwnedReadHalf) -> Result<(Header, Vec<u8>), ServeError> {
    let read = async {
        let mut prefix = [0; PREFIX_BYTES];
        stream.read_exact(&mut prefix).await.ok()?;
        let (header, body_bytes) = Header::from_prefix(&prefix, ANSWER_BYTES_MAX).ok()?;
        let mut body = vec![0; body_bytes];
        stream.read_exact(&mut body).await.ok()?;
        Some((header, body))
    };
    tokio::time::timeout(SILENT_MAX, read).await.ok().flatten().ok_or_else(silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_link::{About, Deadlines, Door, Gate, Identity, Limits, Link, Listener, Target, dial};
    use adit_wire::appliance::{Disks, DisksListed, Look, Restart, Staged, UPDATE_PART_BYTES_MAX, UpdateAt};
    use adit_wire::ids::PublicKey;
    use adit_wire::list::Parts;
    use adit_wire::refusal::Refused;
    use std::future::Future;
    use std::net::{Ipv6Addr, SocketAddrV6};
    use std::sync::Arc;
    use tokio::net::UnixListener;

    struct Everybody;

    impl Gate for Everybody {
        fn pinned(&self, _: &PublicKey) -> bool {
            true
        }
        fn pairing_open(&self) -> bool {
            false
        }
        fn recovery_open(&self) -> bool {
            false
        }
    }

    /// A link from an admin to an agent, and the socket of a first process that a test plays.
    struct Machine {
        admin: Link,
        agent: Link,
        first: UnixListener,
        dir: tempfile::TempDir,
    }

    impl Machine {
        async fn new() -> Self {
            let key = Identity::from_seed([1; 32]);
            let address = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);
            let mut listener =
                Listener::bind(address, key.clone(), Arc::new(Everybody), About::default(), Limits::default())
                    .await
                    .expect("listens");
            let targets = [Target::Address(listener.local_address())];
            let about = About::default();
            let admin = Identity::from_seed([2; 32]);
            let dialled = dial(&targets, Door::Main, &admin, key.public_key(), &about, Deadlines::default());
            let admin = dialled.await.expect("linked");
            let agent = listener.accept().await.expect("linked").link;
            let dir = tempfile::tempdir().expect("directory");
            let first = UnixListener::bind(dir.path().join("init.sock")).expect("listens");
            Self { admin, agent, first, dir }
        }

        /// The admin orders, the first process does as `acts` says, and `hears` is what the admin hears of it. Answers
        /// how the relay ended.
        async fn order<'m, M, A, H>(
            &self,
            order: &M,
            acts: impl FnOnce(UnixStream) -> A,
            hears: impl FnOnce(Conversation) -> H,
        ) -> Result<(), Option<Code>>
        where
            M: Message<'m>,
            A: Future<Output = ()>,
            H: Future<Output = ()>,
        {
            let asked = self.admin.open().expect("open");
            asked.send(order, false).await.expect("sent");
            let (frame, served) = self.agent.incoming().await.expect("arrives");
            let socket = self.dir.path().join("init.sock");
            let acts = async { acts(self.first.accept().await.expect("connects").0).await };
            let relayed = async {
                let ended = relay(&socket, frame, &served).await;
                // As it is told in the agent; the admin waits for it.
                if let Err(ServeError::Refused { code, detail, .. }) = &ended {
                    served.refuse(*code, detail).await.expect("told");
                }
                ended.map_err(|error| refused(&error))
            };
            let all = async { tokio::join!(relayed, acts, hears(asked)).0 };
            tokio::time::timeout(Duration::from_secs(60), all).await.expect("within a minute")
        }
    }

    fn refused(error: &ServeError) -> Option<Code> {
        if let ServeError::Refused { code, .. } = error { Some(*code) } else { None }
    }

    /// What came over the socket next.
    async fn taken(stream: &mut UnixStream) -> (Kind, Vec<u8>) {
        let mut prefix = [0; PREFIX_BYTES];
        stream.read_exact(&mut prefix).await.expect("a frame");
        let (header, body_bytes) = Header::from_prefix(&prefix, UPDATE_PART_BYTES_MAX + 64).expect("a frame");
        let mut body = vec![0; body_bytes];
        stream.read_exact(&mut body).await.expect("its body");
        (header.kind, body)
    }

    async fn say<'m, M: Message<'m>>(stream: &mut UnixStream, message: &M, flags: u8) {
        say_as(stream, M::KIND, &adit_proto::encode::body(message).expect("fits"), flags).await;
    }

    async fn say_as(stream: &mut UnixStream, kind: Kind, body: &[u8], flags: u8) {
        let prefix = Header { kind, flags, conversation: 1 }.prefix(body.len()).expect("fits");
        stream.write_all(&[&prefix, body].concat()).await.expect("written");
    }

    /// The code of the refusal that an admin hears.
    async fn hears_no(conversation: &Conversation) -> Option<(Option<Code>, String)> {
        match conversation.recv().await {
            Err(LinkError::Refused(refusal)) => Some((refusal.code, refusal.detail)),
            _ => None,
        }
    }

    const UPDATE: Update = Update { bytes: 3 * UPDATE_PART_BYTES_MAX as u64, hash: [7; 32] };

    #[tokio::test]
    async fn an_update_passes_part_by_part() {
        let part = |index: u64| {
            let bytes = vec![u8::try_from(index).expect("small"); UPDATE_PART_BYTES_MAX];
            (index * UPDATE_PART_BYTES_MAX as u64, bytes)
        };
        let acts = |mut stream: UnixStream| async move {
            let (kind, body) = taken(&mut stream).await;
            assert_eq!((kind, Update::decode(&body)), (Update::KIND, Ok(UPDATE)));
            say(&mut stream, &UpdateAt { offset: 0 }, 0).await;
            for index in 0..3 {
                let (_, body) = taken(&mut stream).await;
                let got = UpdatePart::decode(&body).expect("a part");
                let (offset, bytes) = part(index);
                assert_eq!((got.offset, got.bytes == bytes), (offset, true));
                say(&mut stream, &UpdateAt { offset: offset + bytes.len() as u64 }, 0).await;
            }
            say(&mut stream, &Staged { version: (1, 2, 3) }, FLAG_END).await;
        };
        let hears = |asked: Conversation| async move {
            let mut offsets = Vec::new();
            for index in 0..3 {
                let (offset, bytes) = part(index);
                asked.send(&UpdatePart { offset, bytes: &bytes }, false).await.expect("sent");
            }
            loop {
                let frame = asked.recv().await.expect("answered").expect("more");
                if let Ok(UpdateAt { offset }) = frame.message() {
                    offsets.push(offset / UPDATE_PART_BYTES_MAX as u64);
                } else {
                    assert_eq!(frame.message::<Staged>().expect("staged").version, (1, 2, 3));
                    assert!(frame.ends());
                    break;
                }
            }
            assert_eq!(offsets, [0, 1, 2, 3]);
        };
        assert_eq!(Machine::new().await.order(&UPDATE, acts, hears).await, Ok(()));
    }

    #[tokio::test]
    async fn a_refusal_is_heard_however_much_was_under_way() {
        let machine = Machine::new().await;
        for _ in 0..20 {
            let acts = |mut stream: UnixStream| async move {
                taken(&mut stream).await;
                let kind = Kind { method: METHOD_REFUSED, ..Update::KIND };
                let no = Refused { code: Code::UpdateFormat as u16, retry_after_s: 0, detail: "no update" };
                say_as(&mut stream, kind, &adit_proto::encode::body(&no).expect("fits"), FLAG_END).await;
            };
            let hears = |asked: Conversation| async move {
                let bytes = vec![1; UPDATE_PART_BYTES_MAX];
                for index in 0..4 {
                    asked.send(&UpdatePart { offset: index, bytes: &bytes }, false).await.expect("sent");
                }
                assert_eq!(hears_no(&asked).await, Some((Some(Code::UpdateFormat), "no update".to_owned())));
            };
            assert_eq!(machine.order(&UPDATE, acts, hears).await, Ok(()));
        }
    }

    #[tokio::test]
    async fn who_hangs_up_before_the_end_is_told_as_ours() {
        let acts = |mut stream: UnixStream| async move {
            taken(&mut stream).await;
            say(&mut stream, &UpdateAt { offset: 0 }, 0).await;
            // Half a prefix, then nothing.
            stream.write_all(&[0; PREFIX_BYTES / 2]).await.expect("written");
        };
        let hears = |asked: Conversation| async move {
            assert!(asked.recv().await.expect("answered").expect("more").message::<UpdateAt>().is_ok());
            assert_eq!(hears_no(&asked).await.expect("refused").0, Some(Code::Internal));
        };
        assert_eq!(Machine::new().await.order(&UPDATE, acts, hears).await, Err(Some(Code::Internal)));
    }

    #[tokio::test]
    async fn the_console_gets_one_answer() {
        let machine = Machine::new().await;
        let acts = async {
            let (mut stream, _) = machine.first.accept().await.expect("connects");
            let (kind, body) = taken(&mut stream).await;
            assert_eq!((kind, body.as_slice()), (Disks::KIND, &b""[..]));
            let disks = DisksListed { disks: Parts::new(&[]) };
            say(&mut stream, &disks, FLAG_END).await;
        };
        let order = Frame { kind: Disks::KIND, flags: FLAG_END, body: Vec::new() };
        let socket = machine.dir.path().join("init.sock");
        let (answer, ()) = tokio::join!(ask(&socket, &order), acts);
        let (kind, body) = answer.expect("answered");
        assert_eq!(
            (kind, DisksListed::decode(&body).map(|listed| listed.disks.iter().count())),
            (DisksListed::KIND, Ok(0))
        );
    }

    #[tokio::test]
    async fn nothing_but_parts_of_an_announced_update_may_follow() {
        let machine = Machine::new().await;
        let hears = |asked: Conversation| async move {
            assert_eq!(hears_no(&asked).await.expect("refused").0, Some(Code::Protocol));
        };
        // Whoever may look must not get further orders past the table of roles.
        let followed_by_restart = move |asked: Conversation| async move {
            asked.send(&Restart { back: false }, true).await.expect("sent");
            hears(asked).await;
        };
        let followed_by_part = move |asked: Conversation| async move {
            asked.send(&UpdatePart { offset: 0, bytes: b"bytes" }, true).await.expect("sent");
            hears(asked).await;
        };
        let acts = |mut stream: UnixStream| async move {
            taken(&mut stream).await;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.expect("the end");
            assert_eq!(rest, b"", "what may not follow reached the first process");
        };
        assert_eq!(machine.order(&UPDATE, acts, followed_by_restart).await, Err(Some(Code::Protocol)));
        assert_eq!(machine.order(&Look {}, acts, followed_by_restart).await, Err(Some(Code::Protocol)));
        assert_eq!(machine.order(&Disks {}, acts, followed_by_part).await, Err(Some(Code::Protocol)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_a_limit_in_time_and_length() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (mut answers, _orders) = ours.into_split();
        let began = tokio::time::Instant::now();
        assert_eq!(next(&mut answers).await.map_err(|error| refused(&error)), Err(Some(Code::Internal)));
        assert_eq!(began.elapsed().as_secs(), SILENT_MAX.as_secs());
        for (body_bytes, taken) in [(ANSWER_BYTES_MAX, true), (ANSWER_BYTES_MAX + 1, false)] {
            let prefix = Header { kind: Look::KIND, flags: 0, conversation: 1 }.prefix(body_bytes).expect("fits");
            theirs.write_all(&prefix).await.expect("written");
            let body = vec![0; body_bytes];
            let (got, _written) = tokio::join!(next(&mut answers), theirs.write_all(&body));
            assert_eq!(got.is_ok(), taken, "{body_bytes}");
        }
    }
}
