"""Sealed files: whatever happens to a byte of them is found, and readers do not mind the seal."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamaug.run.seal import check, seal, sealed_json, unsealed_json

TABLE = pa.table({"n": range(5), "text": ["some text"] * 5})


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "sealed.parquet"
    pq.write_table(TABLE, path)
    seal(path)
    return path


def test_a_sealed_file_is_read_as_before(sealed: Path) -> None:
    check(sealed)
    assert pq.read_table(sealed) == TABLE


def test_the_same_table_has_the_same_bytes(sealed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pq.write_table(TABLE, other)
    seal(other)
    assert other.read_bytes() == sealed.read_bytes()


def test_every_flipped_bit_and_every_cut_is_found(sealed: Path) -> None:
    content = sealed.read_bytes()
    for place in range(len(content)):
        spoilt = bytearray(content)
        spoilt[place] ^= 1 << place % 8
        sealed.write_bytes(spoilt)
        with pytest.raises(OSError, match=r"checksum|end is missing"):
            check(sealed)
        sealed.write_bytes(content[:place])
        with pytest.raises(OSError, match=r"checksum|end is missing"):
            check(sealed)
    sealed.write_bytes(content)
    check(sealed)


def test_a_file_without_a_seal_is_not_vouched_for(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "bare.parquet")
    with pytest.raises(OSError, match="checksum"):
        check(tmp_path / "bare.parquet")


def test_json_comes_back_or_is_refused() -> None:
    value = {"b": [1, None, "ü"], "a": {"x": 0.1}}
    text = sealed_json(value)
    assert unsealed_json(text) == value
    assert list(unsealed_json(text)) == ["b", "a"]
    for spoilt in (text.replace("0.1", "0.2"), text[:-9], "{}", "[]", "", text.replace("b", "c")):
        with pytest.raises(ValueError, match=r"checksum|Expecting|delimiter|Unterminated"):
            unsealed_json(spoilt)
