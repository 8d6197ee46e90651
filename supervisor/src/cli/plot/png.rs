//! A page as PNG (ISO/IEC 15948), by hand: one byte a pixel and a palette, which is signature, four chunks and what flate2
//! makes of the rows.
#![forbid(unsafe_code)]

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::page::{Ink, SIZE, Shape, Side};

/// A character, in pixels; the font has no others.
const CHARACTER: i64 = 8;

/// The whole file.
pub(in crate::cli) fn document(page: &[Shape]) -> std::io::Result<Vec<u8>> {
    let mut raster = Raster::new(SIZE);
    for shape in page {
        match shape {
            Shape::Line { places, ink, width, dashed } => raster.line(places, *ink, *width, *dashed),
            Shape::Text { x, y, side, text, ink } => raster.text(*x, *y, *side, text, *ink),
        }
    }
    raster.encode()
}

/// Numbers of inks, a row after the other.
struct Raster {
    width: i64,
    height: i64,
    pixels: Vec<u8>,
}

impl Raster {
    fn new((width, height): (u32, u32)) -> Raster {
        let pixels = vec![Ink::Paper as u8; width as usize * height as usize];
        Raster { width: width.into(), height: height.into(), pixels }
    }

    /// Outside of the page there is nothing.
    fn set(&mut self, x: i64, y: i64, ink: Ink) {
        if (0..self.width).contains(&x) && (0..self.height).contains(&y) {
            self.pixels[(y * self.width + x) as usize] = ink as u8;
        }
    }

    fn line(&mut self, places: &[(f64, f64)], ink: Ink, width: u32, dashed: bool) {
        let mut drawn = 0_usize;
        for pair in places.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().max(1.0) as usize;
            for n in 0..=steps {
                let t = n as f64 / steps as f64;
                let (x, y) = (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * t);
                drawn += 1;
                if dashed && drawn % 10 >= 6 {
                    continue;
                }
                for (dx, dy) in (0..width).flat_map(|dy| (0..width).map(move |dx| (dx, dy))) {
                    self.set(x.round() as i64 + i64::from(dx), y.round() as i64 - i64::from(dy), ink);
                }
            }
        }
    }

    fn text(&mut self, x: f64, y: f64, side: Side, text: &str, ink: Ink) {
        let long = text.chars().count() as i64 * CHARACTER;
        let begin = x.round() as i64
            - match side {
                Side::Begin => 0,
                Side::Middle => long / 2,
                Side::End => long,
            };
        let top = y.round() as i64 - CHARACTER / 2;
        for (n, c) in text.chars().enumerate() {
            let rows = &font8x8::legacy::BASIC_LEGACY;
            let glyph = rows.get(c as usize).unwrap_or(&rows[usize::from(b'?')]);
            for (dy, row) in glyph.iter().enumerate() {
                for dx in (0..8).filter(|dx| row & (1 << dx) != 0) {
                    self.set(begin + n as i64 * CHARACTER + dx, top + dy as i64, ink);
                }
            }
        }
    }

    fn encode(&self) -> std::io::Result<Vec<u8>> {
        let mut header = Vec::new();
        for side in [self.width, self.height] {
            header.extend_from_slice(&(side as u32).to_be_bytes());
        }
        // Eight bits a pixel, a palette, the one method of each kind, not interlaced.
        header.extend_from_slice(&[8, 3, 0, 0, 0]);
        let palette: Vec<u8> = Ink::ALL.iter().flat_map(|ink| ink.rgb()).collect();
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks(self.width as usize) {
            // Each row says how it is filtered: not at all.
            packed.write_all(&[0])?;
            packed.write_all(row)?;
        }
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in
            [(b"IHDR", &header), (b"PLTE", &palette), (b"IDAT", &packed.finish()?), (b"IEND", &Vec::new())]
        {
            let mut crc = crc32fast::Hasher::new();
            crc.update(kind);
            crc.update(data);
            out.extend_from_slice(&(data.len() as u32).to_be_bytes());
            out.extend_from_slice(kind);
            out.extend_from_slice(data);
            out.extend_from_slice(&crc.finalize().to_be_bytes());
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    /// Width, and the colours of all pixels, by a decoder of others.
    fn decode(bytes: &[u8]) -> (usize, Vec<[u8; 3]>) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), SIZE);
        (info.width as usize, pixels.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect())
    }

    #[test]
    fn curves_are_where_the_page_has_them() {
        let page = super::super::page::tests::sheet().page(&TimeZone::UTC);
        let (width, pixels) = decode(&document(&page).unwrap());
        let mut seen = 0;
        for shape in &page {
            if let Shape::Line { places, ink, width: 2, .. } = shape {
                for (x, y) in places {
                    assert_eq!(pixels[y.round() as usize * width + x.round() as usize], ink.rgb(), "{x} {y}");
                    seen += 1;
                }
            }
        }
        assert!(seen >= 8, "{seen}");
        for ink in Ink::ALL {
            assert!(pixels.contains(&ink.rgb()), "{ink:?}");
        }
    }

    #[test]
    fn what_is_outside_is_not_drawn() {
        let line = Shape::Line {
            places: vec![(-50.0, -50.0), (2000.0, 2000.0)],
            ink: Ink::First,
            width: 2,
            dashed: false,
        };
        let text = Shape::Text { x: -20.0, y: 1e9, side: Side::End, text: "größer".into(), ink: Ink::Text };
        let (width, pixels) = decode(&document(&[line, text]).unwrap());
        assert_eq!(pixels[100 * width + 100], Ink::First.rgb());
        assert_eq!(pixels[100 * width + 300], Ink::Paper.rgb());
    }
}
