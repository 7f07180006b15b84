// SPDX-License-Identifier: Apache-2.0 OR MIT
//! How fast a link streams records over `[::1]`, TLS included: `cargo run --release -p adit-link --example throughput`.
//! Two runtimes of one thread each, so that one core seals and the other opens. On a busy machine the processor time of
//! both sides together tells more than the rate.
#![expect(clippy::print_stdout, reason = "its figures are its purpose")]

use adit_link::{About, Deadlines, Door, Gate, Identity, Limits, LinkError, Listener, Target, dial};
use adit_wire::backup::METHOD_REC;
use adit_wire::frame::{FLAG_END, Kind};
use adit_wire::ids::PublicKey;
use std::error::Error;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;
use tokio::runtime::{Builder, Runtime};

const REC: Kind = Kind { service: 2, method: METHOD_REC, major: 1 };
/// Bytes of each run.
const TOTAL_BYTES: usize = 2 << 30;

struct Everybody;

impl Gate for Everybody {
    fn pinned(&self, _: &PublicKey) -> bool {
        true
    }

    fn pairing_open(&self) -> bool {
        false
    }

    fn recovery_open(&self) -> bool {
        false
    }
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn main() -> Result<(), Box<dyn Error>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let served = runtime().map_err(|error| error.to_string()).and_then(|runtime| runtime.block_on(serve(&tell)));
        if let Err(error) = served {
            println!("the receiving side ended: {error}");
        }
    });
    let address = told.recv()?;
    for record_bytes in [2 << 20, 1 << 20, 256 << 10, 64 << 10, 4 << 10] {
        let before = processor_s()?;
        let seconds = runtime()?.block_on(stream(address, record_bytes))?;
        let total = f64::from(u32::try_from(TOTAL_BYTES >> 20)?);
        let cost = (processor_s()? - before) / total * 1024.0;
        println!("records of {:>5} KiB: {:>6.0} MiB/s, {cost:.2} s per GiB", record_bytes >> 10, total / seconds);
    }
    Ok(())
}

/// Seconds of processor time of this process up to now, user and system; Linux counts them in hundredths.
fn processor_s() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name in brackets come 11 other fields, then the two.
    let fields = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}

async fn serve(tell: &mpsc::Sender<SocketAddrV6>) -> Result<(), String> {
    let any_port = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);
    let identity = Identity::from_seed([1; 32]);
    let bound = Listener::bind(any_port, identity, Arc::new(Everybody), About::default(), Limits::default()).await;
    let mut listener = bound.map_err(|error| error.to_string())?;
    tell.send(listener.local_address()).map_err(|error| error.to_string())?;
    loop {
        let incoming = listener.accept().await.map_err(|error| error.to_string())?;
        let Some((_, conversation)) = incoming.link.incoming().await else { continue };
        while conversation.recv().await.map_err(|error| error.to_string())?.is_some() {}
        conversation.send_parts(REC, FLAG_END, &[]).await.map_err(|error| error.to_string())?;
        incoming.link.closed().await;
    }
}

async fn stream(address: SocketAddrV6, record_bytes: usize) -> Result<f64, Box<dyn Error>> {
    let expected = Identity::from_seed([1; 32]).public_key();
    let targets = [Target::Address(address)];
    let identity = Identity::from_seed([2; 32]);
    let link = dial(&targets, Door::Main, &identity, expected, &About::default(), Deadlines::default()).await?;
    let record = vec![0x5A; record_bytes];
    let conversation = link.open()?;
    let begun = Instant::now();
    for _ in 0..TOTAL_BYTES / record_bytes {
        conversation.send_parts(REC, 0, &[&record]).await?;
    }
    conversation.send_parts(REC, FLAG_END, &[]).await?;
    conversation.recv().await?.ok_or(LinkError::Cut)?;
    let seconds = begun.elapsed().as_secs_f64();
    link.close(None).await;
    Ok(seconds)
}
