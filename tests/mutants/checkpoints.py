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
}
