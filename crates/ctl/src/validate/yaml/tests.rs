use serde_json::json;

use super::*;

fn one(text: &str) -> MarkedDocument {
    let mut documents = parse(text);
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.remove(0)
}

/// Returns the mistakes of a text, each with what it is about.
fn mistakes(text: &str) -> Vec<(String, SyntaxMistake)> {
    let documents = parse(text);
    let errors = documents.into_iter().flat_map(|document| document.mistakes);
    errors
        .map(|error| (text[error.span].to_owned(), error.mistake))
        .collect()
}

#[test]
fn values_have_their_places() {
    let text = "# é\na: [b, \"c\"]\nd:\n  - e: 1\n  -  f\n";
    let document = one(text);
    let root = document.root.expect("a mapping");
    assert_eq!(root.json(), json!({"a": ["b", "c"], "d": [{"e": 1}, "f"]}));
    let [a, d] = root.entries() else {
        panic!("two entries")
    };
    let places: Vec<&str> = a
        .node
        .items()
        .iter()
        .map(|item| &text[item.span.clone()])
        .collect();
    assert_eq!((&text[a.key_span.clone()], places), ("a", vec!["b", "\"c\""]));
    assert_eq!(&text[d.node.items()[0].entries()[0].key_span.clone()], "e");
    assert_eq!(&text[d.node.items()[1].span.clone()], "f");
}

#[test]
fn the_document_after_a_broken_one_is_read() {
    let text = "a: [1\n---\nb: 2\n---\n\tc: 3\n---\n# nothing\n---\nd: 4\n";
    let documents = parse(text);
    let roots = documents.iter().filter_map(|document| document.root.as_ref());
    let values: Vec<_> = roots.map(MarkedNode::json).collect();
    assert_eq!(values, [json!({"b": 2}), json!({"d": 4})]);
    assert_eq!(mistakes(text).len(), 2);
}

#[test]
fn mistakes_that_users_make_are_named_for_what_they_are() {
    let colon = |key: &str, value: &str| SyntaxMistake::NoBlankAfterColon {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    for (text, place, mistake) in [
        (
            "apiVersion: v1\nkind:Pool\nmetadata:\n  name: a\n",
            "kind:Pool",
            colon("kind", "Pool"),
        ),
        ("a: 1\nkind:Pool\n", "kind:Pool", colon("kind", "Pool")),
        ("kind:Pool\nb: 1\n", "kind:Pool", colon("kind", "Pool")),
        ("a:\n-b\n", "-b", SyntaxMistake::NoBlankAfterDash("b".to_owned())),
        ("a:\n\tb: 1\n", "\t", SyntaxMistake::Tab),
        (
            "a: 1\nb: 2\na: 3\n",
            "a",
            SyntaxMistake::DuplicateKey("a".to_owned()),
        ),
        ("a: &x [*x]\n", "*x", SyntaxMistake::EndlessAlias),
        ("[a]: b\n", "[", SyntaxMistake::ComplexKey),
        ("a: {{ .Values.a }}\n", "{{", SyntaxMistake::Template),
        (
            "{{- if .Values.a }}\na: b\n{{- end }}\n---\nc: d\n",
            "{{",
            SyntaxMistake::Template,
        ),
        (
            "a: b\n{{- range .Values.c }}\nd: {{ . }}\n",
            "{{",
            SyntaxMistake::Template,
        ),
    ] {
        assert_eq!(mistakes(text), [(place.to_owned(), mistake)], "{text}");
    }
}

#[test]
fn what_the_parser_says_is_followed_by_what_would_be_right() {
    for (text, hint) in [
        ("a: %x\n", "put the text in quotes"),
        ("a: *x\n", "put the text in quotes"),
        ("a: b: c\n", "each field on a line of its own"),
        ("a:\n  b: c\n d: e\n", "indent all fields of a mapping"),
        ("- a\nb: c\n", "indent all entries of a list"),
        ("a: \"b\n", "close it"),
        ("a: [b\n", "close it"),
    ] {
        let mistake = mistakes(text)[0].1.to_string();
        assert!(
            mistake.starts_with("this is no YAML: ") && mistake.contains(hint),
            "{mistake}"
        );
    }
}

#[test]
fn expressions_in_quotes_and_in_other_documents_make_no_template() {
    for text in [
        "a: [\n---\nb: \"{{ $labels.c }}\"\n",
        "b: '{{ c }}'\na: [\n",
        "# {{ c }}\na: [\n",
    ] {
        assert!(
            matches!(mistakes(text)[0].1, SyntaxMistake::Other { .. }),
            "{text}"
        );
    }
}

#[test]
fn what_is_bounded_ends_with_a_mistake() {
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    assert_eq!(mistakes(&deep)[0].1, SyntaxMistake::TooDeep(MOST_DEPTH));
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        laughs += &format!("a{n}: &a{n} [{list}]\n");
    }
    assert_eq!(mistakes(&laughs)[0].1, SyntaxMistake::TooManyNodes(MOST_NODES));
    let mut chain = String::from("a0: &a0 [x]\n");
    for n in 1..200 {
        chain += &format!("a{n}: &a{n} [*a{}]\n", n - 1);
    }
    assert_eq!(mistakes(&chain)[0].1, SyntaxMistake::TooDeep(MOST_DEPTH));
}

#[test]
fn the_text_that_aliases_repeat_is_bounded() {
    let long = "x".repeat(MOST_REPEATED / 8);
    let aliases = |count: usize| format!("a: &a {long}\nb: [{}]\n", vec!["*a"; count].join(", "));
    assert_eq!(mistakes(&aliases(7)), []);
    let found = mistakes(&aliases(1000));
    let expected = SyntaxMistake::TooMuchRepeated(MOST_REPEATED);
    assert_eq!(found, [("*a".to_owned(), expected.clone())]);
    // Keys are text, too, and the bound is that of all documents.
    let keys: String = (0..2000).map(|n| format!("{n:x>1000}: 1, ")).collect();
    let keys = format!("a: &a {{{keys}}}\nb: [*a, *a]\n---\n").repeat(4);
    assert_eq!(mistakes(&keys), [("*a".to_owned(), expected)]);
}

#[test]
fn aliases_and_merge_keys_are_replaced_by_what_they_stand_for() {
    let text =
        "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}\nlist: [*base]\nboth: {<<: [*base, {c: 4}]}\n";
    let root = one(text).root.expect("a mapping");
    assert_eq!(root.json()["more"], json!({"a": 1, "b": 3}));
    assert_eq!(root.json()["list"], json!([{"a": 1, "b": 2}]));
    assert_eq!(root.json()["both"], json!({"a": 1, "b": 2, "c": 4}));
}

#[test]
fn no_text_makes_the_parser_panic_or_run_on() {
    for text in [
        "",
        "---",
        "...",
        "\u{feff}a: b",
        "%YAML 1.2\n---\na: b",
        "\"",
        "a: b: c",
        "- a\n b",
        "!!str",
        "&a",
        "*a",
        "? a\n: b",
        "\0",
    ] {
        assert!(parse(text).len() <= 2, "{text:?}");
    }
}
