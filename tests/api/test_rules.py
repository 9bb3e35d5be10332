"""The pure rules at their exact limits, where a whole request could not reach them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api.batch_jobs.rules import MAX_STRINGS_BYTES, to_spec, violations
from api.batch_jobs.schema_in import (
    BATCH_JOB,
    BatchJobCreate,
    NotebookExecutorIn,
    PythonExecutorIn,
    ShellExecutorIn,
)
from api.wire.annotations import annotation_violations
from core.spec import NotebookExecutor, PythonExecutor, ShellExecutor

VALID = BatchJobCreate(node_pool_id="default", image_ref="a")


def _fields(job: BatchJobCreate) -> list[str]:
    return [violation.field for violation in violations(job, max_ranks=10, max_upload_bytes=1000)]


def _variables(total_bytes: int) -> dict[str, str]:
    """Variables that fill `total_bytes` of the kernel's space exactly, `=` and NUL counted."""
    found = {}
    for index in range(1_000_000):
        name = f"V{index}"
        size = min(100_000, total_bytes)
        found[name] = "x" * (size - len(name) - 2)
        total_bytes -= size
        if total_bytes == 0:
            return found
        assert total_bytes > 20
    raise AssertionError


def test_violations_of_the_smallest_job_are_none() -> None:
    assert _fields(VALID) == []
    spec = to_spec(VALID)
    assert (spec.num_ranks, spec.image_ref, spec.executor) == (1, "a", None)


@pytest.mark.parametrize(("ranks", "fields"), [(0, ["numRanks"]), (1, []), (10, []), (11, ["numRanks"])])
def test_violations_of_ranks_at_the_limits(ranks: int, fields: list[str]) -> None:
    assert _fields(replace(VALID, num_ranks=ranks)) == fields


@pytest.mark.parametrize(("over", "fields"), [(0, []), (1, ['envVars["ü"]'])])
def test_violations_of_one_variable_at_the_kernels_limit(over: int, fields: list[str]) -> None:
    value = "x" * (131_071 - len("ü=".encode()) + over)
    assert _fields(replace(VALID, env_vars={"ü": value})) == fields


@pytest.mark.parametrize(("over", "fields"), [(0, []), (1, ["envVars"])])
def test_violations_of_all_variables_at_one_mebibyte(over: int, fields: list[str]) -> None:
    assert _fields(replace(VALID, env_vars=_variables(MAX_STRINGS_BYTES + over))) == fields


@pytest.mark.parametrize(("over", "fields"), [(0, []), (1, ["envVars"])])
def test_violations_of_variables_and_arguments_together_at_one_mebibyte(over: int, fields: list[str]) -> None:
    executor = PythonExecutorIn("FILENAME", "a", ("xyz",))
    of_executor = len("a\0xyz\0")
    job = replace(VALID, env_vars=_variables(MAX_STRINGS_BYTES - of_executor + over), python_executor=executor)
    assert _fields(job) == fields


@pytest.mark.parametrize("target", ["", ".a", "a.", "a..b", "a b", "a-b", "1a", "a/b"])
def test_violations_of_a_module_that_is_not_a_dotted_name(target: str) -> None:
    job = replace(VALID, python_executor=PythonExecutorIn("MODULE", target, ()))
    assert _fields(job) == ["pythonExecutor.target"]


def test_violations_of_a_file_may_have_any_name() -> None:
    job = replace(VALID, python_executor=PythonExecutorIn("FILENAME", "-a b/ü.py", ()))
    assert _fields(job) == []


def test_to_spec_of_each_executor_is_core_s_own() -> None:
    python = replace(VALID, python_executor=PythonExecutorIn("MODULE", "a.b", ("c",)))
    assert to_spec(python).executor == PythonExecutor("MODULE", "a.b", ("c",))
    notebook = replace(VALID, notebook_executor=NotebookExecutorIn("a.ipynb", {"x": 1}))
    assert to_spec(notebook).executor == NotebookExecutor("a.ipynb", {"x": 1})
    assert to_spec(replace(VALID, shell_executor=ShellExecutorIn("a"))).executor == ShellExecutor("a")


@pytest.mark.parametrize("parameter", ["", "a b", "a;import os", "1", "a\n"])
def test_violations_of_a_notebook_parameter_that_is_no_name(parameter: str) -> None:
    job = replace(VALID, notebook_executor=NotebookExecutorIn("a.ipynb", {parameter: 1}))
    assert _fields(job) == ["notebookExecutor.parameters"]


@pytest.mark.parametrize(
    "key", ["a", "A.b_c-9", "x" * 63, "example.com/a", "Example.COM/a", "my.fireworks.ai/a", "fireworks.ai"]
)
def test_annotation_violations_of_a_good_key_are_none(key: str) -> None:
    assert list(annotation_violations({key: "any\nvalue ü"})) == []


@pytest.mark.parametrize(
    "key",
    [
        *("", "a_", ".a", "a b", "x" * 64, "ü", "a/", "/a", "a/b/c", "-a.com/x", "a..b/x", "a_b/x", "a\n"),
        *("x" * 254 + "/a", "x" * 64 + ".com/a", "fireworks.ai/a", "Fireworks.AI/a"),
    ],
)
def test_annotation_violations_of_a_bad_key_name_it(key: str) -> None:
    (violation,) = annotation_violations({key: ""})
    assert violation.field.startswith("annotations[")


def test_annotation_violations_of_keys_and_values_at_256_kib() -> None:
    assert list(annotation_violations({"key": "x" * ((256 << 10) - 3)})) == []
    assert [v.field for v in annotation_violations({"key": "x" * ((256 << 10) - 2)})] == ["annotations"]


def test_batch_job_schema_holds_every_field_that_may_be_sent() -> None:
    properties = BATCH_JOB.schema["properties"]
    assert {"displayName", "environmentId", "pythonExecutor", "stopGracePeriod"} <= set(properties)
    assert "state" not in properties
