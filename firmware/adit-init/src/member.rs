// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A few plain words for the person who houses the box, to be taken along in a phone: a QR code of text, which any camera
//! reads without a network.

/// How a person stops the box.
pub(crate) const STOP: &str = "press the power button once and wait until the light is off";

/// The words.
fn words(hostname: &str, contact: Option<&str>) -> String {
    let questions = contact.map(|contact| format!(" Questions: {contact}.")).unwrap_or_default();
    format!(
        "This is {hostname}, a backup box. It keeps sealed backups of other people's servers; nobody here can read them. It \
         runs day and night. To stop it, {STOP}. To start it, plug it in or press the button.{questions}"
    )
}

/// The code for the screen, and the words where no code holds them.
pub(crate) fn page(hostname: &str, contact: Option<&str>) -> String {
    let words = words(hostname, contact);
    let code = fast_qr::QRBuilder::new(words.as_str()).ecl(fast_qr::ECL::L).build();
    code.map_or_else(|_| format!("{words}\n"), |code| format!("{}\n", code.to_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_slots::preseed::{CONTACT_BYTES_MAX, HOSTNAME_BYTES_MAX};

    /// Lines of a text console, less what the panel and the keys take on the usual 1,024 by 768 pixels.
    const LINES_MAX: usize = 45;

    #[test]
    fn the_code_fits_the_screen_and_reads_back() {
        let (hostname, contact) = ("a".repeat(HOSTNAME_BYTES_MAX), "x".repeat(CONTACT_BYTES_MAX));
        let page = page(&hostname, Some(&contact));
        let lines: Vec<&str> = page.lines().collect();
        assert!(lines.len() <= LINES_MAX && lines.iter().all(|line| line.chars().count() <= 80), "{}", lines.len());
        // Each character holds two dots, one above the other; white is what is drawn.
        let dot = |x: usize, y: usize| {
            let drawn = lines.get(y / 2).and_then(|line| line.chars().nth(x)).unwrap_or('█');
            matches!((drawn, y % 2), ('█', _) | ('▀', 0) | ('▄', 1))
        };
        let scale = 4;
        let (width, height) = (lines[0].chars().count(), 2 * lines.len());
        let (border, mut found) = (4, None);
        let size = |dots: usize| (dots + 2 * border) * scale;
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(size(width), size(height), |x, y| {
            let (x, y) = ((x / scale).wrapping_sub(border), (y / scale).wrapping_sub(border));
            if x >= width || y >= height || dot(x, y) { 255 } else { 0 }
        });
        for grid in image.detect_grids() {
            found = grid.decode().ok().map(|(_, text)| text);
        }
        assert_eq!(found, Some(words(&hostname, Some(&contact))));
    }

    #[test]
    fn without_a_contact_nothing_is_promised() {
        assert!(!words("cellar", None).contains("Questions"));
    }
}
