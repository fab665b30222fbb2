#!/usr/bin/env python3
"""Writes src/generated/types.txt: every type that the API serves, as data for src/types.rs.

Usage: generate-types.py <k8s-pb source dir> <k8s-openapi source dir> > src/generated/types.txt
(both are published crates; `cargo fetch` leaves their sources in cargo's registry folder).

Field numbers and types come from k8s-pb, JSON names, required fields and list types from k8s-openapi. What neither knows
is listed here: which scalars are pointers in the Go types (their zero values mean something), which messages are embedded,
which are scalars in JSON, and how strategic merge patches see lists.
"""
import re, sys, pathlib

PB, OPENAPI = map(pathlib.Path, sys.argv[1:3])
ROOTS = """
core.v1.Binding core.v1.ConfigMap core.v1.Endpoints core.v1.Event core.v1.LimitRange core.v1.Namespace core.v1.Node
core.v1.PersistentVolume core.v1.PersistentVolumeClaim core.v1.Pod core.v1.PodTemplate core.v1.ReplicationController
core.v1.ResourceQuota core.v1.Secret core.v1.Service core.v1.ServiceAccount core.v1.ComponentStatus
apps.v1.ControllerRevision apps.v1.DaemonSet apps.v1.Deployment apps.v1.ReplicaSet apps.v1.StatefulSet
batch.v1.CronJob batch.v1.Job autoscaling.v1.Scale autoscaling.v1.HorizontalPodAutoscaler
autoscaling.v2.HorizontalPodAutoscaler policy.v1.Eviction policy.v1.PodDisruptionBudget
networking.v1.Ingress networking.v1.IngressClass networking.v1.NetworkPolicy networking.v1.ServiceCIDR
networking.v1.IPAddress discovery.v1.EndpointSlice coordination.v1.Lease events.v1.Event
rbac.v1.Role rbac.v1.RoleBinding rbac.v1.ClusterRole rbac.v1.ClusterRoleBinding
authentication.v1.SelfSubjectReview authentication.v1.TokenReview authentication.v1.TokenRequest
authorization.v1.SelfSubjectAccessReview authorization.v1.SubjectAccessReview
authorization.v1.LocalSubjectAccessReview authorization.v1.SelfSubjectRulesReview
certificates.v1.CertificateSigningRequest storage.v1.StorageClass storage.v1.CSIDriver storage.v1.CSINode
storage.v1.CSIStorageCapacity storage.v1.VolumeAttachment storage.v1.VolumeAttributesClass
scheduling.v1.PriorityClass node.v1.RuntimeClass apiextensions.v1.CustomResourceDefinition
apiregistration.v1.APIService admissionregistration.v1.MutatingWebhookConfiguration
admissionregistration.v1.ValidatingWebhookConfiguration admissionregistration.v1.ValidatingAdmissionPolicy
admissionregistration.v1.ValidatingAdmissionPolicyBinding
flowcontrol.v1.FlowSchema flowcontrol.v1.PriorityLevelConfiguration
resource.v1.ResourceClaim resource.v1.ResourceClaimTemplate resource.v1.ResourceSlice resource.v1.DeviceClass
meta.v1.DeleteOptions meta.v1.Status meta.v1.ListMeta
""".split()
# Messages that JSON writes as one value: src/types.rs and the transcoder know how.
SCALARS = {"resource.Quantity", "intstr.IntOrString", "meta.v1.Time", "meta.v1.MicroTime", "meta.v1.Duration",
           "meta.v1.FieldsV1", "runtime.RawExtension", "authentication.v1.ExtraValue", "authorization.v1.ExtraValue",
           "certificates.v1.ExtraValue", "apiextensions.v1.JSON", "apiextensions.v1.JSONSchemaPropsOrArray",
           "apiextensions.v1.JSONSchemaPropsOrBool", "apiextensions.v1.JSONSchemaPropsOrStringArray"}
# Embedded in their parent, as (message, field).
INLINE = {("core.v1.EphemeralContainer", "ephemeral_container_common"), ("core.v1.Volume", "volume_source"),
          ("core.v1.Probe", "handler"), ("core.v1.PersistentVolumeSpec", "persistent_volume_source"),
          ("networking.v1.IngressRule", "ingress_rule_value"),
          ("resource.v1.DeviceClaimConfiguration", "device_configuration"),
          ("resource.v1.DeviceClassConfiguration", "device_configuration"),
          ("resource.v1.DeviceAllocationConfiguration", "device_configuration"),
          ("admissionregistration.v1.RuleWithOperations", "rule"),
          ("admissionregistration.v1.NamedRuleWithOperations", "rule_with_operations")}
INLINE_REFERENCE = ["ConfigMapEnvSource", "SecretEnvSource", "ConfigMapKeySelector", "SecretKeySelector",
                    "ConfigMapProjection", "SecretProjection", "ConfigMapVolumeSource"]
INLINE |= {(f"core.v1.{m}", "local_object_reference") for m in INLINE_REFERENCE}
# Where OpenAPI lists the fields of an embedded message.
PARENT = {"core.v1.VolumeSource": "core.v1.Volume", "core.v1.EphemeralContainerCommon": "core.v1.EphemeralContainer",
          "core.v1.ProbeHandler": "core.v1.Probe", "core.v1.PersistentVolumeSource": "core.v1.PersistentVolumeSpec",
          "networking.v1.IngressRuleValue": "networking.v1.IngressRule",
          "resource.v1.DeviceConfiguration": "resource.v1.DeviceClassConfiguration",
          "admissionregistration.v1.Rule": "admissionregistration.v1.RuleWithOperations"}
# Embedded messages that OpenAPI has no definition of.
NAMES = {"core.v1.volumesource": "core.v1.VolumeSource", "core.v1.probehandler": "core.v1.ProbeHandler",
         "core.v1.ephemeralcontainercommon": "core.v1.EphemeralContainerCommon",
         "core.v1.persistentvolumesource": "core.v1.PersistentVolumeSource",
         "networking.v1.ingressrulevalue": "networking.v1.IngressRuleValue",
         "resource.v1.deviceconfiguration": "resource.v1.DeviceConfiguration",
         "admissionregistration.v1.rule": "admissionregistration.v1.Rule"}
# Merge keys of strategic merge patch; `retain` lets patches name the keys to keep.
PATCH_KEYS = """
Container.env=name Container.ports=containerPort Container.volumeMounts=mountPath Container.volumeDevices=devicePath
EphemeralContainerCommon.env=name EphemeralContainerCommon.ports=containerPort
EphemeralContainerCommon.volumeMounts=mountPath EphemeralContainerCommon.volumeDevices=devicePath
PodSpec.containers=name PodSpec.initContainers=name PodSpec.ephemeralContainers=name PodSpec.imagePullSecrets=name
PodSpec.schedulingGates=name PodSpec.volumes=name PodSpec.resourceClaims=name PodSpec.hostAliases=ip
PodSpec.topologySpreadConstraints=topologyKey PodStatus.conditions=type PodStatus.podIPs=ip PodStatus.hostIPs=ip
PodStatus.resourceClaimStatuses=name ContainerStatus.volumeMounts=mountPath ContainerStatus.allocatedResourcesStatus=name
core.v1.ServiceSpec.ports=port ServiceStatus.conditions=type ServiceAccount.secrets=name
ObjectMeta.ownerReferences=uid NodeStatus.addresses=type NodeStatus.conditions=type NamespaceStatus.conditions=type
PersistentVolumeClaimStatus.conditions=type ReplicationControllerStatus.conditions=type ComponentStatus.conditions=type
DaemonSetStatus.conditions=type DeploymentStatus.conditions=type ReplicaSetStatus.conditions=type
StatefulSetStatus.conditions=type JobStatus.conditions=type HorizontalPodAutoscalerStatus.conditions=type
PodDisruptionBudgetStatus.conditions=type ServiceCIDRStatus.conditions=type FlowSchemaStatus.conditions=type
PriorityLevelConfigurationStatus.conditions=type AllocatedDeviceStatus.conditions=type
MutatingWebhookConfiguration.webhooks=name ValidatingWebhookConfiguration.webhooks=name
MutatingWebhook.matchConditions=name ValidatingWebhook.matchConditions=name
ValidatingAdmissionPolicySpec.matchConditions=name ValidatingAdmissionPolicySpec.variables=name
CSINodeSpec.drivers=name ResourceClaimStatus.reservedFor=uid
""".split()
PATCH_MARKS = {"ObjectMeta.finalizers": "merge", "NodeSpec.podCIDRs": "merge", "DeploymentSpec.strategy": "retain",
               "PodSpec.volumes": "retain", "PodSpec.resourceClaims": "retain", "PodDisruptionBudgetSpec.selector": "replace"}
# Where the keys of server-side apply are not those that k8s-openapi merges by.
APPLY_KEYS = {"Container.ports": "containerPort,protocol", "EphemeralContainer.ports": "containerPort,protocol",
              "core.v1.ServiceSpec.ports": "port,protocol",
              "PodSpec.topologySpreadConstraints": "topologyKey,whenUnsatisfiable",
              "ResourceClaimStatus.devices": "driver,device,pool,shareID", "ResourceStatus.resources": "resourceID"}
# No maps to server-side apply, whatever k8s-openapi does.
APPLY_ATOMIC = {"StatefulSetSpec.volumeClaimTemplates", "JobStatus.conditions", "PodStatus.hostIPs"}
DEFAULTS = {"ContainerPort.protocol": "TCP", "ServicePort.protocol": "TCP"}
# Types whose values server-side apply owns as a whole.
ATOMIC = {f"core.v1.{t}" for t in """LocalObjectReference ObjectReference ConfigMapKeySelector SecretKeySelector
FileKeySelector ObjectFieldSelector ResourceFieldSelector NodeSelector NodeSelectorTerm TypedLocalObjectReference
SecretReference TopologySelectorTerm ScopeSelector TypedObjectReference""".split()} - {"core.v1.TypedObjectReference"}
ATOMIC |= {"meta.v1.LabelSelector", "meta.v1.OwnerReference", "rbac.v1.RoleRef", "rbac.v1.Subject",
           "admissionregistration.v1.ParamKind", "admissionregistration.v1.ParamRef",
           "admissionregistration.v1.MatchResources", "admissionregistration.v1.NamedRuleWithOperations"}
# Pointers in the Go types of the served kinds: zero is a value.
POINTERS = """
ObjectMeta.deletionGracePeriodSeconds OwnerReference.controller OwnerReference.blockOwnerDeletion
DeleteOptions.gracePeriodSeconds DeleteOptions.orphanDependents DeleteOptions.propagationPolicy
Preconditions.uid Preconditions.resourceVersion ListMeta.remainingItemCount
ConfigMap.immutable Secret.immutable ServiceAccount.automountServiceAccountToken
AzureDiskVolumeSource.cachingMode AzureDiskVolumeSource.fsType AzureDiskVolumeSource.readOnly
AzureDiskVolumeSource.kind CSIVolumeSource.readOnly CSIVolumeSource.fsType
ClusterTrustBundleProjection.name ClusterTrustBundleProjection.signerName ClusterTrustBundleProjection.optional
ConfigMapEnvSource.optional ConfigMapKeySelector.optional ConfigMapProjection.optional
ConfigMapVolumeSource.defaultMode ConfigMapVolumeSource.optional
SecretEnvSource.optional SecretKeySelector.optional SecretProjection.optional SecretVolumeSource.defaultMode
SecretVolumeSource.optional ProjectedVolumeSource.defaultMode DownwardAPIVolumeSource.defaultMode
DownwardAPIVolumeFile.mode KeyToPath.mode ServiceAccountTokenProjection.expirationSeconds
PodCertificateProjection.maxExpirationSeconds FileKeySelector.optional
HostPathVolumeSource.type ISCSIVolumeSource.initiatorName PersistentVolumeClaimSpec.storageClassName
PersistentVolumeClaimSpec.volumeMode PersistentVolumeClaimSpec.volumeAttributesClassName
ScaleIOVolumeSource.storageMode PhotonPersistentDiskVolumeSource.fsType TypedLocalObjectReference.apiGroup
TypedObjectReference.apiGroup TypedObjectReference.namespace
Container.restartPolicy EphemeralContainerCommon.restartPolicy GRPCAction.service
Probe.terminationGracePeriodSeconds Lifecycle.stopSignal ContainerStatus.started ContainerStatus.stopSignal
VolumeMount.mountPropagation VolumeMount.recursiveReadOnly VolumeMountStatus.recursiveReadOnly
SecurityContext.privileged SecurityContext.runAsUser SecurityContext.runAsNonRoot
SecurityContext.readOnlyRootFilesystem SecurityContext.allowPrivilegeEscalation SecurityContext.runAsGroup
SecurityContext.procMount PodSecurityContext.runAsUser PodSecurityContext.runAsNonRoot
PodSecurityContext.fsGroup PodSecurityContext.runAsGroup PodSecurityContext.fsGroupChangePolicy
PodSecurityContext.supplementalGroupsPolicy PodSecurityContext.seLinuxChangePolicy
SeccompProfile.localhostProfile AppArmorProfile.localhostProfile
WindowsSecurityContextOptions.gmsaCredentialSpecName WindowsSecurityContextOptions.gmsaCredentialSpec
WindowsSecurityContextOptions.runAsUserName WindowsSecurityContextOptions.hostProcess
PodSpec.terminationGracePeriodSeconds PodSpec.activeDeadlineSeconds PodSpec.automountServiceAccountToken
PodSpec.shareProcessNamespace PodSpec.priority PodSpec.runtimeClassName PodSpec.enableServiceLinks
PodSpec.preemptionPolicy PodSpec.setHostnameAsFQDN PodSpec.hostUsers PodSpec.hostnameOverride
PodDNSConfigOption.value PodResourceClaim.resourceClaimName PodResourceClaim.resourceClaimTemplateName
PodResourceClaimStatus.resourceClaimName Toleration.tolerationSeconds
TopologySpreadConstraint.minDomains TopologySpreadConstraint.nodeAffinityPolicy
TopologySpreadConstraint.nodeTaintsPolicy
ServicePort.appProtocol EndpointPort.appProtocol ClientIPConfig.timeoutSeconds
ServiceSpec.ipFamilyPolicy ServiceSpec.allocateLoadBalancerNodePorts ServiceSpec.loadBalancerClass
ServiceSpec.internalTrafficPolicy ServiceSpec.trafficDistribution LoadBalancerIngress.ipMode PortStatus.error
EndpointAddress.nodeName NodeRuntimeHandlerFeatures.recursiveReadOnlyMounts
NodeRuntimeHandlerFeatures.userNamespaces NodeFeatures.supplementalGroupsPolicy NodeSwapStatus.capacity
DeploymentSpec.replicas DeploymentSpec.revisionHistoryLimit DeploymentSpec.progressDeadlineSeconds
DeploymentStatus.collisionCount DeploymentStatus.terminatingReplicas ReplicaSetSpec.replicas
ReplicaSetStatus.terminatingReplicas
LeaseSpec.holderIdentity LeaseSpec.leaseDurationSeconds LeaseSpec.leaseTransitions LeaseSpec.strategy
LeaseSpec.preferredHolder
Endpoint.hostname Endpoint.nodeName Endpoint.zone EndpointConditions.ready EndpointConditions.serving
EndpointConditions.terminating discovery.v1.EndpointPort.name discovery.v1.EndpointPort.protocol
discovery.v1.EndpointPort.port discovery.v1.EndpointPort.appProtocol
TokenRequestSpec.expirationSeconds FCVolumeSource.lun
JobSpec.parallelism JobSpec.completions JobSpec.activeDeadlineSeconds JobSpec.backoffLimit JobSpec.backoffLimitPerIndex
JobSpec.maxFailedIndexes JobSpec.manualSelector JobSpec.ttlSecondsAfterFinished JobSpec.completionMode JobSpec.suspend
JobSpec.podReplacementPolicy JobSpec.managedBy JobStatus.terminating JobStatus.failedIndexes JobStatus.ready
PodFailurePolicyOnExitCodesRequirement.containerName SuccessPolicyRule.succeededIndexes SuccessPolicyRule.succeededCount
CronJobSpec.timeZone CronJobSpec.startingDeadlineSeconds CronJobSpec.suspend CronJobSpec.successfulJobsHistoryLimit
CronJobSpec.failedJobsHistoryLimit StatefulSetSpec.replicas StatefulSetSpec.revisionHistoryLimit
RollingUpdateStatefulSetStrategy.partition StatefulSetStatus.collisionCount DaemonSetSpec.revisionHistoryLimit
DaemonSetStatus.collisionCount ReplicationControllerSpec.replicas HorizontalPodAutoscalerSpec.minReplicas
HorizontalPodAutoscalerSpec.targetCPUUtilizationPercentage HorizontalPodAutoscalerStatus.observedGeneration
HorizontalPodAutoscalerStatus.currentCPUUtilizationPercentage MetricTarget.averageUtilization
MetricValueStatus.averageUtilization HPAScalingRules.stabilizationWindowSeconds HPAScalingRules.selectPolicy
PodDisruptionBudgetSpec.unhealthyPodEvictionPolicy IngressSpec.ingressClassName HTTPIngressPath.pathType
IngressClassParametersReference.apiGroup IngressClassParametersReference.scope
IngressClassParametersReference.namespace NetworkPolicyPort.protocol NetworkPolicyPort.endPort IngressPortStatus.error
StorageClass.reclaimPolicy StorageClass.allowVolumeExpansion StorageClass.volumeBindingMode CSIDriverSpec.attachRequired
CSIDriverSpec.podInfoOnMount CSIDriverSpec.storageCapacity CSIDriverSpec.fsGroupPolicy CSIDriverSpec.requiresRepublish
CSIDriverSpec.seLinuxMount CSIDriverSpec.nodeAllocatableUpdatePeriodSeconds CSIDriverSpec.serviceAccountTokenInSecrets
storage.v1.TokenRequest.expirationSeconds VolumeNodeResources.count VolumeAttachmentSource.persistentVolumeName
VolumeError.errorCode PersistentVolumeSpec.volumeMode PersistentVolumeSpec.volumeAttributesClassName
PersistentVolumeClaimStatus.currentVolumeAttributesClassName LocalVolumeSource.fsType
ISCSIPersistentVolumeSource.initiatorName GlusterfsPersistentVolumeSource.endpointsNamespace
AzureFilePersistentVolumeSource.secretNamespace PriorityClass.preemptionPolicy
CertificateSigningRequestSpec.expirationSeconds MutatingWebhook.failurePolicy MutatingWebhook.matchPolicy
MutatingWebhook.sideEffects MutatingWebhook.timeoutSeconds MutatingWebhook.reinvocationPolicy
ValidatingWebhook.failurePolicy ValidatingWebhook.matchPolicy ValidatingWebhook.sideEffects
ValidatingWebhook.timeoutSeconds WebhookClientConfig.url ServiceReference.path ServiceReference.port
admissionregistration.v1.Rule.scope Validation.reason ValidatingAdmissionPolicySpec.failurePolicy
MatchResources.matchPolicy ParamRef.parameterNotFoundAction
JSONSchemaProps.maximum JSONSchemaProps.minimum JSONSchemaProps.maxLength JSONSchemaProps.minLength
JSONSchemaProps.maxItems JSONSchemaProps.minItems JSONSchemaProps.multipleOf JSONSchemaProps.maxProperties
JSONSchemaProps.minProperties JSONSchemaProps.x-kubernetes-preserve-unknown-fields
JSONSchemaProps.x-kubernetes-list-type JSONSchemaProps.x-kubernetes-map-type
CustomResourceDefinitionVersion.deprecationWarning CustomResourceSubresourceScale.labelSelectorPath
ValidationRule.reason ValidationRule.optionalOldSelf LimitedPriorityLevelConfiguration.nominalConcurrencyShares
LimitedPriorityLevelConfiguration.lendablePercent LimitedPriorityLevelConfiguration.borrowingLimitPercent
ExemptPriorityLevelConfiguration.nominalConcurrencyShares ExemptPriorityLevelConfiguration.lendablePercent
DeviceAttribute.int DeviceAttribute.bool DeviceAttribute.string DeviceAttribute.version ResourceSliceSpec.nodeName
ResourceSliceSpec.allNodes ResourceSliceSpec.perDeviceNodeSelection Device.nodeName Device.allNodes Device.bindsToNode
Device.allowMultipleAllocations AllocatedDeviceStatus.shareID DeviceRequestAllocationResult.adminAccess
DeviceRequestAllocationResult.shareID ExactDeviceRequest.adminAccess DeviceConstraint.matchAttribute
DeviceConstraint.distinctAttribute DeviceToleration.tolerationSeconds DeviceClassSpec.extendedResourceName
""".split()


def public(path):  # apimachinery/pkg/apis/meta/v1 -> meta.v1
    parts = [p for p in path if p not in ("api", "apimachinery", "pkg", "apis", "util", "apiextensions_apiserver",
                                          "kube_aggregator")]
    return ".".join(parts)


def squash(name):
    return name.replace("_", "").replace("-", "").replace("r#", "").replace("$", "").lower()


class Definition:
    """What k8s-openapi says of one type."""

    def __init__(self, text, name):
        self.name = name
        self.json = {squash(f): f for f in re.findall(r'"([^"]+)" => Field::Key_', text)}
        schema = text[text.find("json_schema!"):]
        required = re.search(r'\n            "required": \[(.*?)\]', schema, re.S)
        self.required = set(re.findall(r'"([^"]+)"', required.group(1))) if required else set()
        self.lists = {}
        shape = r"merge_strategies::list::(map|set)\(\s*&mut self\.(\w+),\s*other\.\w+,?(?:\s*&\[(.*?)\])?"
        for kind, field, keys in re.findall(shape, text):
            keys = [re.sub(r"_(\w)", lambda m: m.group(1).upper(), k) for k in re.findall(r"lhs\.(\w+)", keys)]
            self.lists[squash(field.rstrip("_"))] = f"map:{','.join(k.rstrip('_') for k in keys)}" if kind == "map" else "set"
        for field in re.findall(r"merge_strategies::map::atomic\(&mut self\.(\w+)", text):
            self.lists[squash(field)] = "atomic"


def load_definitions():
    definitions = {}
    for file in sorted((OPENAPI / "src/v1_36").rglob("*.rs")):
        text = file.read_text()
        kind = re.search(r"Generated from definition (\S+)", text)
        if kind:
            parts = kind.group(1).split(".")
            short = parts[-3:] if re.match(r"v\d", parts[-2]) else parts[-2:]
            name = ".".join(short)
            definitions[name.lower()] = Definition(text, name)
    return definitions


def load_messages():
    messages = {}
    for file in sorted(PB.joinpath("src").rglob("mod.rs")):
        folder = file.parent.relative_to(PB / "src").parts
        shape = r"pub struct (\w+) \{|#\[prost\(([^\]]*)\)\]\s+pub (\w+|r#\w+):\s(.*?),\n(?=\s*(?:#\[|///|\}))"
        for m in re.finditer(shape, file.read_text(), re.S):
            if m.group(1):
                current = (public(folder) + "." + m.group(1)).lower()
                messages[current] = []
                continue
            attribute, field, rust_type = m.group(2), m.group(3), re.sub(r"\s", "", m.group(4)).replace(",>", ">")
            if "tag" not in attribute:
                continue
            tag = int(re.search(r'tag = "(\d+)"', attribute).group(1))
            target = re.search(r"((?:super::)*(?:\w+::)*\w+)>*$", rust_type).group(1)
            ups = target.count("super::")
            rest = target.replace("super::", "").split("::")
            base = list(folder[: len(folder) - ups]) if ups or len(rest) == 1 else []
            reference = (public(base + rest[:-1]) + "." + rest[-1]).lower()
            messages[current].append((tag, field, attribute, reference))
    return messages


def listed(table, message, json):
    """An entry of a table by `Type.field` or `group.version.Type.field`."""
    return table.get(f"{message.split('.')[-1]}.{json}") or table.get(f"{message}.{json}")


def emit():
    messages, definitions = load_messages(), load_definitions()
    patch_keys = dict(entry.split("=") for entry in PATCH_KEYS)
    pointers = dict.fromkeys((p.lower() for p in POINTERS), True)
    used, pointed = set(), set()
    name_of = lambda low: definitions[low].name if low in definitions else NAMES[low]
    pending, seen = list(ROOTS), set()
    print("# Written by generate-types.py from k8s-pb 0.9.0 and k8s-openapi 0.29.0 (v1_36).")
    print("# Type [atomic, object: has apiVersion and kind]; then per field: number, JSON name, type ([] list, {} map), marks: = inlined; * zero is a value;")
    print("# ! required; key: merge key of strategic patches; map: keys of server-side apply; set; atomic; merge; retain;")
    print("# replace; default:")
    while pending:
        message = pending.pop(0)
        if message in seen:
            continue
        seen.add(message)
        definition = definitions.get(PARENT.get(message, message).lower())
        numbered = {squash(field) for _, field, _, _ in messages[message.lower()]}
        is_object = definition and {"apiversion", "kind"} <= set(definition.json) - numbered
        print(message + (" atomic" if message in ATOMIC else "") + (" object" if is_object else ""))
        for tag, field, attribute, low in sorted(messages[message.lower()]):
            guess = re.sub(r"_(\w)", lambda m: m.group(1).upper(), field.replace("r#", ""))
            json = (definition.json if definition else {}).get(squash(field), guess)
            if definition and squash(field) not in definition.json and (message, field) not in INLINE:
                print(f"field of another version: {message}.{json}", file=sys.stderr)
                continue
            first = attribute.split(",")[0].split("=")[0].strip()
            reference = name_of(low) if low in messages and (low in definitions or low in NAMES) else low
            reference = next((s for s in SCALARS if s.lower() == low), reference)
            if first == "btree_map":
                kind = re.search(r'"string, (\w+)"', attribute).group(1)
                kind = "{}" + (reference if kind == "message" else kind)
            elif first == "message":
                kind = reference
            else:
                kind = "bytes" if first == "bytes" else first
            if "repeated" in attribute:
                kind = "[]" + kind
            bare = kind.lstrip("[]{}")
            marks = []
            if (message, field) in INLINE:
                marks.append("=")
            short = f"{message.split('.')[-1]}.{json}"
            for pointer in (short.lower(), f"{message}.{json}".lower()):
                if pointer in pointers:
                    marks.append("*")
                    pointed.add(pointer)
            if definition and json in definition.required and not (json == "metadata" and "kind" in definition.json):
                marks.append("!")
            if key := listed(patch_keys, message, json):
                marks.append(f"key:{key}")
                used.add(key)
            apply = listed(APPLY_KEYS, PARENT.get(message, message), json)
            apply = f"map:{apply}" if apply else (definition.lists.get(squash(field), "") if definition else "")
            if apply and short not in APPLY_ATOMIC:
                marks.append(apply)
            if mark := listed(PATCH_MARKS, message, json):
                marks.append(mark)
            if default := listed(DEFAULTS, message, json):
                marks.append(f"default:{default}")
            if bare.lower() in messages and bare not in SCALARS:
                pending.append(bare)
            print(" ".join([f" {tag} {json} {kind}", *dict.fromkeys(marks)]))
        if definition and message not in PARENT:
            known = {squash(f.removeprefix("r#")) for _, f, _, _ in messages[message.lower()]}
            inner = {squash(f) for m, f in INLINE if m == message}
            missing = set(definition.json) - known - {"apiversion", "kind"}
            if missing and not inner:
                print(f"fields without numbers: {message} {sorted(missing)}", file=sys.stderr)
    for pointer in sorted(set(pointers) - pointed):
        print(f"pointer of no emitted field: {pointer}", file=sys.stderr)


emit()
