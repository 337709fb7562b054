"""A course: videos are converted by heavy workers, papers by light ones; then it is published.

REDIS_URL=redis://127.0.0.1 WORKER_TYPE=heavy feedmill worker --app course
REDIS_URL=redis://127.0.0.1 WORKER_TYPE=light feedmill worker --app course
REDIS_URL=redis://127.0.0.1 python course.py knots bowline.mov anchor.mov knots.ps
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from feedmill import Job, flow, queue

# Each is followed by the file to read and the one to write.
CONVERT_VIDEO = os.environ.get("CONVERT_VIDEO", "ffmpeg -y -i").split()
CONVERT_PAPER = os.environ.get("CONVERT_PAPER", "ps2pdf").split()


@queue("videos", weight="heavy", attempts=2, backoff="1m", timeout="2h")
def video(job: Job[str]) -> str:
    """Convert one video; one at a time on each heavy worker."""
    return convert(CONVERT_VIDEO, Path(job.data), ".webm")


@queue("papers", attempts=3, backoff="10s exp", timeout="5m")
def paper(job: Job[str]) -> str:
    """Convert one paper."""
    return convert(CONVERT_PAPER, Path(job.data), ".pdf")


@queue("courses")
def publish(job: Job[str]) -> list[str]:
    """Write the course's index, when all of its parts are done."""
    parts = sorted(str(part) for part in job.get_children_values().values())
    Path(f"{job.data}.json").write_text(json.dumps(parts))
    return parts


def add_course(name: str, files: list[str]) -> Job[str]:
    """Add the parts and the course as one; it fails if one of them fails for good."""
    parts = [paper(file) if file.endswith(".ps") else video(file) for file in files]
    return flow(publish(name), children=parts, on_child_failure="fail").add()


def convert(command: list[str], source: Path, suffix: str) -> str:
    """Run a program that reads a file and writes another; its failure is the job's."""
    target = source.with_suffix(suffix)
    subprocess.run([*command, str(source), str(target)], check=True, capture_output=True)
    return target.name


if __name__ == "__main__":
    add_course(sys.argv[1], sys.argv[2:])
