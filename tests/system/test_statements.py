"""No statement of a daemon walks a table that grows: each is taken out of the program and shown to SQLite with its tables, empty; its planner
goes by the indexes alone. The scripts for MySQL make the same indexes."""
import re
import sqlite3

import pytest

from suite import BIN, ROOT

# Words of statements that are for MySQL and MariaDB alone.
MYSQL = ("FOR UPDATE", "LOCK IN SHARE MODE", "information_schema", "UNIX_TIMESTAMP()", "CONCAT(", "GET_LOCK(", "WSREP_")
# Tables of few rows, and what is no table.
SMALL = ("CONSTANT ROW", "t_groups_info", "t_id_gen", "b USING COVERING INDEX sqlite_autoindex_t_id_gen_1", "sqlite_master", "pragma_",
         "pending")  # the tokens that are due, which are searched for before
SCANS = {
    "UPDATE t_quota SET recount_at = 0": "once, where the configured limits have changed",
    "SELECT 1 FROM t_quota LIMIT 1": "its first row",
    "SELECT 1 FROM t_router WHERE group_name = ? LIMIT 1": "when an operator removes a group",
}


def tables():
    database = sqlite3.connect(":memory:")
    for name in ("tracker", "idserver", "storage"):
        database.executescript((ROOT / "sql" / "sqlite" / f"{name}.sql").read_text())
    return database


def statements(program):
    """The texts in it that are statements of today, not lines of the scripts of --init-db."""
    scripts = "".join(path.read_text() for path in (ROOT / "sql").rglob("*.sql"))
    texts = {text.decode() for text in re.findall(rb"(?:SELECT|UPDATE|DELETE|INSERT)(?: INTO)? [\x20-\x7e]{4,}(?=\0)", (BIN / program).read_bytes())}
    return sorted(text for text in texts if text not in scripts and not any(word in text for word in MYSQL))


@pytest.mark.parametrize("program,least", [("reel-storage", 100), ("reel-tracker", 8), ("reel-idserver", 3)])
def test_no_statement_walks_a_table_that_grows(program, least):
    database, found, walks = tables(), statements(program), []
    assert len(found) >= least, found
    for text in found:
        plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + text, [None] * text.count("?"))]
        for step in plan:
            if step.startswith("SCAN ") and not step[5:].startswith(SMALL) and text not in SCANS:
                walks.append(f"{text}: {step}")
    assert not walks, walks


def test_stored_partial_uploads_are_not_counted_again_and_again():
    """Their rows stay for partial_keep, 7 days: whoever asks for those that are under way finds them by their state."""
    database = tables()
    asked = [text for text in statements("reel-storage") if "t_partial" in text and "state IN (0, 1)" in text and "token = ?" not in text]
    assert len(asked) >= 4, asked
    for text in asked:
        plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + text, [None] * text.count("?"))]
        assert any("state=?" in step and (" userid=?" in step or "(userid=?" in step) == ("userid" in text) for step in plan), (text, plan)
