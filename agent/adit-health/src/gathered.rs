// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a report needs and cannot look up itself: what the store's owner says, what devices and daemons told those who asked
//! them. Asking takes as long as it takes and is done elsewhere; here is only what came of it.

use crate::collect::StoreReading;
use crate::devices::Devices;
use crate::judge::Judge;
use crate::model::{Component, Finding};
use crate::readings::ceph::CephReading;
use crate::readings::certificate::CertificateReading;
use crate::readings::gluster::GlusterReading;
use crate::readings::plugin::PluginReading;
use crate::readings::silence::Silence;
use crate::readings::system::ClockReading;
use crate::readings::units::UnitsReading;
use crate::readings::updates::UpdatesReading;
use crate::readings::ups::UpsReading;
use crate::readings::zpool::ZpoolReading;
use crate::rules;

/// What came of asking; `None` where nothing is asked, or nothing came yet.
pub type Asked<T> = Option<Result<T, Silence>>;

/// What others told.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// A box's store.
    pub store: Option<StoreReading>,
    /// Devices, by adit-probe.
    pub devices: Devices,
    /// UPSes, by the daemon that knows them.
    pub upses: Vec<(String, Asked<Vec<UpsReading>>)>,
    /// A Ceph cluster, by the name it is asked under.
    pub ceph: Option<(String, Asked<CephReading>)>,
    /// Gluster.
    pub gluster: Asked<GlusterReading>,
    /// Services.
    pub units: Asked<UnitsReading>,
    /// Updates.
    pub updates: Asked<UpdatesReading>,
    /// ZFS.
    pub pools: Asked<Vec<ZpoolReading>>,
    /// Certificates that endpoints show.
    pub certificates: Vec<CertificateReading>,
    /// Plugins, by name.
    pub plugins: Vec<(String, Asked<PluginReading>)>,
}

impl Gathered {
    /// The components of all that was asked.
    pub(crate) fn components(&self, judge: &mut Judge<'_>) -> Vec<Component> {
        let mut components = Vec::new();
        for (daemon, asked) in &self.upses {
            match asked {
                Some(Ok(upses)) => components.extend(upses.iter().map(|ups| rules::ups::ups(judge, ups))),
                Some(Err(silence)) => components.push(rules::ups::daemon_silent(judge, daemon, silence)),
                None => {}
            }
        }
        match &self.ceph {
            Some((name, Some(Ok(ceph)))) => components.push(rules::ceph::ceph(judge, name, ceph)),
            Some((name, Some(Err(silence)))) => components.push(rules::ceph::ceph_silent(name, silence)),
            Some((_, None)) | None => {}
        }
        match &self.gluster {
            Some(Ok(gluster)) => components.extend(rules::gluster::gluster(judge, gluster)),
            Some(Err(silence)) => components.push(rules::gluster::gluster_silent(silence)),
            None => {}
        }
        if let Some(Ok(pools)) = &self.pools {
            components.extend(pools.iter().map(|pool| rules::zpool::zpool(judge, pool)));
        }
        let now_s = judge.now_s();
        components.extend(self.certificates.iter().map(|found| rules::certificate::certificate(found, now_s)));
        for (name, asked) in &self.plugins {
            match asked {
                Some(Ok(plugin)) => components.push(rules::plugin::plugin(plugin)),
                Some(Err(silence)) => components.push(rules::plugin::plugin_silent(name, silence)),
                None => {}
            }
        }
        components
    }

    /// What is told of the operating system, which is judged with the host; these units may fail.
    pub(crate) fn host_findings(&self, judge: &mut Judge<'_>, ignored_units: &[String]) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(clock) = self.devices.answer.as_ref().and_then(|answer| answer.clock) {
            let clock = ClockReading { is_synchronised: clock.is_synchronised, offset_ms: clock.offset_us / 1_000 };
            findings.push(rules::system::clock(judge, &clock));
        }
        // A machine whose services cannot be asked for has no systemd, or one that the agent may not ask: no fault.
        if let Some(Ok(units)) = &self.units {
            findings.push(rules::units::units(judge, rules::system::HOST, units, ignored_units));
        }
        if let Some(Ok(updates)) = &self.updates {
            findings.push(rules::updates::updates(judge, rules::system::HOST, updates));
        }
        findings
    }
}
