"""Leases: which chunks each build at work on an atlas renders, so that several builds share them.

Every build keeps one small object in the store, its lease, and renews it. A build does not render the chunks that the
lease of another build holds. A lease that is not renewed expires. On the same machine, a lease ends with its process.
Leases save work and nothing else: if they are lost, or if the clocks of two machines differ by minutes, some chunks are
rendered twice, and the first record of a pair counts.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.atlas.plan_files import chunk_names
from core.atlas.recorded import recorded_chunks
from core.errors import StoreError
from core.machine.device import gpus
from core.machine.parallel import process_count
from core.store.store import Store

_LEASES = "plan/leases/"
_RENEW_SECONDS = 20.0
_EXPIRE_SECONDS = 90.0  # some renewals may fail, and clocks may differ by half a minute
_FORGET_SECONDS = 3600.0
_POLL_SECONDS = 1.0
_PUBLISHING_SECONDS = 600.0
_POLLING_SHARE = 0.05  # of the time of a build that waits, at most, is spent on listing the store


class Lease(BaseModel):
    """The facts about a build that the other builds need.

    Attributes:
        id: begins with the time when the build began, so an older build has a smaller id.
        machine: the machine, and the part of it in which process ids are unique, such as a container.
        place: the processors and GPUs that the build renders on; None if it renders elsewhere.
        process, started: id of the build's process, and the time when it started, in ticks of the machine.
        processes: number of chunks that the build renders at once.
        plan: path of the build's plan; None until it has one.
        chunks: names of the chunks in flight.
        renewed: time of the last change, in seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)
    id: str
    machine: str
    place: str | None
    process: int
    started: str
    processes: int
    plan: str | None = None
    chunks: tuple[str, ...] = ()
    renewed: float = 0.0

    @property
    def is_alive(self) -> bool:
        """True if the build is still at work, as far as this machine can tell."""
        if abs(time.time() - self.renewed) > _EXPIRE_SECONDS:
            return False
        return self.machine != _machine() or _started(self.process) == self.started


class Leases:
    """The lease of this build, and the leases of the other builds of the same atlas.

    Errors of the store are ignored: the build itself meets and reports them.

    Args:
        renders_here: whether this build renders on this machine.
        processes: number of chunks that it renders at once.
    """

    def __init__(self, store: Store, renders_here: bool, processes: int) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._renewing: threading.Thread | None = None
        self._adopted: frozenset[str] = frozenset()
        self._taken = 0
        process = os.getpid()
        self._mine = Lease(
            id=f"{time.time_ns():020d}-{secrets.token_hex(4)}",
            machine=_machine(),
            place=_place() if renders_here else None,
            process=process,
            started=_started(process),
            processes=processes,
        )

    def keep(self) -> None:
        """Tell the other builds of this build, and go on telling them in a thread; a second call does nothing."""
        if self._renewing is not None:
            return
        for lease in self._read_others():  # of builds that were killed
            if not lease.is_alive and time.time() - lease.renewed > _FORGET_SECONDS:
                with suppress(StoreError):
                    self._store.delete(_path(lease.id))
        self._renewing = threading.Thread(target=self._renew, name="renew-lease", daemon=True)
        self._write()
        self._renewing.start()

    def end(self) -> None:
        """Tell the other builds that this build has ended."""
        self._ended.set()
        if self._renewing is not None:
            with self._lock, suppress(StoreError):
                self._store.delete(_path(self._mine.id))

    def others(self) -> list[Lease]:
        """Return the leases of the other builds that are at work, the oldest build first."""
        return [lease for lease in self._read_others() if lease.is_alive]

    def older(self) -> list[Lease]:
        """Return the leases of the builds at work that began before this one; this build adopts their chunks."""
        return self._older(self.others())

    def room(self) -> int:
        """Return how many processes older builds leave for this build on the processors and GPUs of this machine."""
        return self._room(self._older_here(self.others()))

    def plans(self) -> frozenset[str]:
        """Return the paths of the plans of older builds, whose chunks the plan of this build should adopt."""
        return frozenset(lease.plan for lease in self.older() if lease.plan is not None)

    def begin(self, plan: str, adopted: frozenset[str]) -> None:
        """Tell the others the plan of this build, none of which is in flight yet.

        Args:
            adopted: paths of the plans of older builds whose chunks the plan has adopted.
        """
        self._adopted = adopted
        self._taken = 0
        with self._lock:
            self._mine = self._mine.model_copy(update={"plan": plan, "chunks": ()})
        self._write()

    def take(self, chunk: str) -> bool:
        """Hold a chunk for this build; return False if it is another build's.

        If an older build has a plan that this build does not know, every chunk may be the older build's. Of two builds
        that take a chunk at the same moment, the older one keeps it.
        """
        if any(chunk in lease.chunks for lease in self.others()):
            return False
        with self._lock:
            self._mine = self._mine.model_copy(update={"chunks": (*self._mine.chunks, chunk)})
        self._write()
        older = self.older()
        if any(chunk in lease.chunks or lease.plan not in (None, *self._adopted) for lease in older):
            self.release(chunk)
            return False
        self._taken += 1
        return True

    def release(self, chunk: str) -> None:
        """Let other builds render a chunk, unless it has records; they learn it with the next change or renewal."""
        with self._lock:
            rest = tuple(name for name in self._mine.chunks if name != chunk)
            self._mine = self._mine.model_copy(update={"chunks": rest})

    @property
    def taken(self) -> int:
        """The number of chunks of its plan that this build has held."""
        return self._taken

    def elsewhere(self, chunks: Collection[str]) -> set[str]:
        """Return those of some chunks that other builds render or will render.

        These are the chunks in flight elsewhere, and if older builds keep all processors and GPUs of this build busy,
        all chunks of their plans.
        """
        others = self.others()
        found = {chunk for lease in others for chunk in lease.chunks}
        here = self._older_here(others)
        if self._room(here) == 0:
            for lease in here:
                found.update(chunks if lease.plan is None else chunk_names(self._store, lease.plan))
        return found.intersection(chunks)

    def wait(self, chunks: Collection[str]) -> None:
        """Wait until other builds have recorded some chunks, or until one of the chunks is no longer theirs."""
        pause, rest = _POLL_SECONDS, set(chunks)
        while rest and self.elsewhere(rest) == rest:
            time.sleep(pause)
            began = time.monotonic()
            with suppress(StoreError):
                rest -= recorded_chunks(self._store)
            pause = max(_POLL_SECONDS, (time.monotonic() - began) / _POLLING_SHARE)

    def wait_for_publishing(self) -> None:
        """Wait, ten minutes at most, for older builds that have rendered their plans and only have to publish."""
        end = time.monotonic() + _PUBLISHING_SECONDS
        with suppress(StoreError):
            while time.monotonic() < end and any(
                lease.plan and chunk_names(self._store, lease.plan) <= recorded_chunks(self._store)
                for lease in self.older()
            ):
                time.sleep(_POLL_SECONDS)

    def _older(self, others: Iterable[Lease]) -> list[Lease]:
        return [lease for lease in others if lease.id < self._mine.id]

    def _older_here(self, others: Iterable[Lease]) -> list[Lease]:
        """Return the leases of the older builds on the same processors and GPUs."""
        machine, place = self._mine.machine, self._mine.place
        if place is None:
            return []
        return [lease for lease in self._older(others) if (lease.machine, lease.place) == (machine, place)]

    def _room(self, here: Collection[Lease]) -> int:
        wanted = self._mine.processes
        return max(0, min(wanted, process_count(None) - sum(lease.processes for lease in here))) if here else wanted

    def _read_others(self) -> list[Lease]:
        found: list[Lease] = []
        with suppress(StoreError):
            for path in self._store.list(_LEASES):
                if path != _path(self._mine.id):
                    with suppress(StoreError, ValidationError):  # the other build has just ended
                        found.append(Lease.model_validate_json(self._store.read(path)))
        return sorted(found, key=lambda lease: lease.id)

    def _renew(self) -> None:
        while not self._ended.wait(_RENEW_SECONDS):
            self._write()

    def _write(self) -> None:
        with self._lock, suppress(StoreError):
            if self._renewing and not self._ended.is_set():
                lease = self._mine.model_copy(update={"renewed": time.time()})
                self._store.replace(_path(lease.id), lease.model_dump_json().encode())


def _path(lease: str) -> str:
    return f"{_LEASES}{lease}.json"


def _machine() -> str:
    """Return a name for this machine since it was booted, and for the namespace of this process's id."""
    return f"{_read('/proc/sys/kernel/random/boot_id')} {_link('/proc/self/ns/pid')}"


def _place() -> str:
    return f"processors {sorted(os.sched_getaffinity(0))}, GPUs {[str(gpu) for gpu in gpus()]}"


def _started(process: int) -> str:
    """Return the time at which a process started, in ticks since the machine was booted; empty if it has ended."""
    # The program's name, in brackets, may have spaces and brackets. The state comes first after it, the time 20th.
    fields = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""
