#![doc = include_str!("../README.md")]

pub mod case;
pub mod cluster;
pub mod generate;
pub mod intended;
pub mod kube_proxy;
pub mod outcome;
pub mod place;
pub mod rules;
pub mod tables;
