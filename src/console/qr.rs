//! QR codes, drawn on the server: an outline for a page's SVG, which needs neither script nor style.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};

use crate::error::{Code, Error};

/// The empty border that readers need, in modules.
const BORDER: i32 = 4;

/// A QR code as the path of an SVG whose units are modules.
#[derive(Clone)]
pub struct Outline {
    /// Width and height, the border included.
    pub side: i32,
    /// The dark modules: each run of a row as a rectangle.
    pub path: String,
}

/// The QR code of a text.
///
/// # Errors
/// A text that is longer than a QR code can be.
pub fn outline(text: &str) -> Result<Outline, Error> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium)
        .map_err(|error| Error::new(Code::Internal, "a QR code could not be drawn").with_cause(error))?;
    let mut path = String::new();
    for y in 0..code.size() {
        let mut x = 0;
        while x < code.size() {
            let run = (x..code.size()).take_while(|at| code.get_module(*at, y)).count();
            if run > 0 {
                // Nothing that is written to a text fails.
                let _ = write!(path, "M{} {}h{run}v1h-{run}z", x + BORDER, y + BORDER);
            }
            x += i32::try_from(run).unwrap_or(0) + 1;
        }
    }
    Ok(Outline { side: code.size() + 2 * BORDER, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dark_module_is_in_the_outline_and_no_light_one() {
        let text = "otpauth://totp/Keyward:a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).expect("a code");
        let outline = outline(text).expect("an outline");
        let mut drawn = vec![
            vec![false; usize::try_from(outline.side).expect("a side")];
            usize::try_from(outline.side).expect("a side")
        ];
        for part in outline.path.split('M').skip(1) {
            let numbers: Vec<usize> = part
                .split(|letter: char| !letter.is_ascii_digit())
                .filter(|number| !number.is_empty())
                .map(|number| number.parse().expect("a number"))
                .collect();
            let [x, y, run, ..] = numbers[..] else { panic!("{part}") };
            drawn[y][x..x + run].fill(true);
        }
        for (y, row) in drawn.iter().enumerate() {
            for (x, is_dark) in row.iter().enumerate() {
                let at = |place: usize| i32::try_from(place).expect("a place") - BORDER;
                assert_eq!(*is_dark, code.get_module(at(x), at(y)), "{x} {y}");
            }
        }
    }
}
