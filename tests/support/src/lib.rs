//! Builders and namespaces for tests.
