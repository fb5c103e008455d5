import ctypes

from assets.methods.common.memory import return_free_memory


def test_free_memory_is_returned_where_the_c_library_can(monkeypatch):
    return_free_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    return_free_memory()
