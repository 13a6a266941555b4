"""Blocks in which no garbage is collected, of several threads."""

import gc

from hoyer_search.garbage import no_collection


def test_the_last_block_to_end_ends_it():
    first, second = no_collection(), no_collection()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # as of another thread, which began before
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off():
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
