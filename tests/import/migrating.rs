//! docs/migrating.md.
