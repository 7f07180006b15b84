// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A processor that hangs with its interrupts off: neither kernel nor first process can do anything about it, a hardware
//! watchdog can. QEMU's debugger port puts it there; the protocol is that of gdb's manual, appendix "Remote Serial Protocol".

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read, Write};

/// Where two registers of x86-64 stand in the answer to `g`, bytes.
const RIP_AT: usize = 128;
const EFLAGS_AT: usize = 136;
/// The flag that lets interrupts through.
const EFLAGS_IF: u8 = 1 << 1;
/// Where that flag's byte lies in the register.
const EFLAGS_IF_BYTE: usize = 1;
/// An instruction that jumps to itself.
const JUMP_TO_ITSELF: &str = "ebfe";
/// The longest answer that is read, bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Lets the machine's first processor run in a circle that no interrupt ends.
///
/// # Errors
/// When the debugger's port does not understand.
pub(crate) fn hang(port: &mut (impl Read + Write)) -> Result<()> {
    let mut registers = ask(port, "g")?;
    let place = field(&registers, RIP_AT, 8)?;
    let flags = field(&registers, EFLAGS_AT, 4)?;
    let at: String = place.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    order(port, &format!("M{at},2:{JUMP_TO_ITSELF}"))?;
    // All registers at once: a single one is only written for a debugger that has read their description.
    let byte = EFLAGS_AT + EFLAGS_IF_BYTE;
    registers.replace_range(2 * byte..2 * byte + 2, &format!("{:02x}", flags[EFLAGS_IF_BYTE] & !EFLAGS_IF));
    order(port, &format!("G{registers}"))?;
    // It goes on when the debugger leaves.
    order(port, "D")
}

/// Bytes of a register, in the machine's order.
fn field(registers: &str, at: usize, bytes: usize) -> Result<Vec<u8>> {
    let text = registers.get(2 * at..2 * (at + bytes)).context("the registers are cut short")?;
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).context("the registers are no hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn order(port: &mut (impl Read + Write), packet: &str) -> Result<()> {
    let answer = ask(port, packet)?;
    ensure!(answer == "OK", "the debugger's port answers {answer:?} to {packet}");
    Ok(())
}

/// Sends a packet and reads the answer's body.
fn ask(port: &mut (impl Read + Write), packet: &str) -> Result<String> {
    write!(port, "${packet}#{:02x}", sum(packet.as_bytes())).context("write to the debugger's port")?;
    loop {
        // That the machine has stopped, since a debugger came, is told unasked.
        let answer = hear(port)?;
        if !answer.starts_with('T') {
            return Ok(answer);
        }
    }
}

fn hear(port: &mut (impl Read + Write)) -> Result<String> {
    let mut answer = Vec::new();
    let mut byte = [0];
    let mut left = None;
    loop {
        port.read_exact(&mut byte).context("read from the debugger's port")?;
        match (byte[0], left) {
            (b'$', None) => answer.clear(),
            (b'#', None) => left = Some(2),
            (_, None) => answer.push(byte[0]),
            (_, Some(1)) => break,
            (_, Some(more)) => left = Some(more - 1),
        }
        if answer.len() > ANSWER_BYTES_MAX {
            bail!("the debugger's port answers more than {ANSWER_BYTES_MAX} bytes");
        }
    }
    port.write_all(b"+").context("write to the debugger's port")?;
    String::from_utf8(answer).context("the debugger's port answers no text")
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A port that answers by a script and keeps what it heard.
    struct Script {
        answers: Cursor<Vec<u8>>,
        heard: String,
    }

    impl Read for Script {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            self.answers.read(to)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.heard.push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn script(answers: &[&str]) -> Script {
        let all: String = answers.iter().map(|text| format!("+${text}#{:02x}", sum(text.as_bytes()))).collect();
        Script { answers: Cursor::new(all.into_bytes()), heard: String::new() }
    }

    #[test]
    fn interrupts_are_off_and_the_processor_turns_in_place() {
        let registers = format!("{}00112233445566ff46020000{}", "0".repeat(256), "0".repeat(64));
        let mut port = script(&["T02thread:01;", &registers, "OK", "OK", "OK"]);
        hang(&mut port).unwrap();
        let written = registers.replace("46020000", "46000000");
        for packet in ["Mff66554433221100,2:ebfe", &format!("G{written}"), "D"] {
            assert!(port.heard.contains(&format!("${packet}#{:02x}", sum(packet.as_bytes()))), "{}", port.heard);
        }
    }

    #[test]
    fn what_the_port_refuses_is_told() {
        let registers = "0".repeat(400);
        assert!(hang(&mut script(&[&registers, "E22"])).unwrap_err().to_string().contains("E22"));
        assert!(hang(&mut script(&["00"])).unwrap_err().to_string().contains("cut short"));
    }
}
