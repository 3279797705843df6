//! What can be wrong in a manifest, and what would be right.

use herald_core::RequestError;
use herald_core::config::{ConfigError, ResourceKind};
use serde_json::Value;

/// What is wrong at a place of a file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Mistake {
    /// The text is no YAML.
    #[error(transparent)]
    Syntax(#[from] SyntaxMistake),
    /// The object is none of Kubernetes.
    #[error(transparent)]
    Object(#[from] ObjectMistake),
    /// A field is not as the definition of the kind has it.
    #[error(transparent)]
    Schema(#[from] SchemaMistake),
    /// A problem of the configuration, as the controller finds it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A Service requests addresses in a way that cannot be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A ConfigMap that configured MetalLB before version 0.13.
    #[error(
        "MetalLB read its configuration of a ConfigMap before version 0.13; Herald does not, and it has no effect: \
         `heraldctl convert -f FILE` prints it as resources"
    )]
    OldConfigMap,
    /// It is right by itself, but may not do what it is written for.
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

/// A mistake of YAML's syntax.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SyntaxMistake {
    /// What the parser says.
    #[error("this is no YAML: {text}{hint}")]
    Other {
        /// Its text.
        text: String,
        /// What is to be done, if there is an answer to that.
        hint: &'static str,
    },
    /// A tab in the indentation.
    #[error("a tab cannot indent in YAML; write blanks")]
    Tab,
    /// A line such as `kind:Service`.
    #[error("no blank follows the colon, so this is a text and no field; write `{key}: {value}`")]
    NoBlankAfterColon {
        /// What stands before the colon.
        key: String,
        /// What stands after it.
        value: String,
    },
    /// A line such as `-first-pool`.
    #[error("no blank follows the dash, so this is a text and no entry of a list; write `- {0}`")]
    NoBlankAfterDash(String),
    /// A key occurs twice in one mapping.
    #[error("the key {0:?} occurs twice; remove one of the two")]
    DuplicateKey(String),
    /// A key is a list or a mapping.
    #[error("a list or mapping cannot be a key; write a text")]
    ComplexKey,
    /// An alias in what it stands for.
    #[error("this alias stands for something that it is a part of; write out what is meant")]
    EndlessAlias,
    /// Too many lists and mappings in each other.
    #[error("more than {0} lists and mappings are in each other; no object of Kubernetes has so many")]
    TooDeep(usize),
    /// The file is too large.
    #[error("the file has more than {0} values, with those that aliases repeat; split it")]
    TooManyNodes(usize),
    /// Aliases make the file too large.
    #[error(
        "anchors and aliases repeat more than {0} bytes of text; write out what is meant, or split the file"
    )]
    TooMuchRepeated(usize),
    /// A Helm template.
    #[error("this is a Helm template; render it first: `helm template CHART | heraldctl validate -f -`")]
    Template,
}

/// A mistake in what every object has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObjectMistake {
    /// The document is a text or a list.
    #[error("this is no object of Kubernetes but a {0}; write a mapping with apiVersion, kind and metadata")]
    NotAMapping(&'static str),
    /// It has neither `apiVersion` nor `kind`.
    #[error(
        "this is no object of Kubernetes, because apiVersion and kind are missing; values of a chart and the like cannot be checked"
    )]
    NoObject,
    /// A field that every object has is missing.
    #[error("the field is missing; write {0}")]
    Missing(&'static str),
    /// A field has no text.
    #[error("the field must be a text; write {0}")]
    NoText(&'static str),
    /// A field has almost the right name.
    #[error("there is no field {found:?}; write {right:?}")]
    Misspelt {
        /// The name as written.
        found: String,
        /// The right one.
        right: String,
    },
    /// A group has no such kind.
    #[error("{group} has no kind {kind:?}; {}", instead(.nearest.as_deref(), .all))]
    UnknownKind {
        /// The kind as written.
        kind: String,
        /// The group.
        group: String,
        /// The nearest kind.
        nearest: Option<String>,
        /// All kinds of the group.
        all: Vec<String>,
    },
    /// A kind of old versions of MetalLB.
    #[error(
        "MetalLB has no AddressPool since version 0.14; write an IPAddressPool, and an L2Advertisement or BGPAdvertisement for it"
    )]
    AddressPool,
    /// The group is another one, or the kind has no such version.
    #[error("kind {kind} has no apiVersion {found:?}; write {}", .right.join(" or "))]
    ApiVersion {
        /// The kind.
        kind: String,
        /// The version as written.
        found: String,
        /// What can be written.
        right: Vec<String>,
    },
    /// A name that no object can have.
    #[error("{name:?} cannot be the name of an object: {rule}{}", hint(.name))]
    Name {
        /// The name.
        name: String,
        /// What a name must be.
        rule: &'static str,
    },
    /// Two objects have the same name.
    #[error("duplicate definition of {kind} {name:?}; names must be unique")]
    Duplicate {
        /// Their kind.
        kind: String,
        /// Their name.
        name: String,
    },
    /// The object cannot be read although its definition permits it.
    #[error("the object cannot be read: {0}")]
    Unreadable(String),
}

/// A field that is not as the definition of its kind has it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum SchemaMistake {
    /// The definition has no such field.
    #[error("there is no field {found:?}{}", nearest(.right.as_deref()))]
    UnknownField {
        /// The field as written.
        found: String,
        /// The nearest one.
        right: Option<String>,
    },
    /// The field exists, but in `spec`.
    #[error("there is no field {0:?} here, but in spec; indent it below `spec:`")]
    FieldOfSpec(String),
    /// A required field is missing.
    #[error("the field {0:?} is missing; add it")]
    MissingField(String),
    /// A value of another type.
    #[error("must be {expected}, and {found}{hint}")]
    Type {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
        /// What to do.
        hint: String,
    },
    /// A text that is none of those allowed.
    #[error("{value} is not allowed; write {}", .allowed.join(" or "))]
    Value {
        /// The value as written.
        value: String,
        /// What can be written.
        allowed: Vec<String>,
    },
    /// A number that is too small or too large.
    #[error("{value} is not allowed; it must be {bound}")]
    Bound {
        /// The value as written.
        value: Value,
        /// What it must be.
        bound: String,
    },
    /// A text or list that is too short or too long.
    #[error("has {length} {unit}; it must have {bound}")]
    Length {
        /// Its length.
        length: usize,
        /// What is counted.
        unit: &'static str,
        /// How many it must have.
        bound: String,
    },
    /// A value of a Secret that is no text. It is not shown.
    #[error("must be a text; put it in quotes (it is not shown here, because it is secret)")]
    SecretValue,
    /// An object has more mistakes than are shown.
    #[error("the object has more mistakes; these are shown when the others are mended")]
    More,
    /// A text that does not match a pattern.
    #[error("{value:?} does not match the pattern {pattern}")]
    Pattern {
        /// The text.
        value: String,
        /// The pattern.
        pattern: String,
    },
}

/// Something that is right by itself, but may not do what it is written for: another resource decides that, which may be in the
/// cluster and not in the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Doubt {
    /// A resource names another one that the files do not have.
    #[error("the files have no {kind} {name:?}; it has to be in the cluster{}", meant(.nearest.as_deref()))]
    Unknown {
        /// The kind of the other resource.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The nearest name in the files.
        nearest: Option<String>,
    },
    /// A Service requests an address that no pool has.
    #[error("no IPAddressPool of the files has the address {0}; it has to be in one of the cluster")]
    UnknownAddress(std::net::IpAddr),
    /// What a problem says that another resource can solve.
    #[error("{0}; it has to be in the cluster")]
    Other(ConfigError),
    /// A resource has less effect than it is written for.
    #[error("{0}")]
    Ineffective(String),
    /// An annotation with the old prefix.
    #[error("annotation {found} is deprecated; use {right}")]
    DeprecatedAnnotation {
        /// The annotation.
        found: String,
        /// The one to use.
        right: String,
    },
    /// A version or field that will go.
    #[error("{0}")]
    Deprecated(String),
}

impl Mistake {
    /// Whether it is only a warning.
    pub(crate) const fn is_warning(&self) -> bool {
        matches!(self, Self::Doubt(_))
    }

    /// Whether the line that it is in may not be shown.
    pub(crate) const fn is_secret(&self) -> bool {
        matches!(self, Self::Schema(SchemaMistake::SecretValue))
    }

    /// Returns the mistake of two resources of one name, in the words of the controller if it has any.
    pub(crate) fn duplicate(kind: &str, name: &str) -> Self {
        let kinds = [ResourceKind::Pool, ResourceKind::L2Advertisement];
        let name = name.to_owned();
        match kinds.into_iter().find(|known| known.to_string() == kind) {
            Some(kind) => ConfigError::DuplicateResource { kind, name }.into(),
            None => ObjectMistake::Duplicate {
                kind: kind.to_owned(),
                name,
            }
            .into(),
        }
    }
}

fn instead(nearest: Option<&str>, all: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("write {nearest}"),
        None => format!("its kinds are {}", all.join(", ")),
    }
}

fn nearest(right: Option<&str>) -> String {
    right.map_or_else(|| "; remove it".to_owned(), |right| format!("; write {right:?}"))
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(", or {nearest:?} is meant"))
}

/// Returns what is to be done about a name that is almost one.
fn hint(name: &str) -> String {
    match name.strip_prefix('-') {
        Some(rest) if !rest.is_empty() => {
            format!("; to write an entry of a list, put a blank after the dash: `- {rest}`")
        }
        _ => String::new(),
    }
}
