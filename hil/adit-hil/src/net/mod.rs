// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The network: an Ethernet switch in this process over QEMU's stream sockets. It carries IPv6 and nothing else.
