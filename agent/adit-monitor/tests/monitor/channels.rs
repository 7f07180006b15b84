// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Messages arrive: at a mail server and at web services, small ones that this test serves, which refuse at first.

use crate::lab::{Agent, Lab, report, run};
use adit_wire::health::codes::Verdict;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

/// A mail server that speaks as RFC 5321 wants, greets the first connection with "try later", and hands over whole mails.
fn mail_server() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("[::1]:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let (hand_over, mails) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            if let Some(mail) = take_mail(stream, number == 0)
                && hand_over.send(mail).is_err()
            {
                return;
            }
        }
    });
    (port, mails)
}

fn take_mail(stream: TcpStream, busy: bool) -> Option<String> {
    let mut answer = stream.try_clone().ok()?;
    if busy {
        answer.write_all(b"421 mail.example.org is busy, try later\r\n").ok()?;
        return None;
    }
    answer.write_all(b"220 mail.example.org ready\r\n").ok()?;
    let (mut lines, mut mail, mut in_data) = (BufReader::new(stream), String::new(), false);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if in_data {
            if line == ".\r\n" {
                answer.write_all(b"250 taken\r\n").ok()?;
                return Some(mail);
            }
            mail.push_str(&line);
            continue;
        }
        let verb = line.split_whitespace().next().unwrap_or_default().to_uppercase();
        in_data = verb == "DATA";
        let said: &[u8] = match verb.as_str() {
            "EHLO" => b"250-mail.example.org\r\n250 8BITMIME\r\n",
            "DATA" => b"354 go on\r\n",
            "QUIT" => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        answer.write_all(said).ok()?;
    }
}

/// A web service that refuses its first request and hands over the bodies of the others.
fn web_server() -> (u16, Receiver<(String, String)>) {
    let listener = TcpListener::bind("[::1]:0").expect("bound");
    let port = listener.local_addr().expect("bound").port();
    let (hand_over, bodies) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            if let Some(request) = take_request(stream, number == 0)
                && hand_over.send(request).is_err()
            {
                return;
            }
        }
    });
    (port, bodies)
}

fn take_request(stream: TcpStream, refuse: bool) -> Option<(String, String)> {
    let mut answer = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0usize);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    let said = if refuse { "503 Busy" } else { "200 OK" };
    answer.write_all(format!("HTTP/1.1 {said}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    (!refuse).then(|| (head, String::from_utf8(body).unwrap_or_default()))
}

#[tokio::test]
async fn a_failure_reaches_mail_and_web_though_they_refuse_at_first() {
    let ((mail_port, mails), (web_port, bodies)) = (mail_server(), web_server());
    let more = format!(
        "[[channel]]\nname = \"mail\"\nkind = \"smtp\"\nserver = \"[::1]:{mail_port}\"\ntls = \"none\"\n\
         from = \"adit <adit@example.org>\"\nto = [\"admin@example.org\"]\n\
         [[channel]]\nname = \"phone\"\nkind = \"ntfy\"\nurl = \"http://[::1]:{web_port}/adit\"\n"
    );
    let lab = Lab::start(&more).await;
    let agent = Agent::new();
    agent.reports(&report(Verdict::Critical));
    let (address, _serving) = agent.listen(lab.key).await;
    lab.add_agent("cellar", agent.identity.public_key(), Some(address));
    let view = lab
        .until("two refusals", |view| {
            view.channels.values().all(|(queue, _)| queue.waiting == 1 && !queue.trouble.is_empty())
        })
        .await;
    assert!(view.channels["mail"].0.trouble.contains("421"), "{:?}", view.channels);
    assert!(view.channels["phone"].0.trouble.contains("503"), "{:?}", view.channels);
    let wait = crate::lab::WITHIN;
    let (mail, body) = tokio::task::spawn_blocking(move || (mails.recv_timeout(wait), bodies.recv_timeout(wait)))
        .await
        .expect("waited");
    let mail = mail.expect("a mail");
    assert!(
        mail.contains("To: admin@example.org\r\n") && mail.contains("Subject: CRITICAL cellar: disk sda"),
        "{mail}"
    );
    let (head, body) = body.expect("a push");
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&value["topic"], &value["priority"]), (&"adit".into(), &5.into()));
    lab.until("both are delivered", |view| {
        view.channels.values().all(|(queue, at)| queue.waiting == 0 && at.is_some())
    })
    .await;
    let config = lab.dir.path().join("adit-monitor.toml");
    let (code, said, words) = run(config, &["test-alert", "--channel", "phone"]).await;
    assert_eq!((code, said.as_str()), (0, "delivered\n"), "{words}");
    lab.stop().await;
}
