//! Services named in the environment and the YAML file.

use std::collections::BTreeMap;

use crate::{
    backplane::{
        config::Services,
        discovery::{Register, Source},
    },
    domain::failure::Failure,
};

/// A URL as an endpoint's base: `http`, a host, no query, no slash at the end.
///
/// # Errors
/// `validation_error` that says what is wrong.
pub fn base_url(text: &str) -> Result<String, Failure> {
    let wrong =
        |why: &str| Failure::invalid_field("endpoint", format!("{text:?} {why}"), "value_error");
    let trimmed = text.trim().trim_end_matches('/');
    let uri: awc::http::Uri = trimmed.parse().map_err(|_no_uri| wrong("is no URL"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err(wrong("has the scheme https, which calls do not speak yet")),
        _ => return Err(wrong("must begin with http://")),
    }
    let with_login = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if uri.host().unwrap_or_default().is_empty() || uri.query().is_some() || with_login {
        return Err(wrong("must be a host with an optional path"));
    }
    Ok(trimmed.to_owned())
}

/// The services named in the environment and the YAML file, in that order; of memory and cognition
/// those that are `needed`.
///
/// # Errors
/// A sentence naming the variable that is wrong.
pub fn configured(services: &Services, needed: &[&str]) -> Result<Vec<Register>, String> {
    let mut found: Vec<Register> = Vec::new();
    let named = [
        ("memory", "MEMORY_SERVICE_URL", &services.memory_service_url),
        ("cognition", "COGNITION_SERVICE_URL", &services.cognition_service_url),
    ];
    for (service, variable, urls) in named {
        if needed.contains(&service) {
            found.push(split_urls(service, variable, urls, Source::Environment)?);
        }
    }
    for (service, urls) in &services.prefixed {
        let variable = format!("SERVICE_{}", service.to_uppercase());
        found.push(split_urls(service, &variable, urls, Source::Environment)?);
    }
    if let Some(path) = &services.service_discovery_config {
        let variable = "SERVICE_DISCOVERY_CONFIG";
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{variable}: {}: {error}", path.display()))?;
        let file: ServicesFile = serde_saphyr::from_str(&text)
            .map_err(|error| format!("{variable}: {}: {error}", path.display()))?;
        for (service, urls) in file.services {
            let urls = match urls {
                Urls::One(url) => url,
                Urls::Many(urls) => urls.join(","),
            };
            found.push(split_urls(&service, variable, &urls, Source::File)?);
        }
    }
    Ok(found)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ServicesFile {
    #[serde(default)]
    services: BTreeMap<String, Urls>,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

fn split_urls(
    service: &str,
    variable: &str,
    urls: &str,
    source: Source,
) -> Result<Register, String> {
    let urls: Vec<String> = urls
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|url| base_url(url).map_err(|failure| format!("{variable}: {failure}")))
        .collect::<Result<_, _>>()?;
    if urls.is_empty() {
        return Err(format!("{variable}: no URL"));
    }
    Ok(Register { service: service.to_owned(), urls, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_plain_http_with_a_host() {
        assert_eq!(base_url(" http://memory:9000/ ").as_deref(), Ok("http://memory:9000"));
        assert_eq!(base_url("http://h/base/").as_deref(), Ok("http://h/base"));
        for bad in [
            "",
            "memory:9000",
            "ftp://h",
            "https://h",
            "http://",
            "http://h?x=1",
            "http:// h",
            "http://u:p@h",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_urls_are_separated_by_commas_and_a_wrong_one_names_its_variable() {
        let several = split_urls("memory", "V", "http://a, http://b/,", Source::Environment);
        assert_eq!(several.unwrap().urls, ["http://a", "http://b"]);
        for bad in ["", " , ", "http://a,nonsense"] {
            let error = split_urls("memory", "V", bad, Source::Environment).err().unwrap();
            assert!(error.starts_with("V: "), "{error}");
        }
    }

    #[test]
    fn the_file_takes_one_url_or_several_and_refuses_what_it_does_not_know() {
        let read = |text: &str| serde_saphyr::from_str::<ServicesFile>(text);
        let file = read("services:\n  a: http://a\n  b: [http://b, http://c]\n").unwrap();
        assert_eq!(file.services.len(), 2);
        assert!(read("servises: {}").is_err());
    }
}
