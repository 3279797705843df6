//! `x-kubernetes-validations`: rules in CEL, also between the old and the new value.
//!
//! Differences from the API server: rules are not type-checked when the CRD is made (an error shows
//! at the first write), `format: date-time` and `duration` values are plain strings until
//! `timestamp()`/`duration()` is called on them, and there is no cost budget.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::{Context, Env, Program, extensions};
use serde_json::Value;

use super::error::ParseError;
use super::prune::join;
use super::validate::identity;
use super::{ListType, Schema};
use crate::status::FieldError;

mod duration;
mod network;

/// One compiled rule.
pub(crate) struct Rule {
    source: String,
    program: Program,
    message: Option<String>,
    message_expression: Option<Program>,
    reason: Option<String>,
    field_path: String,
    /// The rule speaks of `oldSelf`, so it applies to updates only (unless `optionalOldSelf`).
    transition: bool,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rule").field(&self.source).finish()
    }
}

impl Rule {
    /// Compiles the rules that stand at one place of a schema.
    pub(super) fn parse_all(rules: &Value, path: &str) -> Result<Vec<Self>, ParseError> {
        let list = rules.as_array().map(Vec::as_slice).unwrap_or_default();
        let at = |i: usize, message: String| ParseError {
            path: format!("{path}.x-kubernetes-validations[{i}]"),
            message,
        };
        list.iter()
            .enumerate()
            .map(|(i, rule)| Self::parse(rule).map_err(|message| at(i, message)))
            .collect()
    }

    fn parse(rule: &Value) -> Result<Self, String> {
        if rule["optionalOldSelf"] == true {
            return Err("devkube does not implement optionalOldSelf".into());
        }
        let source = rule["rule"].as_str().ok_or("rule: Required value")?;
        let program =
            compile(source).map_err(|error| format!("rule {source:?} does not compile: {error}"))?;
        let transition = program.references().has_variable("oldSelf");
        let message_expression = rule["messageExpression"].as_str().map(compile).transpose();
        let reason = rule["reason"].as_str().map(str::to_string);
        Ok(Self {
            source: source.to_string(),
            program,
            message: rule["message"].as_str().map(str::to_string),
            message_expression: message_expression.map_err(|error| format!("messageExpression: {error}"))?,
            reason,
            field_path: rule["fieldPath"].as_str().unwrap_or_default().to_string(),
            transition,
        })
    }

    fn check(&self, new: &Value, old: Option<&Value>, schema: Schema<'_>, path: &str) -> Option<FieldError> {
        if self.transition && old.is_none() {
            return None;
        }
        let mut context = Context::with_env(environment());
        network::add_functions(&mut context);
        duration::add_functions(&mut context);
        context.add_variable_from_value("self", to_cel(schema, new));
        if let Some(old) = old {
            context.add_variable_from_value("oldSelf", to_cel(schema, old));
        }
        let field = format!("{path}{}", self.field_path);
        let field = field.strip_prefix('.').unwrap_or(&field).to_string();
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(true)) => None,
            Ok(cel::Value::Bool(false)) => Some(self.refusal(field, new, &context)),
            Ok(other) => Some(FieldError::invalid(
                field,
                new,
                format!("rule {:?} gave {other:?}, not a bool", self.source),
            )),
            Err(error) => Some(FieldError::invalid(
                field,
                new,
                format!("rule {:?} failed: {error}", self.source),
            )),
        }
    }

    fn refusal(&self, field: String, value: &Value, context: &Context<'_, '_>) -> FieldError {
        let computed = self
            .message_expression
            .as_ref()
            .and_then(|program| match program.execute(context) {
                Ok(cel::Value::String(text)) => Some(text.to_string()),
                Ok(_) | Err(_) => None,
            });
        let message = computed
            .or_else(|| self.message.clone())
            .unwrap_or_else(|| format!("failed rule: {}", self.source.trim()));
        match self.reason.as_deref() {
            Some("FieldValueForbidden") => FieldError::forbidden(field, &message),
            Some("FieldValueRequired") => FieldError::required(field, &message),
            Some("FieldValueDuplicate") => FieldError::duplicate(field, value),
            _ => FieldError::invalid(field, value, message),
        }
    }
}

/// Every rule of the schema that the step from `old` to `new` breaks.
pub(crate) fn check(schema: Schema<'_>, new: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, new, old, "", &mut errors);
    errors
}

fn walk(schema: Schema<'_>, new: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    errors.extend(
        schema
            .node
            .rules
            .iter()
            .filter_map(|rule| rule.check(new, old, schema, path)),
    );
    match new {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(field) = schema.field(name) {
                    walk(
                        field,
                        value,
                        old.and_then(|old| old.get(name)),
                        &join(path, name),
                        errors,
                    );
                }
            }
        }
        Value::Array(items) => {
            let Some(item) = schema.items() else { return };
            for (i, value) in items.iter().enumerate() {
                let before = old.and_then(|old| counterpart(schema, value, old));
                walk(item, value, before, &format!("{path}[{i}]"), errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Only entries of associative lists can be recognised in the old value.
fn counterpart<'a>(list: Schema<'_>, item: &Value, old: &'a Value) -> Option<&'a Value> {
    let ListType::Map(keys) = list.list_type() else {
        return None;
    };
    let wanted = identity(list, item, keys);
    old.as_array()?
        .iter()
        .find(|entry| identity(list, entry, keys) == wanted)
}

fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    let build = || {
        let mut env = Env::stdlib().with_optional_support(true);
        for extension in [extensions::strings, extensions::lists] {
            env.add_extension(extension)
                .expect("the library's own extensions do not clash");
        }
        Arc::new(env)
    };
    Arc::clone(ENVIRONMENT.get_or_init(build))
}

fn compile(source: &str) -> Result<Program, String> {
    let program = environment().compile(source).map_err(|error| error.to_string())?;
    let unknown = program
        .references()
        .functions()
        .into_iter()
        .find(|name| !is_declared(name))
        .map(str::to_string);
    match unknown {
        Some(name) => Err(format!("undeclared reference to '{name}'")),
        None => Ok(program),
    }
}

/// Whether a function can be called: operators are written with `_` or `@`; of the environment's own
/// names the library tells by refusing to have them declared again.
fn is_declared(name: &str) -> bool {
    let added = [network::NAMES, duration::NAMES];
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || added.concat().contains(&name) {
        return true;
    }
    let mut context = Context::with_env(environment());
    let qualified = [
        name.to_string(),
        format!("strings.{name}"),
        format!("lists.{name}"),
        format!("optional.{name}"),
    ];
    qualified
        .iter()
        .any(|name| context.add_function(name, || true).is_err())
}

fn to_cel(schema: Schema<'_>, value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(flag) => cel::Value::Bool(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if schema.kind() != Some(super::Type::Number) => cel::Value::Int(integer),
            _ => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => {
            let entries = items
                .iter()
                .map(|entry| to_cel(schema.items().unwrap_or(schema), entry))
                .collect();
            cel::Value::List(Arc::new(entries))
        }
        Value::Object(fields) => {
            let entries: HashMap<String, cel::Value> = fields
                .iter()
                .map(|(name, entry)| {
                    let declared = schema.property(name).is_some();
                    let key = if declared { escape(name) } else { name.clone() };
                    (key, to_cel(schema.field(name).unwrap_or(schema), entry))
                })
                .collect();
            entries.into()
        }
    }
}

/// Property names that are no CEL identifiers are reachable under an escaped name.
fn escape(name: &str) -> String {
    const RESERVED: [&str; 20] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
    ];
    if RESERVED.contains(&name) || name == "while" {
        return format!("__{name}__");
    }
    name.replace("__", "__underscores__")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
}
