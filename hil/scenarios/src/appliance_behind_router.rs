// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The box stands behind a home's router that lets nobody in. While the router does not open ports by itself, the screen says
//! that a person has to; as soon as it does, the box has its port opened, and a server somewhere else backs up to it. The
//! clock, whose battery was dead, follows the router's.

use adit_hil::Lab;
use adit_hil::appliance::{PORT, START_DEADLINE};
use adit_hil::image::Edition;
use adit_hil::net::Router;
use anyhow::{Result, ensure};
use std::net::SocketAddrV6;

/// The year of a machine whose clock has no battery, seconds since 1970.
const CLOCK_S: i64 = 0;

pub(crate) fn play(lab: &mut Lab) -> Result<()> {
    let (home, router) = lab.lan_with("home", "2001:db8::/64")?;
    let (internet, provider) = lab.lan_with("internet", "2001:db8:2::/64")?;
    Router::join(&router, &provider)?;
    router.opens_ports(Some(false))?;
    let parts = lab.new_appliance("cellar", &home, Edition::new(1, 0, 0));
    let mut cellar = parts.with(|parts| parts.clock_s = Some(CLOCK_S)).start()?;
    cellar.expect("(it is told not to)", START_DEADLINE)?;
    cellar.pair_admin()?;
    let web = lab.source("web1")?;
    let far = internet.host("far")?.forward(SocketAddrV6::new(cellar.address()?, PORT, 0, 0))?;
    let token = cellar.admin(&["box", "token", "--name", web.name()])?.succeeded()?;
    let token = token.stdout.trim();
    let early = lab.source("early")?.pair_with(token, Some(&far.to_string()));
    ensure!(early.is_err(), "the router let a stranger in");

    router.opens_ports(Some(true))?;
    cellar.expect("the router has opened TCP", START_DEADLINE)?;
    web.pair_with(token, Some(&far.to_string()))?;
    web.backup()?;
    web.restore_equals()
}
