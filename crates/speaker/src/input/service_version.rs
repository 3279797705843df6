//! What a reference to a Service has besides its name. A speaker keeps it of thousands of Services, so it is small.

use herald_core::ServiceKey;
use k8s_openapi::api::core::v1 as core_v1;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

/// `metadata.uid` and `metadata.resourceVersion` of a Service.
#[derive(Debug, Default)]
pub(crate) struct ServiceVersion {
    uid: Option<Uid>,
    resource_version: Option<ResourceVersion>,
}

/// A `uid`: a UUID, as far as is known of API servers.
#[derive(Debug, PartialEq, Eq)]
enum Uid {
    Uuid([u8; 16]),
    Other(Box<str>),
}

/// A `resourceVersion`: a number, as far as is known of API servers.
#[derive(Debug, PartialEq, Eq)]
enum ResourceVersion {
    Number(u64),
    Other(Box<str>),
}

impl ServiceVersion {
    pub(super) fn of(service: &core_v1::Service) -> Self {
        let metadata = &service.metadata;
        Self {
            uid: metadata.uid.as_deref().map(Uid::new),
            resource_version: metadata.resource_version.as_deref().map(ResourceVersion::new),
        }
    }

    /// Returns the reference for events.
    pub(crate) fn reference(&self, service: &ServiceKey) -> ObjectReference {
        ObjectReference {
            api_version: Some(core_v1::Service::api_version(&()).into_owned()),
            kind: Some(core_v1::Service::kind(&()).into_owned()),
            namespace: Some(service.namespace.to_string()),
            name: Some(service.name.to_string()),
            uid: self.uid.as_ref().map(Uid::text),
            resource_version: self.resource_version.as_ref().map(ResourceVersion::text),
            field_path: None,
        }
    }
}

impl Uid {
    fn new(text: &str) -> Self {
        let number = u128::from_str_radix(&text.replace('-', ""), 16);
        let uuid = number.map(|number| Self::Uuid(number.to_be_bytes()));
        // Only if the text is the usual one of this number.
        let uuid = uuid.ok().filter(|uuid| uuid.text() == text);
        uuid.unwrap_or_else(|| Self::Other(text.into()))
    }

    fn text(&self) -> String {
        match self {
            Self::Uuid(bytes) => {
                let digits = format!("{:032x}", u128::from_be_bytes(*bytes));
                let (first, rest) = digits.split_at(8);
                let (second, rest) = rest.split_at(4);
                let (third, rest) = rest.split_at(4);
                let (fourth, fifth) = rest.split_at(4);
                [first, second, third, fourth, fifth].join("-")
            }
            Self::Other(text) => text.to_string(),
        }
    }
}

impl ResourceVersion {
    fn new(text: &str) -> Self {
        let number = text.parse().map(Self::Number);
        let number = number.ok().filter(|number| number.text() == text);
        number.unwrap_or_else(|| Self::Other(text.into()))
    }

    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Other(text) => text.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "0a51e3c2-0000-4443-b12b-09fe07694481";

    #[test]
    fn texts_stay_as_they_are_and_usual_ones_are_numbers() {
        assert!(matches!(Uid::new(UUID), Uid::Uuid(_)));
        let upper_case = UUID.to_uppercase();
        let without_hyphens = UUID.replace('-', "");
        for uid in [
            UUID,
            &upper_case,
            &without_hyphens,
            "",
            "-",
            "uid",
            "+a51e3c2-0000-4443-b12b-09fe07694481",
        ] {
            assert_eq!(Uid::new(uid).text(), uid);
        }
        assert_eq!(ResourceVersion::new("55593"), ResourceVersion::Number(55_593));
        for version in ["0", "55593", "055593", "+5", "", "a", "18446744073709551616"] {
            assert_eq!(ResourceVersion::new(version).text(), version);
        }
    }
}
