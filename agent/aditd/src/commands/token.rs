// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `aditd token`: makes one-time tokens. The secret is printed once and kept nowhere; the file keeps what is derived.

use super::{file_failure, say, state, state_failure, tell};
use crate::addresses;
use crate::cli::Token as Args;
use crate::clock::Now;
use crate::config::Config;
use crate::peers::PeerName;
use crate::report::{Exit, Failure};
use crate::state::State;
use crate::tokens::{self, COUNT_MAX, MakeError, Wanted};
use adit_proto::token::{ADDRESSES_MAX, Address, Kind};
use adit_wire::pair::Role;
use std::time::Duration;

pub(super) fn run(config: &Config, args: &Args) -> Result<(), Failure> {
    let role = Role::from_word(&args.role).ok_or_else(|| usage("no such role"))?;
    if role == Role::Source && config.store.is_none() {
        return Err(usage("this machine keeps no store, so no source can pair with it")
            .advise("write [box] store = \"DIR\" into the configuration first"));
    }
    let lifetime = parse_lifetime(&args.lifetime)?;
    let state = state(config)?;
    let names = names(args)?;
    check_names(&state, args, role, &names)?;
    let own = addresses::own(config, state.listening(), &addresses::interfaces())
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let maker = state.identity().map_err(|error| state_failure(&error))?.public_key();
    for name in names {
        let rejoin = args.rejoin.is_some();
        let wanted = Wanted { kind: Kind::Agent, role, name, rejoin, own_name: false, lifetime };
        let text = state.tokens().make(maker, &wanted, &own, &Now::read()).map_err(make_failure)?;
        print(&text, &wanted, args, &own);
    }
    Ok(())
}

fn make_failure(error: MakeError) -> Failure {
    match error {
        MakeError::File(error) => file_failure(error),
        MakeError::Random => Failure::of(Exit::Failed, &error),
        MakeError::Text(error) => Failure::of(Exit::Usage, &error),
    }
}

fn usage(text: &str) -> Failure {
    Failure::new(Exit::Usage, text)
}

/// The names to register: one, or one for each token.
fn names(args: &Args) -> Result<Vec<PeerName>, Failure> {
    let check = |name: &str| PeerName::new(name).map_err(|error| usage(&format!("--name {name}: {error}")));
    if args.count == 0 || args.count > COUNT_MAX {
        return Err(usage(&format!("--count {}: between 1 and {COUNT_MAX} tokens can be made at once", args.count)));
    }
    let name = args.rejoin.as_ref().or(args.name.as_ref()).ok_or_else(|| usage("--name is missing"))?;
    if args.count == 1 {
        return Ok(vec![check(name)?]);
    }
    (1..=args.count).map(|number| check(&format!("{name}-{number}"))).collect()
}

/// Tells early what the pairing would refuse later.
fn check_names(state: &State, args: &Args, role: Role, names: &[PeerName]) -> Result<(), Failure> {
    let (peers, _) = state.peers().load().map_err(file_failure)?;
    if args.rejoin.is_some() {
        if role != Role::Source {
            return Err(usage("--rejoin brings a source back; use --role source"));
        }
        return Ok(());
    }
    match names.iter().find(|name| peers.by_name(name.as_str()).is_some()) {
        None => Ok(()),
        Some(name) => Err(Failure::new(Exit::Usage, format!("a peer named {name} exists")).advise(format!(
            "choose another name; for the same machine with a new key: --rejoin {name}; to remove it: aditd peers revoke {name}"
        ))),
    }
}

/// Reads "90s", "15m", "2h" or "7d".
pub(crate) fn parse_lifetime(text: &str) -> Result<Duration, Failure> {
    tokens::parse_lifetime(text)
        .ok_or_else(|| usage(&format!("--lifetime {text}: write 90s, 15m, 2h or 7d, at most 14d")))
}

fn print(text: &str, wanted: &Wanted, args: &Args, own: &[Address]) {
    let Wanted { role, name, lifetime, .. } = wanted;
    let addresses: Vec<String> = own.iter().take(ADDRESSES_MAX).map(ToString::to_string).collect();
    if args.json {
        say(serde_json::json!({
            "token": text, "role": role.word(), "name": name.as_str(),
            "lifetime_s": lifetime.as_secs(), "addresses": addresses,
        }));
        return;
    }
    say(text);
    if args.count > 1 {
        return;
    }
    let command = match role {
        Role::Source | Role::Admin => "adit pair",
        Role::Monitor => "adit-monitor pair",
        Role::Replica | Role::Agent => "aditd pair",
    };
    tell(format_args!(
        "\nThe token above lets {} join this machine as {}, once, within {}.",
        name,
        role.word(),
        args.lifetime
    ));
    tell(format_args!("It is a secret until it is used. On the other machine: {command} -   (and paste it)"));
    tell(format_args!("That machine will reach this one at {}.", addresses.join(", ")));
    // Upper case fits a QR code's denser mode; reading a token takes either.
    if let Ok(code) = fast_qr::QRBuilder::new(text.to_ascii_uppercase()).build() {
        tell(format_args!("\n{}", code.to_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let seconds = |text| parse_lifetime(text).map(|lifetime| lifetime.as_secs()).map_err(|failure| failure.text);
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("14d"), Ok(14 * 86_400));
        for wrong in ["", "15", "m", "15d", "0s", "-1m", "1w", "99999999999999999999d", "ä"] {
            let expected = format!("--lifetime {wrong}: write 90s, 15m, 2h or 7d, at most 14d");
            assert_eq!(seconds(wrong), Err(expected));
        }
    }

    #[test]
    fn the_code_on_the_screen_reads_back() {
        let text = format!("ADIT1{}", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".repeat(4));
        let code = fast_qr::QRBuilder::new(text.clone()).build().expect("fits");
        let scale = 4;
        let size = (code.size + 8) * scale;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(size, size, |x, y| {
            let (x, y) = (x / scale, y / scale);
            let inside = (4..code.size + 4).contains(&x) && (4..code.size + 4).contains(&y);
            if inside && code[y - 4][x - 4].value() { 0 } else { 255 }
        });
        let (_, read) = image.detect_grids()[0].decode().expect("readable");
        assert_eq!(read, text);
    }
}
