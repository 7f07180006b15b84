// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Frames that wait to be written. Senders append whole frames to one buffer; the writer swaps it for the other and
//! writes it in one go, so small frames share segments and nothing is allocated while a link streams.
//!
//! Space is given out in the order of asking, frame by frame, so no conversation starves another. What bypasses the
//! queue (PING, PONG, Goodbye, the refusal of a dropped conversation) is bounded by itself.

use crate::limits::OUT_BYTES_MAX;
use crate::lock;
use adit_wire::frame::{FLAG_END, FrameError, Header, Message, PREFIX_BYTES, RECORD_BODY_BYTES_MAX};
use adit_wire::link::{Goodbye, Ping, Pong};
use std::sync::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};

/// A buffer that grew beyond this gives its memory back when the link falls idle.
const IDLE_BYTES_MAX: usize = 64 << 10;
/// The most that waits by itself: one frame longer than all the space.
const WAITING_BYTES_MAX: usize = RECORD_BODY_BYTES_MAX + PREFIX_BYTES;
/// Beyond that, for frames that may not wait for space.
const URGENT_BYTES_MAX: usize = 64 << 10;
const _: () = assert!(WAITING_BYTES_MAX >= OUT_BYTES_MAX);

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) bytes: Vec<u8>,
    /// Space that the frames in `bytes` took; `charged <= bytes.len()`.
    charged: usize,
    ping: Option<u64>,
    pong: Option<u64>,
    goodbye: Option<u16>,
    frames: u64,
}

impl Waiting {
    /// Appends a frame.
    pub(crate) fn append(&mut self, header: &Header, body: &[&[u8]]) -> Result<(), FrameError> {
        let prefix = header.prefix(body.iter().map(|part| part.len()).sum())?;
        self.bytes.extend_from_slice(&prefix);
        body.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.frames += 1;
        Ok(())
    }

    /// As [`Waiting::append`], for bytes whose space was acquired.
    pub(crate) fn append_charged(&mut self, header: &Header, body: &[&[u8]]) -> Result<(), FrameError> {
        let before = self.bytes.len();
        self.append(header, body)?;
        self.charged += space_of(self.bytes.len() - before - PREFIX_BYTES);
        Ok(())
    }

    fn append_link<'a, M: Message<'a>>(&mut self, message: &M, flags: u8) {
        let mut body = [0; 16];
        let header = Header { kind: M::KIND, flags, conversation: 0 };
        let body = message.encode(&mut body).expect("link messages without text are short");
        self.append(&header, &[body]).expect("link messages without text are short");
    }
}

/// What the writer took.
#[derive(Debug)]
pub(crate) struct Taken {
    /// To give back with [`Outbox::written`].
    pub(crate) charged: usize,
    /// Goodbye is the last frame in it.
    pub(crate) last: bool,
}

/// The space that a frame takes. One longer than all the space takes all of it, so it waits alone.
const fn space_of(body_bytes: usize) -> usize {
    let bytes = body_bytes.saturating_add(PREFIX_BYTES);
    if bytes < OUT_BYTES_MAX { bytes } else { OUT_BYTES_MAX }
}

/// The queue of one link.
#[derive(Debug)]
pub(crate) struct Outbox {
    space: Semaphore,
    work: Notify,
    waiting: Mutex<Waiting>,
}

/// The link has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl Outbox {
    pub(crate) fn new() -> Self {
        Self { space: Semaphore::new(OUT_BYTES_MAX), work: Notify::new(), waiting: Mutex::default() }
    }

    /// Waits until a frame with such a body fits. The space is the caller's from then on: it appends at once.
    pub(crate) async fn acquire(&self, body_bytes: usize) -> Result<(), Ended> {
        let bytes = u32::try_from(space_of(body_bytes)).map_err(|_| Ended)?;
        self.space.acquire_many(bytes).await.map_err(|_| Ended)?.forget();
        Ok(())
    }

    /// Gives acquired space back unused.
    pub(crate) fn release(&self, body_bytes: usize) {
        self.space.add_permits(space_of(body_bytes));
    }

    /// What waits, to append to; [`Outbox::wake`] follows.
    pub(crate) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    pub(crate) fn wake(&self) {
        self.work.notify_one();
    }

    /// Appends without waiting for space.
    ///
    /// # Errors
    /// When the peer has left too much unread.
    pub(crate) fn append_urgent(&self, header: &Header, body: &[&[u8]]) -> Result<(), Ended> {
        let mut waiting = self.waiting();
        if waiting.bytes.len() > WAITING_BYTES_MAX + URGENT_BYTES_MAX {
            return Err(Ended);
        }
        waiting.append(header, body).map_err(|_| Ended)?;
        drop(waiting);
        self.wake();
        Ok(())
    }

    pub(crate) fn ping(&self, nonce: u64) {
        self.waiting().ping = Some(nonce);
        self.wake();
    }

    /// Only the newest PING is answered, so a flood of them costs nothing.
    pub(crate) fn pong(&self, nonce: u64) {
        self.waiting().pong = Some(nonce);
        self.wake();
    }

    /// Goodbye follows what waits now; nothing follows Goodbye.
    pub(crate) fn goodbye(&self, code: u16) {
        self.waiting().goodbye.get_or_insert(code);
        self.space.close();
        self.wake();
    }

    /// No frame comes any more.
    pub(crate) fn close(&self) {
        self.space.close();
    }

    /// Waits until there may be something to write.
    pub(crate) async fn work(&self) {
        self.work.notified().await;
    }

    /// Swaps what waits for the writer's empty buffer.
    pub(crate) fn take(&self, empty: &mut Vec<u8>) -> Taken {
        debug_assert!(empty.is_empty(), "the writer has written what it took");
        let mut waiting = self.waiting();
        if let Some(nonce) = waiting.pong.take() {
            waiting.append_link(&Pong { nonce }, 0);
        }
        if let Some(nonce) = waiting.ping.take() {
            waiting.append_link(&Ping { nonce }, 0);
        }
        let goodbye = waiting.goodbye.take();
        if let Some(code) = goodbye {
            waiting.append_link(&Goodbye { code }, FLAG_END);
        }
        std::mem::swap(&mut waiting.bytes, empty);
        Taken { charged: std::mem::take(&mut waiting.charged), last: goodbye.is_some() }
    }

    /// What was taken is on its way.
    pub(crate) fn written(&self, charged: usize) {
        self.space.add_permits(charged);
    }

    /// Frames appended up to now.
    pub(crate) fn frames(&self) -> u64 {
        self.waiting().frames
    }

    /// Gives memory back while nothing is sent.
    pub(crate) fn rest(&self) {
        let mut waiting = self.waiting();
        if waiting.bytes.is_empty() && waiting.bytes.capacity() > IDLE_BYTES_MAX {
            waiting.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_wire::frame::Kind;
    use std::sync::Arc;

    const REC: Header = Header {
        kind: Kind { service: 2, method: adit_wire::backup::METHOD_REC, major: 1 },
        flags: 0,
        conversation: 1,
    };

    async fn fill(outbox: &Outbox, body: &[u8]) {
        outbox.acquire(body.len()).await.unwrap();
        outbox.waiting().append_charged(&REC, &[body]).unwrap();
    }

    #[tokio::test]
    async fn space_is_bounded_and_comes_back() {
        let outbox = Arc::new(Outbox::new());
        let body = vec![7; OUT_BYTES_MAX / 2 - PREFIX_BYTES];
        fill(&outbox, &body).await;
        fill(&outbox, &body).await;
        let third = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.acquire(1).await }
        });
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "two frames of half the space leave none");
        let mut buffer = Vec::new();
        let taken = outbox.take(&mut buffer);
        assert_eq!((buffer.len(), taken.charged), (OUT_BYTES_MAX, OUT_BYTES_MAX));
        outbox.written(taken.charged);
        third.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_longest_frame_waits_alone_and_gives_back_what_it_took() {
        let outbox = Outbox::new();
        for _ in 0..3 {
            fill(&outbox, &vec![7; RECORD_BODY_BYTES_MAX]).await;
            assert_eq!(outbox.space.available_permits(), 0);
            let mut buffer = Vec::new();
            let taken = outbox.take(&mut buffer);
            assert_eq!(buffer.len(), RECORD_BODY_BYTES_MAX + PREFIX_BYTES);
            outbox.written(taken.charged);
            assert_eq!(outbox.space.available_permits(), OUT_BYTES_MAX);
        }
        outbox.acquire(77).await.unwrap();
        outbox.release(77);
        assert_eq!(outbox.space.available_permits(), OUT_BYTES_MAX);
    }

    #[test]
    fn floods_of_ping_leave_one_pong() {
        let outbox = Outbox::new();
        (0..1_000_000).for_each(|nonce| outbox.pong(nonce));
        let mut buffer = Vec::new();
        outbox.take(&mut buffer);
        assert!(buffer.len() <= PREFIX_BYTES + 10, "{} bytes", buffer.len());
    }

    #[test]
    fn urgent_frames_are_bounded_too() {
        let outbox = Outbox::new();
        let refused = (0..10_000_000).position(|_| outbox.append_urgent(&REC, &[&[0; 200]]).is_err());
        assert!(refused.is_some_and(|count| count * 212 <= WAITING_BYTES_MAX + URGENT_BYTES_MAX + 424), "{refused:?}");
    }

    #[tokio::test]
    async fn nothing_follows_goodbye() {
        let outbox = Outbox::new();
        outbox.goodbye(0);
        assert!(outbox.acquire(1).await.is_err());
        let mut buffer = Vec::new();
        assert!(outbox.take(&mut buffer).last);
    }
}
