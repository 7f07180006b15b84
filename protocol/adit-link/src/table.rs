// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of a link's open conversations: whose each number is, which half has ended, where its frames go. Pure
//! bookkeeping under one lock; it reads no socket and waits for nothing.

use crate::conversation::Queued;
use crate::limits::LATE_FRAMES_MAX;
use crate::link::{LinkError, Side};
use adit_wire::link::CONVERSATIONS_MAX;
use std::collections::HashMap;
use tokio::sync::mpsc::UnboundedSender;

/// One open conversation.
#[derive(Debug)]
struct Entry {
    /// Where its frames go; `None` once the peer has ended its half or the owner has dropped it.
    queue: Option<UnboundedSender<Queued>>,
    ours: bool,
    we_ended: bool,
    they_ended: bool,
}

/// Where a frame belongs.
#[derive(Debug)]
pub(crate) enum Place {
    /// To this conversation.
    Known(UnboundedSender<Queued>),
    /// It opens a conversation.
    Opens,
    /// It would open one too many.
    OneTooMany,
    /// Its conversation has ended here.
    Late,
}

/// All conversations of one link.
#[derive(Debug)]
pub(crate) struct Table {
    side: Side,
    entries: HashMap<u32, Entry>,
    /// The number of our next conversation; has our parity.
    next: Option<u32>,
    /// The highest number the peer has opened; 0 for none.
    newest_theirs: u32,
    /// `ours + theirs >= entries.len()`: ours counts the reserved ones too.
    ours: u16,
    theirs: u16,
    /// Conversations that the peer accepts at once.
    peer_max: u16,
    late: u64,
    refused: u64,
}

impl Table {
    pub(crate) fn new(side: Side) -> Self {
        let next = match side {
            Side::Dialler => 1,
            Side::Listener => 2,
        };
        Self {
            side,
            entries: HashMap::new(),
            next: Some(next),
            newest_theirs: 0,
            ours: 0,
            theirs: 0,
            peer_max: CONVERSATIONS_MAX,
            late: 0,
            refused: 0,
        }
    }

    /// The peer's Greeting says how many it accepts.
    pub(crate) fn peer_accepts(&mut self, conversations: u16) {
        self.peer_max = conversations.min(CONVERSATIONS_MAX);
    }

    /// Late frames and refused conversations up to now.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.late, self.refused)
    }

    /// Counts a conversation that this side is about to open.
    pub(crate) fn reserve(&mut self) -> Result<(), LinkError> {
        if self.ours >= self.peer_max {
            return Err(LinkError::Conversations(self.ours));
        }
        self.ours += 1;
        Ok(())
    }

    /// A reserved conversation was never opened.
    pub(crate) const fn release(&mut self) {
        self.ours = self.ours.saturating_sub(1);
    }

    /// Opens a reserved conversation. Called while its first frame is queued, so that numbers rise on the wire.
    pub(crate) fn open(&mut self, queue: UnboundedSender<Queued>) -> Result<u32, LinkError> {
        let number = self.next.ok_or(LinkError::Protocol("conversation numbers are used up"))?;
        self.next = number.checked_add(2);
        let entry = Entry { queue: Some(queue), ours: true, we_ended: false, they_ended: false };
        self.entries.insert(number, entry);
        Ok(number)
    }

    /// Where a frame of the peer goes.
    pub(crate) fn place(&mut self, number: u32) -> Result<Place, LinkError> {
        if let Some(entry) = self.entries.get(&number) {
            if entry.they_ended {
                return Err(LinkError::Protocol("a frame follows the last one of its conversation"));
            }
            return Ok(entry.queue.clone().map_or(Place::Late, Place::Known));
        }
        let odd = number % 2 == 1;
        let ours = odd == (self.side == Side::Dialler);
        if ours {
            let opened = self.next.is_none_or(|next| number < next);
            return if opened {
                Ok(Place::Late)
            } else {
                Err(LinkError::Protocol("a conversation that nobody opened"))
            };
        }
        if number <= self.newest_theirs {
            return Ok(Place::Late);
        }
        self.newest_theirs = number;
        if self.theirs >= CONVERSATIONS_MAX {
            self.refused += 1;
            return Ok(Place::OneTooMany);
        }
        Ok(Place::Opens)
    }

    /// The peer opened a conversation.
    pub(crate) fn opened(&mut self, number: u32, queue: UnboundedSender<Queued>) {
        let entry = Entry { queue: Some(queue), ours: false, we_ended: false, they_ended: false };
        self.entries.insert(number, entry);
        self.theirs += 1;
    }

    /// Counts a frame for a conversation that has ended here.
    pub(crate) fn late(&mut self, ends: bool) -> Result<(), LinkError> {
        // The end of an abandoned conversation is what we waited for, not a fault.
        self.late += u64::from(!ends);
        if self.late > LATE_FRAMES_MAX {
            return Err(LinkError::Protocol("frames for ended conversations do not stop"));
        }
        Ok(())
    }

    /// The peer's half has ended.
    pub(crate) fn they_ended(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.they_ended = true;
            entry.queue = None;
            self.remove_if_over(number);
        }
    }

    /// Our half ends with the frame that is being queued. `Over` when it had ended before.
    pub(crate) fn we_end(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.we_ended = true;
            self.remove_if_over(number);
        }
    }

    /// The owner dropped the conversation; answers whether the peer must be told that our half ends.
    pub(crate) fn abandon(&mut self, number: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&number) else { return false };
        entry.queue = None;
        let untold = !std::mem::replace(&mut entry.we_ended, true);
        self.remove_if_over(number);
        untold
    }

    /// Forgets all; their owners see the end of the link.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    fn remove_if_over(&mut self, number: u32) {
        let over = self.entries.get(&number).is_some_and(|entry| entry.we_ended && entry.they_ended);
        if over && let Some(entry) = self.entries.remove(&number) {
            let count = if entry.ours { &mut self.ours } else { &mut self.theirs };
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    fn queue() -> UnboundedSender<Queued> {
        unbounded_channel().0
    }

    #[test]
    fn numbers_rise_with_each_sides_parity() {
        let (mut dialler, mut listener) = (Table::new(Side::Dialler), Table::new(Side::Listener));
        assert_eq!([dialler.open(queue()).unwrap(), dialler.open(queue()).unwrap()], [1, 3]);
        assert_eq!([listener.open(queue()).unwrap(), listener.open(queue()).unwrap()], [2, 4]);
        assert!(matches!(listener.place(1), Ok(Place::Opens)));
        assert!(matches!(listener.place(6), Err(LinkError::Protocol(_))), "6 was never opened here");
    }

    #[test]
    fn each_half_ends_once_and_frees_its_place() {
        let mut table = Table::new(Side::Listener);
        for number in (1..).step_by(2).take(usize::from(CONVERSATIONS_MAX)) {
            assert!(matches!(table.place(number), Ok(Place::Opens)));
            table.opened(number, queue());
        }
        assert!(matches!(table.place(17), Ok(Place::OneTooMany)));
        assert!(matches!(table.place(17), Ok(Place::Late)), "its further frames are no new conversation");
        table.they_ended(1);
        assert!(matches!(table.place(1), Err(LinkError::Protocol(_))));
        assert!(matches!(table.place(19), Ok(Place::OneTooMany)), "our half is still open");
        table.we_end(1);
        assert!(matches!(table.place(21), Ok(Place::Opens)));
        assert!(matches!(table.place(1), Ok(Place::Late)));
        assert_eq!(table.counts(), (0, 2));
    }

    #[test]
    fn a_dropped_conversation_waits_for_the_peers_end() {
        let mut table = Table::new(Side::Dialler);
        table.reserve().unwrap();
        let number = table.open(queue()).unwrap();
        assert!(table.abandon(number), "the peer does not know yet");
        assert!(matches!(table.place(number), Ok(Place::Late)));
        table.late(false).unwrap();
        table.they_ended(number);
        assert!(table.entries.is_empty());
        assert_eq!((table.ours, table.counts()), (0, (1, 0)));
    }

    #[test]
    fn own_conversations_keep_to_what_the_peer_accepts() {
        let mut table = Table::new(Side::Dialler);
        table.peer_accepts(2);
        table.reserve().unwrap();
        table.reserve().unwrap();
        assert!(matches!(table.reserve(), Err(LinkError::Conversations(2))));
        table.release();
        table.reserve().unwrap();
    }

    #[test]
    fn a_peer_that_does_not_listen_is_left() {
        let mut table = Table::new(Side::Dialler);
        let refused = (0..=LATE_FRAMES_MAX).position(|_| table.late(false).is_err());
        assert_eq!(refused.map(|count| count as u64), Some(LATE_FRAMES_MAX));
    }
}
