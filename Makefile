# SPDX-License-Identifier: Apache-2.0 OR MIT
# The menu: every task of this project by name. `make` lists them; the work is done by Cargo or by a program in tests/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PARTS := bash tests/parts.sh

.PHONY: help demo build test test-services check fmt no-std bare-metal fuzz bench bench-peers bench-rustic bench-health soak-health deb deny image image-tests hil hil-guest hil-mutants clean

help: ## list what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## pair, back up, verify, damage, recover on this machine: about a minute (DIR=… for another directory)
	@$(PARTS) demo

build: ## aditd, adit and adit-probe, release, into target/release
	cargo build --release --package aditd --package adit --package adit-probe

test: ## everything that needs no root: tools, format, lints, no_std, all tests, the fast stories on QEMU machines
	@$(PARTS) tools format lints no-std build tests doc-tests image-tests hil-guest stories

test-services: ## tests in namespaces of their own, with real Ceph, Gluster, NUT (needs root; installs iproute2 when missing)
	@$(PARTS) net-tools build netns nut ceph gluster systemd plugins updates smartctl

check: ## the quick part of test: format and lints
	@$(PARTS) format lints

fmt: ## format all code
	cargo fmt --all

no-std: ## prove that adit-wire, adit-proto and adit-slots need no std, three ways: plain, log, defmt
	@$(PARTS) no-std

bare-metal: ## the wire's frozen bytes and the slots' decisions on a Cortex-M3 in QEMU, with log and with defmt
	@$(PARTS) bare-metal

fuzz: ## fuzz every decoder, SECONDS_EACH=60 a target (needs a nightly toolchain)
	@$(PARTS) fuzz

bench: ## adit beside restic, rustic and borg on the same data (a missing peer is skipped with a word)
	@$(PARTS) bench

bench-peers: ## fetch restic and borg for bench, into target/peers
	@$(PARTS) peers

bench-rustic: ## build rustic for bench, into target/peers (takes long)
	@$(PARTS) rustic

bench-health: ## adit's health beside node_exporter and smartctl: bytes, processor time, memory (fetched into target/peers-health)
	@$(PARTS) bench-health

soak-health: ## what health costs an agent over MINUTES=10: memory after 10,000 polls and more, processor time at one a minute
	@$(PARTS) soak-health

deny: ## licences, banned crates and sources of all dependencies (installs cargo-deny into target/tools: takes long)
	@$(PARTS) deny

deb: ## the Debian package with static binaries and systemd units, into target/deb
	@$(PARTS) deb

image: ## a bootable image out of this checkout, into target/image (FLAVOUR=vm or hardware, VERSION=0.1.0)
	@$(PARTS) image

image-tests: ## an image built twice the same, taken apart, signed, and started by UEFI firmware on a QEMU machine
	@$(PARTS) image-tests

hil: ## all stories on QEMU machines, the slow ones too (`cargo hil` runs single ones)
	@$(PARTS) tools hil

hil-guest: ## what harness machines boot: Debian's kernel and static programs, into target/hil
	@$(PARTS) hil-guest

hil-mutants: ## each protection removed once: its story on QEMU machines must fail
	@$(PARTS) hil-mutants

clean: ## remove everything that was built
	cargo clean
