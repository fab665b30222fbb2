//! Every kind this API serves, as data: names, subresources, and the functions that give it meaning.
//!
//! In: nothing. Out: [`KindInfo`] rows and lookups. One file per kind; a new kind is a new file and a line in `ALL`.

mod admissionpolicy;
mod apiservice;
mod certificatesigningrequest;
mod configmap;
mod controllerrevision;
mod cronjob;
mod csi;
mod customresourcedefinition;
mod daemonset;
mod deployment;
mod dra;
mod endpoints;
mod endpointslice;
mod event;
pub mod flowcontrol;
mod horizontalpodautoscaler;
mod info;
mod ingress;
mod ingressclass;
mod job;
mod lease;
mod limitrange;
mod namespace;
mod networkpolicy;
mod node;
mod persistentvolume;
mod persistentvolumeclaim;
mod pod;
mod poddisruptionbudget;
mod podspec;
mod podtemplate;
mod priorityclass;
mod probe;
mod rbac;
mod replicaset;
mod replicationcontroller;
mod resourcequota;
pub(crate) mod rules;
mod runtimeclass;
mod secret;
mod service;
mod serviceaccount;
mod servicecidr;
mod statefulset;
mod storageclass;
mod webhook;
mod workload;

pub use admissionpolicy::{
    POLICY_VARIABLES, VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING,
};
pub use apiservice::{API_SERVICE, api_priority};
pub use certificatesigningrequest::CERTIFICATE_SIGNING_REQUEST;
pub use configmap::CONFIG_MAP;
pub use controllerrevision::CONTROLLER_REVISION;
pub use cronjob::CRON_JOB;
pub use csi::{CSI_DRIVER, CSI_NODE, CSI_STORAGE_CAPACITY, VOLUME_ATTACHMENT};
pub use customresourcedefinition::CUSTOM_RESOURCE_DEFINITION;
pub use daemonset::DAEMON_SET;
pub use deployment::DEPLOYMENT;
pub use dra::{DEVICE_CLASS, RESOURCE_CLAIM, RESOURCE_CLAIM_TEMPLATE, RESOURCE_SLICE};
pub use endpoints::ENDPOINTS;
pub use endpointslice::ENDPOINT_SLICE;
pub use event::{EVENT, EVENT_V1};
pub use flowcontrol::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION};
pub use horizontalpodautoscaler::{HORIZONTAL_POD_AUTOSCALER, HORIZONTAL_POD_AUTOSCALER_V1};
pub use info::{
    ALL_VERBS, Causes, Column, KindInfo, Kinds, STATUS_VERBS, ScalePaths, SubresourceInfo, View,
};
pub use ingress::INGRESS;
pub use ingressclass::INGRESS_CLASS;
pub use job::JOB;
pub use lease::LEASE;
pub use limitrange::LIMIT_RANGE;
pub use namespace::NAMESPACE;
pub use networkpolicy::NETWORK_POLICY;
pub use node::NODE;
pub use persistentvolume::PERSISTENT_VOLUME;
pub use persistentvolumeclaim::PERSISTENT_VOLUME_CLAIM;
pub use pod::POD;
pub use poddisruptionbudget::POD_DISRUPTION_BUDGET;
pub use podtemplate::POD_TEMPLATE;
pub use priorityclass::PRIORITY_CLASS;
pub use rbac::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING};
pub use replicaset::REPLICA_SET;
pub use replicationcontroller::REPLICATION_CONTROLLER;
pub use resourcequota::RESOURCE_QUOTA;
pub use runtimeclass::RUNTIME_CLASS;
pub use secret::SECRET;
pub use service::SERVICE;
pub use serviceaccount::SERVICE_ACCOUNT;
pub use servicecidr::{IP_ADDRESS, SERVICE_CIDR};
pub use statefulset::STATEFUL_SET;
pub use storageclass::{STORAGE_CLASS, VOLUME_ATTRIBUTES_CLASS};
pub use webhook::{
    CONDITION_VARIABLES, MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION,
};

static ALL: &[&KindInfo] = &[
    &CONFIG_MAP,
    &ENDPOINTS,
    &EVENT,
    &LIMIT_RANGE,
    &NAMESPACE,
    &NODE,
    &PERSISTENT_VOLUME,
    &PERSISTENT_VOLUME_CLAIM,
    &POD,
    &POD_TEMPLATE,
    &REPLICATION_CONTROLLER,
    &RESOURCE_QUOTA,
    &SECRET,
    &SERVICE_ACCOUNT,
    &SERVICE,
    &CONTROLLER_REVISION,
    &DAEMON_SET,
    &DEPLOYMENT,
    &REPLICA_SET,
    &STATEFUL_SET,
    &CRON_JOB,
    &JOB,
    &HORIZONTAL_POD_AUTOSCALER,
    &HORIZONTAL_POD_AUTOSCALER_V1,
    &POD_DISRUPTION_BUDGET,
    &EVENT_V1,
    &INGRESS,
    &INGRESS_CLASS,
    &IP_ADDRESS,
    &NETWORK_POLICY,
    &SERVICE_CIDR,
    &ENDPOINT_SLICE,
    &LEASE,
    &CLUSTER_ROLE,
    &CLUSTER_ROLE_BINDING,
    &ROLE,
    &ROLE_BINDING,
    &CERTIFICATE_SIGNING_REQUEST,
    &CSI_DRIVER,
    &CSI_NODE,
    &CSI_STORAGE_CAPACITY,
    &STORAGE_CLASS,
    &VOLUME_ATTACHMENT,
    &VOLUME_ATTRIBUTES_CLASS,
    &PRIORITY_CLASS,
    &RUNTIME_CLASS,
    &MUTATING_WEBHOOK_CONFIGURATION,
    &VALIDATING_WEBHOOK_CONFIGURATION,
    &VALIDATING_ADMISSION_POLICY,
    &VALIDATING_ADMISSION_POLICY_BINDING,
    &CUSTOM_RESOURCE_DEFINITION,
    &API_SERVICE,
    &FLOW_SCHEMA,
    &PRIORITY_LEVEL_CONFIGURATION,
    &DEVICE_CLASS,
    &RESOURCE_CLAIM,
    &RESOURCE_CLAIM_TEMPLATE,
    &RESOURCE_SLICE,
];
