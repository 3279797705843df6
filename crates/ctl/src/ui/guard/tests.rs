use super::*;
use hyper::Request;

const HOST: &str = "127.0.0.1:4711";

fn guard() -> Guard {
    Guard::new(HOST.parse().expect("an address")).expect("random numbers")
}

/// Returns what becomes of a request with this method, target and headers.
fn check(guard: &Guard, request: (&str, &str), headers: &[(&str, &str)]) -> Result<UiRequest, Denial> {
    guard.check(&parts(request, headers), false)
}

fn parts((method, target): (&str, &str), headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    parts
}

/// The headers of a request by the page itself, with its session.
fn own(guard: &Guard) -> (String, [(&'static str, String); 3]) {
    let (directory, cookie) = guard.session();
    let cookie = cookie.split(';').next().expect("a value").to_owned();
    let headers = [
        ("host", HOST.to_owned()),
        ("cookie", cookie),
        ("sec-fetch-site", "same-origin".to_owned()),
    ];
    (directory, headers)
}

fn with<'a>(
    headers: &'a [(&'static str, String); 3],
    name: &'static str,
    value: Option<&'a str>,
) -> Vec<(&'a str, &'a str)> {
    let others = headers.iter().filter(|(other, _)| *other != name);
    let others = others.map(|(name, value)| (*name, value.as_str()));
    others.chain(value.map(|value| (name, value))).collect()
}

#[test]
fn only_this_host_and_port_are_answered() {
    let guard = guard();
    let get = |target, headers: &[(&str, &str)]| check(&guard, ("GET", target), headers);
    assert!(get("/", &[("host", HOST)]).is_ok());
    for host in [
        "localhost:4711",
        "127.0.0.1",
        "127.0.0.1:4712",
        "127.0.0.1:47110",
        "[::1]:4711",
        "evil.example:4711",
        "evil.example",
        "",
    ] {
        assert_eq!(get("/", &[("host", host)]), Err(Denial::Host), "{host}");
    }
    assert_eq!(get("/", &[]), Err(Denial::Host));
    let two = [("host", HOST), ("host", "evil.example")];
    assert_eq!(get("/", &two), Err(Denial::Host));
    let absolute = "http://evil.example:4711/";
    assert_eq!(get(absolute, &[("host", HOST)]), Err(Denial::Host));
    assert_eq!(Denial::Host.status(), 421);
}

#[test]
fn only_get_without_a_body_is_answered() {
    let guard = guard();
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get",
    ] {
        let denied = check(&guard, (method, "/page.js"), &[("host", HOST)]);
        assert_eq!(denied, Err(Denial::Method), "{method}");
    }
    let request = Request::get("/")
        .header("host", HOST)
        .body(())
        .expect("a request");
    let denied = guard.check(&request.into_parts().0, true);
    assert_eq!(denied, Err(Denial::Body));
}

#[test]
fn the_token_opens_a_session_and_nothing_else_does() {
    let guard = guard();
    let ask = |value: Option<&str>| {
        let headers: Vec<(&str, &str)> = [("host", HOST)]
            .into_iter()
            .chain(value.map(|value| ("authorization", value)))
            .collect();
        check(&guard, ("GET", "/session"), &headers)
    };
    let right = format!("Bearer {}", guard.token);
    assert_eq!(ask(Some(&right)), Ok(UiRequest::Session));
    let almost = format!("{}x", &right[..right.len() - 1]);
    let (directory, _) = guard.session();
    let others = [
        None,
        Some(""),
        Some("Bearer "),
        Some(&almost),
        Some(&right[..right.len() - 1]),
        Some(&guard.token),
        Some(&directory),
    ];
    for other in others {
        assert_eq!(ask(other), Err(Denial::Unauthenticated), "{other:?}");
    }
    // The token is in no URL that a server or a log sees.
    let link = guard.link();
    let (before, fragment) = link.split_once('#').expect("a fragment");
    assert_eq!(
        (before, fragment),
        ("http://127.0.0.1:4711/", guard.token.as_str())
    );
    assert_eq!(fragment.len(), 2 * SECRET);
}

#[test]
fn data_needs_the_cookie_and_the_secret_directory() {
    let guard = guard();
    let (directory, headers) = own(&guard);
    let overview = format!("{directory}overview");
    let ask = |target: &str, headers: &[(&str, &str)]| check(&guard, ("GET", target), headers);
    let all = with(&headers, "", None);
    assert_eq!(ask(&overview, &all), Ok(UiRequest::Overview));
    let cookie = headers[1].1.clone();
    let wrong = "herald=00000000000000000000000000000000";
    let (first, last) = (format!("{wrong}; {cookie}"), format!("a=b; {cookie}; {wrong}"));
    for cookie in [&first, &last] {
        let headers = with(&headers, "cookie", Some(cookie));
        assert_eq!(ask(&overview, &headers), Ok(UiRequest::Overview), "{cookie}");
    }
    let token = format!("herald={}", guard.token);
    let shorter = &cookie[..cookie.len() - 1];
    for cookie in [
        None,
        Some(""),
        Some(wrong),
        Some(token.as_str()),
        Some(shorter),
        Some("herald="),
    ] {
        let headers = with(&headers, "cookie", cookie);
        assert_eq!(
            ask(&overview, &headers),
            Err(Denial::Unauthenticated),
            "{cookie:?}"
        );
    }
    for target in [
        "/overview",
        "//overview",
        "/00000000000000000000000000000000/overview",
    ] {
        assert!(ask(target, &all).is_err(), "{target}");
    }
    assert_eq!(ask(&format!("{directory}other"), &all), Err(Denial::NotFound));
    let (_, cookie) = guard.session();
    assert!(
        cookie.ends_with(&format!("; Path={directory}; HttpOnly; SameSite=Strict")),
        "{cookie}"
    );
    assert_eq!(directory.len(), 2 * SECRET + 2);
}

#[test]
fn each_run_has_secrets_of_its_own() {
    let secrets: Vec<String> = [guard(), guard()]
        .into_iter()
        .flat_map(|guard| [guard.token, guard.session, guard.directory])
        .collect();
    let distinct: std::collections::BTreeSet<&String> = secrets.iter().collect();
    assert_eq!(distinct.len(), 6);
}

#[test]
fn pages_of_other_origins_get_nothing() {
    let guard = guard();
    let (directory, headers) = own(&guard);
    let overview = format!("{directory}overview");
    for site in ["cross-site", "same-site", "unknown", ""] {
        let headers = with(&headers, "sec-fetch-site", Some(site));
        for target in [overview.as_str(), "/session", "/page.js", "/"] {
            assert_eq!(
                check(&guard, ("GET", target), &headers),
                Err(Denial::Origin),
                "{site} {target}"
            );
        }
    }
    for origin in [
        "http://127.0.0.1:4712",
        "http://evil.example",
        "https://127.0.0.1:4711",
        "null",
    ] {
        let mut headers = with(&headers, "", None);
        headers.push(("origin", origin));
        assert_eq!(
            check(&guard, ("GET", &overview), &headers),
            Err(Denial::Origin),
            "{origin}"
        );
    }
    let mut same = with(&headers, "", None);
    same.push(("origin", "http://127.0.0.1:4711"));
    assert_eq!(check(&guard, ("GET", &overview), &same), Ok(UiRequest::Overview));
    // A link opens the page, which has no data, and nothing else.
    let link = [
        ("host", HOST),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    assert!(matches!(
        check(&guard, ("GET", "/"), &link),
        Ok(UiRequest::Asset(_))
    ));
    for target in [overview.as_str(), "/session", "/page.js"] {
        assert_eq!(
            check(&guard, ("GET", target), &link),
            Err(Denial::Origin),
            "{target}"
        );
    }
}

#[test]
fn one_subject_is_explained() {
    let named = |subject: &str| subject.to_owned();
    for (query, expected) in [
        (
            "service=default%2Fweb",
            Some(Subject::Service {
                service: named("default/web"),
                namespace: None,
            }),
        ),
        (
            "address=192.0.2.1",
            Some(Subject::Address {
                address: [192, 0, 2, 1].into(),
            }),
        ),
        ("pool=first", Some(Subject::Pool { pool: named("first") })),
        ("node=%3Cb%3E", Some(Subject::Node { node: named("<b>") })),
        ("address=web", None),
        ("pool=", None),
        ("pool", None),
        ("pool=a&node=b", None),
        ("secret=a", None),
        ("", None),
    ] {
        assert_eq!(subject(query), expected, "{query}");
    }
}
