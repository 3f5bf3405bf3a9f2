//! Routes that answer every wrong method and every wrong path in the one error format.

use actix_web::{
    HttpRequest, HttpResponse, Resource, Route,
    http::{Method, header},
    web,
};

use crate::{
    domain::failure::{Failure, Kind},
    http::problem::Problem,
};

/// A path with its methods; any other method is 405 with `Allow`.
#[must_use]
pub fn at(path: &str, methods: Vec<(Method, Route)>) -> Resource {
    let allowed = methods.iter().map(|(method, _)| method.as_str()).collect::<Vec<_>>().join(", ");
    let resource = methods.into_iter().fold(web::resource(path), |resource, (method, route)| {
        resource.route(route.method(method))
    });
    resource.default_service(web::to(move |request: HttpRequest| {
        let allowed = allowed.clone();
        async move { wrong_method(&request, &allowed) }
    }))
}

fn wrong_method(request: &HttpRequest, allowed: &str) -> HttpResponse {
    use actix_web::ResponseError as _;
    let failure = Failure::new(
        Kind::MethodNotAllowed,
        format!("{} is not for {}; allowed: {allowed}", request.method(), request.path()),
    );
    let mut response = Problem::from(failure).error_response();
    if let Ok(value) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// Answers every path that is not known.
///
/// # Errors
/// Always `resource_not_found`.
pub async fn not_found(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Failure::not_found("path", request.path()).into())
}
