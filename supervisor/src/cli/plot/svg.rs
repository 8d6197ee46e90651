//! A page as SVG 1.1, by hand: lines and text, nothing that refers to anything outside.
#![forbid(unsafe_code)]

use super::page::{Ink, SIZE, Shape, Side};

/// The whole file.
pub(in crate::cli) fn document(name: &str, page: &[Shape]) -> String {
    let (width, height) = SIZE;
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"12\">\n\
         <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
        escape(name),
        hex(Ink::Paper)
    );
    for shape in page {
        match shape {
            Shape::Line { places, ink, width, dashed } => {
                let places: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let dash = if *dashed { " stroke-dasharray=\"6 4\"" } else { "" };
                out.push_str(&format!(
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"{dash}/>\n",
                    places.join(" "),
                    hex(*ink)
                ));
            }
            Shape::Text { x, y, side, text, ink } => {
                let anchor = match side {
                    Side::Begin => "start",
                    Side::Middle => "middle",
                    Side::End => "end",
                };
                // The place is the middle of the line, SVG wants its base.
                out.push_str(&format!(
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{}\">{}</text>\n",
                    y + 4.0,
                    hex(*ink),
                    escape(text)
                ));
            }
        }
    }
    out.push_str("</svg>\n");
    out
}

fn hex(ink: Ink) -> String {
    let [r, g, b] = ink.rgb();
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// For text and for values in double quotes. What XML 1.0 has no way to write is left out.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn it_is_xml_and_has_every_shape() {
        let page = super::super::page::tests::sheet().page(&TimeZone::UTC);
        let text = document("web.1", &page);
        let parsed = roxmltree::Document::parse(&text).unwrap();
        let root = parsed.root_element();
        assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"));
        let count = |tag: &str| {
            root.children().filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", tag))).count()
        };
        let lines = page.iter().filter(|s| matches!(s, Shape::Line { .. })).count();
        assert_eq!((count("polyline"), count("text")), (lines, page.len() - lines));
        assert!(root.descendants().any(|n| n.text() == Some("max 64M")), "{text}");
    }

    #[test]
    fn what_is_written_is_escaped() {
        let evil = "a<script>\"&\u{1}\u{ffff}</script>".to_owned();
        let page = [Shape::Text { x: 1.0, y: 2.0, side: Side::End, text: evil.clone(), ink: Ink::Text }];
        let text = document(&evil, &page);
        let parsed = roxmltree::Document::parse(&text).unwrap();
        let texts: Vec<_> = parsed.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect();
        assert_eq!(texts.iter().filter(|t| **t == "a<script>\"&</script>").count(), 2, "{texts:?}");
        assert!(!parsed.descendants().any(|n| n.tag_name().name() == "script"));
    }
}
