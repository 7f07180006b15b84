// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a source holds: its id, its seed and its signing key; and the certificate that ties them to the recovery key.

use super::recovery::RecoveryKey;
use super::signing::{SigningKey, verify};
use crate::secret::Secret;
use adit_wire::ids::{Check, Id, PublicKey, Signature, SourceId};
use adit_wire::pair::NAME_BYTES_MAX;
use adit_wire::signed::{CERTIFICATE_BYTES_MAX, Certificate, PREFIX_CERTIFICATE, SignedError};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

const CONTEXT_ID: &str = "adit 2026 content id key v1";
const CONTEXT_CUT: &str = "adit 2026 chunk cut key v1";
const CONTEXT_PATH_CUT: &str = "adit 2026 path cut key v1";
const CONTEXT_SEED_CHECK: &str = "adit 2026 seed check v1";
const PREFIX_REQUEST: &[u8] = b"adit request v1\0";
const REQUEST_SCHEME: &str = "adit-request-1:";
const STORED_VERSION: u8 = 1;
const STORED_BYTES: usize = 1 + 16 + 4 + 32 + 32 + 8;

/// The key of content ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdKey(pub(crate) Secret<32>);

/// The key of chunk boundaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutKey(pub(crate) Secret<32>);

/// The key of leaf and bundle boundaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathCutKey(pub(crate) Secret<32>);

/// The secret behind a source's ids and boundaries; the same as long as its history dedups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed(pub(crate) Secret<32>);

impl Seed {
    /// Takes the bytes over.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(Secret::new(bytes))
    }

    /// The key of content ids.
    #[must_use]
    pub fn id_key(&self) -> IdKey {
        IdKey(self.0.derive(CONTEXT_ID))
    }

    /// The key of chunk boundaries.
    #[must_use]
    pub fn cut_key(&self) -> CutKey {
        CutKey(self.0.derive(CONTEXT_CUT))
    }

    /// The key of leaf and bundle boundaries.
    #[must_use]
    pub fn path_cut_key(&self) -> PathCutKey {
        PathCutKey(self.0.derive(CONTEXT_PATH_CUT))
    }

    /// A key for some other purpose of the source (local hashes); `context` must be a constant that nothing else uses.
    #[must_use]
    pub fn derive(&self, context: &'static str) -> Secret<32> {
        self.0.derive(context)
    }

    /// Commits to the seed without telling it.
    #[must_use]
    pub fn check(&self) -> Check {
        Check(*self.0.derive(CONTEXT_SEED_CHECK).expose())
    }
}

/// A source's own keys. Whoever holds them can add to its history and confirm guesses of content, not decrypt it.
#[derive(Clone, Debug)]
pub struct SourceKeys {
    source: SourceId,
    epoch: u32,
    seed: Seed,
    signing: SigningKey,
}

impl SourceKeys {
    /// A new source: id, seed and signing key are drawn, the epoch is 1.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        let mut source = SourceId::ZERO;
        fill(&mut source.0);
        let seed = Seed(Secret::random(fill));
        Self { source, epoch: 1, seed, signing: SigningKey::from_seed(Secret::random(fill)) }
    }

    /// A known source on a new machine: id and seed stay (nothing is uploaded again), the signing key is drawn. `epoch`
    /// must be above that of the newest certificate.
    pub fn adopt(source: SourceId, seed: Seed, epoch: u32, fill: &mut dyn FnMut(&mut [u8])) -> Self {
        Self { source, epoch, seed, signing: SigningKey::from_seed(Secret::random(fill)) }
    }

    /// The same source under a new seed: after a break-in, or without the recovery key. Everything is uploaded again.
    pub fn rekey(&self, epoch: u32, fill: &mut dyn FnMut(&mut [u8])) -> Self {
        Self::adopt(self.source, Seed(Secret::random(fill)), epoch, fill)
    }

    /// The source's id.
    #[must_use]
    pub const fn source(&self) -> SourceId {
        self.source
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The key that signs snapshots and key records.
    #[must_use]
    pub const fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// All of it, to be stored where only the source reads (mode 0600).
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(STORED_BYTES));
        bytes.push(STORED_VERSION);
        bytes.extend_from_slice(&self.source.0);
        bytes.extend_from_slice(&self.epoch.to_le_bytes());
        bytes.extend_from_slice(self.seed.0.expose());
        bytes.extend_from_slice(self.signing.seed().expose());
        let check = stored_check(&bytes);
        bytes.extend_from_slice(&check);
        bytes
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged or from a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SourceKeysError> {
        let (version, _) = bytes.split_first().ok_or(SourceKeysError::Length(0))?;
        if *version != STORED_VERSION {
            return Err(SourceKeysError::Version(*version));
        }
        let bytes: &[u8; STORED_BYTES] = bytes.try_into().map_err(|_| SourceKeysError::Length(bytes.len()))?;
        let (body, check) = bytes.split_at(STORED_BYTES - 8);
        if stored_check(body) != check {
            return Err(SourceKeysError::Check);
        }
        let array = |from: usize| -> Secret<32> {
            let mut array = [0; 32];
            array.copy_from_slice(&body[from..from + 32]);
            Secret::new(array)
        };
        let mut source = SourceId::ZERO;
        source.0.copy_from_slice(&body[1..17]);
        let mut epoch = [0; 4];
        epoch.copy_from_slice(&body[17..21]);
        let epoch = u32::from_le_bytes(epoch);
        Ok(Self { source, epoch, seed: Seed(array(21)), signing: SigningKey::from_seed(array(53)) })
    }

    /// What the holder of the recovery key is asked to sign.
    ///
    /// # Errors
    /// When the name is longer than 63 bytes or holds control characters.
    pub fn request(&self, name: &str) -> Result<CertificateRequest, CertificateError> {
        check_name(name)?;
        Ok(CertificateRequest {
            source: self.source,
            signing_key: self.signing.public(),
            seed_check: self.seed.check(),
            epoch: self.epoch,
            name: name.to_owned(),
        })
    }
}

fn stored_check(body: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    check.copy_from_slice(&blake3::hash(body).as_bytes()[..8]);
    check
}

fn check_name(name: &str) -> Result<(), CertificateError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(CertificateError::Name(name.escape_debug().take(80).collect()));
    }
    Ok(())
}

/// Why stored source keys can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceKeysError {
    /// Written by a newer program.
    #[error("source keys have version {0}, this program reads {STORED_VERSION}")]
    Version(u8),
    /// Cut short or grown.
    #[error("source keys have {0} bytes, expected {STORED_BYTES}")]
    Length(usize),
    /// The checksum does not match.
    #[error("source keys are damaged: their checksum does not match")]
    Check,
}

/// A source's wish for a certificate. It travels as one line of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The source.
    pub source: SourceId,
    /// Its signing key.
    pub signing_key: PublicKey,
    /// Commits to its seed.
    pub seed_check: Check,
    /// Its epoch.
    pub epoch: u32,
    /// Its name.
    pub name: String,
}

impl CertificateRequest {
    fn body(&self) -> Result<Vec<u8>, CertificateError> {
        check_name(&self.name)?;
        let certificate = Certificate {
            source: self.source,
            signing_key: self.signing_key,
            seed_check: self.seed_check,
            epoch: self.epoch,
            name: &self.name,
        };
        Ok(certificate.write(&mut [0; CERTIFICATE_BYTES_MAX])?.to_vec())
    }

    /// One line of text, signed by the source's own key so that it can't be changed on its way.
    ///
    /// # Errors
    /// When the request is not one of these keys, or its name breaks the rule.
    pub fn to_text(&self, keys: &SourceKeys) -> Result<String, CertificateError> {
        if keys.signing.public() != self.signing_key {
            return Err(CertificateError::OtherKeys);
        }
        let mut bytes = self.body()?;
        let signature = keys.signing.sign(PREFIX_REQUEST, &[&bytes]);
        bytes.extend_from_slice(&signature.0);
        Ok(format!("{REQUEST_SCHEME}{}", BASE64URL_NOPAD.encode(&bytes)))
    }

    /// Reads one line of text; white space anywhere in it is ignored.
    ///
    /// # Errors
    /// When the text is no request or was damaged.
    pub fn from_text(text: &str) -> Result<Self, CertificateError> {
        let text: String = text.split_whitespace().collect();
        let encoded = text.strip_prefix(REQUEST_SCHEME).ok_or(CertificateError::NoRequest)?;
        let bytes = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| CertificateError::RequestDamaged)?;
        let (fields, body, signature) = Certificate::read(&bytes)?;
        if !verify(&fields.signing_key, PREFIX_REQUEST, &[body], &signature) {
            return Err(CertificateError::RequestDamaged);
        }
        let request = Self {
            source: fields.source,
            signing_key: fields.signing_key,
            seed_check: fields.seed_check,
            epoch: fields.epoch,
            name: fields.name.to_owned(),
        };
        check_name(&request.name)?;
        Ok(request)
    }
}

impl RecoveryKey {
    /// Signs a source's certificate: signing key and seed of this source are vouched for by the recovery key.
    ///
    /// # Errors
    /// When the request's name breaks the rule.
    pub fn certify(&self, request: &CertificateRequest) -> Result<Vec<u8>, CertificateError> {
        let mut certificate = request.body()?;
        let Signature(signature) = self.signing().sign(PREFIX_CERTIFICATE, &[&certificate]);
        certificate.extend_from_slice(&signature);
        Ok(certificate)
    }
}

/// A certificate whose signature was checked: the only way to get one is [`Certified::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    fields: CertificateRequest,
    recovery_signing_key: PublicKey,
    hash: Id,
}

impl Certified {
    /// Checks a certificate's signature by the recovery signing key.
    ///
    /// # Errors
    /// When the bytes are no certificate, or another key signed it.
    pub fn verify(certificate: &[u8], recovery_signing_key: &PublicKey) -> Result<Self, CertificateError> {
        let (_, body, signature) = Certificate::read(certificate)?;
        // The signature is judged over the exact bytes, before a field counts.
        if !verify(recovery_signing_key, PREFIX_CERTIFICATE, &[body], &signature) {
            return Err(CertificateError::Signature);
        }
        let (fields, ..) = Certificate::read(certificate)?;
        let fields = CertificateRequest {
            source: fields.source,
            signing_key: fields.signing_key,
            seed_check: fields.seed_check,
            epoch: fields.epoch,
            name: fields.name.to_owned(),
        };
        let hash = Id(*blake3::hash(certificate).as_bytes());
        Ok(Self { fields, recovery_signing_key: *recovery_signing_key, hash })
    }

    /// The source.
    #[must_use]
    pub const fn source(&self) -> SourceId {
        self.fields.source
    }

    /// The source's signing key.
    #[must_use]
    pub const fn signing_key(&self) -> PublicKey {
        self.fields.signing_key
    }

    /// The source's epoch.
    #[must_use]
    pub const fn epoch(&self) -> u32 {
        self.fields.epoch
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.fields.name
    }

    /// The key that signed.
    #[must_use]
    pub const fn recovery_signing_key(&self) -> PublicKey {
        self.recovery_signing_key
    }

    /// BLAKE3 of the certificate, which names it in lists.
    #[must_use]
    pub const fn hash(&self) -> Id {
        self.hash
    }

    /// Whether this is the seed that was certified.
    #[must_use]
    pub fn vouches_for(&self, seed: &Seed) -> bool {
        seed.check() == self.fields.seed_check
    }
}

/// Why a certificate or a request for one is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are no certificate.
    #[error(transparent)]
    Layout(#[from] SignedError),
    /// Signed by another recovery key, or altered.
    #[error("the certificate is not signed by this recovery key")]
    Signature,
    /// The name breaks the rule.
    #[error("the name \"{0}\" is empty, longer than {NAME_BYTES_MAX} bytes or holds control characters")]
    Name(String),
    /// The text does not begin as a request does.
    #[error("this is no certificate request: it does not begin with \"{REQUEST_SCHEME}\"")]
    NoRequest,
    /// Characters are missing or changed.
    #[error("the certificate request is damaged: copy the whole line again")]
    RequestDamaged,
    /// A request was to be signed by keys that it does not name.
    #[error("the certificate request belongs to other source keys")]
    OtherKeys,
}
