//! What a list is after it came, and when it is asked for again.

use std::time::UNIX_EPOCH;

use super::*;

fn fetch(name: &str) -> Fetch {
    let url = Url::parse("https://a.example/drop.txt?key=secret").unwrap();
    let folder = std::env::temp_dir().join(format!("windrose-fetch-{}-{name}", std::process::id()));
    Fetch {
        name: url.to_string(),
        interval: Duration::from_hours(1),
        limits: Limits { timeout: Duration::from_secs(1), max_bytes: 1000, ca_file: None },
        copy: copy::path(&folder, &url),
        url,
        state: Mutex::default(),
    }
}

fn body(text: &str, etag: &str) -> Answer {
    let validators = Validators { etag: Some(etag.to_owned()), last_modified: None };
    Answer::Body(Body { bytes: text.as_bytes().to_vec(), is_gzip: false, validators })
}

fn entries(due: Option<Read>) -> usize {
    due.unwrap().unwrap().len()
}

#[test]
fn what_was_good_stays_until_something_else_is() {
    let fetch = fetch("good");
    fetch.take(body("192.0.2.7\n", "1")).unwrap();
    assert_eq!(entries(fetch.take_due()), 1);
    assert!(fetch.take_due().is_none());

    fetch.take(body("192.0.2.7\n192.0.2.777\n", "2")).unwrap();
    let faults = fetch.take_due().unwrap().unwrap_err();
    assert!(
        faults[0].to_string().starts_with("https://a.example/drop.txt?...:2:1: `192.0.2.777`"),
        "{faults:?}"
    );
    // Asked for by what was good.
    assert_eq!(fetch.state().good.as_ref().unwrap().validators.etag.as_deref(), Some("1"));

    fetch.take(Answer::Unchanged).unwrap();
    assert_eq!(entries(fetch.take_due()), 1);
    fetch.take(body("192.0.2.7\n192.0.2.8\n", "3")).unwrap();
    assert_eq!(entries(fetch.take_due()), 2);
    assert_eq!(fetch.text().as_deref(), Some("192.0.2.7\n192.0.2.8\n"));
    std::fs::remove_dir_all(fetch.copy.ancestors().nth(2).unwrap()).unwrap();
}

#[test]
fn a_failure_is_told_with_its_beginning_and_ends() {
    let fetch = fetch("failing");
    let error = || FetchError::new(Kind::Status, "503");
    assert_eq!((fetch.has_failed(error()), fetch.has_failed(error())), (1, 2));
    let view = fetch.view();
    assert_eq!((view.error.as_deref(), view.failures["status"]), (Some("503"), 2));
    assert!(view.failing_since.is_some() && view.confirmed_at.is_none());
    assert_eq!(fetch.has_come(), 0);
    let view = fetch.view();
    assert!(view.error.is_none() && view.failing_since.is_none());
    assert_eq!(view.failures["status"], 2);
}

#[test]
fn it_is_tried_again_soon_and_then_less_often() {
    let hour = Duration::from_hours(1);
    let expect = |times, seconds: u64| {
        let wait = wait(times, hour).as_millis();
        let middle = u128::from(seconds) * 1000;
        assert!((middle * 9 / 10..=middle * 11 / 10).contains(&wait), "{times}: {wait} ms");
    };
    for (times, seconds) in [(0, 3600), (1, 5), (2, 10), (4, 40), (10, 2560), (11, 3600), (u32::MAX, 3600)] {
        expect(times, seconds);
    }
    assert!(wait(1, Duration::from_secs(1)) <= Duration::from_millis(1100));
}

#[test]
fn what_is_no_text_is_refused_with_its_place() {
    let said = |bytes: &[u8]| text_of("l", bytes.to_vec()).map_err(|faults| faults[0].to_string());
    assert_eq!(said(b"192.0.2.7\n \xff").unwrap_err(), "l:2:2: this is no UTF-8");
    assert!(said(b"").unwrap_err().starts_with("l: it is empty"));
    assert_eq!(said(b"#").unwrap(), "#");
}

#[test]
fn what_is_packed_is_unpacked_within_bounds() {
    use std::io::Write as _;
    let packed = |bytes: &[u8]| {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        writer.write_all(bytes).unwrap();
        Body { bytes: writer.finish().unwrap(), is_gzip: true, validators: Validators::default() }
    };
    assert_eq!(unpacked(packed(b"192.0.2.7"), 9).unwrap(), b"192.0.2.7");
    assert_eq!(unpacked(packed(&[b'#'; 5000]), 4999).unwrap_err().kind, Kind::TooLarge);
    let broken = Body { bytes: b"no gzip".to_vec(), is_gzip: true, validators: Validators::default() };
    assert_eq!(unpacked(broken, 99).unwrap_err().kind, Kind::Encoding);
}

#[test]
fn a_list_is_as_old_as_its_server_says_and_never_of_tomorrow() {
    let now = UNIX_EPOCH + Duration::from_secs(1000);
    let at = |said: Option<&str>| {
        let validators = Validators { etag: None, last_modified: said.map(str::to_owned) };
        changed(&validators, now).duration_since(UNIX_EPOCH).unwrap().as_secs()
    };
    assert_eq!(at(Some("Thu, 01 Jan 1970 00:01:00 GMT")), 60);
    assert_eq!(at(Some("Thu, 01 Jan 1970 10:00:00 GMT")), 1000);
    assert_eq!(at(Some("yesterday")), 1000);
    assert_eq!(at(None), 1000);
}
