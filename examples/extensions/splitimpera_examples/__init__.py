"""Extensions of Split-Et-Impera, one a module; docs/contribute tells of them."""
