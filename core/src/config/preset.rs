//! Presets: what an existing client expects, as values of keys.

use super::Preset;

/// pushstream.js reads JSON objects without a separator, and decodes the text once, also of what it sent itself.
const JSON: &str = concat!(
    r#"{"id":~id~,"channel":"~channel-json~","text":"~text-uri-once~","tag":"~tag~","time":"~time~","#,
    r#""eventid":"~event-id-json~"}"#
);

/// Its streams are pages in a frame whose scripts call it. It sets `document.domain` of its own page, by a rule that
/// changed over its versions; where that counts the frame reaches it only with the same one.
const HEADER: &str = concat!(
    "<!DOCTYPE html>\r\n<html><head><meta charset=\"utf-8\"><title>stream</title></head>\r\n<body>\r\n<script>\r\n",
    "for (var labels = location.hostname.split('.'); labels.length; labels.shift()) {\r\n",
    "  try { if (parent.PushStream) { break; } } catch (otherOrigin) {}\r\n",
    "  try { document.domain = labels.join('.'); } catch (refused) {}\r\n",
    "}\r\n",
    "parent.PushStream.register(window);\r\n</script>\r\n"
);
const SCRIPT: &str = concat!(
    r#"<script>p(~id~,"~channel-json~","~text-uri-once~","~event-id-json~","~time~","~tag~");</script>"#,
    "\r\n"
);

/// Directives of the location for these pages.
pub(super) const IFRAME: [(&str, &str); 4] = [
    ("content_type", "text/html; charset=utf-8"),
    ("header_template", HEADER),
    ("message_template", SCRIPT),
    ("footer_template", "</body></html>\r\n"),
];

/// The keys that presets give values.
pub(super) fn values(preset: Option<Preset>) -> &'static [(&'static str, &'static str)] {
    match preset {
        None => &[],
        Some(Preset::PushStream) => &[
            ("message_template", JSON),
            ("gap_message_text", "Messages are missing"),
            ("last_received_message_time", "$arg_time"),
            ("last_received_message_tag", "$arg_tag"),
            ("last_event_id", "$arg_eventid"),
            ("channels_path", "$arg_channels"),
        ],
    }
}
