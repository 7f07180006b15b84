// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Passes an admin's orders on to the first process of the machine, where that is adit's own, and its answers back. The
//! agent has no right to do any of it; the first process trusts whoever may open its socket to have checked the role.

use super::ServeError;
use adit_link::{Conversation, Frame, LinkError};
use adit_wire::appliance::UpdatePart;
use adit_wire::frame::{FLAG_END, Header, METHOD_REFUSED, Message, PREFIX_BYTES};
use adit_wire::refusal::Code;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;

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

async fn relay(socket: &Path, first: Frame, conversation: &Conversation) -> Result<(), ServeError> {
    let stream = UnixStream::connect(socket).await.map_err(|_| ServeError::refused(Code::NoAppliance))?;
    let (mut answers, mut orders) = stream.into_split();
    let mut more = !first.ends();
    orders.write_all(&bytes(&first)?).await.map_err(|_| silent())?;
    // Reading a frame is no single step, so it goes on while orders come in.
    let mut answer = Box::pin(next(&mut answers));
    loop {
        tokio::select! {
            answered = &mut answer => {
                drop(answer);
                let (header, body) = answered?;
                conversation.send_parts(header.kind, header.flags, &[&body]).await?;
                if header.ends() || header.kind.method == METHOD_REFUSED {
                    return Ok(());
                }
                answer = Box::pin(next(&mut answers));
            }
            order = conversation.recv_within(SILENT_MAX), if more => match order {
                // The table of roles was asked about the first frame alone; this is all that may follow it.
                Ok(Some(frame)) if frame.kind != <UpdatePart<'_> as Message<'_>>::KIND => {
                    return Err(ServeError::refused(Code::Protocol));
                }
                Ok(Some(frame)) => {
                    more = !frame.ends();
                    orders.write_all(&bytes(&frame)?).await.map_err(|_| silent())?;
                }
                Ok(None) => more = false,
                Err(LinkError::Deadline(_)) => return Err(ServeError::refused(Code::Deadline)),
                Err(error) => return Err(error.into()),
            },
        }
    }
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
