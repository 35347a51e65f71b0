//! /management-tokens

mod create;
mod edit;
mod rights;
