// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The recovery key: 32 random bytes, written as 24 words, from which a KEM key (reads) and a signing key (vouches and
//! proves) are derived.

use super::public::{KemPublicKey, RecoveryPublic};
use super::signing::SigningKey;
use crate::secret::Secret;
use adit_wire::ids::{ChannelBinding, PublicKey, Signature, SourceId};
use adit_wire::signed::{PREFIX_READ, PREFIX_RECOVER};
use bip39::{Language, Mnemonic};
use hpke::Kem as KemTrait;
use hpke::kem::XWing;
use hpke::{Deserializable, Serializable};
use std::fmt;
use zeroize::Zeroizing;

const CONTEXT_KEM: &str = "adit 2026 recovery kem v1";
const CONTEXT_SIGNING: &str = "adit 2026 recovery signing v1";
/// Words of a recovery key: 256 bits and a checksum of 8.
pub(crate) const WORDS: usize = 24;

/// The recovery key. Whoever holds it and the stored records reads everything.
#[derive(Clone)]
pub struct RecoveryKey {
    entropy: Secret<32>,
    kem_seed: Secret<32>,
    kem_public: KemPublicKey,
    signing: SigningKey,
}

impl RecoveryKey {
    /// A new one from the caller's source of randomness.
    pub fn generate(fill: &mut dyn FnMut(&mut [u8])) -> Self {
        Self::from_entropy(Secret::random(fill))
    }

    /// The key of 32 bytes that were drawn before.
    ///
    /// # Panics
    /// When the KEM refuses 32 bytes as a private key, which it does not.
    #[must_use]
    pub fn from_entropy(entropy: Secret<32>) -> Self {
        let kem_seed = entropy.derive(CONTEXT_KEM);
        let kem_public = KemPublicKey::of_seed(&kem_seed);
        let signing = SigningKey::from_seed(entropy.derive(CONTEXT_SIGNING));
        Self { entropy, kem_seed, kem_public, signing }
    }

    /// The 24 words, lower case, one space between.
    ///
    /// # Panics
    /// When the word library refuses 32 bytes, which it does not.
    #[must_use]
    pub fn words(&self) -> Zeroizing<String> {
        let mnemonic =
            Mnemonic::from_entropy_in(Language::English, self.entropy.expose()).expect("32 bytes make 24 words");
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for (index, word) in mnemonic.words().enumerate() {
            if index > 0 {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// Reads 24 words, as a person types them: any white space, any case, numbering ("1." or "1)") ignored. The first
    /// four letters of a word are enough.
    ///
    /// # Errors
    /// The word that is not in the list, a wrong number of words, or a checksum that fails.
    pub fn from_words(text: &str) -> Result<Self, WordsError> {
        let list = Language::English.word_list();
        let mut indices = Zeroizing::new(Vec::with_capacity(WORDS));
        let typed = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !is_numbering(word));
        for (at, word) in typed.enumerate() {
            let word = Zeroizing::new(strip_numbering(word).to_lowercase());
            indices.push(find_word(list, &word).map_err(|near| WordsError::Unknown {
                position: at.saturating_add(1),
                word: word.chars().take(20).collect(),
                near,
            })?);
        }
        if indices.len() != WORDS {
            return Err(WordsError::Count(indices.len()));
        }
        let mut entropy = Zeroizing::new([0u8; 33]);
        for (at, index) in indices.iter().enumerate() {
            for bit in 0..11 {
                if index >> (10 - bit) & 1 == 1 {
                    let place = at * 11 + bit;
                    entropy[place / 8] |= 0x80 >> (place % 8);
                }
            }
        }
        let mut key = [0u8; 32];
        key.copy_from_slice(&entropy[..32]);
        let key = Self::from_entropy(Secret::new(key));
        // The eight bits behind the key are its checksum: the library that wrote the words judges them.
        let expected = key.words();
        let last = expected.rsplit(' ').next().and_then(|word| find_word(list, word).ok());
        if last != indices.last().copied() {
            return Err(WordsError::Checksum);
        }
        Ok(key)
    }

    /// The 32 bytes, for a recovery file.
    pub(crate) const fn entropy(&self) -> &Secret<32> {
        &self.entropy
    }

    /// The KEM's private key.
    pub(crate) fn kem_private(&self) -> <XWing as KemTrait>::PrivateKey {
        <XWing as KemTrait>::PrivateKey::from_bytes(self.kem_seed.expose())
            .expect("any 32 bytes are an X-Wing private key")
    }

    /// The KEM's public key, for which run keys are wrapped.
    #[must_use]
    pub const fn kem_public(&self) -> &KemPublicKey {
        &self.kem_public
    }

    /// The recovery signing key.
    #[must_use]
    pub const fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// What may be handed to servers.
    #[must_use]
    pub fn public(&self) -> RecoveryPublic {
        RecoveryPublic::sign(self)
    }

    /// The proof that opens a source for reading on one connection.
    #[must_use]
    pub fn prove_read(&self, binding: &ChannelBinding, source: &SourceId) -> Signature {
        self.signing.sign(PREFIX_READ, &[&binding.0, &source.0])
    }

    /// The proof at the recovery door, bound to the connection and to both machines' keys.
    #[must_use]
    pub fn prove_recover(&self, binding: &ChannelBinding, box_key: &PublicKey, own_key: &PublicKey) -> Signature {
        self.signing.sign(PREFIX_RECOVER, &[&binding.0, &box_key.0, &own_key.0])
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecoveryKey").field("signing_key", &self.signing.public()).finish_non_exhaustive()
    }
}

impl KemPublicKey {
    fn of_seed(seed: &Secret<32>) -> Self {
        let private =
            <XWing as KemTrait>::PrivateKey::from_bytes(seed.expose()).expect("any 32 bytes are an X-Wing private key");
        let public = XWing::sk_to_pk(&private).to_bytes();
        Self::from_bytes(&public).expect("a derived X-Wing public key is valid")
    }
}

fn is_numbering(word: &str) -> bool {
    strip_numbering(word).is_empty()
}

fn strip_numbering(word: &str) -> &str {
    let digits = word.trim_start_matches(|c: char| c.is_ascii_digit());
    if digits.len() == word.len() { word } else { digits.trim_start_matches(['.', ')', ':']) }
}

/// The word's place in the list, by itself or by its first four letters; else the nearest word.
fn find_word(list: &'static [&'static str; 2048], word: &str) -> Result<usize, Option<&'static str>> {
    if let Ok(index) = list.binary_search(&word) {
        return Ok(index);
    }
    // No two words of the list share their first four letters.
    if word.len() == 4 && word.is_ascii() {
        let at = list.partition_point(|known| *known < word);
        if list.get(at).is_some_and(|known| known.starts_with(word)) {
            return Ok(at);
        }
    }
    let near = list.iter().map(|known| (distance(known, word), *known)).min();
    Err(near.filter(|(distance, _)| *distance <= 2).map(|(_, known)| known))
}

/// How many letters must be added, dropped or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(20).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let change = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Why words are no recovery key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// Too few or too many.
    #[error("a recovery key has {WORDS} words, got {0}")]
    Count(usize),
    /// Not in the list.
    #[error("word {position}, \"{word}\", is not in the word list{}", near.map(|near| format!(" (did you mean \"{near}\"?)")).unwrap_or_default())]
    Unknown {
        /// Counted from 1.
        position: usize,
        /// What was typed.
        word: String,
        /// A word of the list that differs by one or two letters.
        near: Option<&'static str>,
    },
    /// Each word is in the list, but together they are no key.
    #[error("the words' checksum does not match: a word is wrong, or two are swapped")]
    Checksum,
}
