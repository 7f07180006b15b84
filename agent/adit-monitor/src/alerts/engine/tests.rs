// SPDX-License-Identifier: Apache-2.0 OR MIT
//! When an incident opens, ends and is told, case by case.

use super::*;

const HOST: &str = "box";

fn subject(topic: &str) -> Subject {
    Subject { host: HOST.to_owned(), component: "sda".to_owned(), topic: topic.to_owned() }
}

fn seen(topic: &str, verdict: Verdict, counter: i64) -> Observation {
    Observation {
        subject: subject(topic),
        verdict,
        text: format!("disk sda counts {counter}"),
        pins: Pins { reason: "why".to_owned(), counters: vec![counter] },
        quiet: false,
    }
}

/// A look a minute; answers who was told what.
struct Desk {
    engine: Engine,
    policy: Policy,
    t: u64,
}

impl Desk {
    fn new() -> Self {
        Self { engine: Engine::default(), policy: Policy::of_interval(60), t: 1_000_000 }
    }

    fn look(&mut self, observations: &[Observation]) -> Vec<Occasion> {
        self.t += 60;
        let mut notices = self.engine.observe(self.t, HOST, Class::Reported, observations, &self.policy);
        notices.extend(self.engine.tick(self.t, &|_| "site".to_owned()));
        notices.into_iter().map(|notice| notice.occasion).collect()
    }

    fn wait(&mut self, seconds: u64) -> Vec<Occasion> {
        self.t += seconds;
        self.engine.tick(self.t, &|_| "site".to_owned()).into_iter().map(|notice| notice.occasion).collect()
    }
}

const NOTHING: [Occasion; 0] = [];

#[test]
fn a_level_must_be_seen_twice_and_be_gone_twice() {
    let mut desk = Desk::new();
    let warm = [seen("temp", Verdict::Warning, 0)];
    assert_eq!(desk.look(&warm), NOTHING);
    assert_eq!(desk.look(&[]), NOTHING);
    assert_eq!(desk.look(&warm), NOTHING);
    assert_eq!(desk.look(&warm), [Occasion::Problem]);
    assert_eq!(desk.look(&warm), NOTHING, "it is told once");
    assert_eq!(desk.look(&[]), NOTHING);
    assert_eq!(desk.look(&[]), [Occasion::Recovery]);
    assert_eq!(desk.look(&[]), NOTHING);
}

#[test]
fn what_must_be_known_within_two_minutes_is_told_at_the_first_poll() {
    for topic in ["disk.present", "md.state", "power.line", "fs.ro", "backup.run"] {
        assert_eq!(Desk::new().look(&[seen(topic, Verdict::Critical, 0)]), [Occasion::Problem], "{topic}");
    }
}

#[test]
fn worse_is_told_and_milder_is_not() {
    let mut desk = Desk::new();
    assert_eq!(desk.look(&[seen("disk.status", Verdict::Warning, 0)]), [Occasion::Problem]);
    assert_eq!(desk.look(&[seen("disk.status", Verdict::Critical, 0)]), [Occasion::Problem]);
    assert_eq!(desk.look(&[seen("disk.status", Verdict::Warning, 0)]), NOTHING);
    desk.look(&[]);
    assert_eq!(desk.look(&[]), [Occasion::Recovery]);
}

#[test]
fn reminders_come_less_and_less_often() {
    let days = |verdict| {
        let mut desk = Desk::new();
        desk.look(&[seen("disk.status", verdict, 0)]);
        let began = desk.t;
        let mut at = Vec::new();
        while desk.t < began + 70 * DAY_S {
            if desk.wait(HOUR_S / 2) == [Occasion::Reminder] {
                at.push((desk.t - began) / HOUR_S);
            }
        }
        at
    };
    assert_eq!(days(Verdict::Warning), [24, 72, 168, 360, 744, 1_512]);
    assert_eq!(days(Verdict::Critical)[..6], [1, 2, 3, 27, 51, 75]);
}

#[test]
fn an_acknowledgement_holds_until_a_value_changes() {
    let mut desk = Desk::new();
    let bad = |counter| [seen("disk.media", Verdict::Warning, counter)];
    desk.look(&bad(3));
    assert_eq!(desk.look(&bad(3)), [Occasion::Problem]);
    let topic = subject("disk.media");
    desk.engine.acknowledge(desk.t, &topic, "me", "a new disk is on its way", 20 * DAY_S).expect("open");
    assert_eq!(desk.wait(5 * DAY_S), NOTHING);
    assert_eq!(desk.look(&bad(3)), NOTHING);
    assert_eq!(desk.look(&bad(4)), [Occasion::Problem], "one more sector");
    desk.engine.acknowledge(desk.t, &topic, "me", "still on its way", DAY_S).expect("open");
    let worse = [seen("disk.media", Verdict::Critical, 4)];
    desk.look(&worse);
    assert_eq!(desk.look(&worse), [Occasion::Problem], "worse");
    desk.engine.acknowledge(desk.t, &topic, "me", "tomorrow", DAY_S).expect("open");
    assert_eq!(desk.wait(DAY_S), [Occasion::Problem], "its time is over");
    desk.engine.acknowledge(desk.t, &topic, "me", "now", DAY_S).expect("open");
    desk.look(&[]);
    assert_eq!(desk.look(&[]), [Occasion::Recovery], "a recovery is told, acknowledged or not");
}

#[test]
fn what_a_drive_calls_failing_cannot_be_muted_for_long() {
    let mut desk = Desk::new();
    desk.look(&[seen("disk.status", Verdict::Critical, 0)]);
    let mut acknowledge =
        |reason, days| desk.engine.acknowledge(desk.t, &subject("disk.status"), "me", reason, days * DAY_S);
    assert_eq!(acknowledge("later", 31), Err(AckError::TooLong(30)));
    assert_eq!(acknowledge(" ", 1), Err(AckError::Words));
    assert_eq!(acknowledge("soon", 30), Ok(()));
    let none = desk.engine.acknowledge(desk.t, &subject("temp"), "me", "why", 1);
    assert_eq!(none, Err(AckError::NoIncident));
}

#[test]
fn a_window_hushes_and_its_end_tells_what_is_still_open() {
    let mut desk = Desk::new();
    let window = |scope: &str, t| Window {
        scope: scope.to_owned(),
        from_t: t,
        until_t: t + 600,
        reason: "new rack".to_owned(),
        by: "me".to_owned(),
    };
    for scope in [HOST, "site:site", "*"] {
        desk.engine.maintain(window(scope, desk.t)).expect("short");
        assert_eq!(desk.look(&[seen("md.state", Verdict::Critical, 0)]), NOTHING, "{scope}");
        assert_eq!(desk.wait(600), [Occasion::Problem], "{scope}");
        desk.look(&[]);
        assert_eq!(desk.look(&[]), [Occasion::Recovery], "{scope}");
        desk.wait(HOUR_S);
    }
    desk.engine.maintain(window("site:other", desk.t)).expect("short");
    assert_eq!(desk.look(&[seen("fs.ro", Verdict::Critical, 0)]), [Occasion::Problem]);
    let long = Window { until_t: desk.t + MUTE_WINDOW_MAX_S + 1, ..window(HOST, desk.t) };
    assert_eq!(desk.engine.maintain(long), Err(AckError::TooLong(31)));
}

#[test]
fn what_comes_and_goes_is_told_as_unstable_once() {
    let mut desk = Desk::new();
    let bad = [seen("net.link", Verdict::Critical, 0)];
    let mut told = Vec::new();
    for _ in 0..40 {
        told.extend(desk.look(&bad));
        told.extend(desk.look(&bad));
        told.extend(desk.look(&[]));
        told.extend(desk.look(&[]));
    }
    use Occasion::{Problem, Recovery, Unstable};
    assert_eq!(told, [Problem, Recovery, Problem, Recovery, Unstable]);
    assert_eq!(desk.wait(HOUR_S), [Recovery], "an hour of calm ends what was told");
    assert_eq!(desk.wait(HOUR_S), NOTHING);
}

#[test]
fn unknown_takes_three_polls_and_is_no_flapping() {
    let mut desk = Desk::new();
    let unknown = [seen("os.updates", Verdict::Unknown, 0)];
    for round in 0..8 {
        assert_eq!((desk.look(&unknown), desk.look(&unknown)), (vec![], vec![]), "round {round}");
        assert_eq!(desk.look(&unknown), [Occasion::Problem], "round {round}");
        desk.look(&[]);
        assert_eq!(desk.look(&[]), [Occasion::Recovery], "round {round}");
    }
}

#[test]
fn a_silent_hosts_children_are_not_told() {
    let mut desk = Desk::new();
    desk.look(&[seen("disk.status", Verdict::Warning, 0)]);
    let silent = Observation {
        subject: Subject { component: String::new(), ..subject(SEEN) },
        ..seen(SEEN, Verdict::Critical, 0)
    };
    desk.engine.observe(desk.t, HOST, Class::Deadline, &[silent], &desk.policy);
    assert_eq!(desk.wait(1), [Occasion::Problem], "the silence itself");
    assert_eq!(desk.wait(2 * DAY_S), [Occasion::Reminder], "of the silence alone");
}

#[test]
fn a_host_has_so_many_incidents_at_most() {
    let mut desk = Desk::new();
    let many: Vec<Observation> = (0..INCIDENTS_PER_HOST_MAX + 10)
        .map(|number| {
            let subject = Subject { component: number.to_string(), ..subject("md.state") };
            Observation { subject, ..seen("md.state", Verdict::Critical, 0) }
        })
        .collect();
    desk.engine.observe(desk.t, HOST, Class::Reported, &many, &desk.policy);
    assert_eq!(desk.engine.incidents().count(), INCIDENTS_PER_HOST_MAX);
}

#[test]
fn a_restart_forgets_nothing_and_tells_nothing_twice() {
    let mut desk = Desk::new();
    let bad = [seen("disk.status", Verdict::Critical, 0)];
    assert_eq!(desk.look(&bad), [Occasion::Problem]);
    let stored: Vec<(Subject, Incident)> = desk
        .engine
        .take_changes()
        .into_iter()
        .filter_map(|(subject, incident)| {
            let text = serde_json::to_string(&incident?).expect("written");
            Some((subject, serde_json::from_str(&text).expect("read")))
        })
        .collect();
    desk.engine = Engine::resume(stored, Vec::new());
    assert_eq!(desk.look(&bad), NOTHING);
    desk.look(&[]);
    assert_eq!(desk.look(&[]), [Occasion::Recovery]);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is seen: a recovery follows a told problem and nothing else, and calm ends everything that was told.
        #[test]
        fn what_was_told_is_told_to_have_ended(looks in proptest::collection::vec((0u8..4, 0i64..3), 1..200)) {
            let mut desk = Desk::new();
            let mut told_open = false;
            let mut check = |occasions: Vec<Occasion>| {
                for occasion in occasions {
                    match occasion {
                        Occasion::Problem | Occasion::Unstable => told_open = true,
                        Occasion::Reminder => assert!(told_open, "a reminder of nothing"),
                        Occasion::Recovery => {
                            assert!(told_open, "a recovery of nothing");
                            told_open = false;
                        }
                    }
                }
            };
            for (verdict, counter) in looks {
                let verdict = Verdict::from_bits(verdict);
                let unwell = verdict != Verdict::Ok;
                let observations: Vec<_> = unwell.then(|| seen("temp", verdict, counter)).into_iter().collect();
                check(desk.look(&observations));
            }
            for _ in 0..130 {
                check(desk.look(&[]));
            }
            prop_assert!(!told_open, "somebody still believes in the problem");
            prop_assert_eq!(desk.engine.incidents().count(), 0, "nothing is kept for ever");
        }
    }
}
