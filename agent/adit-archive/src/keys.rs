// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Long-lived keys: the recovery key with its files, a source's keys with their certificate, recipients, proofs.
//!
//! It stands apart from sealing because nothing here touches content. Private recovery keys never come near a record
//! that is being written: a source holds public halves only.

mod file;
mod public;
mod recovery;
mod signing;
mod source;

pub use file::{FileError, Kdf, Passphrase, Peek, Protection, peek_file, read_file, write_file};
pub use public::{KemPublicKey, PublicFileError, Recipient, RecoveryPublic};
pub use recovery::{RecoveryKey, WordsError};
pub use signing::{SigningKey, verify};
pub use source::{
    CertificateError, CertificateRequest, Certified, CutKey, IdKey, PathCutKey, Seed, SourceKeys, SourceKeysError,
};

#[cfg(test)]
mod tests;
