// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What stands on the screen and the serial console: the state of the box in plain words, drawn anew when it changes, so
//! that nothing scrolls it away. Keys followed by Enter ask for more.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::thread;

/// Width of the frame: what an 80-column console shows whole.
const WIDTH: usize = 78;
/// How wide the names of rows are.
const NAME_WIDTH: usize = 11;

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Panel {
    /// Version and host name.
    pub(crate) title: String,
    /// Names and what is said of them, in order.
    pub(crate) rows: Vec<(&'static str, String)>,
    /// The last trouble in plain words; empty for none.
    pub(crate) trouble: String,
    /// What was asked for by a key: a token, a page for the phone.
    pub(crate) more: String,
    /// Keys that do something now.
    pub(crate) keys: Vec<(char, &'static str)>,
}

impl Panel {
    /// The text, without escape sequences.
    pub(crate) fn text(&self) -> String {
        let line = format!("+{}+\n", "-".repeat(WIDTH));
        let mut text = line.clone();
        text.push_str(&row(&self.title));
        text.push_str(&line);
        for (name, value) in &self.rows {
            let mut name = *name;
            for part in wrap(value, WIDTH - NAME_WIDTH - 3) {
                text.push_str(&row(&format!("{name:<NAME_WIDTH$} {part}")));
                name = "";
            }
        }
        if !self.trouble.is_empty() {
            text.push_str(&line);
            for part in wrap(&format!("TROUBLE: {}", self.trouble), WIDTH - 2) {
                text.push_str(&row(&part));
            }
        }
        text.push_str(&line);
        if !self.more.is_empty() {
            text.push_str(&self.more);
            if !self.more.ends_with('\n') {
                text.push('\n');
            }
        }
        let keys: Vec<String> = self.keys.iter().map(|(key, does)| format!("{key} + Enter: {does}")).collect();
        if !keys.is_empty() {
            text.push_str(&keys.join("   "));
            text.push('\n');
        }
        text
    }

    /// Draws it on every console.
    pub(crate) fn draw(&self) {
        // Home, the text with each line cleared to its end, then everything below: no flicker, nothing left over.
        let text = self.text().replace('\n', "\x1b[K\r\n");
        let screen = format!("\x1b[H{text}\x1b[J");
        for console in consoles() {
            // A console that was unplugged shows nothing.
            let _unseen =
                OpenOptions::new().write(true).open(console).and_then(|mut file| file.write_all(screen.as_bytes()));
        }
    }
}

/// One line in the frame.
fn row(text: &str) -> String {
    let shown: String = text.chars().take(WIDTH - 2).collect();
    format!("| {shown:<width$} |\n", width = WIDTH - 2)
}

/// Breaks a text at blanks; what has none is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word;
        loop {
            let line = lines.last_mut().expect("there is always one");
            let blank = usize::from(!line.is_empty());
            let room = width.saturating_sub(line.chars().count() + blank);
            if word.chars().count() <= room {
                line.push_str(&" "[..blank]);
                line.push_str(word);
                break;
            }
            if line.is_empty() {
                let cut = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
                line.push_str(&word[..cut]);
                word = &word[cut..];
            }
            lines.push(String::new());
        }
    }
    lines
}

/// The consoles that the kernel writes to, as nodes.
fn consoles() -> Vec<PathBuf> {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    // tty0 is the screen that is shown; its node works for writing and reading.
    active.split_ascii_whitespace().map(|name| PathBuf::from("/dev").join(name)).collect()
}

/// Says one line on every console while there is no panel yet.
pub(crate) fn say(line: &str) {
    for console in consoles() {
        let text = format!("{line}\r\n");
        // As above.
        let _unseen = OpenOptions::new().write(true).open(console).and_then(|mut file| file.write_all(text.as_bytes()));
    }
}

/// Hears lines typed on every console.
pub(crate) fn hear<T: Send + 'static>(tell: &Sender<T>, event: fn(String) -> T) {
    for console in consoles() {
        let tell = tell.clone();
        let hear = move || {
            let Ok(file) = OpenOptions::new().read(true).open(console) else { return };
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                if tell.send(event(line.trim().to_owned())).is_err() {
                    return;
                }
            }
        };
        drop(thread::Builder::new().name("keys".to_owned()).spawn(hear));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_holds_whatever_is_said() {
        let panel = Panel {
            title: "adit 1.2.3".to_owned(),
            rows: vec![("addresses", "2001:db8::1 ".repeat(12)), ("disks", "x".repeat(200)), ("data", String::new())],
            trouble: "ü".repeat(100),
            more: String::new(),
            keys: vec![('t', "token")],
        };
        let text = panel.text();
        let framed: Vec<&str> = text.lines().filter(|line| !line.contains("Enter")).collect();
        assert!(framed.iter().all(|line| line.chars().count() == WIDTH + 2), "{text}");
        assert_eq!(text.matches("2001:db8::1").count(), 12);
        assert_eq!(text.matches('x').count(), 200);
        assert_eq!(text.matches('ü').count(), 100);
        assert!(text.ends_with("t + Enter: token\n"));
    }

    #[test]
    fn words_are_kept_whole_where_they_fit() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
    }
}
