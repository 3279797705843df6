//! The files that are checked.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The most bytes of one file: more than the configuration of any cluster has.
const MOST_BYTES: u64 = 16 << 20;
/// The name of the standard input on the command line.
const STDIN: &str = "-";
/// How the names of files end that are read of a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A file with manifests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// The name that messages show.
    pub name: String,
    /// The content.
    pub text: String,
}

/// The reason why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system does not let it.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, io::Error),
    /// It is too long.
    #[error("{0} has more than {MOST_BYTES} bytes; split it into several files")]
    TooLong(String),
    /// It is no text.
    #[error("{0} is no text in UTF-8; write it in this encoding")]
    NotText(String),
    /// A directory has no file that is read.
    #[error("directory {0} has no file that ends in .yaml, .yml or .json; name one that has")]
    NoFiles(String),
}

impl ManifestFile {
    /// Reads files, and all that are in directories, by name. `-` is the standard input.
    ///
    /// # Errors
    /// For each of `paths` that cannot be read.
    pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>, Vec<FileError>> {
        let (mut files, mut errors) = (Vec::new(), Vec::new());
        for path in paths {
            if path.as_os_str() == STDIN {
                push(read_from(io::stdin().lock(), "<stdin>"), &mut files, &mut errors);
            } else if path.is_dir() {
                let before = files.len() + errors.len();
                read_directory(path, &mut files, &mut errors);
                if files.len() + errors.len() == before {
                    errors.push(FileError::NoFiles(path.display().to_string()));
                }
            } else {
                push(read(path), &mut files, &mut errors);
            }
        }
        if errors.is_empty() { Ok(files) } else { Err(errors) }
    }
}

fn push(read: Result<ManifestFile, FileError>, files: &mut Vec<ManifestFile>, errors: &mut Vec<FileError>) {
    match read {
        Ok(file) => files.push(file),
        Err(error) => errors.push(error),
    }
}

/// Reads the files of a directory and of those in it. Links to directories are not followed, so that there is no circle.
fn read_directory(directory: &Path, files: &mut Vec<ManifestFile>, errors: &mut Vec<FileError>) {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(FileError::Unreadable(directory.display().to_string(), error));
            return;
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_directory(&path, files, errors);
        } else if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            push(read(&path), files, errors);
        }
    }
}

fn read(path: &Path) -> Result<ManifestFile, FileError> {
    let name = path.display().to_string();
    match fs::File::open(path) {
        Ok(file) => read_from(file, &name),
        Err(error) => Err(FileError::Unreadable(name, error)),
    }
}

fn read_from(input: impl Read, name: &str) -> Result<ManifestFile, FileError> {
    let mut bytes = Vec::new();
    let read = input.take(MOST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| FileError::Unreadable(name.to_owned(), error))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FileError::TooLong(name.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| FileError::NotText(name.to_owned()))?;
    Ok(ManifestFile {
        name: name.to_owned(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read_with_those_in_them_and_only_manifests_of_them() {
        let top = tempfile::tempdir().expect("a directory");
        fs::create_dir(top.path().join("inner")).expect("a directory");
        for name in ["b.yml", "a.yaml", "inner/c.json", "README.md"] {
            fs::write(top.path().join(name), name).expect("a file");
        }
        let files = ManifestFile::read_all(&[top.path().to_owned()]).expect("files");
        let texts: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
        assert_eq!(texts, ["a.yaml", "b.yml", "inner/c.json"]);
        assert!(files[2].name.ends_with("inner/c.json"));
    }

    #[test]
    fn every_file_that_cannot_be_read_is_named() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("absent.yaml"), top.path().to_owned()];
        let errors = ManifestFile::read_all(&paths).expect_err("no files");
        assert_eq!(errors.len(), 2);
        assert!(errors[0].to_string().contains("absent.yaml: No such file"));
        assert!(errors[1].to_string().contains("has no file that ends in"));
        let error = read_from(&[0xff_u8][..], "binary").expect_err("no text");
        assert!(error.to_string().starts_with("binary is no text in UTF-8"));
        let error = read_from(io::repeat(b' '), "long").expect_err("too long");
        assert!(error.to_string().starts_with("long has more than 16777216 bytes"));
    }
}
