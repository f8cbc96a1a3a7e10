//! Sentences about paths. The hostile ones are from published cases of path confusion.

use proptest::prelude::*;

use super::*;

#[test]
fn a_path_has_one_form() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/./a/./b/.", "/a/b/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/..", "/"),
        ("/a//../b", "/b"),
        ("/a/...", "/a/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a/.b/..c/d.", "/a/.b/..c/d."),
        ("/%7Euser/%41", "/~user/A"),
        ("/%e4%bd%a0", "/%E4%BD%A0"),
        ("/a%20b%3fc%23", "/a%20b%3Fc%23"),
        ("/{id}/[0]", "/%7Bid%7D/%5B0%5D"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/a:b@c", "/a:b@c"),
    ] {
        assert_eq!(normalise(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn a_dot_that_is_encoded_is_a_dot() {
    // RFC 3986, section 6.2.2.2; the traversal of CVE-2021-41773 (Apache) began so.
    assert_eq!(normalise("/icons/.%2e/%2e%2e/etc/passwd"), Err(PathFault::AboveRoot));
    assert_eq!(normalise("/public/%2e%2e/admin").as_deref(), Ok("/admin"));
    assert_eq!(normalise("/public/.%2E/admin").as_deref(), Ok("/admin"));
    assert_eq!(normalise("/public/%2e/admin").as_deref(), Ok("/public/admin"));
}

#[test]
fn what_is_decoded_once_is_not_decoded_again() {
    // CVE-2021-42013 (Apache) decoded twice.
    assert_eq!(normalise("/a/%%32%65%%32%65/b"), Err(PathFault::Escape));
    assert_eq!(normalise("/a/%252e%252e/b").as_deref(), Ok("/a/%252e%252e/b"));
    assert_eq!(normalise("/a/%252f").as_deref(), Ok("/a/%252f"));
}

#[test]
fn an_encoded_separator_is_refused() {
    // CVE-2021-29492 (Envoy), CVE-2021-31920 (Istio): routed as one element, split behind.
    for path in ["/public%2f..%2fadmin", "/public/..%2Fadmin", "/public%5c..%5cadmin", "/a%2F", "/%5C"] {
        assert_eq!(normalise(path), Err(PathFault::EncodedSlash), "{path}");
    }
    assert_eq!(normalise("/public\\..\\admin"), Err(PathFault::Character));
}

#[test]
fn a_slash_that_only_some_decoders_see_is_refused() {
    // The overlong forms of MS00-078 (IIS).
    for path in ["/scripts/..%c0%af../winnt", "/a/%c1%9c", "/a/%f8%80%80%80%af", "/%ff"] {
        assert_eq!(normalise(path), Err(PathFault::EncodedByte), "{path}");
    }
}

#[test]
fn an_encoded_nul_or_line_break_is_refused() {
    for path in ["/admin%00.jpg", "/a%0d%0aset-cookie:%20x", "/a%09b", "/a%7f"] {
        assert_eq!(normalise(path), Err(PathFault::EncodedControl), "{path}");
    }
}

#[test]
fn a_dot_segment_with_a_parameter_is_refused() {
    // CVE-2020-5902 (BIG-IP), and "Breaking Parser Logic" (Black Hat 2018): Tomcat walks up.
    for path in ["/hsqldb/..;/tmui/login.jsp", "/public/..;x=1/admin", "/a/.;/b", "/a/%2e%2e;/b", "/a/..;"] {
        assert_eq!(normalise(path), Err(PathFault::DotParameter), "{path}");
    }
}

#[test]
fn a_path_beyond_the_root_is_refused() {
    for path in ["/..", "/../etc/passwd", "/a/../..", "/a/../../b", "//..", "/./.."] {
        assert_eq!(normalise(path), Err(PathFault::AboveRoot), "{path}");
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for path in ["/a#b", "/a?b", "/a b", "/a\tb", "/a\u{0}b", "/ä", "/a\u{7f}"] {
        assert_eq!(normalise(path), Err(PathFault::Character), "{path}");
    }
    for path in ["", "a", "*", "http://a/b", "..", "%2fa"] {
        assert_eq!(normalise(path), Err(PathFault::Relative), "{path}");
    }
    for path in ["/%", "/%2", "/%zz", "/%-1", "/%+1", "/%u002e"] {
        assert_eq!(normalise(path), Err(PathFault::Escape), "{path}");
    }
}

#[test]
fn a_path_in_its_form_is_not_copied() {
    assert!(matches!(normalise("/v1/orders/17;x=1/lines.json"), Ok(Cow::Borrowed(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_form_is_its_own_form_and_has_nothing_to_walk(path in "(/|[.]|%2[eEfF5]|%[0-9a-fA-F]{2}|[a-c;\\\\%\"{]){0,12}") {
        if let Ok(normal) = normalise(&path) {
            prop_assert_eq!(normalise(&normal), Ok(normal.clone()));
            prop_assert!(normal.starts_with('/') && !normal.contains("//"));
            for segment in normal.split('/') {
                let name = segment.split(';').next().unwrap_or_default();
                prop_assert!(name != "." && name != "..", "{}", normal);
            }
            let lower = normal.to_ascii_lowercase();
            prop_assert!(!lower.contains("%2f") && !lower.contains("%5c") && !lower.contains("%00"));
        }
    }
}
