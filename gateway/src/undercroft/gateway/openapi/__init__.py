"""One OpenAPI 3.1 document for the whole platform, merged from what each service says about itself."""
