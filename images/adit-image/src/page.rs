// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One printed page for the member who houses a box: what it is, what its lights mean, how to stop it, whom to call. Plain
//! words, no jargon, nothing secret; as text and as HTML that fits one sheet of A4. Never says anything about whose data it is.

use std::fmt::Write as _;

/// The longest value that is put on the page, in characters, so that it stays one page.
pub const VALUE_CHARS_MAX: usize = 80;

/// A value that does not fit the page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has {chars} characters, at most {VALUE_CHARS_MAX} fit the page")]
pub struct TooLong {
    /// Which value.
    pub what: &'static str,
    /// Its length.
    pub chars: usize,
}

/// What differs from member to member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What the box is called.
    pub hostname: String,
    /// Who looks after it.
    pub admin: String,
    /// How to reach that person: a telephone number, an address for mail.
    pub contact: String,
}

struct Section {
    title: &'static str,
    lines: Vec<String>,
}

impl Page {
    /// Refuses values that do not fit.
    pub fn check(&self) -> Result<(), TooLong> {
        for (what, value) in
            [("the box's name", &self.hostname), ("the admin's name", &self.admin), ("the contact", &self.contact)]
        {
            let chars = value.chars().count();
            if chars > VALUE_CHARS_MAX {
                return Err(TooLong { what, chars });
            }
        }
        Ok(())
    }

    /// The page as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("The box \"{}\"\n", self.hostname);
        for Section { title, lines } in self.sections() {
            text.extend(["\n", title, "\n"]);
            for line in lines {
                text.push_str(&wrapped(&line));
            }
        }
        text
    }

    /// The page as HTML.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut html = String::from(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>The box in your house</title>\n<style>\n\
             @page { size: A4; margin: 18mm }\nbody { font: 12pt/1.35 sans-serif; max-width: 42em; margin: auto }\n\
             h1 { font-size: 20pt }\nh2 { font-size: 13pt; margin: 1em 0 0.2em }\nul { margin: 0; padding-left: 1.2em }\n\
             </style>\n</head>\n<body>\n",
        );
        let mut put = |line: std::fmt::Arguments<'_>| {
            // A string takes every write.
            let _written = html.write_fmt(line).is_ok();
        };
        put(format_args!("<h1>The box “{}”</h1>\n", escaped(&self.hostname)));
        for Section { title, lines } in self.sections() {
            put(format_args!("<h2>{title}</h2>\n<ul>\n"));
            lines.iter().for_each(|line| put(format_args!("<li>{}</li>\n", escaped(line))));
            put(format_args!("</ul>\n"));
        }
        html.push_str("</body>\n</html>\n");
        html
    }

    fn sections(&self) -> Vec<Section> {
        let Self { admin, contact, .. } = self;
        let own = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
        vec![
            Section {
                title: "What it is",
                lines: own(&[
                    "A small computer that keeps copies of data for somebody else, far away from where that data is used.",
                    "It cannot read what it keeps: everything is locked before it arrives, and the keys are elsewhere.",
                    "It needs power and a network cable, nothing else. It does not look into your network.",
                    "It uses about as much power as a light bulb, and your internet line mostly at night.",
                ]),
            },
            Section {
                title: "Please",
                lines: own(&[
                    "Leave it switched on, dry, and with air around it. Warm is fine, hot is not.",
                    "You may move it: switch it off as below, carry it, plug both cables in again.",
                    "Do not plug its disk or stick into another computer, and do not press \"format\" if one asks.",
                ]),
            },
            Section {
                title: "Lights and sounds",
                lines: own(&[
                    "Power light on: it runs. Light at the network cable: it has a connection. Flicker is normal.",
                    "No light at all: check plug and cable. Still none after ten minutes: please call.",
                    "A clicking or grinding noise: please call. Nothing is lost, but a part must be changed.",
                    "With a screen plugged in, it says in plain words how it is.",
                ]),
            },
            Section {
                title: "How to stop it",
                lines: own(&[
                    "Press the power button once, briefly. It stops by itself within two minutes.",
                    "In a hurry, or if it smells or smokes: pull the plug. It is built to survive that.",
                    "It starts again when you press the button or plug it in. Nothing else is to be done.",
                ]),
            },
            Section {
                title: "Whom to call",
                lines: vec![
                    format!("{admin}: {contact}"),
                    format!(
                        "{admin} sees when the box is silent and may call you first. If anybody else asks you to do something with \
                         it, ask {admin} before you do."
                    ),
                    "You can give it back at any time. You need no reason.".to_owned(),
                ],
            },
        ]
    }
}

/// A line of a list, broken to 78 characters.
fn wrapped(line: &str) -> String {
    let (mut text, mut width) = (String::from("  -"), 3);
    for word in line.split_whitespace() {
        let chars = word.chars().count();
        if width + 1 + chars > 78 {
            text.push_str("\n   ");
            width = 3;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + chars;
    }
    text.push('\n');
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let (hostname, admin) = ("cellar".to_owned(), "Anna Example".to_owned());
        Page { hostname, admin, contact: "+49 30 000000, anna@example.org".to_owned() }
    }

    #[test]
    fn the_page_says_what_a_member_needs() {
        let text = page().to_text();
        for words in [
            "The box \"cellar\"",
            "How to stop it",
            "power button once",
            "Anna Example: +49 30 000000, anna@example.org",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.lines().count() < 60 && text.lines().all(|line| line.chars().count() <= 78), "one page: {text}");
    }

    #[test]
    fn html_holds_the_same_and_no_foreign_markup() {
        let html = Page { admin: "<b>A&B</b>".to_owned(), ..page() }.to_html();
        assert!(html.contains("&lt;b&gt;A&amp;B&lt;/b&gt;: +49") && !html.contains("<b>"), "{html}");
        let lines = page().sections().iter().map(|section| section.lines.len()).sum::<usize>();
        assert_eq!(page().to_html().matches("<li>").count(), lines);
    }

    #[test]
    fn values_have_a_limit() {
        let of = |chars: usize| Page { contact: "é".repeat(chars), ..page() }.check();
        assert_eq!(of(VALUE_CHARS_MAX), Ok(()));
        assert_eq!(of(VALUE_CHARS_MAX + 1), Err(TooLong { what: "the contact", chars: 81 }));
    }
}
