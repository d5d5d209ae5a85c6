//! Commands, and the files that they read.

mod apply;
mod commands;
mod dev;
mod doctor;
mod file_permissions;
mod reencrypt;
mod report;
mod token_info;
mod transcripts;
