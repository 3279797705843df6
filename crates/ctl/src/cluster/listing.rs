//! Lists of objects, which may be refused.

use std::fmt::Debug;

use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Error, Resource};
use serde::de::DeserializeOwned;

/// The objects of a page, as many as kubectl asks for.
const PAGE: u32 = 500;

/// The objects of one kind, or why they are not known.
pub(crate) type Listed<T> = Result<Vec<T>, Absence>;

/// Why the objects of a kind are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Absence {
    /// The API server does not know the kind.
    #[error("{0} are not installed in this cluster")]
    NotInstalled(String),
    /// The user has no right to list them.
    #[error("you may not list {0}; ask for a role with the verb list for {0}")]
    Forbidden(String),
    /// Pods of several namespaces look like those of Herald.
    #[error("Pods in several namespaces look like those of Herald: {0}; give --install-namespace")]
    Ambiguous(String),
    /// The API server failed.
    #[error("{resource} cannot be listed: {error}")]
    Failed {
        /// The resource.
        resource: String,
        /// What the API server, or the connection, said.
        error: String,
    },
}

/// Lists all objects of a kind, page by page.
///
/// # Errors
/// The reason why they are not known.
pub(crate) async fn list<T>(api: Api<T>, params: ListParams) -> Listed<T>
where
    T: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let (items, _) = list_at_most(api, params, usize::MAX).await?;
    Ok(items)
}

/// Lists objects of a kind, page by page, until there are `most` of them. Returns whether these are all.
///
/// # Errors
/// The reason why they are not known.
pub(crate) async fn list_at_most<T>(
    api: Api<T>,
    params: ListParams,
    most: usize,
) -> Result<(Vec<T>, bool), Absence>
where
    T: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let mut params = params.limit(PAGE);
    let mut items = Vec::new();
    loop {
        let page = api.list(&params).await.map_err(absence::<T>)?;
        items.extend(page.items);
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() && items.len() < most => params.continue_token = Some(token),
            continued => return Ok((items, continued.is_none_or(|token| token.is_empty()))),
        }
    }
}

/// Lists all objects of a kind, of one namespace if it is known.
pub(crate) async fn list_in<T>(client: &Client, namespace: Option<&str>) -> Listed<T>
where
    T: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    list(api, ListParams::default()).await
}

#[expect(clippy::needless_pass_by_value, reason = "an argument of map_err")]
fn absence<T: Resource<DynamicType = ()>>(error: Error) -> Absence {
    let (group, plural) = (T::group(&()), T::plural(&()));
    let resource = if group.is_empty() {
        plural.into_owned()
    } else {
        format!("{plural}.{group}")
    };
    match status_code(&error) {
        404 => Absence::NotInstalled(resource),
        403 => Absence::Forbidden(resource),
        _ => Absence::Failed {
            resource,
            error: plain(&error),
        },
    }
}

fn status_code(error: &Error) -> u16 {
    if let Error::Api(status) = error {
        status.code
    } else {
        0
    }
}

/// Returns what the API server, or the connection, said, without the parts of the answer that are for programs.
pub(crate) fn plain(error: &Error) -> String {
    if let Error::Api(status) = error {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
