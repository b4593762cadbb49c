//! What the OpenAPI descriptions of all services have in common: the problems that the edge answers, and strict requests.

use std::collections::BTreeSet;

use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, SchemaType, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder, Schema};

/// The media type of a problem (RFC 9457).
const PROBLEM: &str = "application/problem+json";

/// What the edge or the runtime may answer to any request of a service's own routes.
const COMMON: [(&str, &str, &str); 8] = [
    ("400", "BadRequest", "The request can't be understood: its query, path, body or header Host"),
    ("408", "BodyTimeout", "The body did not arrive in time; nothing was done"),
    ("413", "BodyTooLarge", "The body is too large"),
    ("415", "UnsupportedMediaType", "The body is not application/json in UTF-8 without content coding"),
    ("421", "MisdirectedRequest", "The request is for another host (`http.allowed_hosts`)"),
    ("500", "Internal", "The service failed; the cause is in its log"),
    (
        "503",
        "Unavailable",
        "Something that the service needs is missing, or too many requests are in flight; try again",
    ),
    ("504", "Timeout", "The request took too long; its outcome is unknown"),
];

/// The same, to requests that may change something.
const UNSAFE: (&str, &str, &str) = ("403", "CrossOrigin", "The page of another site sent the request");

/// Completes the description of a service's own routes.
pub(super) fn complete(openapi: &mut OpenApi) {
    let mut strict = BTreeSet::new();
    for item in openapi.paths.paths.values_mut() {
        for (operation, is_safe) in operations(item) {
            for (status, name, _) in COMMON.iter().chain((!is_safe).then_some(&UNSAFE)) {
                let response = || RefOr::Ref(Ref::from_response_name(*name));
                operation.responses.responses.entry((*status).to_owned()).or_insert_with(response);
            }
            operation.responses.responses.values_mut().for_each(as_problem);
            operation.parameters.iter_mut().flatten().for_each(not_null);
            if let Some(body) = &operation.request_body {
                references(&serde_json::to_value(body).unwrap_or_default(), &mut strict);
            }
        }
    }
    let components = openapi.components.get_or_insert_default();
    for (_, name, description) in COMMON.iter().chain([&UNSAFE]) {
        components.responses.insert((*name).to_owned(), RefOr::T(problem(description)));
    }
    let mut done = BTreeSet::new();
    while let Some(name) = strict.pop_first() {
        let Some(schema) = components.schemas.get_mut(&name) else { continue };
        if let RefOr::T(Schema::Object(object)) = schema {
            object
                .additional_properties
                .get_or_insert_with(|| Box::new(AdditionalProperties::FreeForm(false)));
        }
        references(&serde_json::to_value(&*schema).unwrap_or_default(), &mut strict);
        done.insert(name);
        strict.retain(|name| !done.contains(name));
    }
}

/// The operations of a path, and whether they are safe (RFC 9110, section 9.2.1).
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let safe = [&mut item.get, &mut item.head, &mut item.options, &mut item.trace];
    let changing = [&mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
    let safe = safe.into_iter().flatten().map(|operation| (operation, true));
    safe.chain(changing.into_iter().flatten().map(|operation| (operation, false)))
}

/// Problems have a media type of their own.
fn as_problem(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let is_problem = |content: &Value| content["schema"]["$ref"] == "#/components/schemas/Problem";
    let json =
        response.content.get("application/json").and_then(|content| serde_json::to_value(content).ok());
    if json.as_ref().is_some_and(is_problem)
        && let Some(content) = response.content.shift_remove("application/json")
    {
        response.content.insert(PROBLEM.to_owned(), content);
    }
}

fn problem(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content(PROBLEM, content).build()
}

/// A parameter is absent or has a value: text can't be null.
fn not_null(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(Parameter { schema: Some(RefOr::T(Schema::Object(schema))), .. }) = parameter else {
        return;
    };
    if let SchemaType::Array(types) = &mut schema.schema_type {
        types.retain(|of| *of != Type::Null);
    }
}

/// The names of the schemas that stand in this part of a description.
fn references(part: &Value, found: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            let name = fields.get("$ref").and_then(Value::as_str);
            found.extend(name.and_then(|name| name.strip_prefix("#/components/schemas/")).map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
