// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The exit codes: one table, public, printed in `--help` and tested. Scripts rely on the numbers.

use std::process::ExitCode;

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// How a command ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Exit { $($(#[$doc])* $name = $number,)* }

        impl Exit {
            /// Every exit code, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What the number means.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

exits! {
    /// Everything was done.
    Done = 0, "done";
    /// A mistake in this program.
    Internal = 1, "internal error: a mistake in this program";
    /// The command line is wrong.
    Usage = 2, "usage: the command line is wrong";
    /// The state directory is not set up or not paired.
    NotPaired = 3, "not paired: this state directory is not set up or not paired with a box";
    /// No link to the box.
    Unreachable = 4, "box unreachable: the message names the hop";
    /// The box answered no.
    Refused = 5, "refused: the box said no";
    /// Some files were skipped; the rest is safe.
    Partial = 6, "partial: done, but some files were skipped";
    /// Stored bytes are damaged or missing, or the box is not what it was.
    Damaged = 7, "damaged: stored data is damaged, missing or older than its receipts";
    /// A local file can't be read or written.
    LocalIo = 8, "local files: something here can't be read or written";
    /// A key, passphrase or set of words does not fit.
    WrongKey = 9, "wrong key: recovery file, words or passphrase do not fit";
    /// Another run uses the same state directory.
    Running = 10, "running: another run uses this state directory";
}

impl Exit {
    /// The paragraph of `--help`.
    #[must_use]
    pub fn help() -> String {
        let lines = Self::ALL.iter().map(|exit| format!("  {:>2}  {}\n", *exit as u8, exit.text()));
        format!("Exit codes:\n{}", lines.collect::<String>())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_distinct_and_ascending() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| *exit as u8).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    }

    #[test]
    fn the_numbers_scripts_rely_on() {
        let table: Vec<(u8, String)> = Exit::ALL.iter().map(|exit| (*exit as u8, format!("{exit:?}"))).collect();
        insta::assert_debug_snapshot!(table.iter().map(|(n, name)| format!("{n} {name}")).collect::<Vec<_>>(), @r#"
        [
            "0 Done",
            "1 Internal",
            "2 Usage",
            "3 NotPaired",
            "4 Unreachable",
            "5 Refused",
            "6 Partial",
            "7 Damaged",
            "8 LocalIo",
            "9 WrongKey",
            "10 Running",
        ]
        "#);
    }
}
