// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A source in its state directory: keys, recipients, certificate. It decides in which order they become files, so that
//! a cut leaves either no source or a whole one: `source.toml` comes last.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::state::{SourceFile, StateDir, names};
use crate::text::{fill_random, now_s};
use adit_archive::keys::{CertificateError, Certified, RecoveryKey, RecoveryPublic, SourceKeys, SourceKeysError};
use adit_archive::run_key::{RunKey, Suite, open_key_record};
use adit_wire::ids::{PublicKey, SourceId};
use data_encoding::BASE64URL_NOPAD;

const CERTIFICATE_SCHEME: &str = "adit-certificate-1:";

/// What `init` needs.
#[derive(Debug)]
pub struct NewSource<'a> {
    /// The source's name.
    pub name: &'a str,
    /// For whom run keys are wrapped; the first one's signing key certifies.
    pub recipients: &'a [RecoveryPublic],
    /// The recovery key, where there is one machine only.
    pub recovery: Option<&'a RecoveryKey>,
}

/// Makes a source; answers its id. With the recovery key the source is certified and a first key record is opened with
/// it before success is reported: a key that can't read must be found now, not after a fire.
///
/// # Errors
/// When a file can't be written or the recovery key does not open what was wrapped for it.
pub fn create(state: &StateDir, new: NewSource<'_>) -> Result<SourceId, Failure> {
    let keys = SourceKeys::generate(&mut fill_random);
    let request = keys.request(new.name).map_err(|error| name_failure(&error))?;
    let certificate = match new.recovery {
        Some(recovery) => {
            let certificate = recovery.certify(&request).map_err(|error| Failure::internal(error.to_string()))?;
            prove(&keys, new.recipients, recovery, &certificate)?;
            Some(certificate)
        }
        None => None,
    };
    install(state, &keys, new.name, new.recipients, certificate.as_deref())?;
    Ok(keys.source())
}

/// Writes every file of a source; `source.toml` last.
///
/// # Errors
/// When one can't be written.
pub fn install(
    state: &StateDir,
    keys: &SourceKeys,
    name: &str,
    recipients: &[RecoveryPublic],
    certificate: Option<&[u8]>,
) -> Result<(), Failure> {
    state.identity_or_new()?;
    let texts: String = recipients.iter().map(RecoveryPublic::to_text).collect();
    state.write(names::RECIPIENTS, texts.as_bytes())?;
    state.write(names::SOURCE_KEYS, &keys.to_bytes())?;
    match certificate {
        Some(certificate) => state.write(names::CERTIFICATE, certificate)?,
        None => state.remove(names::CERTIFICATE)?,
    }
    let source = SourceFile { name: name.to_owned(), source: keys.source().to_string(), made_s: now_s() };
    state.write_toml(names::SOURCE, &source)
}

fn prove(
    keys: &SourceKeys,
    recipients: &[RecoveryPublic],
    recovery: &RecoveryKey,
    certificate: &[u8],
) -> Result<(), Failure> {
    let wrapped: Vec<_> = recipients.iter().map(|public| public.recipient("recovery")).collect();
    let internal = |error: &dyn std::fmt::Display| Failure::internal(format!("the first key record failed: {error}"));
    let record = RunKey::generate(Suite::default(), &mut fill_random)
        .key_record(keys, &wrapped, &mut fill_random)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string(), "give each recipient once"))?;
    let certified = Certified::verify(certificate, &recovery.signing().public()).map_err(|error| internal(&error))?;
    open_key_record(&record, &certified, recovery).map(drop).map_err(|error| internal(&error))
}

/// The source's secret keys.
///
/// # Errors
/// When the directory holds no source, or the file is damaged.
pub fn keys(state: &StateDir) -> Result<SourceKeys, Failure> {
    state.source()?;
    let bytes = state.read(names::SOURCE_KEYS)?.ok_or_else(|| Failure::not_set_up(state.path()))?;
    SourceKeys::from_bytes(&bytes).map_err(|error| match error {
        SourceKeysError::Version(_) => Failure::newer(state.file(names::SOURCE_KEYS).display()),
        SourceKeysError::Length(_) | SourceKeysError::Check => Failure::state(&state.file(names::SOURCE_KEYS), error),
    })
}

/// For whom run keys are wrapped.
///
/// # Errors
/// When the file is missing or damaged.
pub fn recipients(state: &StateDir) -> Result<Vec<RecoveryPublic>, Failure> {
    let text = state.read_text(names::RECIPIENTS)?.ok_or_else(|| Failure::not_set_up(state.path()))?;
    let damaged = |why: String| Failure::state(&state.file(names::RECIPIENTS), why);
    let mut recipients = Vec::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("-----END") {
        let end = rest[at..].find('\n').map_or(rest.len(), |line| at + line);
        recipients.push(RecoveryPublic::from_text(&rest[..end]).map_err(|error| damaged(error.to_string()))?);
        rest = &rest[end..];
    }
    if recipients.is_empty() { Err(damaged("it holds no recipient".to_owned())) } else { Ok(recipients) }
}

/// The installed certificate.
///
/// # Errors
/// When the file can't be read.
pub fn certificate(state: &StateDir) -> Result<Option<Vec<u8>>, Failure> {
    state.read(names::CERTIFICATE)
}

/// The recovery signing key that certifies this source: the one that signed the certificate, else the first recipient's.
///
/// # Errors
/// When the recipients can't be read.
pub fn recovery_signing_key(state: &StateDir) -> Result<PublicKey, Failure> {
    let recipients = recipients(state)?;
    let certificate = certificate(state)?.unwrap_or_default();
    let signer =
        recipients.iter().map(RecoveryPublic::signing_key).find(|key| Certified::verify(&certificate, key).is_ok());
    Ok(signer.or_else(|| recipients.first().map(RecoveryPublic::signing_key)).unwrap_or_default())
}

/// Installs this source's certificate out of a text with certificates of any sources; answers the certified name.
///
/// # Errors
/// When none fits this source's keys, or no recipient's recovery key signed it.
pub fn install_certificate(state: &StateDir, keys: &SourceKeys, text: &str) -> Result<String, Failure> {
    let recipients = recipients(state)?;
    let mut other_key = false;
    for line in text.lines() {
        let Some(bytes) = certificate_from_text(line) else { continue };
        let signed = recipients.iter().find_map(|public| Certified::verify(&bytes, &public.signing_key()).ok());
        let Some(certified) = signed else {
            other_key = true;
            continue;
        };
        let ours = certified.source() == keys.source()
            && certified.epoch() == keys.epoch()
            && certified.signing_key() == keys.signing().public()
            && certified.vouches_for(keys.seed());
        if ours {
            state.write(names::CERTIFICATE, &bytes)?;
            return Ok(certified.name().to_owned());
        }
    }
    let (what, next) = if other_key {
        (
            "the certificate is not signed by a recovery key that this source knows",
            "sign with the recovery key whose .pub file was given to `adit init`",
        )
    } else {
        ("there is no certificate for this source", "run `adit request` here and `adit certify` on what it prints")
    };
    Err(Failure::new(Exit::WrongKey, what, next))
}

/// A certificate as one line of text.
#[must_use]
pub fn certificate_to_text(certificate: &[u8]) -> String {
    format!("{CERTIFICATE_SCHEME}{}", BASE64URL_NOPAD.encode(certificate))
}

fn certificate_from_text(line: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(line.trim().strip_prefix(CERTIFICATE_SCHEME)?.as_bytes()).ok()
}

/// This machine's short name, the default name of a source.
///
/// # Errors
/// When the machine has none that fits.
pub fn host_name() -> Result<String, Failure> {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let short = name.split('.').next().unwrap_or_default();
    if short.is_empty() {
        return Err(Failure::new(Exit::Usage, "this machine has no name", "give --name NAME"));
    }
    Ok(short.to_owned())
}

fn name_failure(error: &CertificateError) -> Failure {
    Failure::new(Exit::Usage, error.to_string(), "give --name NAME")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        _dir: tempfile::TempDir,
        state: StateDir,
        recovery: RecoveryKey,
    }

    fn case() -> Case {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path().join("s"));
        state.create().unwrap();
        Case { _dir: dir, state, recovery: RecoveryKey::generate(&mut fill_random) }
    }

    #[test]
    fn the_one_machine_way_is_certified_at_once() {
        let case = case();
        let public = [case.recovery.public()];
        let new = NewSource { name: "web1", recipients: &public, recovery: Some(&case.recovery) };
        let id = create(&case.state, new).unwrap();
        assert_eq!(keys(&case.state).unwrap().source(), id);
        assert_eq!(recipients(&case.state).unwrap(), public);
        let certificate = certificate(&case.state).unwrap().unwrap();
        let certified = Certified::verify(&certificate, &recovery_signing_key(&case.state).unwrap()).unwrap();
        assert_eq!((certified.name(), certified.source()), ("web1", id));
    }

    #[test]
    fn request_certify_install() {
        let case = case();
        let other = RecoveryKey::generate(&mut fill_random);
        let publics = [other.public(), case.recovery.public()];
        create(&case.state, NewSource { name: "web1", recipients: &publics, recovery: None }).unwrap();
        let keys = keys(&case.state).unwrap();
        assert_eq!(recipients(&case.state).unwrap().len(), 2);
        assert!(certificate(&case.state).unwrap().is_none());
        let request = keys.request("web1").unwrap();
        let line = certificate_to_text(&case.recovery.certify(&request).unwrap());
        let stranger = RecoveryKey::generate(&mut fill_random);
        let foreign = certificate_to_text(&stranger.certify(&request).unwrap());
        assert_eq!(install_certificate(&case.state, &keys, &foreign).unwrap_err().exit, Exit::WrongKey);
        assert_eq!(install_certificate(&case.state, &keys, "\n").unwrap_err().exit, Exit::WrongKey);
        let many = format!("{foreign}\n# note\n{line}\n");
        assert_eq!(install_certificate(&case.state, &keys, &many).unwrap(), "web1");
        assert_eq!(recovery_signing_key(&case.state).unwrap(), case.recovery.signing().public());
    }

    #[test]
    fn a_damaged_key_file_is_told() {
        let case = case();
        let public = [case.recovery.public()];
        create(&case.state, NewSource { name: "web1", recipients: &public, recovery: None }).unwrap();
        let mut bytes = case.state.read(names::SOURCE_KEYS).unwrap().unwrap();
        bytes[20] ^= 1;
        case.state.write(names::SOURCE_KEYS, &bytes).unwrap();
        assert!(keys(&case.state).unwrap_err().what.contains("source.keys is not usable"));
        bytes[0] = 9;
        case.state.write(names::SOURCE_KEYS, &bytes).unwrap();
        assert!(keys(&case.state).unwrap_err().what.ends_with("was written by a newer version of adit"));
    }
}
