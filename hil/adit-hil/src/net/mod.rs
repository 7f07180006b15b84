// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network: an Ethernet switch in this process over QEMU's stream sockets. It carries IPv6 and nothing else. Machines
//! plug in through unix sockets, programs of this machine through hosts with a TCP/IP stack in user space; routers
//! advertise, answer DNS and join networks past a firewall. No root, no tap, no namespace.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use adit_hil::net::Lan;
//! let lan = Lan::new("home", 7)?;
//! lan.router().prefix("fd00:ad17::/64").rdnss().mtu(1500).start()?;
//! let socket = lan.qemu_port("box")?; // -netdev stream,id=n0,server=off,addr.type=unix,addr.path=…
//! let admin = lan.host("admin")?;
//! let at = admin.forward("[fd00:ad17::5]:4433".parse()?)?; // a program dials `at` and reaches the machine
//! lan.faults(|faults| {
//!     faults.loss = 0.05;
//!     faults.mtu = 1280;
//! })?;
//! lan.port("box")?.down()?;
//! # Ok(())
//! # }
//! ```

mod advertise;
mod capture;
mod dns;
mod fault;
mod firewall;
mod frame;
mod gateway;
mod host;
mod lan;
mod qemu;
mod router;
mod services;
mod slaac;
mod switch;
mod world;

pub use advertise::{DOMAINS_MAX, FAREWELLS, INTERVAL, PREFIXES_MAX};
pub use capture::CAPTURE_BYTES_MAX;
pub use dns::{NAME_BYTES_MAX, NAMES_MAX};
pub use fault::{Counters, Faults, RATE_BURST_BYTES, RATE_QUEUE_BYTES, REORDER_HOLD, TooBig};
pub use firewall::{FLOW_TIMEOUT_TCP, FLOW_TIMEOUT_UDP, FLOWS_MAX, PINHOLES_MAX, Refusal};
pub use gateway::{FLOOD_BURST, NEIGHBOURS_MAX, SOLICITS_MAX, WAITING_MAX};
pub use host::{BACKLOG, CONNECTIONS_MAX, RECEIVE_FRAMES_MAX, RETRANSMIT_AFTER, SILENCE_MAX, WINDOW_BYTES};
pub use lan::{ANSWER_MAX, Announce, Gateway, Host, INBOX_MAX, Lan, PORT_NAME_BYTES_MAX, Port};
pub use qemu::QEMU_QUEUE_BYTES_MAX;
pub use router::{Forwarded, Router};
pub use slaac::{ADDRESSES_MAX, ROUTERS_MAX, VALID_MIN};
pub use switch::{MACS_MAX, UNDER_WAY_BYTES_MAX};
