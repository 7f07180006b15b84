// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Serving the hand: one thread reads requests from the port, each request has a thread, answers go back as they come. What
//! a closed connection had asked for is still done, but its answers are for nobody and are dropped.
#![expect(clippy::print_stdout, reason = "the console of the machine is its standard output")]

use crate::power::Power;
use crate::processes::{self, Processes};
use crate::{disks, files, network, start};
use adit_guest::frame::{self, FrameError};
use adit_guest::words::{Answer, Ask, Failure, REQUESTS_MAX, Reply, Request};
use nix::mount::{MntFlags, umount2};
use std::fs::{self, File};
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the port, or a disk, is looked for while it is not there.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Serves the hand for ever. Without a port the machine still reaps its processes and waits.
pub(crate) fn serve(processes: &Arc<Processes>, power: &Arc<Power>) {
    processes::collect_ends(processes);
    let port = loop {
        match port() {
            Some(port) => break port,
            None => thread::sleep(LOOK_EVERY),
        }
    };
    let server = Arc::new(Server { processes: Arc::clone(processes), power: Arc::clone(power) });
    let mut reader = match File::options().read(true).write(true).open(&port) {
        Ok(file) => file,
        Err(error) => {
            println!("adit-guest: open {port}: {error}");
            loop {
                thread::park();
            }
        }
    };
    loop {
        let outcome = reader.try_clone().map(|writer| connection(&server, &mut reader, writer));
        match outcome {
            // Nobody is at the other end: the port reads as ended until somebody comes.
            Ok(FrameError::Closed) => {}
            Ok(error) => println!("adit-guest: the hand: {error}"),
            Err(error) => println!("adit-guest: the hand: {error}"),
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn port() -> Option<String> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?.flatten();
    let named = |port: &fs::DirEntry| {
        fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == adit_guest::PORT)
    };
    Some(format!("/dev/{}", ports.into_iter().find(named)?.file_name().to_str()?))
}

/// The end of a connection that an answer goes to; `None` once it is closed.
type Writer = Arc<Mutex<Option<File>>>;

fn connection(server: &Arc<Server>, reader: &mut File, writer: File) -> FrameError {
    let writer: Writer = Arc::new(Mutex::new(Some(writer)));
    // A full channel keeps the next request on the port.
    let (take_place, places) = sync_channel::<()>(REQUESTS_MAX);
    let places = Arc::new(Mutex::new(places));
    let closed = loop {
        let request: Request = match frame::receive(reader) {
            Ok(request) => request,
            Err(error) => break error,
        };
        if take_place.send(()).is_err() {
            break FrameError::Closed;
        }
        let (server, writer, places) = (Arc::clone(server), Arc::clone(&writer), Arc::clone(&places));
        thread::spawn(move || {
            let id = request.id;
            let ending = if let Ask::End { how } = request.ask { Some(how) } else { None };
            reply(&writer, &Reply { id, answer: server.answer(request.ask) });
            let _ = places.lock().unwrap_or_else(PoisonError::into_inner).recv();
            if let Some(how) = ending {
                server.power.end(how);
            }
        });
    };
    *writer.lock().unwrap_or_else(PoisonError::into_inner) = None;
    closed
}

fn reply(writer: &Writer, reply: &Reply) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = writer.as_mut()
        && let Err(error) = frame::send(file, reply)
    {
        println!("adit-guest: answer {}: {error}", reply.id);
    }
}

#[derive(Debug)]
struct Server {
    processes: Arc<Processes>,
    power: Arc<Power>,
}

impl Server {
    fn answer(&self, ask: Ask) -> Result<Answer, Failure> {
        let fail = |doing: String| move |error: io::Error| Failure::system(doing, &error);
        let milliseconds = |ms: u32| Duration::from_millis(ms.into());
        match ask {
            Ask::Run { program, stdin, deadline_ms } => {
                let doing = format!("run {}", program.argv.join(" "));
                self.processes.run(&program, stdin, milliseconds(deadline_ms)).map(Answer::Ran).map_err(fail(doing))
            }
            Ask::Spawn { program, log } => {
                let doing = format!("start {}", program.argv.join(" "));
                self.processes.spawn(&program, &log).map(Answer::Process).map_err(fail(doing))
            }
            Ask::Signal { process, signal } => {
                done(processes::signal(process.into(), signal), fail(format!("signal {process}")))
            }
            Ask::Wait { process, deadline_ms } => {
                let end = self.processes.wait(process, Instant::now() + milliseconds(deadline_ms));
                end.map(Answer::Ended).map_err(fail(format!("wait for {process}")))
            }
            Ask::WriteFile { path, permissions, append, bytes } => {
                done(files::write(&path, permissions, append, &bytes), fail(format!("write {path}")))
            }
            Ask::ReadFile { path, offset, bytes_max } => {
                files::read(&path, offset, bytes_max).map(Answer::Bytes).map_err(fail(format!("read {path}")))
            }
            Ask::MakeDirectory { path } => done(fs::create_dir_all(&path), fail(format!("make {path}"))),
            Ask::Mount { source, target, kind, flags, options } => {
                let mounted = files::attach(&source, &target, &kind, &flags, &options);
                done(mounted, fail(format!("mount {source} on {target}")))
            }
            Ask::Unmount { target } => {
                let unmounted = umount2(target.as_str(), MntFlags::empty()).map_err(io::Error::from);
                done(unmounted, fail(format!("unmount {target}")))
            }
            Ask::SetTime { unix_s, nanoseconds } => {
                done(files::set_time(unix_s, nanoseconds), fail(format!("set the time to {unix_s}")))
            }
            Ask::Vitals => files::vitals().map(Answer::Vitals).map_err(fail("read vitals".to_owned())),
            Ask::Addresses => network::addresses().map(Answer::Addresses).map_err(fail("read addresses".to_owned())),
            Ask::Disk { serial, deadline_ms } => find_disk(&serial, milliseconds(deadline_ms)),
            Ask::KernelLog => files::kernel_log().map(Answer::Bytes).map_err(fail("read the kernel's log".to_owned())),
            Ask::LoadModule { name, parameters } => done(start::load(&name, &parameters), fail(format!("load {name}"))),
            Ask::Sync => {
                nix::unistd::sync();
                Ok(Answer::Done)
            }
            Ask::PowerButton { powers_off } => Ok(Answer::Presses(self.power.button(powers_off))),
            // Done by the caller, once the answer is sent.
            Ask::End { .. } => Ok(Answer::Done),
        }
    }
}

fn done(outcome: io::Result<()>, fail: impl FnOnce(io::Error) -> Failure) -> Result<Answer, Failure> {
    outcome.map(|()| Answer::Done).map_err(fail)
}

fn find_disk(serial: &str, deadline: Duration) -> Result<Answer, Failure> {
    let until = Instant::now() + deadline;
    loop {
        if let Some(path) = disks::by_serial(serial) {
            return Ok(Answer::Path(path));
        }
        if Instant::now() >= until {
            return Err(Failure { doing: format!("find disk {serial}"), why: "no such disk".to_owned(), errno: None });
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn answers_overtake_each_other_until_all_places_are_taken() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut ours = File::from(OwnedFd::from(ours));
        let mut theirs = File::from(OwnedFd::from(theirs));
        let processes = Arc::new(Processes::default());
        let server = Arc::new(Server { processes: Arc::clone(&processes), power: Arc::new(Power::new(processes)) });
        let writer = theirs.try_clone().unwrap();
        let served = thread::spawn(move || connection(&server, &mut theirs, writer));
        let places = u32::try_from(REQUESTS_MAX).unwrap();
        for (slow, expected) in [(places - 1, "first"), (places, "later")] {
            for id in 0..=slow {
                let missing = Ask::Disk { serial: "no such disk".to_owned(), deadline_ms: 1500 };
                let ask = if id == slow { Ask::Vitals } else { missing };
                frame::send(&mut ours, &Request { id, ask }).unwrap();
            }
            let answered: Vec<Reply> = (0..=slow).map(|_| frame::receive(&mut ours).unwrap()).collect();
            let place = if answered[0].id == slow { "first" } else { "later" };
            assert_eq!(place, expected, "{slow} slow requests before a quick one");
            assert!(answered.iter().all(|reply| reply.answer.is_ok() == (reply.id == slow)));
        }
        drop(ours);
        assert!(matches!(served.join().unwrap(), FrameError::Closed));
    }
}
