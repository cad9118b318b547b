"""Checks the manifests without a cluster and without a network: `make test` runs it.

Every file against the strict Kubernetes schemas of all versions from 1.30 on; every overlay, rendered,
against the schemas again and against a lint of our own; and the lint against planted mistakes.
"""

import copy
import functools
import os
import unittest

import kubernetes_validate

from lint_network import lint_network
from lint_pods import lint_pods
from lint_references import lint_references
from manifests import (
    KUBE_FILES,
    OVERLAYS,
    containers,
    files,
    load,
    name,
    of_kind,
    pod,
    render,
    renderer,
    template,
    workloads,
)

# 1.30 is the oldest that has native sidecars, gRPC probes and preStop.sleep without a feature gate.
OLDEST = (1, 30)
VERSIONS = sorted(
    version
    for version in {tuple(map(int, text.split(".")[:2])) for text in kubernetes_validate.utils.all_versions()}
    if version >= OLDEST
)


# The package parses its schemas at every call, which is nine tenths of the time.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def schema_complaints(document, version):
    try:
        kubernetes_validate.validate(document, f"{version[0]}.{version[1]}", strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{name(document)}: {version[0]}.{version[1]}: {'.'.join(map(str, error.path))}: {error.message}"


def lint(documents):
    return [*lint_pods(documents), *lint_references(documents), *lint_network(documents)]


class Files(unittest.TestCase):
    def test_every_file_holds_to_the_schemas_of_every_version(self):
        self.assertGreater(len(VERSIONS), 4)
        for path in files():
            for document in load(path.read_text()):
                for version in VERSIONS:
                    with self.subTest(path=str(path.relative_to(KUBE_FILES)), version=version):
                        self.assertEqual([], list(schema_complaints(document, version)))

    def test_no_secret_is_committed(self):
        for path in files():
            self.assertEqual([], of_kind(load(path.read_text()), "Secret"), path)


class Rendered(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if renderer() is None:
            reason = "neither kustomize nor kubectl is here, run `make tools` with Go 1.24 or later"
            if os.environ.get("CI") == "true":
                raise AssertionError(reason)
            print(f"\nSKIPPED: the overlays were not rendered: {reason}")
            raise unittest.SkipTest(reason)
        cls.overlays = {overlay: render(overlay) for overlay in OVERLAYS}

    def test_every_overlay_holds_to_the_schemas_of_every_version(self):
        self.assertIn("dev", self.overlays)
        for overlay, documents in self.overlays.items():
            for document in documents:
                for version in VERSIONS:
                    with self.subTest(overlay=overlay, version=version):
                        self.assertEqual([], list(schema_complaints(document, version)))

    def test_every_overlay_passes_the_lint(self):
        for overlay, documents in self.overlays.items():
            with self.subTest(overlay=overlay):
                self.assertEqual([], lint(documents))

    def test_every_service_has_its_manifests(self):
        for overlay, documents in self.overlays.items():
            there = {name(document) for document in workloads(documents)}
            wanted = {
                "StatefulSet/receiver",
                "StatefulSet/nsqlookupd",
                "Deployment/processor",
                "Deployment/recognizer",
                "Deployment/transformer",
                "Deployment/notifier",
                "Deployment/frontend",
            }
            self.assertEqual(set(), wanted - there, overlay)
        self.assertIn("StatefulSet/mysql", {name(d) for d in workloads(self.overlays["dev"])})

    def test_the_namespace_enforces_restricted_pods(self):
        for documents in self.overlays.values():
            (namespace,) = of_kind(documents, "Namespace")
            self.assertEqual("restricted", namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])

    def test_in_production_the_processor_and_those_it_calls_know_each_other_by_certificates(self):
        deployments = {d["metadata"]["name"]: d for d in of_kind(self.overlays["production"], "Deployment")}
        for service, variable, known in (
            ("processor", "MESH_TLS_PEER", "recognizer=recognizer,transformer=transformer"),
            ("recognizer", "MESH_TLS_CLIENTS", "processor"),
            ("transformer", "MESH_TLS_CLIENTS", "processor"),
        ):
            (container,) = containers(deployments[service])
            given = {v["name"]: v.get("value") for v in container["env"]}
            for file in ("MESH_TLS_CA", "MESH_TLS_CERT", "MESH_TLS_KEY"):
                self.assertTrue(given[file].startswith("/tls/"), f"{service}: {file}")
            self.assertEqual(known, given[variable])
            mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in pod(deployments[service])["volumes"]}
            self.assertEqual(f"{service}-tls", volumes[mounts["/tls"]]["secret"]["secretName"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertNotIn("grpc", container[probe], "the kubelet speaks no TLS to gRPC ports")

    def test_the_store_is_written_by_two_services_read_by_three_and_the_same_to_all(self):
        for overlay, documents in self.overlays.items():
            (config,) = of_kind(documents, "ConfigMap")
            self.assertEqual("file:///store", config["data"]["STORAGE_URL"])
            written = {}
            for workload in workloads(documents):
                claims = {
                    volume["name"]: volume["persistentVolumeClaim"].get("claimName")
                    for volume in pod(workload).get("volumes", [])
                    if "persistentVolumeClaim" in volume
                }
                for container in containers(workload):
                    for mount in container.get("volumeMounts", []):
                        if claims.get(mount["name"]) == "store":
                            self.assertEqual("/store", mount["mountPath"], name(workload))
                            written[name(workload)] = not mount.get("readOnly", False)
            wanted = {
                "StatefulSet/receiver": True,
                "Deployment/transformer": True,
                "Deployment/recognizer": False,
                "Deployment/frontend": False,
                "Deployment/notifier": False,
            }
            self.assertEqual(wanted, written, overlay)

    def test_passwords_and_signing_keys_come_from_secrets_alone(self):
        secret = ("MYSQL_USERPASSWORD", "DATABASE_URL", "SMTP_URL", "WEBHOOK_SECRETS")
        for documents in self.overlays.values():
            for config in of_kind(documents, "ConfigMap"):
                self.assertEqual([], [key for key in secret if key in config["data"]])
            for workload in workloads(documents):
                for container in containers(workload):
                    given = [v["name"] for v in container.get("env", []) if "value" in v]
                    self.assertEqual([], [key for key in secret if key in given], name(workload))
        (production,) = [
            s for s in of_kind(self.overlays["production"], "Secret") if s["metadata"]["name"] == "safelight-notifier"
        ]
        self.assertLessEqual({"SMTP_URL", "WEBHOOK_SECRETS"}, set(production["data"]))

    def test_a_wrong_configuration_ends_the_migration_and_an_eviction_does_not(self):
        for documents in self.overlays.values():
            (job,) = of_kind(documents, "Job")
            rules = job["spec"]["podFailurePolicy"]["rules"]
            self.assertEqual("FailJob", rules[0]["action"])
            self.assertEqual([78], rules[0]["onExitCodes"]["values"])
            self.assertEqual("Ignore", rules[1]["action"])
            self.assertEqual("DisruptionTarget", rules[1]["onPodConditions"][0]["type"])

    def test_failed_tasks_are_put_back_each_hour_by_one_job_at_a_time(self):
        for documents in self.overlays.values():
            (redeemer,) = of_kind(documents, "CronJob")
            self.assertRegex(redeemer["spec"]["schedule"], r"^\d+ \* \* \* \*$")
            self.assertEqual("Forbid", redeemer["spec"]["concurrencyPolicy"])
            self.assertEqual(["redeem"], containers(redeemer)[0]["args"])
            rules = redeemer["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
            self.assertEqual([78], rules[0]["onExitCodes"]["values"])

    def test_the_migration_refers_to_nothing_whose_name_changes_with_its_content(self):
        # A Job cannot be changed: with a hash in a name, the second `apply` would be refused.
        for documents in self.overlays.values():
            (job,) = of_kind(documents, "Job")
            for container in containers(job):
                for source in container.get("envFrom", []):
                    self.assertEqual({"secretRef": {"name": "safelight-database"}}, source)

    def test_each_planted_mistake_is_found(self):
        sound = self.overlays["dev"]
        for mistake, (plant, expected) in MISTAKES.items():
            with self.subTest(mistake=mistake):
                documents = copy.deepcopy(sound)
                plant(Cluster(documents))
                found = lint(documents)
                for document in documents:
                    found.extend(schema_complaints(document, VERSIONS[-1]))
                self.assertTrue(
                    any(expected in complaint for complaint in found),
                    f"{expected!r} was expected, found were: {found}",
                )


class Cluster:
    """Short ways to the parts of a rendered overlay, for planting mistakes."""

    def __init__(self, documents):
        self.documents = documents

    def __getitem__(self, wanted):
        """`Kind/name`; a generated name is found by its beginning."""
        for document in self.documents:
            if name(document) == wanted:
                return document
        for document in self.documents:
            if name(document).startswith(f"{wanted}-"):
                return document
        raise KeyError(wanted)

    def remove(self, wanted):
        self.documents.remove(self[wanted])

    def container(self, workload, index=0):
        return pod(self[workload])["containers"][index]

    def nsqd(self):
        return pod(self["StatefulSet/receiver"])["initContainers"][0]


def plant_removal(*path):
    """Plants the removal of a field of the receiver's container."""

    def plant(cluster):
        part = cluster.container("StatefulSet/receiver")
        for step in path[:-1]:
            part = part[step]
        del part[path[-1]]

    return plant


def set_at(part, *path_and_value):
    *path, last, value = path_and_value
    for step in path:
        part = part[step]
    part[last] = value


RECEIVER = "StatefulSet/receiver"
RECOGNIZER = "Deployment/recognizer"

# What was planted, how, and a part of the sentence that has to name it.
MISTAKES = {
    "a misspelt field": (
        lambda c: set_at(c.container(RECEIVER), "readynessProbe", {}), "readynessProbe"),
    "a number where text belongs": (
        lambda c: set_at(c.container("Deployment/frontend"), "env", 0, "value", 8081), "env.0.value"),
    "a probe on an unknown port name": (
        lambda c: set_at(c.container(RECEIVER), "readinessProbe", "httpGet", "port", "htp"), "no port named htp"),
    "a gRPC probe on a port that is not there": (
        lambda c: set_at(c.container(RECOGNIZER), "livenessProbe", "grpc", "port", 50059), "no port 50059"),
    "no readiness probe": (plant_removal("readinessProbe"), "has no readinessProbe"),
    "no probes on the sidecar": (lambda c: c.nsqd().pop("startupProbe"), "nsqd: has no startupProbe"),
    "liveness that asks for the database": (
        lambda c: set_at(c.container(RECEIVER), "livenessProbe", "httpGet", "path", "/ready"), "liveness must not"),
    "a selector that does not match": (
        lambda c: set_at(c[RECEIVER], "spec", "selector", "matchLabels", {"app.kubernetes.io/name": "recever"}),
        "does not match the labels of its own pods"),
    "a selector that matches others": (
        lambda c: set_at(c[RECEIVER], "spec", "selector", "matchLabels", {"app.kubernetes.io/part-of": "safelight"}),
        "matches the pods of"),
    "a Service that selects nothing": (
        lambda c: set_at(c["Service/frontend"], "spec", "selector", {"app.kubernetes.io/name": "front"}), "selects no pods"),
    "a Service port that no container has": (
        lambda c: set_at(c["Service/recognizer"], "spec", "ports", 0, "targetPort", "http2"), "no port named http2"),
    "a StatefulSet without its headless Service": (
        lambda c: c.remove("Service/receiver-nsqd"), "does not name a headless Service"),
    "the default order of a StatefulSet": (
        lambda c: c[RECEIVER]["spec"].pop("podManagementPolicy"), "not Parallel"),
    "no requests": (plant_removal("resources", "requests", "cpu"), "requests no cpu"),
    "no memory limit": (plant_removal("resources", "limits"), "has no memory limit"),
    "a limit below the request": (
        lambda c: set_at(c.container(RECEIVER), "resources", "limits", "memory", "32Mi"), "more memory than its limit"),
    "a CPU limit": (
        lambda c: set_at(c.container(RECEIVER), "resources", "limits", "cpu", "1"), "throttles"),
    "a writable root": (plant_removal("securityContext", "readOnlyRootFilesystem"), "readOnlyRootFilesystem"),
    "privilege escalation": (plant_removal("securityContext", "allowPrivilegeEscalation"), "allowPrivilegeEscalation"),
    "capabilities kept": (plant_removal("securityContext", "capabilities"), "not all capabilities"),
    "a root user": (
        lambda c: set_at(pod(c[RECEIVER]), "securityContext", "runAsUser", 0), "is root"),
    "no seccomp profile": (
        lambda c: pod(c[RECEIVER])["securityContext"].pop("seccompProfile"), "seccompProfile"),
    "a mounted API token": (
        lambda c: pod(c[RECEIVER]).pop("automountServiceAccountToken"), "automountServiceAccountToken"),
    "an account that is not there": (
        lambda c: set_at(pod(c[RECEIVER]), "serviceAccountName", "admin"), "no ServiceAccount admin"),
    "a ConfigMap that is not there": (
        lambda c: set_at(c.container(RECEIVER), "envFrom", 0, "configMapRef", "name", "safelight"), "no configMap safelight"),
    "a Secret that is not there": (lambda c: c.remove("Secret/safelight-database"), "no secret safelight-database"),
    "a Secret's key that is not there": (
        lambda c: c.container(RECEIVER)["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "safelight-database", "key": "PASSWORD"}}}),
        "no key PASSWORD"),
    "a volume that is not there": (
        lambda c: set_at(c.nsqd(), "volumeMounts", 0, "name", "data"), "no volume data"),
    "a volume that nothing mounts": (
        lambda c: c.container(RECOGNIZER)["volumeMounts"].pop(), "nothing mounts"),
    "a claim that is not there": (
        lambda c: c.remove("PersistentVolumeClaim/media"), "no PersistentVolumeClaim media"),
    "scratch without a bound": (
        lambda c: set_at(pod(c[RECOGNIZER]), "volumes", 1, "emptyDir", {}), "no sizeLimit"),
    "a host path": (
        lambda c: set_at(pod(c[RECOGNIZER]), "volumes", 1, {"name": "cache", "hostPath": {"path": "/"}}), "hostPath"),
    "a sleep longer than the grace": (
        lambda c: set_at(pod(c[RECEIVER]), "terminationGracePeriodSeconds", 10), "leaves less than"),
    "restartPolicy on a main container": (
        lambda c: set_at(c.container(RECEIVER), "restartPolicy", "Always"), "belongs to init containers"),
    "an image without a tag": (
        lambda c: set_at(c.container(RECEIVER), "image", "registry:5000/safelight/receiver"), "no fixed tag"),
    "a hostPort": (
        lambda c: set_at(c.container(RECEIVER), "ports", 0, "hostPort", 8000), "one replica a node"),
    "a bare label app": (
        lambda c: set_at(template(c[RECEIVER]), "metadata", "labels", "app", "receiver"), "bare label"),
    "an argument with an unknown variable": (
        lambda c: c.nsqd()["env"].pop(0), "which is not defined"),
    "a budget that blocks drains": (
        lambda c: set_at(c["PodDisruptionBudget/receiver"], "spec", {
            "minAvailable": 2, "selector": c["PodDisruptionBudget/receiver"]["spec"]["selector"]}), "can block a drain"),
    "replicas without a budget": (
        lambda c: c.remove("PodDisruptionBudget/nsqlookupd"), "no PodDisruptionBudget"),
    "a replica more than is listed": (
        lambda c: set_at(c["StatefulSet/nsqlookupd"], "spec", "replicas", 3), "lists 2 of nsqlookupd, which has 3"),
    "a list with a wrong port": (
        lambda c: set_at(c["ConfigMap/safelight"], "data", "NSQ_LOOKUP_ADDRESS",
                         "nsqlookupd-0.nsqlookupd:4151,nsqlookupd-1.nsqlookupd:4151"), "has no port 4151"),
    "a name twice": (
        lambda c: c.documents.append(copy.deepcopy(c["Service/frontend"])), "is there twice"),
    "another namespace": (
        lambda c: set_at(c["Service/frontend"], "metadata", "namespace", "default"), "not among the manifests"),
    "a closed door to the database": (
        lambda c: c["NetworkPolicy/mysql"]["spec"]["ingress"].clear(), "receiver cannot reach mysql"),
    "a policy with a misspelt port": (
        lambda c: set_at(c["NetworkPolicy/recognizer"], "spec", "ingress", 0, "ports", 0, "port", "gprc"),
        "processor cannot reach recognizer"),
    "a store that is not there": (
        lambda c: c.remove("PersistentVolumeClaim/store"), "no PersistentVolumeClaim store"),
    "a notifier without its secrets": (
        lambda c: c.remove("Secret/safelight-notifier"), "no secret safelight-notifier"),
    "a policy that lets webhooks into the cluster": (
        lambda c: c["NetworkPolicy/notifier"]["spec"]["egress"][3]["to"][0]["ipBlock"].pop("except"),
        "notifier can be sent to 169.254.169.254"),
    "a block that leaves half of the world out": (
        lambda c: c["NetworkPolicy/notifier"]["spec"]["egress"][3]["to"].pop(1), "notifier cannot reach 2606:"),
    "a closed door to the mail server": (
        lambda c: c["NetworkPolicy/notifier"]["spec"]["egress"].pop(2), "notifier cannot reach 1.1.1.1 on 587"),
    "a transformer that can ask for names": (
        lambda c: set_at(c["NetworkPolicy/dns"], "spec", "podSelector", {}), "transformer can ask the DNS"),
    "a transformer that can reach the world": (
        lambda c: set_at(c["NetworkPolicy/transformer"], "spec", "egress", [{}]), "transformer can reach 1.1.1.1"),
    "no DNS": (lambda c: c.remove("NetworkPolicy/dns"), "cannot ask the DNS"),
    "an open namespace": (lambda c: c.remove("NetworkPolicy/default-deny"), "nothing is denied by default"),
    "a policy that opens every port": (
        lambda c: c["NetworkPolicy/processor"]["spec"]["egress"][2].pop("ports"),
        "processor can reach recognizer on http"),
}


if __name__ == "__main__":
    unittest.main()
