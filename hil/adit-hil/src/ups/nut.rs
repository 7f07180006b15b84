// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The server of Network UPS Tools, as far as `upsc` and `upsmon` go: text lines that end with a newline, one supply `ups`,
//! any user with any password.

use super::{Event, Lines, Shared, locked};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Most clients at one time; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 16;
const NAME: &str = "ups";

/// One client.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    lines: Lines,
    user: bool,
    password: bool,
    logged_in: bool,
    ended: bool,
}

impl Session {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, lines: Lines::new(b'\n'), user: false, password: false, logged_in: false, ended: false }
    }

    /// Takes what the client sent and returns what it is answered.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = String::new();
        for byte in bytes {
            let Some(line) = self.lines.push(*byte).filter(|_| !self.ended) else { continue };
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            answers += &self.answer(&words).unwrap_or_else(|error| format!("ERR {error}"));
            answers.push('\n');
        }
        answers.into_bytes()
    }

    /// The client has said goodbye: close the connection.
    pub fn ended(&self) -> bool {
        self.ended
    }

    fn answer(&mut self, words: &[&str]) -> Result<String, &'static str> {
        match words {
            ["VER"] => Ok("Network UPS Tools upsd 2.8.0 - http://www.networkupstools.org/".to_owned()),
            ["NETVER" | "PROTVER"] => Ok("1.3".to_owned()),
            ["HELP"] => Ok("Commands: HELP VER GET LIST USERNAME PASSWORD LOGIN LOGOUT PRIMARY MASTER FSD".to_owned()),
            ["STARTTLS"] => Err("FEATURE-NOT-CONFIGURED"),
            ["LIST", rest @ ..] => self.list(rest),
            ["GET", rest @ ..] => self.get(rest),
            ["USERNAME", _] => Self::once(&mut self.user, "ALREADY-SET-USERNAME"),
            ["PASSWORD", _] => Self::once(&mut self.password, "ALREADY-SET-PASSWORD"),
            ["LOGIN", name] => {
                self.authorised(name)?;
                Self::once(&mut self.logged_in, "ALREADY-LOGGED-IN")?;
                locked(&self.shared.state).logins += 1;
                self.shared.tell(Event::Login);
                Ok("OK".to_owned())
            }
            [rank @ ("PRIMARY" | "MASTER"), name] => {
                self.authorised(name)?;
                Ok(format!("OK {rank}-GRANTED"))
            }
            ["FSD", name] => {
                self.authorised(name)?;
                locked(&self.shared.state).forced_shutdown = true;
                self.shared.tell(Event::ForcedShutdown);
                Ok("OK FSD-SET".to_owned())
            }
            ["LOGOUT"] => {
                self.ended = true;
                Ok("OK Goodbye".to_owned())
            }
            ["LOGIN" | "USERNAME" | "PASSWORD" | "PRIMARY" | "MASTER" | "FSD", ..] => Err("INVALID-ARGUMENT"),
            _ => Err("UNKNOWN-COMMAND"),
        }
    }

    fn once(done: &mut bool, otherwise: &'static str) -> Result<String, &'static str> {
        if std::mem::replace(done, true) { Err(otherwise) } else { Ok("OK".to_owned()) }
    }

    fn authorised(&self, name: &str) -> Result<(), &'static str> {
        match (self.user, self.password) {
            (false, _) => Err("USERNAME-REQUIRED"),
            (true, false) => Err("PASSWORD-REQUIRED"),
            (true, true) => known(name),
        }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let state = locked(&self.shared.state);
        let condition = state.condition;
        let mut status = vec![if condition.on_line { "OL" } else { "OB" }];
        status.extend(condition.low.then_some("LB"));
        status.extend(condition.replace.then_some("RB"));
        status.extend(state.forced_shutdown.then_some("FSD"));
        vec![
            ("battery.charge", condition.charge().to_string()),
            ("battery.runtime", condition.runtime_s.to_string()),
            ("battery.voltage", format!("{:.1}", condition.battery_v())),
            ("device.type", "ups".to_owned()),
            ("input.voltage", format!("{:.1}", condition.input_v())),
            ("ups.load", condition.load().to_string()),
            ("ups.mfr", "ADIT".to_owned()),
            ("ups.model", "HARNESS".to_owned()),
            ("ups.status", status.join(" ")),
        ]
    }

    /// A supply that the driver hears.
    fn fresh(&self, name: &str) -> Result<(), &'static str> {
        known(name)?;
        if locked(&self.shared.state).condition.stale { Err("DATA-STALE") } else { Ok(()) }
    }

    fn list(&self, words: &[&str]) -> Result<String, &'static str> {
        let (what, lines): (String, Vec<String>) = match words {
            ["UPS"] => ("UPS".to_owned(), vec![format!("UPS {NAME} \"supply of the harness\"")]),
            ["VAR", name] => {
                self.fresh(name)?;
                let variable = |(key, value): (&str, String)| format!("VAR {NAME} {key} \"{value}\"");
                (format!("VAR {NAME}"), self.variables().into_iter().map(variable).collect())
            }
            [kind @ ("RW" | "CMD" | "CLIENT"), name] => {
                known(name)?;
                (format!("{kind} {NAME}"), Vec::new())
            }
            _ => return Err("INVALID-ARGUMENT"),
        };
        let all = [vec![format!("BEGIN LIST {what}")], lines, vec![format!("END LIST {what}")]].concat();
        Ok(all.join("\n"))
    }

    fn get(&self, words: &[&str]) -> Result<String, &'static str> {
        match words {
            ["VAR", name, key] => {
                self.fresh(name)?;
                let found = self.variables().into_iter().find(|(known, _)| known == key);
                found.map(|(key, value)| format!("VAR {NAME} {key} \"{value}\"")).ok_or("VAR-NOT-SUPPORTED")
            }
            ["NUMLOGINS", name] => {
                known(name)?;
                Ok(format!("NUMLOGINS {NAME} {}", locked(&self.shared.state).logins))
            }
            ["UPSDESC", name] => known(name).map(|()| format!("UPSDESC {NAME} \"supply of the harness\"")),
            _ => Err("INVALID-ARGUMENT"),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.logged_in {
            locked(&self.shared.state).logins -= 1;
        }
    }
}

fn known(name: &str) -> Result<(), &'static str> {
    if name == NAME { Ok(()) } else { Err("UNKNOWN-UPS") }
}

/// Serves one client until it leaves.
pub(super) fn talk(mut session: Session, mut stream: impl Read + Write) -> std::io::Result<()> {
    let mut buffer = [0; 256];
    while !session.ended() {
        let count = stream.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        stream.write_all(&session.take(bytes))?;
    }
    Ok(())
}

/// A listener on `[::1]` and the clients it has.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddrV6,
    clients: Arc<Mutex<Clients>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Clients {
    stopped: bool,
    present: Vec<(TcpStream, JoinHandle<()>)>,
}

impl Server {
    pub(super) fn start(shared: &Arc<Shared>) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0))?;
        let SocketAddr::V6(address) = listener.local_addr()? else {
            return Err(std::io::Error::other("an IPv6 listener without an IPv6 address"));
        };
        let clients = Arc::new(Mutex::new(Clients::default()));
        let (of_thread, shared) = (Arc::clone(&clients), Arc::clone(shared));
        let thread = std::thread::Builder::new().name("nut".to_owned()).spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut clients = locked(&of_thread);
                if clients.stopped {
                    return;
                }
                clients.present.retain(|(_, thread)| !thread.is_finished());
                let Ok(kept) = stream.try_clone() else { continue };
                if clients.present.len() < CONNECTIONS_MAX {
                    let session = Session::new(&shared);
                    clients.present.push((kept, std::thread::spawn(move || serve(session, &stream))));
                }
            }
        })?;
        Ok(Self { address, clients, thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddrV6 {
        self.address
    }
}

fn serve(session: Session, stream: &TcpStream) {
    drop(talk(session, stream));
    // The server keeps a second handle, so dropping this one would not close the connection.
    drop(stream.shutdown(Shutdown::Both));
}

impl Drop for Server {
    fn drop(&mut self) {
        let present = {
            let mut clients = locked(&self.clients);
            clients.stopped = true;
            std::mem::take(&mut clients.present)
        };
        for (stream, thread) in present {
            drop(stream.shutdown(Shutdown::Both));
            drop(thread.join());
        }
        // Wakes the thread if it waits for a client.
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LINE_BYTES_MAX, Ups};
    use super::*;
    use std::time::Duration;

    fn ask(session: &mut Session, line: &str) -> String {
        String::from_utf8(session.take(format!("{line}\n").as_bytes())).unwrap()
    }

    #[test]
    fn a_client_reads_every_variable() {
        let ups = Ups::new();
        ups.change(|c| (c.on_line, c.low, c.charge_percent, c.runtime_s, c.load_percent) = (false, true, 7, 90, 200));
        let mut session = ups.session();
        assert_eq!(ask(&mut session, "LIST UPS"), "BEGIN LIST UPS\nUPS ups \"supply of the harness\"\nEND LIST UPS\n");
        assert_eq!(
            ask(&mut session, "LIST VAR ups"),
            "BEGIN LIST VAR ups\nVAR ups battery.charge \"7\"\nVAR ups battery.runtime \"90\"\nVAR ups battery.voltage \"21.2\"\n\
             VAR ups device.type \"ups\"\nVAR ups input.voltage \"0.0\"\nVAR ups ups.load \"100\"\nVAR ups ups.mfr \"ADIT\"\n\
             VAR ups ups.model \"HARNESS\"\nVAR ups ups.status \"OB LB\"\nEND LIST VAR ups\n"
        );
        assert_eq!(ask(&mut session, "GET VAR ups ups.status"), "VAR ups ups.status \"OB LB\"\n");
        for (line, error) in [
            ("GET VAR ups no.such", "VAR-NOT-SUPPORTED"),
            ("GET VAR other ups.status", "UNKNOWN-UPS"),
            ("LIST VAR other", "UNKNOWN-UPS"),
            ("LIST", "INVALID-ARGUMENT"),
            ("GET VAR", "INVALID-ARGUMENT"),
            ("STARTTLS", "FEATURE-NOT-CONFIGURED"),
            ("", "UNKNOWN-COMMAND"),
            ("ver", "UNKNOWN-COMMAND"),
            ("LOGIN", "INVALID-ARGUMENT"),
            ("LOGIN ups", "USERNAME-REQUIRED"),
        ] {
            assert_eq!(ask(&mut session, line), format!("ERR {error}\n"), "{line}");
        }
        ups.change(|c| c.stale = true);
        for line in ["LIST VAR ups", "GET VAR ups ups.status"] {
            assert_eq!(ask(&mut session, line), "ERR DATA-STALE\n", "{line}");
        }
        assert!(ask(&mut session, "LIST UPS").starts_with("BEGIN"));
    }

    #[test]
    fn a_monitor_logs_in_and_forces_a_shutdown() {
        let ups = Ups::new();
        let mut session = ups.session();
        assert_eq!(ask(&mut session, "USERNAME mon"), "OK\n");
        assert_eq!(ask(&mut session, "FSD ups"), "ERR PASSWORD-REQUIRED\n");
        assert_eq!(ask(&mut session, "PASSWORD x\nLOGIN ups\nLOGIN ups"), "OK\nOK\nERR ALREADY-LOGGED-IN\n");
        assert_eq!(ask(&mut session, "PRIMARY ups\nFSD ups"), "OK PRIMARY-GRANTED\nOK FSD-SET\n");
        assert_eq!(ask(&mut session, "GET VAR ups ups.status"), "VAR ups ups.status \"OL FSD\"\n");
        assert_eq!(ups.events(), [Event::Login, Event::ForcedShutdown]);
        let mut other = ups.session();
        assert_eq!(ask(&mut other, "GET NUMLOGINS ups"), "NUMLOGINS ups 1\n");
        assert_eq!(ask(&mut session, "LOGOUT\nVER"), "OK Goodbye\n");
        assert!(session.ended());
        drop(session);
        assert_eq!(ask(&mut other, "GET NUMLOGINS ups"), "NUMLOGINS ups 0\n");
    }

    #[test]
    fn lines_have_a_limit() {
        let mut session = Ups::new().session();
        assert_eq!(ask(&mut session, &"x".repeat(LINE_BYTES_MAX + 1)), "");
        assert_eq!(ask(&mut session, "NETVER"), "1.3\n");
    }

    #[test]
    fn the_server_has_room_for_so_many() {
        let mut ups = Ups::new();
        let address = ups.serve().unwrap();
        let mut clients: Vec<TcpStream> = (0..CONNECTIONS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        let version = |client: &mut TcpStream| {
            client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            // A server that closes may do so before or after this is sent.
            drop(client.write_all(b"NETVER\n"));
            let mut answer = [0; 4];
            client.read_exact(&mut answer).map(|()| answer)
        };
        assert!(clients.iter_mut().all(|client| version(client).unwrap() == *b"1.3\n"));
        assert!(version(&mut TcpStream::connect(address).unwrap()).is_err());
        let mut last = clients.pop().unwrap();
        last.write_all(b"LOGOUT\n").unwrap();
        let mut goodbye = String::new();
        last.read_to_string(&mut goodbye).unwrap();
        assert_eq!(goodbye, "OK Goodbye\n");
        drop(ups);
        assert!(TcpStream::connect(address).is_err());
    }
}
