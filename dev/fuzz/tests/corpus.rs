//! Replays every file of every corpus.

use std::path::Path;

#[test]
fn the_corpus_of_every_target_is_digested() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in herald_fuzz::TARGETS {
        let directory = corpora.join(name);
        let files =
            std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut count = 0;
        for file in files {
            let path = file.expect("an entry").path();
            target(&std::fs::read(&path).expect("a readable file"));
            count += 1;
        }
        assert!(count > 0, "{} is empty", directory.display());
    }
}
