//! What a request says of channels and positions, whatever it says.

use proptest::prelude::*;

use super::request::channels_path;
use super::*;

const WEEKDAYS: [(&str, &str); 7] = [
    ("Mon", "Monday"),
    ("Tue", "Tuesday"),
    ("Wed", "Wednesday"),
    ("Thu", "Thursday"),
    ("Fri", "Friday"),
    ("Sat", "Saturday"),
    ("Sun", "Sunday"),
];

/// The three forms of one second.
fn forms(second: u32) -> [String; 3] {
    let fixed = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(second.into()));
    let fields: Vec<&str> = fixed.split([' ', ',']).filter(|field| !field.is_empty()).collect();
    let [weekday, day, month, year, time, _] = fields[..] else { panic!("{fixed}") };
    let (_, long) = WEEKDAYS.iter().find(|(short, _)| *short == weekday).expect("a weekday");
    let short_day = day.trim_start_matches('0');
    [
        fixed.clone(),
        format!("{long}, {day}-{month}-{} {time} GMT", &year[2..]),
        format!("{weekday} {month} {short_day:>2} {time} {year}"),
    ]
}

proptest! {
    #[test]
    fn channels_of_a_path_are_those_that_were_put_into_it(
        channels in prop::collection::vec(("[a-z.%é*]{1,9}", prop::option::of(0u32..2_000_000)), 1..6),
        slashes in "/{0,2}",
    ) {
        // A name that looks like a backlog, or ends in a dot before one, would be another name.
        prop_assume!(channels.iter().all(|(name, _)| !name.contains(".b")));
        let parts = channels.iter().map(|(name, backlog)| match backlog {
            Some(backlog) => format!("{name}.b{backlog}"),
            None => name.clone(),
        });
        let path = format!("{slashes}{}{slashes}", parts.collect::<Vec<_>>().join("/"));
        let parsed: Vec<_> = channels_path(path.as_bytes()).collect();
        let wanted: Vec<_> = channels.iter().map(|(name, backlog)| (name.as_bytes(), backlog.unwrap_or(0))).collect();
        prop_assert_eq!(parsed, wanted);
    }

    #[test]
    fn any_path_has_channels_with_names(path in prop::collection::vec(any::<u8>(), 0..64)) {
        for (name, backlog) in channels_path(&path) {
            prop_assert!(!name.is_empty() && !name.contains(&b'/'));
            prop_assert!(path.windows(name.len()).any(|part| part == name));
            // A huge number stays one.
            prop_assert!(backlog == 0 || path.windows(2).any(|part| part == b".b"));
        }
    }

    // Up to 2068: a year of two digits says no more.
    #[test]
    fn a_date_is_understood_in_each_of_its_forms(second in 0..3_124_224_000u32) {
        for form in forms(second) {
            prop_assert_eq!(parse_time(form.as_bytes()), Some(second), "{}", form);
            prop_assert_eq!(parse_time(form.replace(' ', "+").as_bytes()), Some(second), "{}", form);
        }
    }

    #[test]
    fn a_tag_is_understood_in_each_of_its_forms(tag: u32) {
        for form in [format!("{tag}"), format!("W/{tag}"), format!("\"{tag}\""), format!("W/\"{tag}\"")] {
            prop_assert_eq!(parse_tag(form.as_bytes()), Some(tag), "{}", form);
        }
    }

    #[test]
    fn what_is_no_position_is_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Some(second) = parse_time(&bytes) {
            prop_assert!(forms(second)[0].len() == 29);
        }
        if let Some(tag) = parse_tag(&bytes) {
            let text = String::from_utf8(bytes).expect("digits are text");
            prop_assert!(text.contains(&tag.to_string()) || text.contains('0'));
        }
    }
}
