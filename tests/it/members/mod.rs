//! /members

mod edit;
mod identity;
mod invite;
mod password;
mod remove;
mod second_factor;
