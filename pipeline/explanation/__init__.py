"""Why a transaction scored as it did."""
