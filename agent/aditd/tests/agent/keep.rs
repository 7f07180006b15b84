// SPDX-License-Identifier: Apache-2.0 OR MIT
//! An admin asks a real agent what it keeps, and wishes.

use crate::backup::back_up;
use crate::lab::{As, Lab, ask, code_of};
use adit_wire::admin::{Collect, Done, Keep, KeepPolicy, Kept, KeptRow, Stored, StoredListed, Wish};
use adit_wire::list::Parts;
use adit_wire::pair::Role;
use adit_wire::refusal::Code;

const PLAN: Keep<'_> = Keep {
    wish: Wish::Plan,
    source: "",
    policy: KeepPolicy {
        keep_all_d: 0,
        hourly_d: 0,
        daily_d: 0,
        weekly_d: 0,
        monthly_d: 0,
        yearly_d: 0,
        minimum: 0,
        zone_min: 0,
    },
    seqs: Parts::new(&[]),
    skip: 0,
    now_s: 0,
};

#[tokio::test]
async fn an_admin_sees_what_is_kept_and_nobody_shortens_it_at_once() {
    let lab = Lab::start(As::Box).await;
    let (admin, web) = (lab.paired(Role::Admin, "laptop").await, lab.paired(Role::Source, "web1").await);
    back_up(&lab, &web, 1).await;
    let link = admin.connect(&lab).await;
    let code = |outcome: Result<_, _>| outcome.map(|_| ()).map_err(|error| code_of(&error));
    let frame = ask(&link, &Keep { source: "web1", ..PLAN }).await.expect("a plan");
    let kept: Kept<'_> = frame.message().expect("a plan");
    let rows: Vec<KeptRow> = kept.rows.iter().map(|row| row.expect("a row")).collect();
    assert_eq!((rows.len(), rows[0].seq, rows[0].complete, rows[0].expired_s), (1, 1, true, 0));
    // Young, the only one of its day, week, month and year, and the newest.
    assert_eq!((rows[0].reasons, kept.policy.keep_all_d, kept.pending_s), (0b0111_1101, 14, 0));
    assert!(rows[0].until_s >= kept.now_s + 3_649 * 86_400);
    // The tightest wish of all takes nothing for a week, and a looser one takes its place.
    let frame = ask(&link, &Keep { wish: Wish::Set, source: "web1", ..PLAN }).await.expect("a wish");
    let wished: Kept<'_> = frame.message().expect("a policy");
    assert_eq!((wished.policy, wished.pending), (kept.policy, PLAN.policy));
    assert_eq!(wished.pending_s, wished.now_s + 7 * 86_400);
    let looser = KeepPolicy { daily_d: 60, ..kept.policy };
    let frame = ask(&link, &Keep { wish: Wish::Set, source: "web1", policy: looser, ..PLAN }).await.expect("a wish");
    let wished: Kept<'_> = frame.message().expect("a policy");
    assert_eq!((wished.policy, wished.pending_s), (looser, 0));
    let seqs = Parts::new(&[1]);
    let frame = ask(&link, &Keep { wish: Wish::Protect, source: "web1", seqs, ..PLAN }).await.expect("protected");
    let kept: Kept<'_> = frame.message().expect("a plan");
    assert_eq!(kept.rows.iter().next().expect("a row").expect("a row").until_s, u64::MAX);
    let wrong = Keep { wish: Wish::Protect, source: "web1", seqs: Parts::new(&[9]), ..PLAN };
    assert_eq!(code(ask(&link, &wrong).await), Err(Some(Code::NotFound)));
    assert_eq!(code(ask(&link, &Keep { source: "nobody", ..PLAN }).await), Err(Some(Code::NotFound)));
    assert_eq!(code(ask(&link, &Keep { wish: Wish::Undo, ..PLAN }).await), Err(Some(Code::NotFound)));
    let zone = KeepPolicy { zone_min: 2_000, ..looser };
    assert_eq!(code(ask(&link, &Keep { wish: Wish::Set, policy: zone, ..PLAN }).await), Err(Some(Code::Protocol)));
}

#[tokio::test]
async fn an_admin_sees_the_store_and_lets_it_collect() {
    let lab = Lab::start(As::Box).await;
    let (admin, web) = (lab.paired(Role::Admin, "laptop").await, lab.paired(Role::Source, "web1").await);
    back_up(&lab, &web, 1).await;
    let link = admin.connect(&lab).await;
    ask(&link, &Collect {}).await.expect("begun").message::<Done>().expect("begun");
    let mut swept_s = 0;
    while swept_s == 0 {
        let frame = ask(&link, &Stored { skip: 0 }).await.expect("a look");
        let stored: StoredListed<'_> = frame.message().expect("a look");
        let source = stored.sources.iter().next().expect("a source").expect("a source");
        assert_eq!((source.name, source.snapshots, source.expired, source.guarded), ("web1", 1, 0, false));
        assert!(stored.stored_bytes > source.bytes && source.bytes > 0 && stored.read_only.is_empty());
        assert!(!stored.more && stored.damaged_records == 0);
        swept_s = stored.swept_s;
    }
    // A source asks for nothing of this.
    let own = web.connect(&lab).await;
    let refused = ask(&own, &Keep { source: "web1", ..PLAN }).await.map(|_| ()).map_err(|error| code_of(&error));
    assert_eq!(refused, Err(Some(Code::NotAllowed)));
}
