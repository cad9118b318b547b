"""Checks that manifests and documentation name the settings that the programs have, and no others."""

import re
import unittest

from manifests import KUBE_FILES, REPOSITORY, containers, files, load, workloads

# Read by the C library, by the logging library, by OpenTelemetry's SDK, and by the client of buckets.
OTHERS = {
    "MALLOC_ARENA_MAX",
    "RUST_LOG",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "TMPDIR",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_ALLOW_HTTP",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_ALLOW_HTTP",
}


# Read, and no settings of ours.
OF_THE_SYSTEM = {"PATH"}


def settings_of_the_programs():
    """The names of the environment variables that the services' sources read as settings."""
    names = set()
    for folder in REPOSITORY.glob("*/src"):
        if folder.parent.name in ("tests", "testkit"):
            continue
        for path in folder.rglob("*.rs"):
            code = path.read_text()
            names |= set(re.findall(r'\benv = "([A-Z][A-Z0-9_]*)"', code))
            names |= set(re.findall(r'env::var(?:_os)?\("([A-Z][A-Z0-9_]*)"', code))
    return {name for name in names if not name.startswith("TEST_ONLY_")} - OF_THE_SYSTEM


class Configuration(unittest.TestCase):
    def test_the_sources_are_read_at_all(self):
        self.assertIn("DATABASE_URL", settings_of_the_programs())
        self.assertIn("LOG_FORMAT", settings_of_the_programs())

    def test_every_variable_of_the_manifests_is_one_that_a_program_reads(self):
        given = {}
        for path in KUBE_FILES.rglob("*.env*"):
            if path.name.startswith(("config.env", "database.env", "notifier.env")):
                for line in path.read_text().splitlines():
                    if line and not line.startswith("#"):
                        given[line.partition("=")[0]] = path
        for path in files():
            for workload in workloads(load(path.read_text())):
                for container in containers(workload):
                    if container["image"].startswith("safelight/"):
                        for variable in container.get("env", []):
                            given[variable["name"]] = path
        known = settings_of_the_programs() | OTHERS
        self.assertEqual({}, {name: str(path) for name, path in given.items() if name not in known})

    def test_every_setting_is_documented_and_no_other(self):
        text = (REPOSITORY / "docs" / "operations.md").read_text()
        documented = set(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", text, flags=re.MULTILINE))
        self.assertEqual(set(), settings_of_the_programs() - documented, "not documented")
        self.assertEqual(set(), documented - settings_of_the_programs() - OTHERS, "documented, and read by nobody")
