// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mail: one message to all people of a channel. The subject is the title; a program that sorts mail finds the verdict and
//! the hosts in header lines of their own.

use super::{DELIVER_WITHIN, Smtp, SmtpTls, secret};
use crate::alerts::group::Message;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

/// Longest subject, characters.
const SUBJECT_CHARS_MAX: usize = 200;

/// Checks the people's addresses.
pub(super) fn check(smtp: &Smtp) -> Result<(), String> {
    if smtp.to.is_empty() {
        return Err("a mail channel needs `to`".to_owned());
    }
    let one = |address: &String| address.parse::<Mailbox>().map(drop).map_err(|error| format!("{address:?}: {error}"));
    std::iter::once(&smtp.from).chain(&smtp.to).try_for_each(one)
}

/// Delivers a message.
pub(super) async fn deliver(smtp: &Smtp, message: &Message) -> Result<(), String> {
    let mail = mail(smtp, message)?;
    let parameters = || TlsParameters::new(smtp.server.clone()).map_err(|error| chain(&error));
    let tls = match smtp.tls {
        SmtpTls::None => Tls::None,
        SmtpTls::StartTls => Tls::Required(parameters()?),
        SmtpTls::Tls => Tls::Wrapper(parameters()?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(smtp.server.clone())
        .port(smtp.port)
        .timeout(Some(DELIVER_WITHIN))
        .tls(tls);
    if let Some((user, file)) = &smtp.login {
        builder = builder.credentials(Credentials::new(user.clone(), secret(file)?));
    }
    builder.build().send(mail).await.map(drop).map_err(|error| chain(&error))
}

fn mail(smtp: &Smtp, message: &Message) -> Result<lettre::Message, String> {
    let mailbox = |address: &str| address.parse::<Mailbox>().map_err(|error| error.to_string());
    let subject: String = message.title.chars().take(SUBJECT_CHARS_MAX).collect();
    let mut builder = lettre::Message::builder().from(mailbox(&smtp.from)?).subject(subject);
    for address in &smtp.to {
        builder = builder.to(mailbox(address)?);
    }
    builder.header(ContentType::TEXT_PLAIN).body(format!("{}\n", message.text())).map_err(|error| chain(&error))
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
