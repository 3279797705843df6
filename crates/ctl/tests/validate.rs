//! `heraldctl validate` by cases: a file or directory `validate/NAME` and the text `validate/NAME.expected`.
//!
//! `UPDATE_EXPECTED=1 cargo test -p herald-ctl --test validate` writes the texts; read the difference before you commit it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use herald_api::{IPAddressPool, L2Advertisement, convert};
use herald_core::config::{Catalog, RawL2Advertisement, RawPool};
use herald_ctl::{ManifestFile, Validation, validate};
use nix::time::{ClockId, clock_gettime};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(path: &Path) -> Vec<ManifestFile> {
    let files = ManifestFile::read_all(&[path.to_owned()]);
    files.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()))
}

/// Reads files and names them as from `folder`.
fn named(path: &Path, folder: &Path) -> Vec<ManifestFile> {
    let prefix = format!("{}/", folder.display());
    let files = read(path).into_iter();
    files
        .map(|file| ManifestFile {
            name: file.name.trim_start_matches(&prefix).to_owned(),
            text: file.text,
        })
        .collect()
}

#[test]
fn every_case_has_the_expected_text() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validate");
    let entries = fs::read_dir(&folder).expect("the cases");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.expect("a case").path()).collect();
    cases.retain(|case| case.extension().is_none_or(|extension| extension != "expected"));
    cases.sort();
    assert!(cases.len() > 20, "{cases:?}");
    let mut wrong = Vec::new();
    for case in cases {
        let text = validate(&named(&case, &folder), None).plain_text();
        let expected = case.with_extension("expected");
        if env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &text).expect("a file");
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if text != expected {
            wrong.push(format!("{}:\n{text}\nexpected:\n{expected}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn what_the_project_ships_has_no_mistake() {
    for path in [
        "deploy/herald.yaml",
        "crds",
        "examples/quickstart.yaml",
        "examples/bgp.yaml",
    ] {
        let validation = validate(&read(&top().join(path)), None);
        assert!(validation.objects > 0, "{path}");
        assert_eq!(
            (validation.mistakes, validation.warnings),
            (0, 0),
            "{path}: {}",
            validation.plain_text()
        );
    }
}

/// Returns the pages of a folder of the book and of those in it.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let pages = paths.flat_map(|path| match path.is_dir() {
        true => pages(&path),
        false => vec![path],
    });
    pages
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

#[test]
fn the_manifests_in_the_book_have_no_mistake() {
    let mut manifests = 0;
    for page in pages(&top().join("docs")) {
        if page.ends_with("tasks/validate.md") {
            continue;
        }
        let text = fs::read_to_string(&page).expect("a page");
        let blocks = text.split("```").filter_map(|block| block.strip_prefix("yaml\n"));
        for block in blocks.filter(|block| block.contains("kind:")) {
            manifests += 1;
            let name = page.display().to_string();
            let validation = validate(
                &[ManifestFile {
                    name,
                    text: block.to_owned(),
                }],
                None,
            );
            assert_eq!(validation.mistakes, 0, "{}", validation.plain_text());
        }
    }
    assert!(manifests > 5, "{manifests}");
}

#[test]
fn the_page_about_validation_shows_what_is_printed() {
    let page = fs::read_to_string(top().join("docs/tasks/validate.md")).expect("the page");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validate");
    let text = validate(&named(&folder.join("seed-mistakes.yaml"), &folder), None).plain_text();
    let shown = text.replace("seed-mistakes.yaml", "myapp.yaml");
    assert!(page.contains(&shown), "the page should have:\n{shown}");
    let manifest = fs::read_to_string(folder.join("seed-mistakes.yaml")).expect("the case");
    assert!(page.contains(&manifest), "the page should have:\n{manifest}");
}

#[test]
fn large_and_long_files_are_checked_in_time() {
    let pool = |n: usize| {
        format!(
            "---\n{}\n",
            json!({"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": {"name": format!("p{n}"), "namespace": "a"},
                "spec": {"addresses": [format!("10.{}.{}.0", n / 256, n % 256)]}})
        )
    };
    let many: String = (0..5000).map(pool).collect();
    let long = format!("a: [{}]", "1,".repeat(400_000));
    let labels: String = (0..100_000).map(|n| format!("    l{n}: {n}\n")).collect();
    let labels = format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: labels\n  labels:\n{labels}");
    let file = |name: &str, text: String| ManifestFile {
        name: name.to_owned(),
        text,
    };
    let validation = validate(
        &[file("many", many), file("long", long), file("labels", labels)],
        None,
    );
    assert_eq!((validation.mistakes, validation.objects), (5101, 5001));
    let last = validation.findings.last().map(|finding| finding.message.as_str());
    assert_eq!(
        last,
        Some("the object has more mistakes; these are shown when the others are mended")
    );
    let last = validation.findings.iter().rfind(|finding| finding.file == "many");
    assert_eq!(last.map(|finding| finding.line), Some(10_000));
}

/// Returns how long this thread has had a processor: what else the machine does makes no difference.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock");
    time.into()
}

/// Returns the least processor time that it takes to check a text, and the mistakes.
fn time(text: &str) -> (Duration, usize) {
    let file = ManifestFile {
        name: "list".to_owned(),
        text: text.to_owned(),
    };
    let runs = (0..3).map(|_| {
        let start = processor_time();
        let validation = validate(std::slice::from_ref(&file), None);
        (processor_time() - start, validation.mistakes)
    });
    runs.min().expect("a run")
}

#[test]
fn a_list_in_one_line_takes_no_longer_than_one_in_many() {
    let map = |n: usize| {
        let data: serde_json::Map<_, _> = (0..100).map(|k| (format!("k{k}"), json!("{{ é }}"))).collect();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("M{n}")}, "data": data})
    };
    let items: Vec<Value> = (0..1200).map(map).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let one_line = list.to_string();
    assert!(one_line.len() > 2_000_000, "{}", one_line.len());
    let broken = one_line.trim_end_matches('}');
    let many_lines = serde_json::to_string_pretty(&list).expect("JSON");
    let (usual, mistakes) = time(&many_lines);
    assert_eq!(mistakes, 1200);
    for (text, expected) in [(one_line.as_str(), 1200), (broken, 1)] {
        let (taken, mistakes) = time(text);
        assert_eq!(mistakes, expected);
        assert!(
            taken < usual * 8,
            "{taken:?}, and {usual:?} with one value a line"
        );
    }
}

#[test]
fn the_column_counts_characters_before_and_after_the_end_of_a_block() {
    for length in [0, 511, 512, 513, 1023, 1024, 1025, 5000] {
        let text = format!(
            "# ü\n{{apiVersion: v1, kind: Service, metadata: {{name: \"{}\", x: 1}}}}\n",
            "é".repeat(length)
        );
        let name = "metadata: {name: ";
        let column = |what: &str| {
            text.lines().nth(1).and_then(|line| {
                let place = line.find(what)?;
                Some(line[..place].chars().count() + 1)
            })
        };
        let validation = validate(
            &[ManifestFile {
                name: "a".to_owned(),
                text: text.clone(),
            }],
            None,
        );
        let columns: Vec<usize> = validation.findings.iter().map(|finding| finding.column).collect();
        let expected = [column(name).map(|column| column + name.len()), column("x: 1")];
        assert_eq!(
            columns.into_iter().map(Some).collect::<Vec<_>>(),
            expected,
            "{length}"
        );
        assert!(validation.findings.iter().all(|finding| finding.line == 2));
    }
}

fn text(value: &Value) -> String {
    value.to_string()
}

/// Returns the messages of a validation, in order.
fn messages(validation: &Validation, severity: &str) -> Vec<String> {
    let findings = validation.findings.iter();
    let mut messages: Vec<String> = findings
        .filter(|finding| finding.severity == severity)
        .map(|finding| {
            let name = finding.name.clone().unwrap_or_default();
            let field = finding.field.clone().unwrap_or_default();
            format!("{name} {field} {}", finding.message)
        })
        .collect();
    messages.sort();
    messages
}

fn addresses() -> impl Strategy<Value = Vec<String>> {
    let prefix = (0..8_u8, 24..34_u8).prop_map(|(third, length)| format!("192.0.{third}.0/{length}"));
    let range = (0..4_u8, any::<u8>(), any::<u8>())
        .prop_map(|(third, a, b)| format!("192.0.{third}.{a}-192.0.{third}.{b}"));
    let entry = prop_oneof![
        prefix,
        range,
        Just("192.0.2.1".to_owned()),
        Just("fc00::/64".to_owned())
    ];
    prop::collection::vec(entry, 0..4)
}

fn pool() -> impl Strategy<Value = Value> {
    let namespaces = prop::collection::vec(prop_oneof![Just("a"), Just("b")], 0..3);
    let quota = prop::option::of(-2..3_i64);
    (addresses(), namespaces, quota).prop_map(|(addresses, namespaces, quota)| {
        let mut spec = json!({"addresses": addresses, "serviceAllocation": {"namespaces": namespaces}});
        if let Some(quota) = quota {
            spec["quota"] = json!({"perNamespace": quota});
        }
        spec
    })
}

fn advertisement() -> impl Strategy<Value = Value> {
    let names = prop::collection::vec(prop_oneof![Just("p0"), Just("p1")], 0..3);
    let selector = prop_oneof![
        Just(json!({"matchLabels": {"rack": "a"}})),
        Just(json!({"matchLabels": {"a b": "c"}})),
        Just(json!({"matchExpressions": [{"key": "rack", "operator": "Within"}]})),
    ];
    (names, prop::collection::vec(selector, 0..3))
        .prop_map(|(pools, selectors)| json!({"ipAddressPools": pools, "nodeSelectors": selectors}))
}

/// Returns the manifests of resources of one kind, numbered.
fn manifests(kind: &str, name: &str, specs: &[Value]) -> Vec<Value> {
    let numbered = specs.iter().enumerate();
    let object = |(number, spec): (usize, &Value)| {
        let metadata = json!({"name": format!("{name}{number}"), "namespace": "metallb-system"});
        json!({"apiVersion": "metallb.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec})
    };
    numbered.map(object).collect()
}

fn catalog(pools: &[Value], advertisements: &[Value]) -> Catalog {
    let pool = |value: &Value| -> RawPool {
        convert::pool(&serde_json::from_value::<IPAddressPool>(value.clone()).expect("a pool"))
    };
    let advertisement = |value: &Value| -> RawL2Advertisement {
        let parsed = serde_json::from_value::<L2Advertisement>(value.clone());
        convert::l2_advertisement(&parsed.expect("an advertisement"))
    };
    let mut catalog = Catalog::new();
    catalog.set_pools(pools.iter().map(pool).collect());
    catalog.set_l2_advertisements(advertisements.iter().map(advertisement).collect());
    catalog
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What the controller would say is said, and nothing else.
    #[test]
    fn the_mistakes_are_the_problems_that_the_controller_finds(
        pools in prop::collection::vec(pool(), 0..5),
        advertisements in prop::collection::vec(advertisement(), 0..3),
    ) {
        let pools = manifests("IPAddressPool", "p", &pools);
        let advertisements = manifests("L2Advertisement", "a", &advertisements);
        let documents: Vec<String> = pools.iter().chain(&advertisements).map(text).collect();
        let file = ManifestFile { name: "all".to_owned(), text: documents.join("\n---\n") };
        let catalog = catalog(&pools, &advertisements);
        let problems = catalog.problems().iter();
        let mut problems: Vec<String> = problems
            .map(|problem| format!("{} {} {}", problem.name, problem.field, problem.error))
            .collect();
        problems.sort();
        prop_assert_eq!(messages(&validate(&[file], None), "error"), problems);
    }

    /// A manifest into which something was typed is checked to its end.
    #[test]
    fn no_text_is_too_strange(
        typed in "[-a:{}\\[\\]\n\t #&*!|>'\"é?,%@`.\u{202e}\u{0}]{0,12}",
        place in any::<prop::sample::Index>(),
        removed in 0..20_usize,
    ) {
        let manifest = include_str!("validate/seed-mistakes.yaml");
        let start = place.index(manifest.len());
        let end = (start + removed).min(manifest.len());
        let text = format!("{}{typed}{}", &manifest[..start], &manifest[end..]);
        let lines = text.lines().count();
        let validation = validate(&[ManifestFile { name: "typed".to_owned(), text }], None);
        prop_assert!(validation.findings.iter().all(|finding| finding.line <= lines + 1));
        let is_escaped = !validation.plain_text().contains(['\u{202e}', '\u{0}']);
        prop_assert!(is_escaped);
    }
}

/// Runs the program and returns its exit status, its output and its errors.
fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_heraldctl"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let mut stdin = program.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("a reader");
    drop(stdin);
    let output = program.wait_with_output().expect("its end");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_exit_status_says_whether_there_are_mistakes() {
    let service = |address: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{type: LoadBalancer, loadBalancerIP: {address}}}\n"
        )
    };
    let (status, output, errors) = run(&["validate", "-f", "-"], &service("192.0.2.1"));
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    assert!(
        output.starts_with("warning: ") && !output.contains('\u{1b}'),
        "{output}"
    );
    assert!(
        output.ends_with("1 file, 1 object: no mistakes, 1 warning\n"),
        "{output}"
    );
    let (status, output, _) = run(&["validate", "-f", "-"], &service("none"));
    assert_eq!(status, Some(1));
    assert!(output.contains("--> <stdin>:4:44"), "{output}");
    let (status, output, errors) = run(&["validate", "-f", "absent.yaml"], "");
    assert_eq!((status, output.as_str()), (Some(2), ""));
    assert!(errors.starts_with("error: cannot read absent.yaml: "), "{errors}");
    assert_eq!(run(&["validate"], "").0, Some(2));
}

#[test]
fn the_findings_can_be_had_as_data() {
    let manifest = "# é\n{kind: Service, apiVersion: v1, metadata: {name: ü, labels: {é: 1}}}\n";
    let (_, output, _) = run(&["validate", "-o", "json", "-f", "-"], manifest);
    let data: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(
        (&data["files"], &data["objects"], &data["mistakes"]),
        (&json!(1), &json!(1), &json!(2))
    );
    let label = &data["findings"][1];
    let place = (&label["file"], &label["line"], &label["column"]);
    assert_eq!(place, (&json!("<stdin>"), &json!(2), &json!(65)));
    assert_eq!(
        (&label["severity"], &label["field"]),
        (&json!("error"), &json!("metadata.labels.é"))
    );
    assert!(
        label["message"]
            .as_str()
            .is_some_and(|message| message.starts_with("must be a text"))
    );
    let (_, output, _) = run(&["validate", "-o", "yaml", "-f", "-"], manifest);
    assert!(
        output.starts_with(
            "files: 1\nobjects: 1\nmistakes: 2\nwarnings: 0\nfindings:\n- file: <stdin>\n  line: 2\n"
        ),
        "{output}"
    );
}

#[test]
fn only_services_of_the_class_are_checked_for_what_they_request() {
    let service = |class: &str| {
        let text = format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  type: LoadBalancer\n{class}  loadBalancerIP: nonsense\n"
        );
        [ManifestFile {
            name: "a".to_owned(),
            text,
        }]
    };
    let mistakes = |class: &str, ours: Option<&str>| validate(&service(class), ours).mistakes;
    let aws = "  loadBalancerClass: service.k8s.aws/nlb\n";
    assert_eq!((mistakes("", None), mistakes(aws, None)), (1, 0));
    let (own, named) = ("  loadBalancerClass: herald\n", Some("herald"));
    assert_eq!(
        (mistakes(own, named), mistakes("", named), mistakes(own, None)),
        (1, 0, 0)
    );
}
