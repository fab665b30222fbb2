//! batch/v1 CronJob.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, boolean, col, int, status, wide};
use super::workload;
use super::{Causes, KindInfo, job};
use crate::cron;
use crate::meta::{list, or_set, text};
use crate::time::{self, Timestamp};
use crate::validate::{self, invalid, required};

/// Longest name: that of a Job, which gets eleven characters more, has to be a label.
const NAME_MAX: usize = 52;

/// CronJob.
pub static CRON_JOB: KindInfo = KindInfo {
    group: "batch",
    kind: "CronJob",
    plural: "cronjobs",
    singular: "cronjob",
    short_names: &["cj"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    subresources: &[status("CronJob")],
    columns: &[
        NAME,
        col("Schedule"),
        col("Timezone"),
        boolean("Suspend"),
        int("Active"),
        col("Last Schedule"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default,
    name_rule,
    validate,
    ..BASE
};

fn name_rule(name: &str, prefix: bool) -> Vec<String> {
    let mut problems = validate::dns_subdomain(name, prefix);
    if !prefix && name.len() > NAME_MAX {
        problems.push(format!("must be no more than {NAME_MAX} characters"));
    }
    problems
}

fn default(object: &mut Value) {
    if let Some(job) = object.pointer_mut("/spec/jobTemplate/spec").filter(|s| s.is_object()) {
        job::default_spec(job);
    }
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    or_set(spec, "concurrencyPolicy", "Allow");
    or_set(spec, "suspend", false);
    or_set(spec, "successfulJobsHistoryLimit", 3);
    or_set(spec, "failedJobsHistoryLimit", 1);
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    schedule(text(spec, "schedule"), causes);
    for field in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"]
    {
        rules::not_negative(&spec[field], &format!("spec.{field}"), causes);
    }
    let policies = &["Allow", "Forbid", "Replace"];
    rules::required_of(&spec["concurrencyPolicy"], "spec.concurrencyPolicy", policies, causes);
    if let Some(zone) = spec["timeZone"].as_str() {
        let problem = match zone {
            "" => "timeZone must be nil or non-empty string",
            "Local" => {
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
            }
            _ => "",
        };
        if !problem.is_empty() {
            causes.push(invalid("spec.timeZone", zone, problem));
        }
    }
    let template = &spec["jobTemplate"]["spec"];
    job::validate_spec(template, "spec.jobTemplate.spec", causes);
    if template["manualSelector"] == true {
        let field = "spec.jobTemplate.spec.manualSelector";
        causes.push(validate::not_supported(field, true, &["nil", "false"]));
    }
}

fn schedule(text: &str, causes: &mut Causes) {
    if text.is_empty() {
        causes.push(required("spec.schedule", ""));
        return;
    }
    if text.contains("TZ") {
        let message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        causes.push(invalid("spec.schedule", text, message));
        return;
    }
    if let Some(problem) = cron::problem(text) {
        causes.push(invalid("spec.schedule", text, &problem));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let last = match o["status"]["lastScheduleTime"].as_str() {
        Some(at) => time::age(Some(at), now),
        None => "<none>".to_owned(),
    };
    let [containers, images] = workload::container_cells(&spec["jobTemplate"]["spec"]["template"]);
    let selector =
        crate::selectors::LabelSelector::from_object(&spec["jobTemplate"]["spec"]["selector"]);
    vec![
        rules::name_cell(o),
        text(spec, "schedule").into(),
        rules::or_none(text(spec, "timeZone").to_owned()).into(),
        rules::yes_no(&spec["suspend"]),
        list(&o["status"], "active").len().into(),
        last.into(),
        rules::age_cell(o, now),
        containers,
        images,
        rules::or_none(selector.map(|s| s.to_text()).unwrap_or_default()).into(),
    ]
}
