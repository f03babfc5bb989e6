//! The browser client, as pages load it from the hub.

mod support;

use support::{hub, hub_with};

#[test]
fn the_client_is_served_to_every_page() {
    let hub = hub(&[]);
    let mut client = hub.connect();
    let mut load = |path: &str, headers: &str| {
        client.get(path, headers);
        client.response()
    };
    let module = load("/push.js", "");
    let global = load("/push.global.js?v=1", "Origin: http://other.example\r\n");
    for script in [&module, &global] {
        assert_eq!(script.status, 200);
        assert_eq!(script.header("Content-Type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(script.header("Cache-Control"), Some("public, max-age=3600"));
        assert_eq!(script.header("Expires"), None);
        assert_eq!(script.header("Access-Control-Allow-Origin"), Some("*"));
        assert!(!script.text().contains("//") && !script.text().contains("*/"));
    }
    assert!(module.text().ends_with("export { connect };\n"));
    assert!(global.text().starts_with("globalThis.Push = ") && !global.text().contains("export"));
    let etag = module.header("Etag").expect("a tag").to_owned();
    assert_ne!(global.header("Etag"), Some(&*etag));
    let same = load("/push.js", &format!("If-None-Match: \"other\", {etag}\r\n"));
    assert_eq!((same.status, same.text(), same.header("Etag")), (304, "", Some(&*etag)));
    assert_eq!(load("/push.js", "If-None-Match: \"other\"\r\n").status, 200);
    client.send("POST /push.js HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 405);
    let mut admin = hub.connect_admin();
    admin.get("/push.js", "");
    assert_eq!(admin.response().status, 404);
}

#[test]
fn a_location_of_the_same_path_goes_before_the_client() {
    let hub = hub_with(
        &[],
        Some(
            "[[location]]\npath = '/push.js'\nsubscriber = 'polling'\n[[location]]\npath = '/'\nsubscriber = 'polling'\n",
        ),
    );
    let mut client = hub.connect();
    client.get("/push.js", "");
    assert_eq!(client.response().status, 400);
    // One that takes everything does not.
    client.get("/push.global.js", "");
    assert_eq!(client.response().status, 200);
}
