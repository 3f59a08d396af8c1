"""Rows that change: the files that have them are written anew, the others stay."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from pipeline.lake.commits import Change
from pipeline.lake.data_files import dataset_of


def rewritten(
    uri: str,
    stored: DeltaTable,
    key: str,
    values: pa.Array,
    change: Callable[[pa.Table], pa.Table],
    *,
    month: str | None,
    transaction: tuple[str, int] | None = None,
) -> Change:
    """The change of the files in which the column `key` has one of the values."""
    dataset = dataset_of(uri, stored)
    found = [one for one in dataset.get_fragments() if _has(one, dataset.schema, key, values)]
    rows = (fitted(change(in_utc(one.to_table(schema=dataset.schema))), stored) for one in found)
    return Change(rows=rows, gone=[one.path for one in found], month=month, transaction=transaction)


def _has(file: ds.Fragment, schema: pa.Schema, key: str, values: pa.Array) -> bool:
    among = pc.field(key).isin(values)
    return bool(file.to_table(schema=schema, columns=[key], filter=among).num_rows)


def replaced(old: pa.Table, new: pa.Table, key: str) -> pa.Table:
    """The old rows, those that have the key of a new one with its values; the order stays.

    >>> old = pa.table({"id": ["a", "b"], "amount": [1, 2]})
    >>> replaced(old, pa.table({"id": ["b"], "amount": [3]}), "id").to_pydict()
    {'id': ['a', 'b'], 'amount': [1, 3]}
    """
    place = pc.index_in(old[key], value_set=new[key].combine_chunks())
    in_new = pc.add(place.cast(pa.int64()), old.num_rows)
    taken = pc.coalesce(in_new, pa.array(np.arange(old.num_rows)))
    for field in new.schema:
        if field.name not in old.column_names:
            old = old.append_column(field, pa.nulls(old.num_rows, field.type))
        at = old.schema.get_field_index(field.name)
        both = pa.chunked_array([*old.column(at).cast(field.type).chunks, *new[field.name].chunks])
        old = old.set_column(at, field, both.take(taken))
    return old


def fitted(rows: pa.Table, stored: DeltaTable) -> pa.Table:
    """The rows with the types that the table has; a column that it lacks keeps its own."""
    known = in_utc_schema(pa.schema(stored.schema().to_arrow()))
    kinds = {field.name: field for field in known if field.type != pa.null()}
    fields = [kinds.get(field.name, field) for field in rows.schema]
    return rows.cast(pa.schema([field.with_nullable(True) for field in fields]))


def in_utc_schema(schema: pa.Schema) -> pa.Schema:
    """The fields with plain types."""
    return pa.schema([field.with_type(_plain(field.type)) for field in schema])


def in_utc(table: pa.Table) -> pa.Table:
    """Give time columns their zone and text its plain type back, however Delta stored them."""
    return table.cast(in_utc_schema(table.schema))


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind
