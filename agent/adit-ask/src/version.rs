// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The order of Debian's version numbers (Debian Policy 5.6.12): epoch, then upstream version, then revision. It compares
//! and does nothing else; what is no version at all compares as text of the same kind, as dpkg does.

use std::cmp::Ordering;

/// Compares two versions.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = epoch(left.trim());
    let (right_epoch, right) = epoch(right.trim());
    let (left, left_revision) = revision(left);
    let (right, right_revision) = revision(right);
    let parts = || part(left, right).then_with(|| part(left_revision, right_revision));
    left_epoch.cmp(&right_epoch).then_with(parts)
}

fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// Upstream version and revision; without a revision it counts as empty, which is the same as "0".
fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// By turns a part without digits and a number, as long as either side has something left.
fn part(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left.as_bytes(), right.as_bytes());
    while !left.is_empty() || !right.is_empty() {
        let (left_text, right_text) = (taken(&mut left, false), taken(&mut right, false));
        let order = text(left_text, right_text).then_with(|| number(taken(&mut left, true), taken(&mut right, true)));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes what is of digits, or what is not, from the front.
fn taken<'v>(from: &mut &'v [u8], digits: bool) -> &'v [u8] {
    let end = from.iter().position(|byte| byte.is_ascii_digit() != digits).unwrap_or(from.len());
    let (taken, rest) = from.split_at(end);
    *from = rest;
    taken
}

/// A tilde before the end, the end before letters, letters before everything else.
fn text(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    let orders = (0..left.len().max(right.len())).map(|at| weight(left.get(at)).cmp(&weight(right.get(at))));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Numbers of any length: without leading zeros the longer one is the larger one.
fn number(left: &[u8], right: &[u8]) -> Ordering {
    let bare = |digits: &[u8]| digits.iter().skip_while(|digit| **digit == b'0').copied().collect::<Vec<u8>>();
    let (left, right) = (bare(left), bare(right));
    left.len().cmp(&right.len()).then_with(|| left.cmp(&right))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Rising, as policy and dpkg's manual order them.
    const RISING: [&str; 22] = [
        "~~",
        "~~a",
        "~",
        "",
        "0.1~rc1-1",
        "0.1-1",
        "0.1-1+b1",
        "0.1-1.1",
        "0.1a-1",
        "0.1+dfsg-1",
        "0.2",
        "0.9",
        "0.10",
        "1.0-1~bpo12+1",
        "1.0-1",
        "1.0-10",
        "1.0-10+deb12u1",
        "2",
        "10",
        "a",
        "1:0.1",
        "2:0",
    ];

    #[test]
    fn versions_rise_as_policy_says() {
        for (index, left) in RISING.iter().enumerate() {
            for (other, right) in RISING.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left:?} {right:?}");
            }
        }
        for (left, right) in [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1"), ("1.00000000000000000000001", "1.1")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    proptest! {
        #[test]
        fn the_order_has_two_sides(left in "[0-9a-b~.+:-]{0,12}", right in "[0-9a-b~.+:-]{0,12}") {
            prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
        }
    }
}
