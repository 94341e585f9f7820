"""JSON API: resources, request bodies, response schemas and the OpenAPI document."""
