"""Opening and creating the table of a lake."""

import importlib.util

import pytest
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError
from deltalake.schema import PrimitiveType

from vdbevents.errors import InputError
from vdbevents.lake import lake_table
from vdbevents.lake.table_schema import COLUMNS, PARTITIONS, SCHEMA_VERSION, VERSION_KEY, is_host


def refused(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return caught.value.error_id


def test_a_created_lake_has_the_columns_and_a_protocol_that_every_engine_reads(tmp_path):
    table = lake_table.open_or_create_lake(str(tmp_path / "lake"))

    assert [(one.name, one.type.type) for one in table.schema().fields] == [
        (one.name, one.kind) for one in COLUMNS
    ]
    assert table.metadata().partition_columns == list(PARTITIONS)
    assert (table.protocol().min_reader_version, table.protocol().min_writer_version) == (1, 2)
    assert {one.kind for one in COLUMNS} == {"string", "boolean", "double", "long", "date", "timestamp"}


def test_opening_a_lake_again_creates_nothing(tmp_path):
    first = lake_table.open_or_create_lake(str(tmp_path / "lake"))

    again = lake_table.open_or_create_lake(str(tmp_path / "lake"))

    assert again.metadata().id == first.metadata().id
    assert again.version() == lake_table.open_lake(str(tmp_path / "lake")).version() == 0


def test_a_lake_that_another_recorder_creates_at_the_same_moment_is_opened(tmp_path, monkeypatch):
    create = DeltaTable.create

    def create_too(*arguments, **options):
        create(*arguments, **options)
        raise CommitFailedError("Protocol changed since last commit: protocol changed")

    monkeypatch.setattr(DeltaTable, "create", create_too)

    assert lake_table.open_or_create_lake(str(tmp_path / "lake")).version() == 0


def test_a_lake_that_another_recorder_has_just_created_is_not_taken_for_other_files(tmp_path, monkeypatch):
    lake = str(tmp_path / "lake")
    look, rivals = lake_table._require_room_for_a_lake, [lake_table.open_or_create_lake]

    def look_late(address):
        if rivals:
            rivals.pop()(lake)
            (tmp_path / "lake" / "date=2026-03-02").mkdir()
        look(address)

    monkeypatch.setattr(lake_table, "_require_room_for_a_lake", look_late)

    assert lake_table.open_or_create_lake(lake).version() == 0


def test_a_log_without_a_table_is_room_for_a_lake(tmp_path):
    (tmp_path / "lake" / "_delta_log").mkdir(parents=True)

    assert lake_table.open_or_create_lake(str(tmp_path / "lake")).version() == 0


def test_a_folder_without_a_lake_is_not_one(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()

    assert refused(lake_table.open_lake, str(tmp_path / "none")) == "lake-not-found"
    assert refused(lake_table.open_lake, str(tmp_path / "photos")) == "lake-not-found"
    assert refused(lake_table.open_or_create_lake, str(tmp_path / "photos")) == "lake-foreign"
    assert not (tmp_path / "photos" / "_delta_log").exists()


def test_a_file_in_the_place_of_a_lake_is_kept(tmp_path):
    (tmp_path / "a.txt").write_text("kept")

    assert refused(lake_table.open_or_create_lake, str(tmp_path / "a.txt")) == "lake-foreign"
    assert (tmp_path / "a.txt").read_text() == "kept"


def test_a_folder_may_have_a_colon_in_its_name(tmp_path):
    assert lake_table.open_or_create_lake(str(tmp_path / "a:b")).version() == 0


def test_a_table_of_others_is_not_written(tmp_path):
    DeltaTable.create(str(tmp_path), Schema([Field("a", PrimitiveType("string"))]))

    assert refused(lake_table.open_or_create_lake, str(tmp_path)) == "lake-foreign"


def test_a_lake_of_a_later_version_is_left_alone(tmp_path):
    table = lake_table.open_or_create_lake(str(tmp_path / "lake"))
    table.alter.set_table_properties({VERSION_KEY: str(SCHEMA_VERSION + 1)}, raise_if_not_exists=False)

    assert refused(lake_table.open_or_create_lake, str(tmp_path / "lake")) == "lake-newer"


@pytest.mark.parametrize(
    "given",
    [
        *("", "ftp://host/x", "s3://", "s3://key:secret@bucket/x", "s3://bucket/x?sig=1"),
        *("s3:bucket/x", "s3:/key:secret@bucket/x", "C:\\lake", "C:/lake", "\\\\server\\lake", "lake\n"),
    ],
)
def test_an_address_of_no_lake_is_refused_without_its_secrets(given):
    with pytest.raises(InputError) as caught:
        lake_table.lake_address(given)

    assert caught.value.error_id == "lake-address-invalid"
    assert "secret" not in caught.value.message
    assert "sig=" not in caught.value.message


# As object_store 0.12 (in deltalake 1.6.6) says it.
@pytest.mark.parametrize(
    ("said", "error_id"),
    [
        ("Client error with status 403 Forbidden: no body", "lake-refused"),
        ("Client error with status 403: no body", "lake-refused"),
        (
            "Error performing GET http://127.0.0.1:9/x in 1.403s, after 2 retries: HTTP error",
            "lake-unreachable",
        ),
        ("Error performing GET http://127.0.0.1:9/credentials/401 in 1.2s: HTTP error", "lake-unreachable"),
    ],
)
def test_a_refusal_is_known_by_what_the_store_said_and_not_by_a_time_or_an_address(said, error_id):
    assert lake_table.lake_failure("s3://bucket/lake", OSError(said)).error_id == error_id


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(InputError) as caught:
        lake_table.require_lake()

    assert caught.value.error_id == "lake-missing"
    assert "vdbevents[lake]" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("laptop", True),
        ("Ada's", False),
        ("a b", True),
        ("", False),
        (" a", False),
        ("a/b", False),
        ("ä" * 101, False),
    ],
)
def test_a_host_has_a_name_that_fits_an_id(name, expected):
    assert is_host(name) == expected


def test_the_time_limit_of_a_store_is_that_of_the_environment_and_more_for_a_large_file():
    def limit(address, size=0, **environ):
        return lake_table.client_options(address, environ, size)["timeout"]

    assert limit("s3://bucket/lake") == "30000ms"
    assert limit("s3://bucket/lake", 32_000_000) == "1030000ms"
    assert limit("gs://bucket/lake", GOOGLE_TIMEOUT="2m", AWS_TIMEOUT="1s") == "120000ms"
    assert limit("az://container/lake", 3200, AZURE_TIMEOUT="0.5s") == "600ms"
    with pytest.raises(InputError) as caught:
        limit("s3://bucket/lake", AWS_TIMEOUT="soon")
    assert caught.value.error_id == "duration-invalid"
