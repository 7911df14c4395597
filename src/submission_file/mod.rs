//! Filings as JSON files.
