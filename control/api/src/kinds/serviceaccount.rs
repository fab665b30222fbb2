//! core/v1 ServiceAccount.

use super::KindInfo;
use super::rules::{self, AGE, BASE, NAME, int};
use crate::meta::list;

/// ServiceAccount.
pub static SERVICE_ACCOUNT: KindInfo = KindInfo {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    columns: &[NAME, int("Secrets"), AGE],
    cells: |o, now| {
        vec![rules::name_cell(o), list(o, "secrets").len().into(), rules::age_cell(o, now)]
    },
    ..BASE
};
