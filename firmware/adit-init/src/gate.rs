// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When a start counts as good. A version on trial is confirmed by this and nothing else; one that does not get here in
//! time goes back by itself, through the firmware, however nobody looks.

use std::time::Duration;

/// How long the agent has to serve without a break, unless the image says otherwise.
const SERVES_FOR: Duration = Duration::from_secs(60);
/// After this time without success a version on trial is given up, unless the image says otherwise.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(300);
/// A sign of life older than this is none.
const ALIVE_WITHIN: Duration = Duration::from_secs(60);

/// What has to hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    serves_for: Duration,
    given_up_after: Duration,
}

/// What is seen of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Since the machine started.
    pub(crate) uptime: Duration,
    /// For how long the agent has served; none when it does not.
    pub(crate) serves: Option<Duration>,
    /// Since its last sign of life.
    pub(crate) silent: Option<Duration>,
    /// Data were there when a version was confirmed last.
    pub(crate) data_expected: bool,
    /// They are there now.
    pub(crate) data_there: bool,
    /// A peer was heard in the day before this version was tried.
    pub(crate) contact_expected: bool,
    /// An address beyond the link is there now, as it was then.
    pub(crate) network_there: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Not yet.
    Wait,
    /// The version is good.
    Good,
    /// It is not, for this reason.
    Bad(String),
}

impl Gate {
    /// The times of the image: words of its signed command line, seconds.
    pub(crate) fn new(serves_s: Option<u64>, given_up_s: Option<u64>) -> Self {
        Self {
            serves_for: serves_s.map_or(SERVES_FOR, Duration::from_secs),
            given_up_after: given_up_s.map_or(GIVEN_UP_AFTER, Duration::from_secs),
        }
    }

    /// Judges what is seen.
    pub(crate) fn judge(&self, seen: &Seen) -> Judgement {
        let Some(missing) = self.missing(seen) else { return Judgement::Good };
        if seen.uptime < self.given_up_after { Judgement::Wait } else { Judgement::Bad(missing) }
    }

    /// The first thing that is not as it should be.
    pub(crate) fn missing(&self, seen: &Seen) -> Option<String> {
        let Some(serves) = seen.serves else { return Some("the agent does not serve".to_owned()) };
        if seen.silent.is_none_or(|silent| silent > ALIVE_WITHIN) {
            return Some("the agent gives no sign of life".to_owned());
        }
        if seen.data_expected && !seen.data_there {
            return Some("the data are not there, which were there before".to_owned());
        }
        // Where nobody was heard before, an outage of the line is no fault of this version.
        if seen.contact_expected && !seen.network_there {
            return Some("there is no network, which was there before".to_owned());
        }
        (serves < self.serves_for).then(|| "the agent has served for too short a time".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        Seen {
            uptime: Duration::from_secs(90),
            serves: Some(Duration::from_secs(61)),
            silent: Some(Duration::from_secs(20)),
            data_expected: true,
            data_there: true,
            contact_expected: true,
            network_there: true,
        }
    }

    #[test]
    fn a_start_is_good_when_all_is_as_it_was() {
        let gate = Gate::new(None, None);
        assert_eq!(gate.judge(&good()), Judgement::Good);
        assert_eq!(gate.judge(&Seen { data_expected: false, data_there: false, ..good() }), Judgement::Good);
        assert_eq!(gate.judge(&Seen { contact_expected: false, network_there: false, ..good() }), Judgement::Good);
    }

    #[test]
    fn what_is_missing_is_waited_for_and_then_told() {
        let gate = Gate::new(None, None);
        for (seen, reason) in [
            (Seen { serves: None, ..good() }, "does not serve"),
            (Seen { serves: Some(Duration::from_secs(59)), ..good() }, "too short"),
            (Seen { silent: None, ..good() }, "sign of life"),
            (Seen { silent: Some(Duration::from_secs(61)), ..good() }, "sign of life"),
            (Seen { data_there: false, ..good() }, "data"),
            (Seen { network_there: false, ..good() }, "network"),
        ] {
            assert_eq!(gate.judge(&seen), Judgement::Wait, "{reason}");
            let late = Seen { uptime: Duration::from_secs(300), ..seen };
            assert!(matches!(gate.judge(&late), Judgement::Bad(why) if why.contains(reason)), "{reason}");
        }
    }

    #[test]
    fn an_image_may_choose_its_times() {
        let gate = Gate::new(Some(5), Some(20));
        let seen = Seen { serves: Some(Duration::from_secs(5)), uptime: Duration::from_secs(8), ..good() };
        assert_eq!(gate.judge(&seen), Judgement::Good);
        let seen = Seen { serves: None, uptime: Duration::from_secs(20), ..good() };
        assert!(matches!(gate.judge(&seen), Judgement::Bad(_)));
    }
}
