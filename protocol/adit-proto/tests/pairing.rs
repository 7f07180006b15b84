// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Pairing from token text to both sides' conclusions, each check made to fail, in the order in which they stand.

mod crypto;

use adit_proto::pairing::{
    Accept, Answer, Channel, Made, Maker, PairInput, PairingError, Registry, Request, Spend, TRIES_MAX, TokenState,
    is_name, redeem,
};
use adit_proto::token::{Address, Kind, Secret, Token, TokenError};
use adit_wire::ids::{ChannelBinding, Id, Mac, PublicKey, SourceId, StoreId};
use adit_wire::pair::Role;
use adit_wire::refusal::Code;
use adit_wire::signed::{CERTIFICATE_BYTES_MAX, Certificate, PREFIX_CERTIFICATE};
use aws_lc_rs::hmac as sha2_hmac;
use crypto::{Signer, verify};

const SOURCE: SourceId = SourceId([0x51; 16]);
const SIGNING: PublicKey = PublicKey([0x52; 32]);
const REDEEMER: PublicKey = PublicKey([0x72; 32]);

fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Mac {
    let mut context = sha2_hmac::Context::with_key(&sha2_hmac::Key::new(sha2_hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    Mac::from_slice(context.sign().as_ref()).expect("32 bytes")
}

fn token(kind: Kind) -> Token {
    Token {
        kind,
        maker: PublicKey([0xa1; 32]),
        secret: Secret::new([0x5e; 16]),
        addresses: vec![Address::Ip("2001:db8::7".parse().expect("an address"), 11_713)],
    }
}

fn channel() -> Channel {
    Channel { binding: ChannelBinding([0xcb; 32]), maker: PublicKey([0xa1; 32]), redeemer: REDEEMER }
}

fn source_request<'a>() -> Request<'a> {
    Request {
        role: Role::Source,
        name: "vm1",
        source: SOURCE,
        signing_key: SIGNING,
        recovery_key: PublicKey::ZERO,
        certificate: &[],
    }
}

fn plain_request<'a>(role: Role) -> Request<'a> {
    let none = (SourceId::ZERO, PublicKey::ZERO);
    Request { role, name: "mon", source: none.0, signing_key: none.1, recovery_key: none.1, certificate: &[] }
}

fn state<'a>(kind: Kind, role: Role) -> TokenState<'a> {
    TokenState { kind, mac_key: token(kind).mac_key(), role, tries: 0, burnt: false, live: true, rejoin: None }
}

#[derive(Default)]
struct Known {
    peers: Vec<(&'static str, PublicKey)>,
    sources: Vec<(&'static str, SourceId)>,
}

impl Registry for Known {
    fn has_name(&self, name: &str) -> bool {
        self.peers.iter().any(|(known, _)| *known == name)
    }

    fn source_name(&self, source: &SourceId) -> Option<String> {
        self.sources.iter().find(|(_, known)| known == source).map(|(name, _)| (*name).to_owned())
    }

    fn key_name(&self, key: &PublicKey) -> Option<String> {
        self.peers.iter().find(|(_, known)| known == key).map(|(name, _)| (*name).to_owned())
    }
}

fn maker<'f>() -> Maker<'f> {
    Maker { channel: channel(), hmac: &hmac, verify: &verify }
}

fn judge(request: &Request<'_>, state: &TokenState<'_>, known: &Known) -> Result<Accept, Code> {
    let (body, _) = redeem(&Spend::of(&token(state.kind)), &channel(), request, &hmac).expect("a sound request");
    maker().judge(&PairInput::read(&body)?, state, known)
}

#[test]
fn a_source_pairs() {
    let token = Token::parse(&token(Kind::Agent).to_text().expect("usable addresses")).expect("its own text");
    let (body, expect) = redeem(&Spend::of(&token), &channel(), &source_request(), &hmac).expect("sound");
    let input = PairInput::read(&body).expect("a PAIR");
    assert_eq!(input.token(), token.id());
    let state = state(Kind::Agent, Role::Source);
    let accept = maker().judge(&input, &state, &Known::default()).expect("accepted");
    assert_eq!((accept.role, accept.granted, accept.rejoins), (Role::Source, None, false));
    assert_eq!((accept.key, accept.source, accept.signing_key), (REDEEMER, SOURCE, SIGNING));
    let addresses = [Address::Name("box.example".to_owned(), 11_713)];
    let answer =
        Answer { name: "box", addresses: &addresses, store: StoreId([3; 16]), newest_seq: 9, newest_head: Id([4; 32]) };
    let reply = maker().reply(&accept, &state.mac_key, &answer).expect("a reply");
    let made = expect.check(&reply, &hmac).expect("a right proof");
    let expected = Made {
        role: Role::Source,
        name: "box".to_owned(),
        addresses: addresses.to_vec(),
        store: StoreId([3; 16]),
        newest_seq: 9,
        newest_head: Id([4; 32]),
    };
    assert_eq!(made, expected);
    for at in 0..reply.len() {
        let mut forged = reply.clone();
        forged[at] ^= 1;
        assert!(expect.check(&forged, &hmac).is_err(), "byte {at} of PAIRED is not covered");
    }
    for at in 0..body.len() {
        let mut forged = body.clone();
        forged[at] ^= 1;
        let Ok(input) = PairInput::read(&forged) else { continue };
        assert!(input.token() != token.id() || maker().judge(&input, &state, &Known::default()).is_err(), "byte {at}");
    }
}

/// A proof holds on the connection that it was made for, and on no other.
#[test]
fn a_proof_is_bound_to_its_connection() {
    let state = state(Kind::Agent, Role::Source);
    let others = [
        Channel { binding: ChannelBinding([1; 32]), ..channel() },
        Channel { maker: PublicKey([1; 32]), ..channel() },
        Channel { redeemer: PublicKey([1; 32]), ..channel() },
    ];
    for other in others {
        let (body, _) = redeem(&Spend::of(&token(Kind::Agent)), &other, &source_request(), &hmac).expect("sound");
        let input = PairInput::read(&body).expect("a PAIR");
        assert_eq!(maker().judge(&input, &state, &Known::default()), Err(Code::TokenUnknown));
    }
}

/// Every later flaw is present in every case, so that the code also proves the order.
#[test]
fn checks_stand_in_their_order() {
    let known = Known { peers: vec![("vm1", PublicKey([9; 32])), ("old", REDEEMER)], sources: vec![("vm9", SOURCE)] };
    let good = state(Kind::Agent, Role::Source);
    let mut case =
        TokenState { tries: TRIES_MAX, mac_key: [0; 32], burnt: true, live: false, role: Role::Admin, ..good.clone() };
    let request = source_request();
    assert_eq!(judge(&request, &case, &known), Err(Code::TokenLocked));
    case.tries = TRIES_MAX - 1;
    assert_eq!(judge(&request, &case, &known), Err(Code::TokenUnknown));
    case.mac_key = good.mac_key;
    assert_eq!(judge(&request, &case, &known), Err(Code::TokenBurnt));
    case.burnt = false;
    assert_eq!(judge(&request, &case, &known), Err(Code::TokenExpired));
    case.live = true;
    assert_eq!(judge(&request, &case, &known), Err(Code::TokenRole));
    case.role = Role::Source;
    assert_eq!(judge(&request, &case, &known), Err(Code::NameTaken));
    let request = Request { name: "vm2", ..request };
    assert_eq!(judge(&request, &case, &known), Err(Code::SourceKnown));
    let request = Request { source: SourceId([0x77; 16]), ..request };
    assert_eq!(judge(&request, &case, &known), Err(Code::KeyKnown));
    let known = Known { peers: vec![("vm1", PublicKey([9; 32]))], ..known };
    assert!(judge(&request, &case, &known).is_ok());
    assert_eq!(PairInput::read(&[0; 1_025]).map(|_| ()), Err(Code::Protocol));
}

#[test]
fn a_known_source_comes_back_only_by_name() {
    let known = Known { peers: vec![("vm1", PublicKey([9; 32]))], sources: vec![("vm1", SOURCE)] };
    let plain = state(Kind::Agent, Role::Source);
    assert_eq!(judge(&source_request(), &plain, &known), Err(Code::NameTaken));
    let rejoin = TokenState { rejoin: Some("vm1"), ..plain.clone() };
    let accept = judge(&source_request(), &rejoin, &known).expect("comes back");
    assert!(accept.rejoins);
    let other = Request { source: SourceId([0x99; 16]), ..source_request() };
    assert_eq!(judge(&other, &rejoin, &known), Err(Code::SourceKnown), "the name alone takes no source over");
    let renamed = Request { name: "vm2", ..source_request() };
    assert_eq!(judge(&renamed, &rejoin, &known), Err(Code::SourceKnown));
}

#[test]
fn a_monitor_made_token_grants_its_maker_health_only() {
    let state = state(Kind::Monitor, Role::Agent);
    let accept = judge(&plain_request(Role::Monitor), &state, &Known::default()).expect("accepted");
    assert_eq!((accept.role, accept.granted), (Role::Agent, Some(Role::Monitor)));
    let accept = judge(&plain_request(Role::Admin), &state, &Known::default()).expect("a person typed --grant admin");
    assert_eq!((accept.role, accept.granted), (Role::Agent, Some(Role::Admin)));
    let spend = Spend::of(&token(Kind::Monitor));
    for role in [Role::Source, Role::Replica, Role::Agent] {
        let request = Request { role, ..plain_request(role) };
        assert!(redeem(&spend, &channel(), &request, &hmac).is_err(), "{role:?} is no grant");
    }
}

#[test]
fn requests_that_contradict_themselves_are_not_sent() {
    let spend = Spend::of(&token(Kind::Agent));
    let contradictions = [
        Request { source: SourceId::ZERO, ..source_request() },
        Request { signing_key: PublicKey::ZERO, ..source_request() },
        Request { source: SOURCE, ..plain_request(Role::Monitor) },
        Request { certificate: &[1], ..source_request() },
        Request { name: "", ..source_request() },
        plain_request(Role::Agent),
    ];
    for request in contradictions {
        assert!(redeem(&spend, &channel(), &request, &hmac).is_err(), "{request:?}");
    }
}

#[test]
fn a_certificate_must_be_signed_and_fit() {
    let recovery = Signer::new(1);
    let state = state(Kind::Agent, Role::Source);
    let certify = |signing_key: PublicKey, signer: &Signer| {
        let certificate = Certificate {
            source: SOURCE,
            signing_key,
            seed_check: adit_wire::ids::Check([5; 32]),
            epoch: 1,
            name: "vm1",
        };
        let mut buffer = [0; CERTIFICATE_BYTES_MAX];
        let body = certificate.write(&mut buffer).expect("fits").to_vec();
        let signature = signer.sign(PREFIX_CERTIFICATE, &body);
        [&body[..], &signature.0].concat()
    };
    let with = |certificate: &[u8]| {
        let request = Request { recovery_key: recovery.key(), certificate, ..source_request() };
        judge(&request, &state, &Known::default()).map(|accept| accept.certificate)
    };
    let good = certify(SIGNING, &recovery);
    assert_eq!(with(&good), Ok(good.clone()));
    assert_eq!(with(&certify(PublicKey([8; 32]), &recovery)), Err(Code::Signature));
    assert_eq!(with(&certify(SIGNING, &Signer::new(2))), Err(Code::Signature));
    assert_eq!(with(&[1; 20]), Err(Code::Protocol));
}

#[test]
fn an_answer_with_another_role_is_refused() {
    let (body, expect) = redeem(&Spend::of(&token(Kind::Agent)), &channel(), &source_request(), &hmac).expect("sound");
    let (other, _) =
        redeem(&Spend::of(&token(Kind::Agent)), &channel(), &plain_request(Role::Admin), &hmac).expect("sound");
    let accept = maker()
        .judge(&PairInput::read(&other).expect("a PAIR"), &state(Kind::Agent, Role::Admin), &Known::default())
        .expect("accepted");
    let answer = Answer { name: "b", addresses: &[], store: StoreId::ZERO, newest_seq: 0, newest_head: Id::ZERO };
    let reply = maker().reply(&accept, &token(Kind::Agent).mac_key(), &answer).expect("a reply");
    assert_eq!(expect.check(&reply, &hmac), Err(PairingError::Mac), "an answer to another question");
    assert!(!body.is_empty());
}

#[test]
fn token_text_finds_typing_errors() {
    let text = token(Kind::Agent).to_text().expect("usable");
    assert_eq!(text.len(), 122, "one address makes 122 characters");
    assert_eq!(Token::parse(&text.to_uppercase()).as_ref(), Ok(&token(Kind::Agent)));
    let broken = format!("  {}\n  {}\n", &text[..60], &text[60..]);
    assert_eq!(Token::parse(&broken).as_ref(), Ok(&token(Kind::Agent)));
    for at in 5..text.len() {
        let mut typed = text.clone().into_bytes();
        typed[at] = if typed[at] == b'q' { b'p' } else { b'q' };
        assert_eq!(Token::parse(&String::from_utf8(typed).expect("letters")), Err(TokenError::Checksum), "at {at}");
        assert!(Token::parse(&text[..at]).is_err());
    }
    assert_eq!(Token::parse("bc1qqqq"), Err(TokenError::Prefix));
    assert_eq!(Token::parse(""), Err(TokenError::Prefix));
    assert_eq!(Token::parse("ädit1"), Err(TokenError::Prefix));
}

/// Frozen: tokens on paper outlive programs.
#[test]
fn token_bytes_are_frozen() {
    let mut token = token(Kind::Monitor);
    token.addresses.push(Address::Name("box.example".to_owned(), 443));
    assert_eq!(token.to_text().expect("usable"), TOKEN_TEXT);
    assert_eq!(token.id().to_string(), TOKEN_ID);
    assert_eq!(adit_wire::ids::Check(token.mac_key()).to_string(), TOKEN_MAC_KEY);
    assert_eq!(Token::parse(TOKEN_TEXT), Ok(token));
}

const TOKEN_TEXT: &str = "adit1z2s6rgdp5xs6rgdp5xs6rgdp5xs6rgdp5xs6rgdp5xs6rgdp5xs6zhj7te09uhj7te09uhj7te09uhszqysqzrdcqqqqqqqqqqqqqqqqqqruztgzpd3x77pwv4uxzmtsd3jmkqgu3fnj6";
const TOKEN_ID: &str = "c7c2322c87ba20ef";
const TOKEN_MAC_KEY: &str = "097454e87d2a0392bcd5e96a619c877dbef8e881b743a5a6efdb4a0b5a80e1f0";

#[test]
fn tokens_hold_only_addresses_that_can_be_dialled() {
    let with = |addresses: Vec<Address>| Token { addresses, ..token(Kind::Agent) }.to_text().map(|_| ());
    let ip = |text: &str, port| Address::Ip(text.parse().expect("an address"), port);
    assert_eq!(with(vec![]), Err(TokenError::Addresses));
    assert_eq!(with(vec![ip("fe80::1", 1); 4]), Err(TokenError::Addresses));
    assert_eq!(with(vec![ip("fe80::1", 1); 3]), Ok(()));
    for address in [ip("::", 1), ip("ff02::1", 1), ip("::ffff:192.0.2.1", 1), ip("2001:db8::1", 0)] {
        assert_eq!(with(vec![address]), Err(TokenError::Address));
    }
    for name in ["", "192.0.2.1", "a..b", "a b", "bö.example", &"n".repeat(64)] {
        assert_eq!(with(vec![Address::Name(name.to_owned(), 1)]), Err(TokenError::Address), "{name}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let token = token(Kind::Agent);
    let printed = format!("{token:?} {:?} {:?}", Spend::of(&token), state(Kind::Agent, Role::Source));
    assert!(!printed.contains("94, 94") && !printed.contains("5e5e"), "{printed}");
    let key = format!("{:?}", token.mac_key());
    assert!(!printed.contains(&key[1..20]));
}

#[test]
fn names_are_words_and_file_names() {
    for name in ["vm1", "nas.lan", "größe", &"n".repeat(63)] {
        assert!(is_name(name), "{name}");
    }
    for name in ["", ".hidden", "a/b", "a b", "a\nb", "a\u{7f}", &"n".repeat(64)] {
        assert!(!is_name(name), "{name:?}");
    }
}
