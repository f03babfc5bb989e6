//! The picture for the README: bars of floor, nchan and hub, each figure in relation to nchan's.

use super::Run;
use super::table::{median, number, values};
use crate::server::Kind;

/// What is drawn: a name, its scenario and figure, decimals. Less is better in all of them.
const BARS: [(&str, &str, &str, usize); 8] = [
    ("Memory of a waiting long-poll, bytes", "idle", "bytes_per_subscriber_after_messages", 0),
    ("Long-poll to 1,000: CPU per delivery, µs", "fanout", "cpu_us_per_delivery", 1),
    ("Long-poll to 10,000: CPU per delivery, µs", "fanout-10k", "cpu_us_per_delivery", 1),
    ("Event stream to 1,000: CPU per delivery, µs", "fanout-eventsource", "cpu_us_per_delivery", 1),
    ("WebSocket to 1,000: CPU per delivery, µs", "fanout-websocket", "cpu_us_per_delivery", 1),
    ("10,000 channels: CPU per delivery, µs", "rate-most", "cpu_us_per_delivery", 1),
    ("HTTP publish: CPU each, µs", "publish", "cpu_us_per_publication", 1),
    ("New connection: CPU per request, µs", "accept", "cpu_us_per_request", 1),
];
const KINDS: [(Kind, &str); 3] = [(Kind::Hub, "hub"), (Kind::Nchan, "nchan"), (Kind::Floor, "floor")];

const WIDTH: usize = 760;
const LABELS: usize = 300;
/// The length of nchan's bar, and the most of any.
const UNIT: f64 = 300.0;
const MOST: f64 = 380.0;
const BAR: usize = 11;
const GROUP: usize = 3 * BAR + 15;
const TOP: usize = 44;

/// An SVG that is readable on light and dark backgrounds.
pub(super) fn draw(runs: &[Run]) -> String {
    let height = TOP + BARS.len() * GROUP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" role=\"img\" aria-label=\"Push beside nchan and the floor; less is better\">\n\
         <style>\n\
         text {{ fill: #24292f }} .hub {{ fill: #2da44e }} .nchan {{ fill: #8c959f }} .floor {{ fill: #54aeff }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         text {{ fill: #d0d7de }} .hub {{ fill: #3fb950 }} .nchan {{ fill: #6e7681 }} .floor {{ fill: #388bfd }} }}\n\
         </style>\n"
    );
    for (at, (class, name)) in
        [("hub", "Push"), ("nchan", "nginx + nchan"), ("floor", "floor: raw epoll")].iter().enumerate()
    {
        let x = LABELS + at * 130;
        svg += &format!("<rect class=\"{class}\" x=\"{x}\" y=\"10\" width=\"12\" height=\"12\"/>");
        svg += &format!("<text x=\"{}\" y=\"20\">{name}</text>\n", x + 18);
    }
    svg += "<text x=\"0\" y=\"20\" font-weight=\"bold\">Less is better</text>\n";
    for (at, (name, scenario, figure, decimals)) in BARS.iter().enumerate() {
        let top = TOP + at * GROUP;
        let value = |kind| median(values(runs, kind, scenario, figure).iter().map(|(_, value)| *value).collect());
        let nchan = value(Kind::Nchan);
        svg += &format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\n", LABELS - 10, top + BAR * 2);
        for (row, (kind, class)) in KINDS.iter().enumerate() {
            let value = value(*kind);
            let length = (value / nchan * UNIT).clamp(1.0, MOST);
            if length.is_nan() {
                continue;
            }
            let y = top + row * BAR;
            svg += &format!(
                "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{y}\" width=\"{length:.1}\" height=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\" font-size=\"10\">{}</text>\n",
                BAR - 1,
                LABELS as f64 + length + 4.0,
                y + BAR - 2,
                number(value, *decimals)
            );
        }
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Faults;
    use crate::scenario::Figures;

    #[test]
    fn bars_are_in_relation_to_nchan_and_what_is_missing_has_none() {
        let run = |kind, value| Run {
            repetition: 0,
            kind,
            figures: Figures {
                scenario: "fanout",
                values: [("cpu_us_per_delivery", value)].into(),
                faults: Faults::default(),
            },
        };
        let svg = draw(&[run(Kind::Nchan, 20.0), run(Kind::Hub, 10.0)]);
        assert!(svg.contains("width=\"300.0\"") && svg.contains("width=\"150.0\""));
        assert_eq!(svg.matches("<rect").count(), 3 + 2);
        assert!(!svg.contains("NaN"));
    }
}
