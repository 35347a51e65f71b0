//! /members

mod edit;
mod invite;
mod password;
mod remove;
mod second_factor;
