"""Faults of one line in files on disk: by file and its tests, (what, the line that is, the line that it becomes)."""

MUTANTS = {
    ("checkpoints/fingerprint.py", "tests/checkpoints/test_fingerprint.py"): [
        (
            "the first bytes alone",
            'hashlib.file_digest(stream, "sha256").hexdigest()',
            "hashlib.sha256(stream.read(2**20)).hexdigest()",
        ),
        ("ctime is not looked at", '"ctime_ns": stat.st_ctime_ns,', ""),
        ("only weights count", '"*config.json", ', ""),
        ("young files are remembered", "now - changed > SETTLED", "True"),
    ],
    ("checkpoints/hub_header.py", "tests/checkpoints/test_hub_header.py", "tests/cli/test_hub_gguf.py"): [
        ("the lists of rope factors are left out", "for span in lists:", "for span in ():"),
        (
            "a list is asked for beside its place",
            "self.read(span.start + len(held),",
            "self.read(span.start + len(held) + 32,",
        ),
        ("one more step than a header may have", "LARGEST_HEADER)  # bytes asked", "2**27)  # bytes asked"),
        ("any range is taken", "right = first == start and last == min(end, size) - 1", "right = True"),
        ("a short answer is taken", "if len(found) < end - start:", "if False:"),
        ("a file may change", "if self.size not in (0, size):", "if False:"),
        ("whole files are read to any length", "if first < start and end > LARGEST_HEADER:", "if False:"),
        ("names may lead outside", 'part in ("", ".", "..") for part', "part in () for part"),
        ("names may hold anything", " or STRANGE.search(path)", ""),
        ("the key goes everywhere", 'new.remove_header("Authorization")', "pass"),
        ("offline is passed over", '"HF_HUB_OFFLINE", "").upper() in YES', '"HF_HUB_OFFLINE", "").upper() in ()'),
        (
            "a key is sent that nobody asked for",
            '"HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in YES',
            '"", "").upper() in YES',
        ),
        ("behind a proxy the key goes nowhere", "urlsplit(asked.full_url)[:2]", "(asked.type, asked.host)"),
        ("parts may have headers of any size", "if sum(one.fetched for one in files) > LARGEST_ALL:", "if False:"),
        ("the cache's main is the hub's", "if commit == MAIN or find_spec", "if find_spec"),
        ("lists may be of any length", " or span.end - span.start > LARGEST_LIST", ""),
        ("a header is taken for the whole", "if size_of(path) is not None:", "if False:"),
        ("later parts take as much as the first", "STEPS_BEHIND if number else STEPS", "STEPS"),
    ],
    ("checkpoints/hub.py", "tests/checkpoints/test_hub_header.py", "tests/cli/test_hub_gguf.py"): [
        ("parts may be missing", 'if sorted(parts) != list(range(1, int(split["count"]) + 1)):', "if False:"),
        ("parts may be any number", 'if int(split["count"]) > MOST_PARTS:', "if False:"),
        ("the cache is not looked at", "return here[0] if here[0] and all(here) else fetched", "return fetched"),
        (
            "the cache is not looked at without a network",
            '    progress.note(f"the hub gives',
            '    return None\n    progress.note(f"the hub gives',
        ),
        (
            "what is not in the cache is not there",
            "    except Exception:  # not there, or",
            "    except OSError:  # not there, or",
        ),
    ],
    ("checkpoints/gguf_edit.py", "tests/cli/test_hub_gguf.py", "tests/checkpoints/test_hub_header.py"): [
        ("a header is copied", "    check_whole(source)\n", ""),
        ("less than was asked for is taken", "if len(found) < span.end - span.start:", "if False:"),
    ],
    ("checkpoints/gguf_parts.py", "tests/checkpoints/test_gguf_parts.py"): [
        ("an old first part stays beside new others", "    places[0].unlink(missing_ok=True)", "    pass"),
        ("parts of others are written over", "        check_free(place, force=force)", "        pass"),
        ("only the first part is copied", "    _copy_others(parts, places, force=force, progress=progress)", "    pass"),
    ],
    ("checkpoints/gguf.py", "tests/checkpoints/test_gguf_parts.py"): [
        ("factors of a later part stay in force", "if any(part.tensor(FREQS) is not None for part in others)", "if False"),
        ("factors of a later part are not read", '(document, *others), parts)), b"")', '(document,), parts)), b"")'),
    ],
}
