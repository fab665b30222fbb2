#!/usr/bin/env python3
"""Writes src/generated/messages.txt: the protobuf messages of the served kinds, as data for src/protobuf.

Usage: generate-messages.py <k8s-pb source dir> <k8s-openapi source dir> > src/generated/messages.txt
(both are published crates; `cargo fetch` leaves their sources in cargo's registry folder).

Field numbers and types come from k8s-pb, JSON names from k8s-openapi. What neither knows is listed here: which scalars
are pointers in the Go types (their zero values mean something), which messages are embedded, which are scalars in JSON.
"""
import re, sys, pathlib

PB, OPENAPI = map(pathlib.Path, sys.argv[1:3])
ROOTS = """
core.v1.ConfigMap core.v1.Endpoints core.v1.Event core.v1.Namespace core.v1.Node core.v1.Pod core.v1.Secret
core.v1.ServiceAccount core.v1.Service core.v1.Binding apps.v1.Deployment apps.v1.ReplicaSet coordination.v1.Lease
discovery.v1.EndpointSlice events.v1.Event autoscaling.v1.Scale policy.v1.Eviction meta.v1.DeleteOptions
meta.v1.Status authorization.v1.SelfSubjectAccessReview authorization.v1.SubjectAccessReview
authorization.v1.LocalSubjectAccessReview authorization.v1.SelfSubjectRulesReview authentication.v1.SelfSubjectReview
authentication.v1.TokenReview authentication.v1.TokenRequest
""".split()
# Messages that JSON writes as one value; src/protobuf/scalar.rs knows how.
SCALARS = {"resource.Quantity", "intstr.IntOrString", "meta.v1.Time", "meta.v1.MicroTime", "meta.v1.Duration",
           "meta.v1.FieldsV1", "runtime.RawExtension", "authentication.v1.ExtraValue", "authorization.v1.ExtraValue"}
# Embedded in their parent, as (message, field).
INLINE = {("core.v1.EphemeralContainer", "ephemeral_container_common"), ("core.v1.Volume", "volume_source"),
          ("core.v1.Probe", "handler"), ("core.v1.PersistentVolumeSpec", "persistent_volume_source")}
INLINE_REFERENCE = ["ConfigMapEnvSource", "SecretEnvSource", "ConfigMapKeySelector", "SecretKeySelector",
                    "ConfigMapProjection", "SecretProjection", "ConfigMapVolumeSource"]
INLINE |= {(f"core.v1.{m}", "local_object_reference") for m in INLINE_REFERENCE}
# Where OpenAPI lists the fields of an embedded message.
PARENT = {"core.v1.VolumeSource": "core.v1.Volume", "core.v1.EphemeralContainerCommon": "core.v1.EphemeralContainer",
          "core.v1.ProbeHandler": "core.v1.Probe", "core.v1.PersistentVolumeSource": "core.v1.PersistentVolumeSpec"}
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
ConfigMapProjection.defaultMode ConfigMapVolumeSource.defaultMode ConfigMapVolumeSource.optional
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
""".split()


def public(path):  # apimachinery/pkg/apis/meta/v1 -> meta.v1
    parts = list(path)
    for known in ("api", "apimachinery", "pkg", "apis", "util"):
        if parts and parts[0] == known:
            parts = parts[1:]
    return ".".join(parts).replace("api.resource", "resource")


def squash(name):
    return name.replace("_", "").replace("r#", "").lower()


def load_json_names():
    names = {}
    for file in (OPENAPI / "src/v1_36").rglob("*.rs"):
        text = file.read_text()
        kind = re.search(r"Generated from definition (\S+)", text)
        fields = re.findall(r'"([^"]+)" => Field::Key_', text)
        if kind:
            short = kind.group(1).split(".")
            key = ".".join(short[-3:]) if re.match(r"v\d", short[-2]) else ".".join(short[-2:])
            names[key.lower()] = {squash(f.replace("$", "")): f for f in fields}
    return names


def load_messages():
    messages = {}
    for file in PB.joinpath("src").rglob("mod.rs"):
        folder = file.parent.relative_to(PB / "src").parts
        shape = r"pub struct (\w+) \{|#\[prost\(([^\]]*)\)\]\s+pub (\w+|r#\w+):\s(.*?),\n(?=\s*(?:#\[|///|\}))"
        for m in re.finditer(shape, file.read_text(), re.S):
            if m.group(1):
                current = public(folder) + "." + m.group(1)
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
            messages[current].append((tag, field, attribute, public(base + rest[:-1]) + "." + rest[-1]))
    return messages


def emit():
    messages, names = load_messages(), load_json_names()
    pending, seen = list(ROOTS), set()
    pointers = {p.lower() for p in POINTERS}
    print("# Written by generate-messages.py from k8s-pb 0.9.0 and k8s-openapi 0.29.0 (v1_36).")
    print("# message; then per field: number, JSON name, type ([] repeated, {} map; = inlined; * zero is a value).")
    while pending:
        message = pending.pop(0)
        if message in seen:
            continue
        seen.add(message)
        print(message)
        known = names.get(PARENT.get(message, message).lower(), {})
        for tag, field, attribute, reference in sorted(messages[message]):
            json = known.get(squash(field)) or re.sub(r"_(\w)", lambda m: m.group(1).upper(), field.replace("r#", ""))
            first = attribute.split(",")[0].split("=")[0].strip()
            marks = ""
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
            if (message, field) in INLINE:
                marks = " ="
            short = message.split(".")[-1]
            if f"{short}.{json}".lower() in pointers or f"{message}.{json}".lower() in pointers:
                marks += " *"
            if bare in messages and bare not in SCALARS:
                pending.append(bare)
            print(f" {tag} {json} {kind}{marks}")


emit()
